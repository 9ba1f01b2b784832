"""Whatever is wrong with an input is said: the class, the rule, the fact, the remedy.

One table for each face of the package: spec files, Python functions, the command
line. A row names the three parts of the message that must appear, in this order.
"""

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import dilaton
import numpy as np
import pytest
import sympy as sp
from dilaton.errors import (
    AdmissibilityError,
    DerivationError,
    DilatonError,
    ModelError,
    ShapeError,
    SolveError,
    StoreError,
)
from dilaton.face import cli
from dilaton.numerics import learn as learning
from dilaton.numerics.codegen.kernel import make_kernel
from dilaton.numerics.codegen.quadrature import average
from dilaton.numerics.minima.minimise import minimise
from dilaton.numerics.ode.inputs import Inputs
from dilaton.numerics.ode.integrate import integrate
from dilaton.numerics.share import euler as stepping
from dilaton.numerics.sweep.axes import parse_axis
from dilaton.numerics.sweep.job import sweep
from dilaton.theory.models.model import TAU, D, Feature
from dilaton.theory.models.schedule import parse_schedule
from dilaton.theory.models.spec import LARGEST_FILE, load_spec, parse_spec
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.symbols.system import Equation, System

from ..cases import POPULATION, PRODUCT, TEXT, limit_of

NAN, INF = float("nan"), float("inf")


WHOLE = Path(__file__).parents[1] / "messages.json"
"""Every message word for word; DILATON_WRITE_MESSAGES=1 writes it anew, to be read."""


@pytest.fixture(scope="module")
def messages():
    """The messages by test, read from the file or collected into it."""
    write = "DILATON_WRITE_MESSAGES" in os.environ
    known = {} if write else json.loads(WHOLE.read_text())
    yield known
    if write:
        WHOLE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


@pytest.fixture
def word_for_word(request, messages):
    """Compare a whole message with the one that was read by a person."""

    def check(message):
        test = request.node.originalname.removeprefix("test_a_bad_").split("_is_")[0]
        key = f"{test}: {request.node.callspec.id}"
        if "DILATON_WRITE_MESSAGES" in os.environ:
            messages[key] = message
        assert messages[key] == message

    return check


def expect(error, parts, call):
    """The call raises exactly this class, with the three parts in order."""
    pattern = "(?s)" + ".*".join(re.escape(part) for part in parts)
    with pytest.raises(error, match=pattern) as caught:
        call()
    assert caught.type is error
    message = str(caught.value)
    assert message.endswith((".", "?")), message
    assert "Traceback" not in message
    return message


# ---------------------------------------------------------------------- the spec file

HERE = "p = 0.8"
SPECS = {  # name: (text replaced, by what, (rule, fact, remedy))
    "p missing": (HERE, "", ("must give `target.p`", "is missing", "Add it")),
    "p too large": (HERE, "p = 1.2", ("between 0 and 1", "is 1.2", "It is the weight")),
    "p nan": (HERE, "p = nan", ("between 0 and 1", "is nan", "It is the weight")),
    "p inf": (HERE, "p = inf", ("between 0 and 1", "is inf", "It is the weight")),
    "p one": (HERE, "p = 1", ("between 0 and 1", "is 1", "It is the weight")),
    "p text": (HERE, 'p = "a"', ("between 0 and 1", 'is "a"', "It is the weight")),
    "p bool": (HERE, "p = false", ("between 0 and 1", "is false", "It is the weight")),
    "p list": (HERE, "p = [0.8]", ("between 0 and 1", "is [0.8]", "It is the weight")),
    "p date": (HERE, "p = 2024-01-01", ("between", "is 2024-01-01", "It is the")),
    "p huge": (HERE, "p = " + "9" * 4000, ("between", "is 99999", "It is the weight")),
    "p twice": (HERE, "p = 0.8\np = 0.8", ("must be TOML", "is not", "README")),
    "p misspelt": (HERE, "P = 0.8", ("has the keys kind, p", "`target.P` is", "")),
    "p code": (
        HERE,
        "p = __import__('os').system('touch x')",
        ("must be TOML", "is not", "README"),
    ),
    "sigma zero": ("sigma = 1.0", "sigma = 0", ("positive", "is 0", "spread")),
    "sigma huge": ("sigma = 1.0", "sigma = 1e300", ("below 1e6", "1e+300", "spread")),
    "no target": ("[target]", "[goal]", ("has the keys", "`goal` is given", "")),
    "kappa zero": ("kappa = 2.0", "kappa = 0", ("positive", "is 0", "good start")),
    "kappa empty": ("kappa = 2.0", "kappa = []", ("a list of 1", "list of 0", "share")),
    "kappa table": ("kappa = 2.0", "kappa = {}", ("positive", "is {}", "good start")),
    "n zero": ("n = 128", "n = 0", ("whole number from 2", "is 0", "population")),
    "n half": ("n = 128", "n = 12.5", ("whole number from 2", "is 12.5", "population")),
    "n negative": ("n = 128", "n = -5", ("whole number from 2", "is -5", "population")),
    "n Inf": ("n = 128", 'n = "Inf"', ("whole number", 'is "Inf"', 'n = "inf"')),
    "n float inf": ("n = 128", "n = inf", ("whole number", "is inf", 'n = "inf"')),
    "n contradicts": ("n = 128", 'n = "inf"', ("be left out", "is 102", "Remove it")),
    "n below n_plus": ("n = 128", "n = 50", ("at most n - 1 = 49", "is 102", "Both")),
    "draws zero": (
        'noise_draws = "inf"',
        "noise_draws = 0",
        ("whole number from 1", "is 0", 'Write "inf"'),
    ),
    "ridge negative": ("ridge_u = 2.0", "ridge_u = -1", ("positive", "is -1", "small")),
    "ridge missing": ("ridge_w = 2.0", "", ("must give", "`data.ridge_w`", "Add it")),
    "activation": ('"tanh"', '"tahn"', ("one of tanh", 'is "tahn"', "`tanh`?")),
    "activation 3": ('"tanh"', "3", ("one of tanh, erf, sign", "is 3", "")),
    "bias text": ('"tanh"', '"tanh"\nbias = "no"', ("true or false", '"no"', "quotes")),
    "alpha code": (
        '"1 - tau"',
        "\"__import__('os').system('touch x')\"",
        ("must be a formula in tau", "__import__", "Write it as in"),
    ),
    "alpha lambda": ('"1 - tau"', '"(lambda: 1)()"', ("formula", "lambda", "Write")),
    "alpha tower": ('"1 - tau"', '"9**9**9"', ("real numbers", "is too large", "")),
    "alpha deep": ('"1 - tau"', f'"{"(" * 90}"', ("one formula", "cannot be", "Write")),
    "alpha -----": ('"1 - tau"', f'"{"-" * 90}tau"', ("nest at most 24", "", "simple")),
    "alpha long": ('"1 - tau"', f'"{"1+" * 200}tau"', ("at most 200", "", "shorter")),
    "alpha tua": ('"1 - tau"', '"1 - tua"', ("the names tau, d", "`tua`", "`tau`?")),
    "alpha flat": ('"1 - tau"', '"1"', ("be 0 at tau = 1", "is 1 there", "Rescale")),
    "alpha pole": ('"1 - tau"', '"1/tau - 1"', ("real and finite", "not defined", "")),
    "beta wiggles": ('"tau"', '"tau**2*(5 - 4*tau)"', ("must rise", "does not", "Ch")),
    "beta hidden pole": (
        '"tau"', '"tau + 1e-6*(1/(tau - 1/3) + 3 - 9*tau/2)"',
        ("must be finite", "the divisor 'tau - 1 / 3'", "Write it as in"),
    ),
    "beta hidden wiggle": (
        '"tau"', '"tau + 0.1*sin(128*pi*tau)"', ("must rise", "does not near", "Ch"),
    ),
    "beta steep": (
        '"tau"', '"(tau**16)**16"', ("a power 64 of tau", "goes to 256", "Lower"),
    ),
    "beta product": (
        '"tau"', '"tau**16*tau**16*tau**16*tau**16*tau/tau"',
        ("a power 64 of tau", "goes to 66", "Lower"),
    ),
    "beta d": ('"tau"', '"d*tau"', ("be 1 at tau = 1", "is 100 there", "Rescale")),
    "kind misspelt": ('kind = "two', 'knid = "two', ("keys kind", "knid`", "`kind`?")),
    "control key": (HERE, '"\\u001b[31m" = 1', ("keys kind", "\\x1b[31m` is", "those")),
    "control text": (HERE, 'p = "\\u001b[2J"', ("between 0", '"\\x1b[2J"', "weight")),
    "not a table": ("[dilation]\nkappa = 2.0", "", ("must give", "`dilation`", "Add")),
}  # fmt: skip
PRODUCTS = {
    "exponent half": ("0.25", "0.5", ("[0, 1/2)", "is 0.5", "no farther apart")),
    "exponent code": ("0.25", '"1/3+1"', ("[0, 1/2)", '"1/3+1"', "no farther apart")),
    "exponent long": ("0.25", "1" + "0" * 400, ("[0, 1/2)", "is 10000", "no farther")),
    "exponent by 0": ("0.25", '"1/0"', ("[0, 1/2)", '"1/0"', "no farther apart")),
    "samples": (
        '"inf"',
        "10",
        ("must give", "`data.counts`, but it is missing", "Add"),
    ),
    "kappas": ("[2, 3]", "[2, 3, 4]", ("a list of 2", "list of 3", "share a window")),
}


