"""Kernels: every backend against 30-digit arithmetic of the same expressions."""

import hashlib
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp
from dilaton.errors import ModelError, ShapeError, SolveError
from dilaton.numerics.codegen import cache
from dilaton.numerics.codegen.kernel import make_kernel, numba_source
from dilaton.numerics.codegen.printer import outputs_of
from dilaton.theory.symbols.gaussian import Average, G
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.symbols.system import Equation, System

DIGITS = 30
AGREE = 1e-12  # what float64 kernels promise, relative to the size of the terms

NAMES = "p kappa sigma s b m omega q r nu M"
P, KAPPA, SIGMA, S, B, OVERLAP, OMEGA, Q, R, NU, M = map(symbol, NAMES.split())
G2 = sp.Symbol("g_two", real=True)


def system(name, kind, values, parameters, observables=(), time=None, **more):
    rows = tuple(Equation(f"K{i}", x, f) for i, (x, f) in enumerate(values))
    seen = tuple(Equation(f"O{i}", x, f) for i, (x, f) in enumerate(observables))
    return System(
        name, kind, time, rows, tuple(parameters), observables=seen, **more
    ).check()


FIELD = sp.sqrt(R) * G + KAPPA * S * OMEGA + B
FLOW = system(
    "all-functions",
    "flow",
    [
        (NU, KAPPA * M * sp.tanh(OMEGA * NU + B) + sp.erf(NU) * sp.sign(M)),
        (M, sp.exp(-(M**2)) / sp.sqrt(1 + NU**2) + sp.log(P / (1 - P)) * sp.sin(S)),
    ],
    (P, KAPPA),
    observables=[
        (OVERLAP, sp.Abs(NU) + sp.Max(NU, M) - sp.Min(NU, 2 * M)),
        (Q, sp.Piecewise((NU**2, NU > 0), (M**3, True)) + sp.pi * sp.cosh(S)),
        (R, NU**4 / KAPPA ** sp.Rational(3, 2)),
    ],
    time=S,
    inputs=(OMEGA, B),
)
LOSS = 1 + SIGMA**2 - P * Average(sp.tanh(FIELD)) ** 2 + Q * OMEGA**2
STATIONARY = system(
    "stationary",
    "stationary",
    [
        (OMEGA, sp.diff(LOSS.subs(R, OMEGA**2), OMEGA)),
        (B, sp.diff(LOSS.subs(R, OMEGA**2), B)),
    ],
    (P, KAPPA, SIGMA, Q),
    observables=[
        (R, OMEGA**2),
        (OVERLAP, Average(sp.tanh(FIELD) ** 2).subs(R, OMEGA**2)),
    ],
    time=S,
    objective=LOSS.subs(R, OMEGA**2),
)
CLOSED = system(
    "closed",
    "closed",
    [
        (B, sp.log(P / (1 - P)) / 2),
        (OMEGA, KAPPA * S),
        (Q, Average(sp.tanh(OMEGA * G + B) * sp.tanh(KAPPA * G + G2), G, G2)),
    ],
    (P, KAPPA),
    time=S,
)


def exact(expr, values):
    """Evaluate an expression, averages included, to 30 digits with mpmath."""
    expr = sp.sympify(expr)
    with mpmath.workdps(DIGITS + 5):
        found = {node: _mean(node, values) for node in expr.atoms(Average)}
        plain = expr.xreplace(found).subs(values)
        return float(sp.N(plain, DIGITS))


MEANS = {}  # the same averages return in gradient, Hessian and Newton step


def _mean(node, values):
    key = node, tuple(values.items())
    if key not in MEANS:
        MEANS[key] = _summed(node, values)
    return MEANS[key]


