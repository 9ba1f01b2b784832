"""The documents: every block runs, every page printed from the code is current."""

import contextlib
import doctest
import functools
import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import dilaton
import numpy as np
import pytest
from dilaton.face import cli
from dilaton.show.guards import GUARDS, NUMERICAL, SPECIAL

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOLDERS = ("app", "theory", "numerics", "torchcheck")
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PRINTED = ("notation.md", "derivation.md", "derivation-samples.md", "status.md")
TRAINED = (  # minutes on a busy machine
    "docs/howto/convergence-study.md",
    "docs/howto/feature-window.md",
    "docs/howto/new-mixture.md",
)
PAGES = [
    "README.md",
    *sorted(
        str(path.relative_to(ROOT))
        for path in DOCS.rglob("*.md")
        if "_build" not in path.parts and path.name not in PRINTED
    ),
]


SKIPPED = "of a block that was not run"


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


@functools.cache
def build_pages():
    spec = importlib.util.spec_from_file_location(
        "build_pages", DOCS / "build_pages.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- blocks of the pages


def run_page(text, slow=False):
    """Run the blocks of a page from top to bottom in the current folder.

    A block that says `slow` after its language (its numbers are judged by other tests,
    too) and what it prints are for the whole suite alone.

    toml: a file, named in its first line. python: one namespace for the page. console:
    lines after `$`, then what they print. bash: a script. A text block holds what the
    block before it prints; `...` stands for anything. A block without a language, or
    indented, is not run.
    """
    names, printed = {"__name__": "__main__"}, None
    for language, marks, body in FENCE.findall(text):
        if marks.strip() == "slow" and not slow:
            printed = SKIPPED
        elif language == "text":
            assert printed is not None, f"nothing runs before this output:\n{body}"
            if printed is not SKIPPED:
                same(body, printed)
            printed = None
        elif language == "toml":
            Path(re.match(r"# (\S+\.toml)", body)[1]).write_text(body)
        elif language == "python":
            printed = output_of(
                lambda body=body: exec(compile(body, "page", "exec"), names)
            )
        elif language == "console":
            run_console(body)
        elif language == "bash":
            run_script(body)
        elif language not in ("{eval-rst}", "eval"):
            raise AssertionError(f"nothing runs blocks in {language!r}")


def output_of(call):
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        call()
    return stream.getvalue()


def run_console(body):
    commands = re.split(r"^\$ ", body.replace("\\\n", " "), flags=re.MULTILINE)
    assert not commands[0].strip(), "a console block starts with `$ `"
    for entry in commands[1:]:
        command, _, wanted = entry.partition("\n")
        found = run_command(command)
        if wanted.strip():
            same(wanted, found)


def run_command(command):
    command, _, target = command.partition(" > ")
    program, *words = command.split()
    assert program == "dilaton", f"only dilaton runs here, not {program}"
    words = [word.strip("'\"") for word in words]
    found = output_of(lambda: call_command(words))
    if target:
        Path(target.strip()).write_text(found)
        return ""
    return found


def call_command(words):
    before, sys.argv = sys.argv, ["dilaton", *words]
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    assert not code, f"dilaton {' '.join(words)} ended with {code}"


def run_script(body):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": "0"}
    done = subprocess.run(
        ["bash", "-e", "-c", body], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def same(wanted, found):
    checker = doctest.OutputChecker()
    if not checker.check_output(wanted, found, LOOSE):
        raise AssertionError(f"the page says\n{wanted}\nbut this is printed\n{found}")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow) if page in TRAINED else page
        for page in PAGES
    ],
)
def test_every_block_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(text_of(page))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if re.search(r"^```\w+ slow$", text_of(page), re.M)],
)
def test_every_slow_block_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(text_of(page), slow=True)


def test_a_page_that_lies_is_caught():
    with pytest.raises(AssertionError, match="but this is printed"):
        run_page("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    lie = "```python slow\nprint(1 + 1)\n```\n\n```text\n3\n```\n"
    run_page(lie)
    with pytest.raises(AssertionError, match="but this is printed"):
        run_page(lie, slow=True)
    with pytest.raises(AssertionError, match="nothing runs"):
        run_page("```fortran\nend\n```\n")


# ------------------------------------------------------- pages printed from the code


@pytest.mark.parametrize("name", PRINTED)
def test_a_printed_page_is_current(name):
    assert (DOCS / name).read_text(encoding="utf-8") == build_pages().PAGES[name](), (
        f"docs/{name} is not what the code prints: run docs/build_pages.py"
    )


def test_every_guard_of_the_status_table_exists():
    tables = (*GUARDS.values(), *SPECIAL.values())
    guards = [test for tests in tables for test in tests]
    guards += [test for _, test in NUMERICAL]
    for guard in guards:
        path, _, name = guard.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(), guard


def test_labels_that_the_pages_cite_are_printed_somewhere():
    printed = "".join((DOCS / name).read_text() for name in PRINTED)
    known = set(re.findall(r"\\tag\{([A-Z]\d+)\}", printed))
    known |= set(re.findall(r"\(([A-Z]\d+)\)", printed))
    for page in PAGES:
        for label in re.findall(r"\(([WSQGEVDKTL]\d+)\)", (ROOT / page).read_text()):
            assert label in known, f"{page} cites ({label})"


def test_links_between_pages_resolve():
    for path in [ROOT / page for page in PAGES]:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", path.read_text()):
            # pages that the build makes have their script beside them
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", DOCS, tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    loads = re.compile(r"<(?:script|link|img)[^>]*?(?:src|href)=\"(https?:|//)[^>]*>")
    for page in tmp_path.rglob("*.html"):
        assert not loads.search(page.read_text()), f"{page.name} needs a network"
    assert 'src="_static/tex-svg.js' in (tmp_path / "start.html").read_text()
    assert (tmp_path / "_static" / "tex-svg.js").stat().st_size > 1e6