@pytest.mark.parametrize(("old", "new", "parts"), SPECS.values(), ids=SPECS)
def test_a_bad_spec_is_refused(word_for_word, old, new, parts):
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    word_for_word(expect(ModelError, parts, lambda: parse_spec(text)))


@pytest.mark.parametrize(("old", "new", "parts"), PRODUCTS.values(), ids=PRODUCTS)
def test_a_bad_product_spec_is_refused(word_for_word, old, new, parts):
    assert old in PRODUCT
    text = PRODUCT.replace(old, new, 1)
    word_for_word(expect(ModelError, parts, lambda: parse_spec(text)))


FILES = {  # name: (bytes of the file or None for a folder, error, parts)
    "folder": (None, StoreError, ("must be readable", "Is a directory", "Check")),
    "binary": (b"\xff\xfe", StoreError, ("in UTF-8", "line 1", "Save it")),
    "Latin-1": (b"# a\n# caf\xe9", StoreError, ("in UTF-8", "line 2", "Save it")),
    "cut letter": (b"#" + b"\xc3\xa9" * 40_000, ModelError, ("at most", "has", "file")),
    "empty": (b"", ModelError, ("must give `target`", "is missing", "Add it")),
    "huge": (b"#" * (LARGEST_FILE + 1), ModelError, ("at most", "has", "spec file")),
    "deep": (b"a = " + b"[" * 9000, ModelError, ("must be TOML", "nested", "README")),
    "list": (b"[[target]]", ModelError, ("must give", "missing", "Add it")),
    "keys": (b"target = 3", ModelError, ("must give", "missing", "Add it")),
    "dots": (b"a." * 4000 + b"a = 1", ModelError, ("must be TOML", "nested", "RE")),
    "null": (b"\x00", ModelError, ("must be TOML", "is not", "README")),
}


@pytest.mark.parametrize(("content", "error", "parts"), FILES.values(), ids=FILES)
def test_a_bad_file_is_refused(tmp_path, content, error, parts):
    path = tmp_path / "spec.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    expect(error, parts, lambda: load_spec(path))


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "spec.toml")
    parts = ("must be readable", "it is a pipe", "Check its name")
    expect(StoreError, parts, lambda: load_spec(tmp_path / "spec.toml"))


def test_a_file_used_as_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    parts = ("must be readable", "Not a directory", "Check its name")
    expect(StoreError, parts, lambda: load_spec(tmp_path / "file" / "spec.toml"))


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    parts = ("must be readable", "Permission denied", "permissions")
    expect(StoreError, parts, lambda: load_spec(tmp_path / "spec.toml"))


def test_an_endless_file_is_not_read_to_its_end():
    parts = ("at most 65536", "65537 or more", "Give the spec file")
    expect(ModelError, parts, lambda: load_spec("/dev/zero"))


def test_a_mark_in_front_of_utf_8_is_no_part_of_a_spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(TEXT, encoding="utf-8-sig")
    assert load_spec(path).tables == dilaton.default_spec().tables


# ----------------------------------------------------------------- the Python functions

POINT = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
START = {"m": 0.3, "q": 0.5, "omega": 0.2, "r": 0.4, "b": 0.0}


def population():
    return limit_of("population")


def solve(**change):
    settings = {"s": [0, 1], "rtol": 1e-8, "atol": 1e-8, "backend": "scipy"}
    dilaton.solve(population(), **(settings | POINT | change))


def without(name):
    point = {k: v for k, v in POINT.items() if k != name}
    dilaton.solve(population(), s=[0, 1], rtol=1e-8, atol=1e-8, **point)


def flow(**change):
    given = {"init": {"nu": 0.1}, "params": POINT, "t": [0, 1], "rtol": 1e-6}
    system = population().phase("weights").sampling
    return integrate(system, **({"atol": 1e-6, "backend": "scipy"} | given | change))


NU = symbol("nu")
GIVEN = Equation("T1", NU, symbol("m") * sp.cosh(NU))
GIVEN = System("given", "flow", symbol("s"), (GIVEN,), (), inputs=(symbol("m"),))


def driven(inputs=None, **change):
    """A flow with a given function, for two rows."""
    given = {"init": {"nu": [0.1, 0.2]}, "params": {}, "t": [0, 1], "rtol": 1e-6}
    return integrate(GIVEN, **(given | {"atol": 1e-6} | change), inputs=inputs)


def broken():
    """A given function that is NaN in the second row."""
    level = np.array([[1.0], [NAN]])
    return Inputs.of(lambda s: {"m": level + 0 * s}, [0.0, 1.0])


def learn(init=START, times=(1.0,), phase="weights", s=0.5, **settings):
    spec = parse_spec(POPULATION)
    learning.learn(spec, phase, s, init, times, **settings)


def mse(**where):
    learning.mse(parse_spec(POPULATION), **where)