def _summed(node, values):
    body = sp.lambdify(node.variables, node.integrand.subs(values), "mpmath")
    # the trapezoidal rule again, written out, with four times the nodes and digits
    step = mpmath.mpf(1) / 16
    x = [step * k for k in range(-176, 177)]
    w = [step * mpmath.npdf(v) for v in x]
    if len(node.variables) == 1:
        total = mpmath.fsum(wi * body(xi) for xi, wi in zip(x, w, strict=True))
    else:
        x, w = x[::2], [2 * v for v in w[::2]]
        total = mpmath.fsum(
            wi * wj * body(xi, xj)
            for xi, wi in zip(x, w, strict=True)
            for xj, wj in zip(x, w, strict=True)
            if wi * wj > 1e-22
        )
    return sp.Float(total, DIGITS)


def points(system, count, seed=7):
    """Return admissible values of every symbol a kernel is given."""
    rng = np.random.default_rng(seed)
    draw = {"p": (0.2, 0.9), "s": (0.1, 1.0), "kappa": (0.4, 2.0), "r": (0.1, 2.0)}
    symbols = [S, *system.unknowns, *system.inputs, *system.parameters]
    for _ in range(count):
        yield {x: rng.uniform(*draw.get(str(x), (0.2, 1.2))) for x in symbols}