# ------------------------------------------------- claims that no other test guards

DRAWS = 400_000
SIGMAS = 5  # standard errors; seeds are fixed


def test_errors_agree_with_monte_carlo():
    """The limits (E2), (M5) of the error against draws of the posterior's field."""
    p, sigma, kappa = 0.7, 1.3, 2.0
    limit = dilaton.derive(dilaton.Model(dilaton.two_modes()))
    rng = np.random.default_rng(3)
    sign = np.where(rng.random(DRAWS) < p, 1.0, -1.0)
    noise = rng.standard_normal(DRAWS)
    for s in (0.2, 0.7):
        field = np.arctanh(2 * p - 1) + (kappa * s) ** 2 * sign + kappa * s * noise
        draws = 1 + sigma**2 - np.tanh(field) ** 2
        found = value(limit, "weights", p, sigma, kappa, s)
        error = draws.std() / np.sqrt(DRAWS)
        assert abs(found - draws.mean()) < SIGMAS * error
        assert abs(found - draws.mean() - 4 * p * (1 - p) / 9) > SIGMAS * error
        # given the sign, x1 is Gaussian with variance sigma^2 and x = s x1 + (1-s) x0
        tau = s
        exact = sigma**2 * (1 - tau) ** 2 / ((1 - tau) ** 2 + sigma**2 * tau**2)
        assert value(limit, "variance", p, sigma, kappa, s) == pytest.approx(exact)


def value(limit, phase, p, sigma, kappa, s):
    from dilaton.numerics.codegen.kernel import make_kernel

    system = limit.phase(phase).mse
    given = {"p": p, "sigma": sigma, "kappa": kappa}
    params = {str(x): given[str(x)] for x in system.parameters}
    return float(
        make_kernel(system, "numpy").evaluate("values", params=params, at=s)[0]["mse"]
    )


STEP, COUNT = 5e-3, 400
EULER = 2e-3  # global error of Euler at this step and length


def test_the_tied_flow_follows_its_network():
    """(K2)-(K5) against gradient descent of the network itself, on its exact loss.

    At d = 3 with one direction along mu and one across, the loss of c x + w tanh(w.x
    + b) is a three-dimensional Gaussian average, written here by hand.
    """
    from dilaton.numerics.ode.integrate import integrate

    d, p, sigma, tau = 3.0, 0.7, 0.8, 0.4
    system = dilaton.derive(dilaton.Model(dilaton.two_modes())).exact["tied"]
    init = {"c": -0.5, "m": 0.3, "q": 0.2, "b": 0.1}
    flow = integrate(
        system,
        init=init,
        params={"p": p, "sigma": sigma, "d": d, "tau": tau},
        t=[0.0, STEP * COUNT],
        rtol=1e-9,
        atol=1e-11,
        backend="scipy",  # one row is not worth machine code
    )
    wanted = descend(d, p, sigma, 1 - tau, tau, init)
    for name, found in wanted.items():
        assert flow[name][0, -1] == pytest.approx(found, abs=EULER), name
        assert abs(found - init[name]) > 3 * EULER, name


def descend(d, p, sigma, alpha, beta, init):
    """Gradient descent in the coordinates (along mu, across) of w, and c, b."""
    import torch

    x, weight = np.polynomial.hermite_e.hermegauss(24)
    weight = weight / weight.sum()
    g, e = np.meshgrid(x, x, indexing="ij")
    density = torch.tensor(np.outer(weight, weight))
    std = float(np.sqrt(alpha**2 + sigma**2 * beta**2))
    start = [
        init["c"],
        beta * init["m"] * np.sqrt(d),
        beta * np.sqrt(init["q"] * d),
        init["b"],
    ]
    point = torch.tensor(start, dtype=torch.float64, requires_grad=True)

    def loss(point):
        c, along, across, b = point
        total = 0.0
        for sign, share in ((1, p), (-1, 1 - p)):
            # x and E[x0|x, sign] along mu and across; the third direction has no w
            one = beta * sign * np.sqrt(d) + std * torch.tensor(g)
            two = std * torch.tensor(e)
            noise = alpha / std
            unit = torch.tanh(along * one + across * two + b)
            for size, mean, w in (
                (one, torch.tensor(g), along),
                (two, torch.tensor(e), across),
            ):
                score = c * size + w * unit
                square = (noise * mean + alpha * score) ** 2 + 1 - noise**2
                total = total + share * (density * square).sum()
            total = total + share * (d - 2) * (
                (noise + alpha * c * std) ** 2 + 1 - noise**2
            )
        return total / d

    for _ in range(COUNT):
        grad = torch.autograd.grad(loss(point), point)[0]
        point = (point - STEP * grad).detach().requires_grad_()
    c, along, across, b = point.tolist()
    return {
        "c": c,
        "m": along / (beta * np.sqrt(d)),
        "q": across**2 / (beta**2 * d),
        "b": b,
    }


@pytest.mark.parametrize("page", ["docs/design.md", "CONTRIBUTING.md"])
def test_what_a_page_of_the_house_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    folders = "|".join(("tests", *FOLDERS))
    named = set(re.findall(rf"(?<![\w/])((?:{folders})/[\w/]+\.py)\b", text))
    assert named
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]


def test_the_picture_of_the_house_has_every_room():
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    for folder in FOLDERS:
        picture = text.partition(f"\n{folder}/ ")[2].partition("\n  │\n")[0]
        for path in (ROOT / folder).glob("*/__init__.py"):
            assert f"{path.parent.name}/" in picture, path