def steps(d=100.0, counts=(5,), schedule="dilated", rule="left"):
    stepping.steps(parse_spec(POPULATION), d, counts, schedule, rule)


def model(alpha=1 - TAU, beta=TAU, activation="tanh"):
    return dilaton.Model(
        dilaton.two_modes(),
        dilaton.Interpolant(alpha, beta),
        dilaton.Autoencoder(activation),
    )


def learned():
    return population().phase("weights").learned


def overlaps(**change):
    return START | change


RANGE = ("between 0 and 1",)
CALLS = {  # name: (call, error, (rule, fact, remedy))
    "parameter missing": (
        lambda: without("sigma"),
        ModelError,
        ("must be given", "`sigma` is missing", "no default"),
    ),
    "parameter misspelt": (
        lambda: solve(kapa=2),
        ModelError,
        ("has the parameters", "`kapa` was given", "did you mean `kappa`?"),
    ),
    "parameter unknown": (
        lambda: solve(n=12),
        ModelError,
        ("has the parameters kappa, p, sigma", "`n` was given", "."),
    ),
    "p nan": (lambda: solve(p=NAN), ModelError, (*RANGE, "is nan", "It is the")),
    "p outside": (lambda: solve(p=1), ModelError, (*RANGE, "is 1", "It is the")),
    "p text": (lambda: solve(p="x"), ModelError, ("one real number", "'x'", "quotes")),
    "p list": (lambda: solve(p=[0.1]), ModelError, ("real number", "[0.1]", "sweep")),
    "p None": (lambda: solve(p=None), ModelError, ("real number", "None", "sweep")),
    "sigma zero": (lambda: solve(sigma=0), ModelError, ("positive", "is 0", "spread")),
    "sigma inf": (lambda: solve(sigma=INF), ModelError, ("below 1e6", "inf", "spread")),
    "s decreasing": (
        lambda: solve(s=[1, 0]),
        ModelError,
        ("that increase", "[1. 0.]", "Sort them"),
    ),
    "s doubled": (
        lambda: solve(s=[0.5, 0.5]),
        ModelError,
        ("that increase", "[0.5 0.5]", "drop repeats"),
    ),
    "s outside": (lambda: solve(s=[2]), ModelError, (*RANGE, "is [2]", "the end")),
    "s nan": (lambda: solve(s=[NAN]), ModelError, (*RANGE, "is [nan]", "the end")),
    "s empty": (lambda: solve(s=[]), ModelError, (*RANGE, "is []", "the end")),
    "s text": (lambda: solve(s="abc"), ModelError, (*RANGE, "'abc'", "the end")),
    "s table": (lambda: solve(s=[[0, 1]]), ModelError, (*RANGE, "[[0 1]]", "the end")),
    "rtol zero": (lambda: solve(rtol=0), ModelError, ("positive", "is 0", "sensible")),
    "rtol nan": (lambda: solve(rtol=NAN), ModelError, ("positive", "nan", "sensible")),
    "atol text": (lambda: solve(atol="x"), ModelError, ("positive", "'x'", "sensible")),
    "backend": (
        lambda: solve(backend="nunba"),
        ModelError,
        ("one of numba, jax, scipy", "`nunba`", "did you mean `numba`?"),
    ),
    "not a limit": (
        lambda: dilaton.solve(3, s=[0], rtol=1e-6, atol=1e-6),
        ModelError,
        ("must be a spec, the path", "is 3", "Take `default_spec()`"),
    ),
    "not a model": (
        lambda: dilaton.derive(dilaton.default_spec()),
        ModelError,
        ("takes a `dilaton.Model`", "given a Spec", "`spec.model`"),
    ),
    "no such phase": (
        lambda: population().phase("weight"),
        ModelError,
        ("phases of this model are", "`weight` was asked", "`weights`?"),
    ),
    "no such quantity": (
        lambda: learned()["omga"],
        ModelError,
        ("has the quantities", "`omga` was asked", "`omega`?"),
    ),
    "replace what is not there": (
        lambda: learned().replaced("omga", sp.S.One),
        ModelError,
        ("has the quantities", "`omga` was asked", "`omega`?"),
    ),
    "undeclared symbol": (
        lambda: make_kernel(learned().replaced("m", sp.Symbol("kapa")), "numpy"),
        ModelError,
        ("must be declared", "uses `kapa`", "`kappa`?"),
    ),
    "exponent too large": (
        lambda: dilaton.product(0.6),
        ModelError,
        ("below 1/2", "has exponent 3/5", "Lower it"),
    ),
    "exponent code": (
        lambda: dilaton.product("__import__('os').system('touch x')"),
        ModelError,
        ("number or a fraction", "__import__", "in digits"),
    ),
    "exponent nan": (
        lambda: dilaton.product(NAN),
        ModelError,
        ("number or a fraction", "is nan", "in digits"),
    ),
    "no feature": (dilaton.product, ModelError, ("at least one", "no expo", "Write")),
    "activation": (
        lambda: model(activation="relu"),
        ModelError,
        ("one of tanh, erf, sign", "is `relu`", "."),
    ),
    "schedule as text": (
        lambda: model(alpha="__import__('os').system('touch x')"),
        ModelError,
        ("a sympy expression", "__import__", "`parse_schedule`"),
    ),
    "schedule that stays": (
        lambda: dilaton.derive(model(alpha=sp.S.One)),
        ModelError,
        ("be 0 at tau = 1", "'1' is 1", "Rescale it"),
    ),
    "schedule without power": (
        lambda: dilaton.derive(model(beta=sp.exp(1 - 1 / TAU))),
        DerivationError,
        ("power law as tau -> 0", "is not one it can resolve", "Supply"),
    ),
    "schedule with log d": (
        lambda: dilaton.derive(model(alpha=sp.log(D) * (1 - TAU))),
        DerivationError,
        ("d**x times a function of tau", "scales with d", "Write the power"),
    ),
    "schedule that oscillates": (
        lambda: dilaton.derive(model(beta=TAU * (2 + sp.sin(1 / TAU)) / 3)),
        DerivationError,
        ("power law as tau -> 0", "is not one it can resolve", "Supply"),
    ),
    "schedule that is a number": (
        lambda: parse_schedule(3),
        ModelError,
        ("must be text", "is 3", "Put the formula in quotes"),
    ),
    "dilation without kappa": (
        lambda: population().dilation.at({"d": 100}),
        ModelError,
        ("needs d, kappa", "`kappa` is missing", "no default"),
    ),
    "dilation that folds": (
        lambda: population().dilation.at({"d": 2, "kappa": 5}),
        ModelError,
        ("must follow one another", "3.54", "Raise d or lower kappa"),
    ),
    "dilation at d = -4": (
        lambda: population().dilation.at({"d": -4, "kappa": 5}),
        ModelError,
        ("positive and finite", "is -4", "Change it"),
    ),
    "dilation at d = nan": (
        lambda: population().dilation.at({"d": NAN, "kappa": 5}),
        ModelError,
        ("positive and finite", "is nan", "Change it"),
    ),
    "no init": (
        lambda: flow(init={}),
        ModelError,
        ("must give every one of (nu)", "`nu` is missing", "no default"),
    ),
    "unknown init": (
        lambda: flow(init={"nu": 0, "mu": 1}),
        ModelError,
        ("may give (nu)", "has `mu`", "."),
    ),
    "init table": (
        lambda: flow(init={"nu": np.zeros((2, 2))}),
        ShapeError,
        ("shape () or (batch,)", "shape (2, 2)", "Flatten"),
    ),
    "batches differ": (
        lambda: flow(init={"nu": np.zeros(3)}, params=POINT | {"p": np.full(2, 0.5)}),
        ShapeError,
        ("shape () or (3,)", "shape (2,)", 'comes from `init["nu"]`'),
    ),
    "init nan": (
        lambda: flow(init={"nu": [0, NAN]}),
        ShapeError,
        ("must be finite", "row 1 has nan", "Correct or drop"),
    ),
    "init text": (
        lambda: flow(init={"nu": "a"}),
        ShapeError,
        ("number or an array", "'a'", "Convert it"),
    ),
    "times equal": (
        lambda: flow(t=[0, 0]),
        ShapeError,
        ("two increasing times", "[0. 0.]", "Sort it"),
    ),
    "one time": (lambda: flow(t=[0]), ShapeError, ("two increasing", "[0.]", "Sort")),
    "times nan": (
        lambda: flow(t=[0, NAN]),
        ShapeError,
        ("increasing times", "nan", "Sort it"),
    ),
    "method": (
        lambda: flow(method="rk4"),
        ModelError,
        ("`method` must be one of", "`rk4`", "`rk45`?"),
    ),
    "max_steps": (
        lambda: flow(max_steps=0),
        ModelError,
        ("positive whole number", "is 0", "Raise it"),
    ),
    "on_failure": (
        lambda: flow(on_failure="ignore"),
        ModelError,
        ('"raise" or "keep"', "'ignore'", "Choose one"),
    ),
    "times infinite": (
        lambda: flow(t=[0, INF]),
        ShapeError,
        ("must be finite", "holds NaN or infinity", "Drop them"),
    ),
    "times beyond the singular end": (
        lambda: flow(t=[0, 2], singular_end=True),
        ShapeError,
        ("must end at 1 or before", "goes to 2", "Rescale"),
    ),
    "functions missing": (
        driven,
        ModelError,
        ("given functions (m)", "`inputs` is missing", "Make it with `Inputs.of`"),
    ),
    "functions nan": (
        lambda: driven(broken()),
        ShapeError,
        ("must be finite", "row 1 holds NaN", "large finite ones"),
    ),
    "series of given functions": (
        lambda: driven(Inputs.of(lambda s: {"m": s}, [0.0, 1.0]), method="taylor"),
        ModelError,
        ("smooth functions", "`given` is not one", 'method="dop853"'),
    ),
    "too few steps": (
        lambda: flow(max_steps=2, backend="scipy", params=POINT | {"kappa": 50.0}),
        SolveError,
        ("1 of 1 rows stopped", "reached `max_steps`", "`on_failure="),
    ),
    "closed is no flow": (
        lambda: integrate(
            learned(), init={}, params=POINT, t=[0, 1], rtol=1e-6, atol=1e-6
        ),
        ModelError,
        ("of kind flow", "is closed", "Evaluate it with"),
    ),
    "closed has no minimum": (
        lambda: minimise(learned(), [1], POINT),
        ModelError,
        ("needs a stationary system", "is closed", "Use `dilaton.solve`"),
    ),
    "kernel backend": (
        lambda: make_kernel(learned(), "fortran"),
        ModelError,
        ("one of numpy, jax, numba", "is `fortran`", "."),
    ),
    "kernel function": (
        lambda: make_kernel(learned(), "numpy")["value"],
        ModelError,
        ("has the functions", "`value` was asked", "`values`?"),
    ),
    "average of a jump": (
        lambda: average(lambda g: np.sign(g - 0.1)),
        SolveError,
        ("must be known within 1e-13", "intervals leave", "raise `tol`"),
    ),
    "learn without q": (
        lambda: learn({k: v for k, v in START.items() if k != "q"}),
        ModelError,
        ("initial overlaps", "m, q, omega, r, b", "`q` is missing"),
    ),
    "learn misspelt": (
        lambda: learn(overlaps(omga=1)),
        ModelError,
        ("initial overlaps", "`omga` was given", "`omega`?"),
    ),
    "learn m^2 > q": (
        lambda: learn(overlaps(m=1)),
        AdmissibilityError,
        ("must satisfy m**2 <= q", "m = 1, q = 0.5", "Change one"),
    ),
    "learn omega^2 > r": (
        lambda: learn(overlaps(omega=-0.7)),
        AdmissibilityError,
        ("must satisfy omega**2 <= r", "omega = -0.7", "Change one"),
    ),
    "learn q < 0": (
        lambda: learn(overlaps(q=-1, m=0)),
        AdmissibilityError,
        ("must satisfy q >= 0", "q = -1", "Change one"),
    ),
    "learn tied q < 0": (
        lambda: learn(
            {"c": 0.0, "m": 0.1, "q": -0.1, "b": 0.0}, network="tied", d=100, tau=0.1
        ),
        AdmissibilityError,
        ("must satisfy q >= 0", "q = -0.1", "Change one"),
    ),
    "learn backwards": (
        lambda: learn(times=[-1.0]),
        ModelError,
        ("training times, from 0 on", "[-1.0]", "`init` holds at time 0"),
    ),
    "learn never": (
        lambda: learn(times=[]),
        ModelError,
        ("one or more", "is []", "`init` holds at time 0"),
    ),
    "learn s outside": (lambda: learn(s=2.0), ModelError, (*RANGE, "is 2", "the end")),
    "learn network": (
        lambda: learn(network="tide"),
        ModelError,
        ("one of untied, tied", "`tide`", "`tied`?"),
    ),
    "learn tied without d": (
        lambda: learn(network="tied", tau=0.5),
        ModelError,
        ("a dimension from 2", "is None", "no default"),
    ),
    "learn saturated": (
        lambda: learn(phase="variance"),
        DerivationError,
        ("one untied unit", "`variance` of this model has none", "Choose another"),
    ),
    "mse nowhere": (
        lambda: mse(phase="weights"),
        ModelError,
        ("or `d` and `tau`", "`s` is missing", "Give it"),
    ),
    "mse phase": (
        lambda: mse(phase="wieghts", s=[1]),
        ModelError,
        ("phases", "`wieghts` was asked", "`weights`?"),
    ),
    "mse d": (
        lambda: mse(d=1, tau=[0.5]),
        ModelError,
        ("a dimension from 2", "is 1", "no default"),
    ),
    "steps none": (
        lambda: steps(counts=[0]),
        ModelError,
        ("whole numbers from 1", "[0]", "Change it"),
    ),
    "steps rule": (
        lambda: steps(rule="lft"),
        ModelError,
        ("one of left, midpoint", "`lft`", "`left`?"),
    ),
    "steps schedule": (
        lambda: steps(schedule="dilatd"),
        ModelError,
        ("one of uniform, shift", "`dilatd`", "`dilated`?"),
    ),
    "spec number": (
        lambda: dilaton.default_spec().replace(kapa=2),
        ModelError,
        ("numbers of this spec are", "`kapa` is given", "`kappa`?"),
    ),
    "axis code": (
        lambda: parse_axis("p=__import__('os')"),
        ModelError,
        ("An axis must read", "is no number", "Write for example"),
    ),
}