# jax compiles the Newton step for some seconds; its gradient is one of the flow's kind
JAX_STATIONARY = pytest.param(STATIONARY, "jax", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("system", "backend"),
    [
        *product([FLOW, STATIONARY, CLOSED], ["numpy", "numba"]),
        *product([FLOW, CLOSED], ["jax"]),
        JAX_STATIONARY,
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_kernels_match_thirty_digits(system, backend):
    kernel = make_kernel(system, backend)
    for point in points(system, 4 if system is FLOW else 2):
        named = {str(k): v for k, v in point.items()}
        for name, expressions in outputs_of(system).items():
            found, bound = kernel.evaluate(
                name,
                at=named["s"],
                states={k: named[k] for k in kernel.states if system is not CLOSED},
                inputs={k: named[k] for k in kernel.inputs},
                params={k: named[k] for k in kernel.parameters},
            )
            assert bound < AGREE
            for value, expression in zip(found.values(), expressions, strict=True):
                truth = exact(expression, point)
                assert abs(float(value) - truth) <= AGREE * max(1.0, abs(truth))


def test_a_perturbed_system_is_rejected():
    wrong = FLOW.replaced("nu", -FLOW["nu"])
    point = next(points(FLOW, 1))
    found, _ = make_kernel(wrong, "numpy").evaluate(
        "rhs",
        at=point[S],
        states={"nu": point[NU], "M": point[M]},
        inputs={"omega": point[OMEGA], "b": point[B]},
        params={"p": point[P], "kappa": point[KAPPA]},
    )
    assert abs(found["nu"] - exact(FLOW["nu"], point)) > 1e3 * AGREE


@pytest.mark.parametrize("backend", ["numpy", "jax", "numba"])
def test_batches_broadcast(backend):
    kernel = make_kernel(CLOSED, backend)
    s, p = np.linspace(0.1, 1, 4)[:, None], np.array([0.3, 0.8])
    whole, _ = kernel.evaluate("values", at=s, params={"p": p, "kappa": 1.5})
    one, _ = kernel.evaluate(
        "values", at=s[2, 0], params={"p": p[1], "kappa": 1.5}, tol=1e-12
    )
    assert np.shape(whole["q"]) == (4, 2)
    for name, value in one.items():
        assert float(whole[name][2, 1]) == pytest.approx(float(value), abs=AGREE)


def test_sign_and_nan_survive_every_backend():
    flow = system("signs", "flow", [(NU, sp.sign(NU) + sp.tanh(NU))], (KAPPA,))
    for backend in ("numpy", "jax", "numba"):
        kernel = make_kernel(flow, backend)
        found, _ = kernel.evaluate(
            "rhs",
            states={"nu": np.array([-2.0, 0.0, 2.0, np.nan, 800.0])},
            params={"kappa": 1.0},
        )
        expected = np.sign(x := np.array([-2.0, 0.0, 2.0, np.nan, 800.0])) + np.tanh(x)
        np.testing.assert_allclose(found["nu"], expected, rtol=1e-15)


def test_the_source_is_readable_and_lists_its_arguments():
    source = make_kernel(FLOW, "numpy").source
    assert "states: nu, M" in source
    assert "inputs: omega, b" in source
    assert "params: p, kappa" in source
    assert "units: none" in source
    for name in ("np.", "numpy", "math.", "select"):
        assert name not in source
    assert make_kernel(FLOW, "jax").source == source


def test_steep_averages_are_refined_or_refused():
    kernel = make_kernel(CLOSED, "numpy")
    _, bound = kernel.evaluate("values", at=1.0, params={"p": 0.7, "kappa": 6.0})
    assert bound < AGREE
    jump = system("jump", "closed", [(Q, Average(sp.sign(G + B)))], (B,))
    with pytest.raises(SolveError, match="must be known within 1e-12, but"):
        make_kernel(jump, "numpy").evaluate("values", params={"b": 0.3})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"params": {"p": 0.5}},
            ModelError,
            "`kappa` is missing. There are no default",
        ),
        (
            {"params": {"p": 0.5, "kappa": 1, "kapa": 1}},
            ModelError,
            "has `kapa`; did you mean `kappa`",
        ),
        ({"params": {"p": "half", "kappa": 1}}, ShapeError, "must be a number"),
        ({"name": "valeus"}, ModelError, "did you mean `values`"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    arguments = {"name": "values", "params": {"p": 0.5, "kappa": 1.0}, **change}
    with pytest.raises(error, match=message):
        make_kernel(CLOSED, "numpy").evaluate(arguments.pop("name"), **arguments)


def test_systems_that_cannot_be_printed_are_refused():
    with pytest.raises(ModelError, match="`backend` must be one of numpy"):
        make_kernel(CLOSED, "cupy")
    with pytest.raises(ModelError, match="uses `kappa`"):
        make_kernel(
            System("x", "flow", S, (Equation("E", NU, KAPPA * NU),), ()), "numpy"
        )
    airy = system("airy", "closed", [(Q, sp.airyai(B))], (B,))
    with pytest.raises(ModelError, match="A kernel may contain"):
        make_kernel(airy, "numpy")
    for name in ("x; import os", "lambda", "lane", "tanh", "ν"):
        hostile = sp.Symbol(name)
        with pytest.raises(ModelError, match="must be named by a plain ASCII"):
            make_kernel(
                system("hostile", "closed", [(Q, hostile)], (hostile,)), "numpy"
            )
    nested = Average(sp.tanh(G + Average(sp.tanh(G2 + B), G2)), G)
    with pytest.raises(ModelError, match="no average inside"):
        make_kernel(system("nested", "closed", [(Q, nested)], (B,)), "numpy")
    bare = System("bare", "stationary", S, (Equation("E", OMEGA, OMEGA),), ())
    with pytest.raises(ModelError, match="must have an objective"):
        make_kernel(bare, "numpy")


def test_the_error_function_without_averages_is_that_of_thirty_digits():
    kernel = make_kernel(system("one", "closed", [(Q, sp.erf(B))], (B,)), "numpy")
    points = np.array([-4.0, -0.3, 1e-9, 0.8, 5.5])
    found, _ = kernel.evaluate("values", params={"b": points})
    with mpmath.workdps(DIGITS):
        exact = [float(mpmath.erf(x)) for x in points]
    np.testing.assert_allclose(found["q"], exact, rtol=1e-15)


# the cache of generated modules

SOURCE = '"""A module."""\n\nVALUE = 42\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DILATON_CACHE", str(tmp_path / "cache"))
    before = set(sys.modules)
    yield tmp_path / "cache"
    for name in set(sys.modules) - before:
        del sys.modules[name]


def written(folder):
    return list((folder / "kernels").glob("*.py"))


def test_sources_are_written_once_and_named_by_content(folder):
    assert cache.load_source(SOURCE, "first").VALUE == 42
    (path,) = written(folder)
    stamp = path.stat().st_mtime_ns
    del sys.modules[path.stem]
    assert cache.load_source(SOURCE, "first").VALUE == 42
    assert path.stat().st_mtime_ns == stamp
    assert path.read_text() == SOURCE
    cache.load_source(SOURCE.replace("42", "43"), "first")
    assert len(written(folder)) == 2
    assert not list((folder / "kernels").glob("*.tmp"))


def test_a_corrupted_source_is_put_right_and_said(folder):
    cache.load_source(SOURCE, "first")
    (path,) = written(folder)
    path.write_text("VALUE = 41\n")
    del sys.modules[path.stem]
    with pytest.warns(UserWarning, match="must hold the source it is named after"):
        module = cache.load_source(SOURCE, "first")
    assert module.VALUE == 42
    assert path.read_text() == SOURCE


def test_a_folder_that_cannot_be_used_is_replaced_and_said(folder):
    folder.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="cannot be used .* compiled again"):
        assert cache.load_source(SOURCE, "first").VALUE == 42


