"""The package as it is installed: folders, versions, weight of an import."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import metadata, requires
from pathlib import Path

import dilaton
import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = ("sympy", "numpy", "scipy", "numba", "jax", "torch", "matplotlib", "xarray")
HELP_SECONDS = 0.5  # what the README promises; taken as the best of three


def test_versions_agree():
    assert dilaton.__version__ == PROJECT["project"]["version"]
    assert metadata("dilaton")["Version"] == dilaton.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {dilaton.__version__}" in citation
    assert f"[{dilaton.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_requirement_is_pinned():
    lines = (ROOT / "constraints.txt").read_text().lower().split()
    pins = dict(line.split("==") for line in lines)
    assert pins["torch"] == "2.13.0"
    assert not any("+" in version for version in pins.values())
    names = {re.split(r"[<>=;\[ ]", r)[0].lower() for r in requires("dilaton")}
    assert {x.replace("_", "-") for x in names} <= {x.replace("_", "-") for x in pins}


def test_public_names_load_and_are_listed():
    for name in dilaton.__all__:
        assert getattr(dilaton, name) is not None
    assert dir(dilaton) == sorted(dilaton.__all__)
    source = (ROOT / "app" / "__init__.py").read_text()
    typed = re.findall(r"(\w+) as (\w+)", source)  # what a type checker sees
    assert {a for a, b in typed if a == b} | {"__version__"} == set(dilaton.__all__)
    with pytest.raises(AttributeError, match="no attribute 'modle'"):
        dilaton.modle


def test_public_names_of_the_numerics_load():
    from dilaton import numerics

    for name in numerics.__all__:
        assert getattr(numerics, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'modle'"):
        numerics.modle


def test_what_users_need_is_there():
    needed = "derive solve sweep converge integrate learn steps mse plot make_kernel"
    data = "TrainingTimes uturn find_window mse_curve generate"
    assert set(f"{needed} {data}".split()) <= set(dir(dilaton))
    for name in dilaton._MODULE_OF:
        assert getattr(dilaton, name).__doc__ or name.isupper()


def _loaded(code):
    probe = f"{code}\nimport sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]


def test_import_and_help_load_nothing_heavy():
    assert _loaded("import dilaton") == "[]"
    help_text = (
        "import sys, dilaton.face.cli as c\nsys.argv = ['dilaton', '--help']\n"
        "try: c.main()\nexcept SystemExit: pass"
    )
    assert _loaded(help_text) == "[]"
    assert "sympy" in _loaded("import dilaton; dilaton.Model")  # the probe can see


def test_theory_imports_sympy_alone():
    others = (
        "[m for m in ('numpy', 'scipy', 'numba', 'jax', 'torch') if m in sys.modules]"
    )
    code = "import sys, dilaton.theory.derive\nassert not " + others
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


README = (ROOT / "README.md").read_text()


def test_the_readmes_python_runs_and_prints_what_it_says(capsys):
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    exec(compile(block, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "log(p/(1 - p))/2" in out
    assert re.search(r"# (0\.\d+)", block)[1] == f"{float(out.splitlines()[-1]):.5f}"


def test_the_readmes_spec_is_the_defaults_population():
    block = re.search(r"```toml\n(.*?)```", README, re.DOTALL)[1]
    tables = dilaton.default_spec().tables | {"data": {"n": "inf"}}
    assert dilaton.theory.models.spec.parse_spec(block).tables == tables


def test_the_readmes_commands_exist():
    from dilaton.face.cli import app

    commands = {command.callback.__name__ for command in app.registered_commands}
    assert set(re.findall(r"^dilaton (\w+)", README, re.MULTILINE)) <= commands
    targets = set(
        re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    assert set(re.findall(r"`?make ([\w-]+)", README)) <= targets


@pytest.mark.parametrize(
    ("file", "key"),
    [
        (".github/workflows/check.yml", "run"),
        (".github/workflows/versions.yml", "run"),
        (".pre-commit-config.yaml", "entry"),
        (".readthedocs.yaml", "-"),
        (".ci/run", ""),
    ],
)
def test_what_others_run_is_make_alone(file, key):
    text = (ROOT / file).read_text()
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    called = [line for line in lines if re.match(r"(\w+: )?make ", line)]
    assert called
    for line in called:
        assert line.removeprefix(f"{key}: ").split()[1] in targets, line
    others = [line for line in lines if re.match(r"(run|entry): (?!make )", line)]
    assert not others, others


def test_links_of_the_readme_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