TWO = dilaton.two_modes()
X, OTHER = sp.Symbol("x"), sp.Symbol("tau")


def feature(p=X, rho=X, exponent=sp.S.Zero):
    return Feature(p, rho, exponent)


def interpolant(beta):
    return dilaton.Interpolant(1 - TAU, beta)


MAKE = "Make targets with"
RECORDS = {  # records of a model: name: (call, (rule, fact, remedy))
    "target text": (lambda: dilaton.Model("x"), ("a `dilaton.Target`", "'x'", "Make")),
    "target None": (lambda: dilaton.Model(None), ("a `dilaton.Target`", "None", "Mak")),
    "interpolant text": (
        lambda: dilaton.Model(TWO, "tau"),
        ("a `dilaton.Interpolant`", "is 'tau'", "`parse_schedule`"),
    ),
    "interpolant pair": (
        lambda: dilaton.Model(TWO, (1 - TAU, TAU)),
        ("a `dilaton.Interpolant`", "is (1 - tau, tau)", "`LINEAR` is one"),
    ),
    "autoencoder text": (
        lambda: dilaton.Model(TWO, autoencoder="tanh"),
        ("a `dilaton.Autoencoder`", "is 'tanh'", '`Autoencoder("tanh")`'),
    ),
    "data True": (
        lambda: dilaton.Model(TWO, data=True),
        ("a `dilaton.Data`", "is True", "`Data(samples=True)`"),
    ),
    "data table": (
        lambda: dilaton.Model(TWO, data={}),
        ("a `dilaton.Data`", "is {}", "`Data(samples=True)`"),
    ),
    "features of ints": (
        lambda: dilaton.Target((1, 2)),
        ("tuple of `Feature`", "is (1, 2)", MAKE),
    ),
    "features listed": (
        lambda: dilaton.Target([feature()]),
        ("tuple of `Feature`", "is [Feature(", MAKE),
    ),
    "features none": (lambda: dilaton.Target(()), ("at least one", "is ()", MAKE)),
    "target sigma": (
        lambda: dilaton.Target((feature(),), 1.0),
        ("`sigma` must be a sympy", "is 1.0", MAKE),
    ),
    "feature p": (lambda: feature(p=2), ("sympy expression", "is 2", "`product`")),
    "feature exponent": (
        lambda: feature(exponent=0.25),
        ("sympy fraction", "is 0.25", "`product`"),
    ),
    "tied text": (
        lambda: dilaton.Autoencoder(tied="no"),
        ("`tied` must be True or False", "'no'", "without quotes"),
    ),
    "samples text": (
        lambda: dilaton.Data("no"),
        ("`samples` must be True or False", "'no'", "without quotes"),
    ),
    "empty listed": (
        lambda: dilaton.Data(True, empty=["--"]),
        ("a tuple of sign patterns", "['--']", "Write it as in"),
    ),
    "frozen population": (
        lambda: dilaton.Data(frozen_noise=True),
        ("`frozen_noise` describes samples", "`samples` is False", "Leave it out"),
    ),
    "empty population": (
        lambda: dilaton.Data(empty=("--",)),
        ("`empty` describes samples", "`samples` is False", "Leave it out"),
    ),
    "exponent negative": (
        lambda: dilaton.product(0, -1),
        ("at least 0", "feature 2 has exponent -1", "Raise it"),
    ),
    "exponent third": (
        lambda: dilaton.product(1 / 3),
        ("denominator of at most 10000", "0.3333333333333333", '"1/3"'),
    ),
    "exponent tower": (
        lambda: dilaton.product("1e99999999"),
        ("number or a fraction", "'1e99999999'", "in digits"),
    ),
    "exponent endless": (
        lambda: dilaton.product(10**5000),
        ("number or a fraction", "of type int and cannot be printed", "in digits"),
    ),
    "exponent huge": (
        lambda: dilaton.product(1e300),
        ("below 1/2", "exponent 1e+300", "Lower it"),
    ),
    "beta integral": (
        lambda: interpolant(sp.Integral(X, (X, 0, TAU))),
        ("can be evaluated", "Integral(x, (x, 0, tau))", "Work it out"),
    ),
    "beta derivative": (
        lambda: interpolant(sp.Derivative(TAU**2, TAU)),
        ("can be evaluated", "Derivative(tau**2, tau)", "Work it out"),
    ),
    "beta unknown function": (
        lambda: interpolant(sp.Function("f")(TAU)),
        ("can be evaluated", "f(tau)", "Work it out"),
    ),
    "beta foreign tau": (
        lambda: interpolant(OTHER),
        ("`TAU` and `D`", "another symbol that is called `tau`", "Use those"),
    ),
    "beta stray": (lambda: interpolant(X), ("`TAU` and `D`", "has `x`", "Use those")),
}
CALLS |= {k: (call, ModelError, parts) for k, (call, parts) in RECORDS.items()}