def test_the_folder_is_the_users_cache_unless_it_is_named(monkeypatch):
    monkeypatch.delenv("DILATON_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.cache_folder() == Path("/elsewhere/dilaton")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somebody")
    assert cache.cache_folder() == Path("/somebody/.cache/dilaton")


def test_a_source_that_cannot_be_imported_is_not_kept_in_mind(folder):
    broken = SOURCE + "raise LookupError(VALUE)\n"
    for _ in range(2):
        with pytest.raises(LookupError, match="42"):
            cache.load_source(broken, "broken")
    (path,) = written(folder)
    assert path.stem not in sys.modules


def test_whoever_writes_a_source_first_wins(folder, monkeypatch):
    """Another process publishes the file while this one has written its own."""

    def slow(temporary, path):
        path.write_text(SOURCE)
        return link(temporary, path)

    link = os.link
    monkeypatch.setattr(os, "link", slow)
    assert cache.load_source(SOURCE, "first").VALUE == 42
    (path,) = written(folder)
    assert path.read_text() == SOURCE
    assert not list((folder / "kernels").glob("*.tmp"))


def test_a_corrupted_source_takes_its_machine_code_with_it(folder):
    cache.load_source(SOURCE, "first")
    (path,) = written(folder)
    beside = path.parent / "__pycache__"
    beside.mkdir(exist_ok=True)
    names = [f"{path.stem}.f-3.py311.1.nbc", f"{path.stem}.f-3.py311.nbi", "other.nbi"]
    for name in names:
        (beside / name).write_bytes(b"code")
    path.write_text("VALUE = 41\n")
    del sys.modules[path.stem]
    with pytest.warns(UserWarning, match="must hold the source it is named after"):
        cache.load_source(SOURCE, "first")
    assert [name for name in names if (beside / name).exists()] == ["other.nbi"]


TEXTS = ["one line", " two\n\nlines ", "\n", "a b\nc"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_remembered_as_it_was_made(folder, text):
    made = []

    def make():
        made.append(text)
        return text

    assert [cache.remembered("key", make) for _ in range(3)] == [text] * 3
    assert len(made) == 1
    assert cache.remembered("another key", lambda: "other") == "other"
    (kept,) = {*(folder / "texts").iterdir()} - {path_of(folder, "another key")}
    kept.write_text(kept.read_text() + "!")
    with pytest.warns(UserWarning, match=f"`{kept.name}` must match its checksum"):
        assert cache.remembered("key", make) == text
    assert cache.remembered("key", make) == text
    assert len(made) == 2


def path_of(folder, key):
    return folder / "texts" / hashlib.sha256(key.encode()).hexdigest()[:40]


def test_a_text_that_cannot_be_kept_is_made_each_time(folder):
    folder.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="cannot be used") as said:
        found = [cache.remembered("key", lambda: "text") for _ in range(2)]
    assert found == ["text"] * 2
    assert len(said) == 1


@pytest.fixture
def kept(tmp_path):
    """numba's files of one function, holding a result."""

    def opened(stamp="one"):
        return cache._checked_file()(str(tmp_path), "f-3.py311", stamp)

    opened().save("key", {"code": b"machine code"})
    return opened