def ask(**change):
    settings = {"s": [0, 1], "rtol": 1e-8, "atol": 1e-8, "backend": "scipy"}
    at = {"n": 16, "n_plus": 12, "ridge_u": 1.0, "ridge_w": 1.0}
    dilaton.solve(limit_of("samples"), **(settings | POINT | at | change))


def masked(*numbers):
    return np.ma.array(numbers, mask=[True] + [False] * (len(numbers) - 1))


def replace(**change):
    return dilaton.default_spec().replace(**change)


HUGE, DIGITS = 10**400, 10**5000
WORDS, NUMBER = ("strictly between 0 and 1",), "one real number"
TIMES = ("times between 0 and 1",)
STARTS, SHARP = ("one finite number or a list",), ("positive number below 1",)
ARGUMENTS = {  # arguments of Python functions: name: (call, (rule, fact, remedy))
    "sigma endless": (lambda: solve(sigma=HUGE), (NUMBER, "is 10000", "sweep")),
    "sigma tiny": (lambda: solve(sigma=1e-300), ("above 1e-6", "is 1e-300", "spread")),
    "sigma large": (lambda: solve(sigma=1e300), ("below 1e6", "is 1e+300", "spread")),
    "kappa large": (lambda: solve(kappa=1e300), ("below 1e6", "1e+300", "resolves")),
    "p complex": (lambda: solve(p=np.complex128(0.5 + 1j)), (NUMBER, "0.5+1j", "swee")),
    "p quoted": (lambda: solve(p="0.5"), (NUMBER, "is '0.5'", "quotes")),
    "sigma True": (lambda: solve(sigma=True), (NUMBER, "is True", "sweep")),
    "n one": (lambda: ask(n=1, n_plus=0.5), ("number from 2", "is 1.", "`Data()`")),
    "n half": (lambda: ask(n=15.5), ("whole number from 2", "is 15.5", "`Data()`")),
    "n_plus a share": (lambda: ask(n_plus=0.3), ("from 1 to n - 1", "is 0.3", "Both")),
    "n_plus n": (lambda: ask(n_plus=16), ("below `n`", "16 of 16", "Both modes")),
    "s endless": (lambda: solve(s=[0, HUGE]), (*TIMES, "1000", "the end")),
    "s ragged": (lambda: solve(s=[[0], [0, 1]]), (*TIMES, "[[0], [0, 1]]", "the end")),
    "s masked": (lambda: solve(s=masked(0, 1)), (*TIMES, "--, 1", "the end")),
    "s complex": (lambda: solve(s=[0, 1j]), (*TIMES, "1.j", "the end")),
    "nu0 text": (lambda: solve(nu0="a"), (*STARTS, "is 'a'", "Write it as")),
    "nu0 complex": (lambda: solve(nu0=[1j]), (*STARTS, "is [1j]", "Write it as")),
    "nu0 nan": (lambda: solve(nu0=[NAN]), (*STARTS, "is [nan]", "Write it as")),
    "nu0 none": (lambda: solve(nu0=[]), (*STARTS, "is []", "Write it as")),
    "nu0 table": (lambda: solve(nu0=[[1.0]]), (*STARTS, "[[1.0]]", "Write it as")),
    "nu0 endless": (lambda: solve(nu0=[HUGE]), (*STARTS, "is [1000", "Write it as")),
    "nu0 masked": (lambda: solve(nu0=masked(1, 2)), (*STARTS, "masked", "Write it as")),
    "rtol inf": (lambda: solve(rtol=INF), (*SHARP, "is inf", "sensible")),
    "rtol huge": (lambda: solve(rtol=1e300), (*SHARP, "is 1e+300", "sensible")),
    "rtol endless": (lambda: solve(rtol=HUGE), (*SHARP, "is 1000", "sensible")),
    "rtol True": (lambda: solve(rtol=True), (*SHARP, "is True", "sensible")),
    "rtol tiny": (lambda: solve(rtol=1e-300), ("at least 1e-14", "1e-300", "Raise")),
    "atol inf": (lambda: solve(atol=INF), (*SHARP, "is inf", "sensible")),
    "max_step 0": (lambda: flow(max_step=0), ("positive number", "is 0", "Leave it")),
    "max_steps text": (lambda: flow(max_steps="9"), ("whole number", "'9'", "Raise")),
    "max_steps inf": (lambda: flow(max_steps=INF), ("whole number", "inf", "Raise it")),
    "learn text": (lambda: learn(times="x"), ("training times", "'x'", "`init` holds")),
    "replace None": (lambda: replace(p=None), ("must be a number", "None", "one")),
    "replace array": (
        lambda: replace(sigma=np.ones(2)),
        ("`sigma` must be a number", "array([1., 1.])", "one real"),
    ),
    "replace complex": (
        lambda: replace(kappa=1j),
        ("`kappa` must be a number", "is 1j", "one real"),
    ),
    "replace pi": (lambda: replace(p=sp.pi), ("must be a number", "is pi", "one")),
    "replace endless": (
        lambda: replace(p=DIGITS),
        ("`p` must be a number", "of type int and cannot be printed", "one real"),
    ),
    "replace list": (lambda: replace(p=[0.5]), ("between 0 and 1", "[0.5]", "It is")),
}  # fmt: skip
CALLS |= {k: (call, ModelError, parts) for k, (call, parts) in ARGUMENTS.items()}
CALLS |= {
    f"file {path!r}": (
        lambda path=path: load_spec(path),
        StoreError,
        ("must be given by its path", f"{path!r} is given", "`default_spec()`"),
    )
    for path in (None, 3, b"x")
}


def swept(out=None, spec="the paper's", over=("p=0.2,0.4",), **settings):
    """Sweep in a folder that must stay empty."""
    chosen = parse_spec(POPULATION) if spec == "the paper's" else spec
    with tempfile.TemporaryDirectory() as folder:
        try:
            sweep(chosen, over, f"{folder}/store" if out is None else out, **settings)
        finally:
            held = [] if "rows" in settings else list(Path(folder).iterdir())
            assert held == []


def returns(found):
    """Sweep with a row function that returns this."""
    return lambda: swept(rows=lambda *_: found)


AXIS, LIST = "An axis must read", "real numbers in a list"
WHOLES, ROWS = "a whole number from 1", "must return a mapping"
SWEEPS = {  # arguments of a sweep: name: (call, (rule, fact, remedy))
    "over 5": (lambda: swept(over=5), ("a list of axes", "is 5", "Write")),
    "over None": (lambda: swept(over=None), ("a list of axes", "is None", "Write")),
    "over ()": (lambda: swept(over=[()]), (AXIS, "`()` has no `NAME=`", "Write")),
    "over [5]": (lambda: swept(over=[5]), (AXIS, "`5` has no `NAME=`", "Write")),
    "over digits": (lambda: swept(over=[("p", DIGITS)]), (AXIS, "too long", "Write")),
    "over text": (lambda: swept(over={"p": "abc"}), (LIST, "`p` are 'abc'", "Write")),
    "over ragged": (lambda: swept(over={"p": [[1], [1, 2]]}), (LIST, "[[1], [", "Wri")),
    "over iterator": (lambda: swept(over={"p": iter([1])}), (LIST, "<list_", "Write")),
    "over complex": (lambda: swept(over={"p": [0.5, 1j]}), (LIST, "1j", "Write")),
    "over masked": (lambda: swept(over={"p": masked(1, 2)}), (LIST, "masked", "Write")),
    "over endless": (lambda: swept(over={"p": [HUGE]}), (LIST, "[1000", "Write")),
    "over nan": (lambda: swept(over={"p": [NAN]}), (AXIS, "not finite", "Write")),
    "sweep s text": (lambda: swept(s="0.5"), (*TIMES, "'0.5'", "the end")),
    "sweep s None": (lambda: swept(s=None), (*TIMES, "None", "the end")),
    "sweep s empty": (lambda: swept(s=[]), (*TIMES, "[]", "the end")),
    "sweep s unsorted": (lambda: swept(s=[1, 0.5]), ("increase", "[1. 0.5]", "Sort")),
    "sweep rtol text": (lambda: swept(rtol="x"), (*SHARP, "'x'", "sensible")),
    "sweep rtol None": (lambda: swept(rtol=None), (*SHARP, "None", "sensible")),
    "sweep rtol tiny": (lambda: swept(rtol=1e-300), ("1e-14", "1e-300", "Raise it")),
    "rows a chunk 2.5": (lambda: swept(rows_per_chunk=2.5), (WHOLES, "2.5", "Change")),
    "rows a chunk text": (lambda: swept(rows_per_chunk="2"), (WHOLES, "'2'", "Change")),
    "rows a chunk 0": (lambda: swept(rows_per_chunk=0), (WHOLES, "is 0", "Change")),
    "chunk 0.5": (lambda: swept(chunk_index=0.5), ("from 0 to 0", "is 0.5", "Change")),
    "chunk text": (lambda: swept(chunk_index="0"), ("from 0 to 0", "is '0'", "Change")),
    "workers text": (lambda: swept(workers="2"), (WHOLES, "'2'", "Change it")),
    "sweep backend": (lambda: swept(backend=None), ("one of numba", "`None`", "Use")),
    "sweep device": (lambda: swept(device=None), ("one of cpu, gpu", "`None`", "Use")),
    "sweep spec None": (lambda: swept(spec=None), ("must be a spec", "is None", "T")),
    "sweep spec {}": (lambda: swept(spec={}), ("must be a spec", "is {}", "Take")),
    "rows text": (lambda: swept(rows="rows"), ("a function of a spec", "'rows'", "Le")),
}  # fmt: skip
CALLS |= {k: (call, ModelError, parts) for k, (call, parts) in SWEEPS.items()}
RETURNED = {  # what a row function returns: what the message says
    "None": (None, "returned None"),
    "a list": ([1.0, 2.0], "returned [1.0, 2.0]"),
    "a lone number": ({"share_plus": 1.0}, "`share_plus` the shape () for 2 rows"),
    "too few rows": ({"share_plus": [1.0]}, "the shape (1,) for 2 rows"),
    "ragged rows": ({"m": [[1.0], [1.0, 2.0]]}, "`m` as [[1.0], [1.0, 2.0]]"),
    "other times": ({"m": np.ones((2, 3)), "@t": [0.5]}, "the shape (2, 3)"),
    "objects": ({"m": [None, None]}, "`m` as [None, None]"),
}
CALLS |= {
    f"rows return {k}": (
        returns(found),
        ShapeError,
        (ROWS, fact, "Correct the function"),
    )
    for k, (found, fact) in RETURNED.items()
}
CALLS |= {
    "out None": (
        lambda: sweep(parse_spec(POPULATION), ["p=0.2,0.4"], None),
        StoreError,
        ("path of a folder", "is None", "Name a new one"),
    ),
    "out NUL": (
        lambda: swept(out="a\0b"),
        StoreError,
        ("path of a folder", "'a\\x00b'", "Name a new one"),
    ),
}