def flipped(tmp_path, kind):
    (path,) = tmp_path.glob(f"*.{kind}")
    held = bytearray(path.read_bytes())
    held[-3] ^= 1
    path.write_bytes(held)


def test_machine_code_is_found_by_who_knows_its_source(kept):
    assert kept().load("key") == {"code": b"machine code"}
    assert kept().load("another") is None
    assert kept("two").load("key") is None


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_machine_code_is_said_and_made_again(kept, tmp_path, kind):
    flipped(tmp_path, kind)
    with pytest.warns(UserWarning, match="must match its checksum"):
        assert kept().load("key") is None
    if kind == "nbi":
        with pytest.warns(UserWarning, match="must match its checksum"):
            kept().save("key", {"code": b"new"})
    else:
        kept().save("key", {"code": b"new"})
    assert kept().load("key") == {"code": b"new"}


def test_machine_code_of_another_numba_is_compiled_again(kept, tmp_path):
    (path,) = tmp_path.glob("*.nbi")
    gone = b"cdilaton.no_such_module\nThing\n."  # a class that is no longer there
    path.write_bytes(hashlib.sha256(gone).digest() + gone)
    assert kept().load("key") is None
    kept().save("key", {"code": b"new"})
    assert kept().load("key") == {"code": b"new"}


def test_machine_code_that_is_gone_is_compiled_again_without_a_word(kept, tmp_path):
    (path,) = tmp_path.glob("*.nbc")
    path.unlink()
    assert kept().load("key") is None


def test_machine_code_that_cannot_be_kept_is_said(kept, tmp_path, monkeypatch):
    def full(self, name, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache._checked_file(), "_save_data", full)
    with pytest.warns(UserWarning, match=r"could not be kept \(No space left"):
        kept().save("second", {"code": b"new"})


def test_machine_code_of_a_generated_module_is_checked(folder):
    source = "from numba import njit\n\n\n@njit(cache=True)\ndef f(x):\n    return x\n"
    module = cache.load_source(source, "checked")
    assert isinstance(module.f._cache._cache_file, cache._checked_file())


SECOND = """
import time; start = time.perf_counter()
import sympy as sp
from dilaton.numerics.codegen.kernel import make_kernel
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.symbols.system import Equation, System
x, k = symbol("m"), symbol("kappa")
system = System("decay", "flow", symbol("s"), (Equation("D", x, -k*x),), (k,))
found, _ = make_kernel(system, "numba").evaluate(
    "rhs", states={"m": 2.0}, params={"kappa": 3.0})
assert found["m"] == -6.0
print(len(make_kernel(system, "numba")["rhs"].stats.cache_hits))
"""


def run(script, folder):
    env = {**os.environ, "DILATON_CACHE": str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", script],
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_machine_code_survives_the_process_and_corruption_is_recompiled(tmp_path):
    assert run(SECOND, tmp_path).stdout.strip() == "0"
    second = run(SECOND, tmp_path)
    assert second.stdout.strip() == "1"
    assert not second.stderr
    for kept in [*tmp_path.rglob("rhs*.nbc"), *tmp_path.rglob("*.rhs*.nbc")]:
        held = bytearray(kept.read_bytes())
        held[len(held) // 2] ^= 1
        kept.write_bytes(held)
    third = run(SECOND, tmp_path)
    assert "must match its checksum" in third.stderr
    for index in tmp_path.rglob("*.nbi"):
        index.write_bytes(b"not an index")
    assert "must match its checksum" in run(SECOND, tmp_path).stderr


def test_sources_do_not_depend_on_the_process():
    script = (
        "from dilaton.numerics.codegen.kernel import numba_source\n"
        "import runpy, hashlib\n"
        f"space = runpy.run_path({__file__!r})\n"
        "print(hashlib.sha256(numba_source(space['STATIONARY'], (), 0)"
        ".encode()).hexdigest())"
    )
    import hashlib

    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = hashlib.sha256(numba_source(STATIONARY, (), 0).encode()).hexdigest()
    assert found == {here}