@functools.lru_cache
def result():
    return dilaton.solve(population(), s=[0, 1], rtol=1e-8, atol=1e-8, **POINT)


def plot(*names, change=lambda found: found):
    dilaton.plot(change(result()), *names)


ALONG, KEEP = "along its coordinates `t` and `phase`", "Keep them"
PLOTS = {  # what is drawn: name: (call, (rule, fact, remedy))
    "plot None": (
        lambda: dilaton.plot(None),
        ("takes a result of", "given None", "Read one"),
    ),
    "plot 3": (lambda: plot(3), ("This result can draw", "`3` was asked", "of those")),
    "plot one time": (
        lambda: plot(change=lambda found: found.isel(t=0)),
        (ALONG, "no times with a `t`", KEEP),
    ),
    "plot without phases": (
        lambda: plot(change=lambda found: found.drop_vars("phase")),
        (ALONG, "no times with a `phase`", KEEP),
    ),
    "plot broken json": (
        lambda: plot(change=lambda found: found.assign_attrs(json="{broken")),
        ("must be a table in JSON", "is '{broken'", "Copy it from"),
    ),
    "plot other json": (
        lambda: plot(change=lambda found: found.assign_attrs(json=3)),
        ("must be a table in JSON", "is 3", "Copy it from"),
    ),
}
CALLS |= {k: (call, ModelError, parts) for k, (call, parts) in PLOTS.items()}


@pytest.mark.parametrize(("call", "error", "parts"), CALLS.values(), ids=CALLS)
def test_a_bad_call_is_refused(word_for_word, call, error, parts):
    word_for_word(expect(error, parts, call))


def test_what_is_near_a_refusal_is_accepted():
    """The judge of the tables above: numbers of other libraries, one starting point."""
    given = {"p": np.float32(0.5), "n": np.int64(64), "n_plus": np.uint8(32)}
    assert replace(**given).values | {"p": 0.5, "n": 64, "n_plus": 32} == (
        replace(**given).values
    )
    assert isinstance(replace(**given).values["n"], int)
    settings = POINT | {"rtol": 1e-8, "atol": 1e-8, "s": 0}
    found = dilaton.solve(population(), nu0=1.5, **settings)
    assert found["nu"].sel(phase="weights").values.tolist() == [1.5]
    start = learning.learn(parse_spec(POPULATION), "weights", 0.5, START, [0])
    assert start == {"times": [0.0]} | {name: [x] for name, x in START.items()}


def test_there_are_many_cases():
    assert len(SPECS) + len(PRODUCTS) + len(FILES) + len(CALLS) + len(LINES) >= 60


# -------------------------------------------------------------------- the command line


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run a command line in this process, in an empty folder with a good spec."""
    (tmp_path / "spec.toml").write_text(POPULATION)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dilaton", *map(str, arguments)])
        monkeypatch.setattr("warnings.showwarning", None)  # put back afterwards
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return run


CUDA = ("`device` is cuda", "no CUDA device", "Leave it out")
LEARN = "learn spec.toml --times 1 --s 0.5 --init"
LINES = {  # command line: what the message says, in this order
    "solve none.toml": ("must be readable", "No such file", "Check its name"),
    "solve /": ("must be readable", "Is a directory", "Check its name"),
    "solve spec.toml/x": ("must be readable", "Not a directory", "Check its name"),
    "solve spec.toml --at 0,1.5": ("between 0 and 1", "1.5", "the end"),
    "solve spec.toml --at 1,0": ("that increase", "[1. 0.]", "Sort them"),
    "solve spec.toml --at 0,,1": ("separated by commas", "'0,,1'", "Write"),
    "solve spec.toml --at nan": ("separated by commas", "'nan'", "Write"),
    "solve spec.toml --at 9**9": ("separated by commas", "'9**9'", "Write"),
    "solve spec.toml --rtol 0": ("positive number", "is 0", "sensible"),
    "solve spec.toml --rtol nan": ("positive number", "is nan", "sensible"),
    "solve spec.toml --rtol x": ("Invalid value", "--rtol", "valid number"),
    "solve spec.toml --backend numbo": ("Invalid value", "--backend", "numbo"),
    "solve spec.toml --bakend numba": ("No such option", "--bakend", "--backend"),
    "solve": ("Missing argument", "SPEC", ""),
    "slove spec.toml": ("No such command", "slove", ""),
    "derive spec.toml --format htm": ("Invalid value", "--format", "htm"),
    "mse spec.toml": ("must be given", "missing", "Add it"),
    "mse spec.toml --phase weight --s 1": ("phases", "`weight`", "`weights`?"),
    "mse spec.toml --phase weights --s 2": ("between 0 and 1", "2", "the end"),
    "mse spec.toml --d 1 --tau 0.5": ("at least 2", "is 1", "Change it"),
    "mse spec.toml --d inf --tau 0.5": ("`--d` must be", "is inf", ""),
    f"{LEARN} m=0.3": ("initial overlaps", "`q` is missing", ""),
    f"{LEARN} m": ("name=number pairs", "'m'", "Write them"),
    f"{LEARN} m=1,q=0.5,omega=0,r=1,b=0": ("satisfy m**2 <= q", "m = 1", "Change"),
    f"{LEARN} m=0.3,q=0.5,omega=0.2,r=0.4,b=nan": ("=number", "'b=nan'", "Write"),
    f"{LEARN} m=0.3,b=0,b=9": ("each number once", "`b` twice", "Leave one of them"),
    f"{LEARN} b=": ("=number pairs", "'b='", "Write them as in `--init m"),
    f"{LEARN} b=0 --d 3": ("`--d` must be left out", "is 3", "Remove it"),
    "learn spec.toml --network tied --d 9 --tau 0.1 --times 1 --init b=0 --phase x": (
        ("`--phase` must be left out", "is x", "Remove it")
    ),
    "learn spec.toml --network tied --d 9 --tau 0.1 --times 1 --init b=0 --s 0.3": (
        ("`--s` must be left out", "is 0.3", "Remove it")
    ),
    "mse spec.toml --d 100 --tau 0.5 --phase x": ("left out", "is x", "Remove it"),
    f"{LEARN} __import__('os').system('touch_x')": ("pairs", "__import__", "Write"),
    "steps spec.toml --d 100 --steps 0": ("whole numbers from 1", "has 0", "Round"),
    "steps spec.toml --d 2 --steps 5": ("follow one another", "1.41", "Raise d"),
    "steps spec.toml --d x --steps 5": ("Invalid value", "--d", "valid number"),
    "sweep spec.toml --over kapa=1,2 -o store": ("numbers of", "`kapa`", "`kappa`?"),
    "sweep spec.toml --over p=0:1 -o store": ("An axis must read", "0:1", "Write"),
    "sweep spec.toml --over p=0.2,0.3 --at 1,0.5,0.5 -o store": (
        ("that increase", "[1. 0.5 0.5]", "Sort them")
    ),
    "sweep spec.toml --over p=0.2,0.3 --rtol 1e-300 -o store": (
        ("at least 1e-14", "is 1e-300", "Raise it")
    ),
    "windows digits --share nan": ("add up to 1", "(nan, nan)", "Give the first"),
    "windows digits --classes 3,3": ("Two different", "(3, 3)", "Choose another"),
    "windows digits --classes 3,11": ("Class 11 has no", "0, 1", "Choose two"),
    "windows digits --classes 3.7,8.2": ("whole numbers", "'3.7,8.2'", "Write them"),
    "windows mixture --classes 3,8": ("`--classes` must be left", "is 3,8", "Remove"),
    "windows mixture --share 0.7": ("`--share` must be left", "is 0.7", "Remove it"),
    "windows mixture --arms shift": ("`--arms` must be left", "is shift", "Remove it"),
    "windows mixture --data x": ("left out for a mixture", "is x", "Remove it"),
    "windows digits --d 256": ("`--d` must be left out", "is 256", "Remove it"),
    "windows digits --network shared": ("for images", "is shared", "Remove it"),
    "windows mnist --p 0.7": ("`--p` must be left out", "is 0.7", "Remove it"),
    "windows digits --sigma 2": ("`--sigma` must be left", "is 2.0", "Remove it"),
    "windows digits --data x": ("`--data` must be left out", "is x", "Remove it"),
    "windows digits --mass 1": ("`mass` must lie in (0, 1)", "is 1", "good start"),
    "windows mixture --p nan": ("needs d >= 2", "p = nan", "Change what is"),
    f"windows mixture --first-seed {10**23}": ("to 2^63 - 1", "is 10000", "Lower it"),
    f"converge spec.toml --seed {2**63 - 8}": ("to 2^63 - 1", "is 92233", "Lower it"),
    f"run spec.toml --seed {2**63} -o report": ("to 2^63 - 1", "is 92233", "Lower it"),
    "windows digits --device cuda": CUDA,
    "converge spec.toml --device cuda": CUDA,
    "run spec.toml --device cuda -o report": CUDA,
    "run none.toml -o report": ("must be readable", "No such file", "Check its name"),
    "run spec.toml --seed -1 -o report": ("Invalid value", "--seed", "greater than"),
}


@pytest.mark.parametrize(("line", "parts"), LINES.items(), ids=LINES)
def test_a_bad_command_line_is_one_message(call, tmp_path, line, parts):
    if line.split()[0] == "sweep" and "sweep" not in commands():
        pytest.skip("this build has no sweep command")
    if parts is CUDA and has_cuda():
        pytest.skip("this machine has CUDA")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call(*line.split())
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    text = re.sub(r"[\s│]+", " ", err)
    assert re.search(".*".join(map(re.escape, parts)), text), text
    assert sorted(tmp_path.rglob("*")) == before


def has_cuda():
    return pytest.importorskip("torch").cuda.is_available()


def commands():
    return {command.callback.__name__ for command in cli.app.registered_commands}


OUTPUTS = {  # where a result cannot be written: what the message says
    "spec.toml/x.nc": "there is no folder `spec.toml`",
    "none/x.nc": "there is no folder `none`",
    "/proc/x.nc": "",
    ".": "it is a folder",
    "spec.toml": "it is the spec",
    "link": "it is the spec",
    "pipe": "it is a device or a pipe",
}


@pytest.mark.parametrize("where", OUTPUTS)
def test_a_result_that_cannot_be_written_is_said(call, tmp_path, where):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "spec.toml")
    before = sorted(tmp_path.rglob("*"))
    code, _, err = call("solve", "spec.toml", "--backend", "scipy", "-o", where)
    assert code == 2
    assert "Traceback" not in err
    assert OUTPUTS[where] in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_nothing_half_written(call, tmp_path, monkeypatch):
    def full(self, path, **_):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("xarray.Dataset.to_netcdf", full)
    (tmp_path / "old.nc").write_bytes(b"old")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call("solve", "spec.toml", "--backend", "scipy", "-o", "old.nc")
    assert (code, out) == (2, "")
    assert "No space left on device" in err
    assert "Free space" in err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "old.nc").read_bytes() == b"old"


def test_standard_output_that_is_full_is_an_error(tmp_path):
    """A result that did not get out must not end with exit code 0."""
    code = "from dilaton.face.cli import main; main()"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", code, "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode != 0


def test_a_good_line_still_works(call):
    """The judge of the tables above: the spec they change is a good one."""
    code, out, _ = call(
        "solve", "spec.toml", "--at", "0,1", "--backend", "scipy", "--json"
    )
    assert code == 0
    assert json.loads(out)["phases"][0]["m"] == [1.0, 1.0]


@pytest.mark.parametrize("kind", DilatonError.__subclasses__())
def test_every_error_is_also_of_a_builtin_class(kind):
    builtin = (TypeError, ValueError, RuntimeError, OSError, ImportError)
    assert issubclass(kind, builtin)


def test_no_hostile_text_was_run(tmp_path, monkeypatch):
    """All the hostile texts above once more, where a side effect would be seen."""
    monkeypatch.chdir(tmp_path)
    hostile = "__import__('os').system('touch x')"
    for f in (
        dilaton.product,
        parse_schedule,
        parse_axis,
        functools.partial(dilaton.Interpolant, beta=TAU),
        lambda text: parse_spec(TEXT.replace("1 - tau", text)),
        lambda text: dilaton.default_spec().replace(p=text),
        lambda text: solve(**{text: 1}),
    ):
        with pytest.raises(DilatonError):
            f(hostile)
    assert list(tmp_path.iterdir()) == []
