"""No option does nothing: each is run with two values, which make a difference.

A row names an option and two command lines, or two calls. What is compared is all that
can be seen: the result, an error's message, what was printed, the files that were
written, and how the functions that do the work were called. The tables are complete:
they are compared with typer's commands and with the signatures of the public names.
"""

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import dilaton
import numpy as np
import pytest
import sympy as sp
import xarray as xr
from dilaton.errors import DilatonError
from dilaton.face import cli
from dilaton.face.arguments import Form
from dilaton.theory.symbols.system import Equation, System
from matplotlib.figure import Figure

from ..cases import POPULATION, PRODUCT, TEXT, THREE_MODES, limit_of

OTHER = POPULATION.replace("p = 0.8", "p = 0.6")
START = "m=0.3,q=0.5,omega=0.2,r=0.4,b=0"
TIED = "c=-1,m=0.1,q=0.1,b=0"
SIZE = "--d 1e4 --steps 9"
DENSITY = "--density uniform"
FLOW = f"{DENSITY} --d 256 --init m=0.1,q=1"
COMMON = " --common-rate"


class Seen(Exception):
    """The work that would follow is not done."""


# ------------------------------------------------------------------- command lines

STOPS = {  # where the work of a command begins that is too long for a test
    "run": ("face.report.write_report",),
    "converge": ("torchcheck.study.converge.converge",),
    "schedules": ("torchcheck.study.schedules.write_experiment",),
    "sweep": ("numerics.sweep.job.sweep",),
    "windows": ("face.windows_report.write_windows_report",),
    "explore": ("face.explore.explore",),
    "grid": ("face.commands.grid._best", "face.commands.grid._checked"),
}
WATCHED = {"solve": ("numerics.solve.solve_point",)}

LINES = {
    "run": {
        "spec": ("a.toml", "b.toml"),
        "output": ("-o one", "-o two"),
        "quick": ("", "--quick"),
        "force": ("", "--force"),
        "seed": ("--seed 1", "--seed 2"),
        "device": ("--device cpu", "--device cuda"),
        "digits": ("", "--digits"),
    },
    "derive": {
        "spec": ("a.toml", "modes.toml"),  # which are derived and printed at once
        "form": ("a.toml --format text", "a.toml --format latex"),
        "fragment": tuple(f"a.toml --format latex {x}" for x in ("", "--fragment")),
    },
    "cite": {"spec": ("a.toml", "modes.toml")},
    "solve": {
        "spec": ("a.toml", "b.toml"),
        "at": ("a.toml --at 0.5", "a.toml --at 0.7"),
        "backend": ("a.toml --backend scipy", "a.toml --backend numba"),
        "rtol": ("a.toml --rtol 1e-6", "a.toml --rtol 1e-8"),
        "output": ("a.toml", "a.toml -o found.nc"),
        "json": ("a.toml", "a.toml --json"),
    },
    "learn": {
        "spec": tuple(f"{x} --s 0.5 --init {START} --times 1" for x in "ab"),
        "times": tuple(f"a --s 0.5 --init {START} --times {x}" for x in "12"),
        "init": tuple(f"a --s 0.5 --init {START}{x} --times 1" for x in ("", ".5")),
        "phase": tuple(
            f"a --phase {x} --s 0.5 --init {START} --times 1"
            for x in ("weights", "variance")
        ),
        "s": tuple(f"a --s {x} --init {START} --times 1" for x in ("0.5", "0.7")),
        "network": tuple(
            f"a --network {x} --d 64 --tau 0.1 --init {TIED} --times 1"
            for x in ("tied", "untied")
        ),
        "d": tuple(
            f"a --network tied --d {x} --tau 0.1 --init {TIED} --times 1"
            for x in (64, 99)
        ),
        "tau": tuple(
            f"a --network tied --d 64 --tau {x} --init {TIED} --times 1"
            for x in (0.1, 0.2)
        ),
        "rate": tuple(
            f"a --s 0.5 --init {START} --times 1 --batch 4 --rate {x}" for x in "12"
        ),
        "batch": tuple(
            f"a --s 0.5 --init {START} --times 1 --rate 1 --batch {x}" for x in "48"
        ),
        "json": tuple(
            f"a --s 0.5 --init {START} --times 1 {x}" for x in ("", "--json")
        ),
    },
    "grid": {
        "spec": ("a.toml --grid shift:3", "product.toml --grid shift:3"),
        "grid": tuple(f"a.toml --grid {x}" for x in ("shift:3", "dilated")),
        "best": tuple(f"a.toml --grid shift:3 {x}" for x in ("", f"--best {SIZE}")),
        "d": tuple(f"a.toml --best --steps 9 --d {x}" for x in ("1e4", "1e6")),
        "steps": tuple(f"a.toml --best --d 1e4 --steps {x}" for x in (9, 12)),
        "check": tuple(f"a.toml --check {x}" for x in ("one.json", "two.json")),
        "train": tuple(f"--check one.json --train {x}" for x in ("a", "b")),
        "tokens": tuple(f"--check one.json --tokens {x}" for x in (256, 1024)),
        "json": tuple(f"a.toml --grid shift:3 {x}" for x in ("", "--json")),
    },
    "mse": {
        "spec": tuple(f"{x} --phase weights --s 0.5" for x in "ab"),
        "phase": tuple(f"a --phase {x} --s 0.5" for x in ("weights", "variance")),
        "s": tuple(f"a --phase weights --s {x}" for x in ("0.5", "0.6")),
        "d": tuple(f"a --d {x} --tau 0.1" for x in (100, 200)),
        "tau": tuple(f"a --d 100 --tau {x}" for x in (0.1, 0.2)),
        "json": tuple(f"a --phase weights --s 0.5 {x}" for x in ("", "--json")),
    },
    "steps": {
        "spec": tuple(f"{x} --d 1e4 --steps 9" for x in "ab"),
        "d": tuple(f"a --d {x} --steps 9" for x in ("1e4", "1e6")),
        "steps": tuple(f"a --d 1e4 --steps {x}" for x in (9, 12)),
        "grid": tuple(f"a --d 1e4 --steps 9 --grid {x}" for x in ("uniform", "edm")),
        "schedule": tuple(
            f"a --d 1e4 --steps 9 --schedule {x}" for x in ("dilated", "undilated")
        ),
        "rule": tuple(f"a --d 1e4 --steps 9 --rule {x}" for x in ("left", "heun")),
        "smallest": ("a --d 1e4 --steps 9", "a --d 1e4 --smallest"),
        "json": tuple(f"a --d 1e4 --steps 9 {x}" for x in ("", "--json")),
    },
    "times": {
        "spec": tuple(f"{x} {DENSITY} --d 256" for x in "ab"),
        "density": tuple(f"a --d 256 --density {x}" for x in ("uniform", "shift:3")),
        "d": tuple(f"a {DENSITY} --d {x}" for x in (256, 512)),
        "loss": tuple(f"a {DENSITY} --d 256 --loss {x}" for x in ("data", "velocity")),
        "within": tuple(f"a {DENSITY} --d 256 --within {x}" for x in (0.02, 0.05)),
        "exponents": (f"a {DENSITY} --d 256", f"a {DENSITY} --d 256 --exponents"),
        "init": tuple(f"a {FLOW},b={x} --times 1" for x in (0, 0.1)),
        "times": tuple(f"a {FLOW},b=0 --times {x}" for x in (1, 2)),
        "rate": tuple(f"a {FLOW},b=0 --times 1 --rate {x} --batch 4" for x in "12"),
        "batch": tuple(f"a {FLOW},b=0 --times 1 --rate 1 --batch {x}" for x in "48"),
        "momentum": tuple(
            f"a {FLOW},b=0 --times 1 --rate 1 --batch 4 --momentum {x}"
            for x in (0.5, 0.9)
        ),
        "common_rate": tuple(f"a {FLOW},b=0 --times 1{x}" for x in ("", COMMON)),
        "json": (f"a {DENSITY} --d 256", f"a {DENSITY} --d 256 --json"),
    },
    "converge": {
        "spec": ("a.toml", "b.toml"),
        "dims": ("a --dims 300,1000,3000", "a --dims 300,1000,4000"),
        "seeds": ("a --seeds 3", "a --seeds 4"),
        "output": ("a -o one", "a -o two"),
        "at": ("a --at 0.5", "a --at 0.7"),
        "seed": ("a --seed 1", "a --seed 2"),
        "iterations": ("a --iterations 9", "a --iterations 10"),
        "paths": ("a --paths 9", "a --paths 10"),
        "correction": ("a --correction", "a --no-correction"),
        "device": ("a --device cpu", "a --device cuda"),
        "json": ("a", "a --json"),
    },
    "schedules": {
        "spec": ("a.toml", "b.toml"),
        "output": ("a -o one", "a -o two"),
        "d": ("a --d 300", "a --d 400"),
        "times": ("a --times 8", "a --times 9"),
        "dims": ("a --dims 300", "a --dims 400"),
        "paths": ("a --paths 9", "a --paths 10"),
        "method": ("a --method averaged", "a --method sampled"),
        "steps": ("a --steps 9", "a --steps 10"),
        "seed": ("a --seed 1", "a --seed 2"),
        "device": ("a --device cpu", "a --device cuda"),
        "json": ("a", "a --json"),
    },
    "sweep": {
        "spec": tuple(f"{x} --over kappa=1,2 -o s" for x in "ab"),
        "over": tuple(f"a --over kappa=1,{x} -o s" for x in "23"),
        "output": tuple(f"a --over kappa=1,2 -o {x}" for x in "st"),
        "at": tuple(f"a --over kappa=1,2 -o s --at {x}" for x in (0.5, 1)),
        "backend": tuple(
            f"a --over kappa=1,2 -o s --backend {x}" for x in ("numba", "jax")
        ),
        "device": tuple(
            f"a --over kappa=1,2 -o s --device {x}" for x in ("cpu", "gpu")
        ),
        "rtol": tuple(f"a --over kappa=1,2 -o s --rtol {x}" for x in (1e-6, 1e-7)),
        "final": ("a --over kappa=1,2 -o s", "a --over kappa=1,2 -o s --final"),
        "workers": tuple(f"a --over kappa=1,2 -o s --workers {x}" for x in "12"),
        "rows_per_chunk": tuple(
            f"a --over kappa=1,2 -o s --rows-per-chunk {x}" for x in "12"
        ),
        "scheduler": tuple(f"a --over kappa=1,2 -o s --scheduler {x}" for x in "xy"),
        "chunk_index": tuple(
            f"a --over kappa=1,2 -o s --chunk-index {x}" for x in "01"
        ),
        "json": ("a --over kappa=1,2 -o s", "a --over kappa=1,2 -o s --json"),
    },
    "windows": {
        "data": ("digits", "mixture"),
        "output": ("mixture -o one", "mixture -o two"),
        "d": ("mixture --d 256", "mixture --d 512"),
        "network": ("mixture --network per-time", "mixture --network shared"),
        "p": ("mixture --p 0.8", "mixture --p 0.7"),
        "sigma": ("mixture --sigma 1", "mixture --sigma 2"),
        "folder": ("mnist --data one", "mnist --data two"),
        "classes": ("digits --classes 3,8", "digits --classes 0,1"),
        "share": ("digits --share 0.8", "digits --share 0.7"),
        "mass": ("mixture --mass 0.5", "mixture --mass 0.6"),
        "arms": ("digits", "digits --arms shift"),
        "few": ("digits --arms shift", "digits --arms shift --few 2"),
        "seeds": ("mixture --seeds 3", "mixture --seeds 4"),
        "first_seed": ("mixture --first-seed 3", "mixture --first-seed 4"),
        "quick": ("mixture", "mixture --quick"),
        "device": ("mixture --device cpu", "mixture --device cuda"),
        "json": ("mixture", "mixture --json found.json"),
    },
    "where": {
        "label": ("W1 a.toml", "S1 a.toml"),
        "spec": ("W1 a.toml", "W1 product.toml"),
        "json": ("W1 a.toml", "W1 a.toml --json"),
    },
    "explore": {
        "spec": ("a.toml", "b.toml"),
        "port": ("--port 8123", "--port 8124"),
        "browser": ("--browser", "--no-browser"),
    },
    "doctor": {"json": ("", "--json")},
}
ANSWERS = {  # what a stopped command goes on with, where an option comes after the work
    ("converge", "json"),
    ("schedules", "json"),
    ("sweep", "json"),
    ("windows", "json"),
}


def commands():
    group = cli.program()
    return {name: {x.name for x in c.params} for name, c in group.commands.items()}


def test_the_table_of_command_lines_is_complete():
    assert {name: set(rows) for name, rows in LINES.items()} == commands()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with spec files `a`, `b` and a product, which is where we are."""
    texts = {"a": POPULATION, "b": OTHER, "product": PRODUCT, "n": TEXT}
    texts["modes"] = THREE_MODES
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / f"{name}.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def readable(value):
    """A value as text that is the same for equal values."""
    if isinstance(value, dilaton.Spec):
        return value.text
    if isinstance(value, xr.Dataset):
        return str(value.to_dict())
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.tolist()}"
    if isinstance(value, dict):
        return str({k: readable(x) for k, x in value.items()})
    if isinstance(value, list | tuple):
        return str([readable(x) for x in value])
    if hasattr(value, "__dict__") and not callable(value):
        held = {k: readable(x) for k, x in vars(value).items() if k[0] != "_"}
        return f"{type(value).__name__} {held}"
    return re.sub(r" at 0x\w+", "", repr(value))


def watch(monkeypatch, dotted, calls, result=None):
    """Note how a function is called; then do its work, raise `Seen`, or answer."""
    module, name = dotted.rsplit(".", 1)
    home = import_module(f"dilaton.{module}")
    real = getattr(home, name)

    def noted(*args, **settings):
        calls.append((dotted, readable(args), readable(settings)))
        if isinstance(result, type) and issubclass(result, Exception):
            raise result
        return real(*args, **settings) if result is None else result

    monkeypatch.setattr(home, name, noted)


class Answer:
    """Stands for the result of a command's work, which has two forms."""

    def to_dict(self):
        return {"a": 1}

    def __getitem__(self, name):
        return name


def stubbed(monkeypatch, calls, command, option):
    """Stop before the long work, or answer in its place."""
    answer = Answer() if (command, option) in ANSWERS else Seen
    for dotted in STOPS.get(command, ()):
        watch(monkeypatch, dotted, calls, answer)
    for dotted in WATCHED.get(command, ()):
        watch(monkeypatch, dotted, calls)
    if answer is not Seen:
        for name in ("study_text", "schedules_text"):
            monkeypatch.setattr(f"dilaton.show.answers.{name}", lambda _: "a table")
        monkeypatch.setattr("dilaton.show.answers.to_json", lambda _: "JSON")
        monkeypatch.setattr(
            "dilaton.numerics.sweep.collect.sweep_summary", lambda _: {}
        )
        monkeypatch.setattr(
            "dilaton.numerics.sweep.collect.summary_text", lambda *_: "t"
        )
        monkeypatch.setattr(
            "dilaton.face.windows_report.report_json", lambda _: b"JSON"
        )


def ran(capsys, command, line, calls):
    """All that can be seen of a command line."""
    calls.clear()
    before = {p.name for p in Path.cwd().iterdir()}
    sys.argv = ["dilaton", command, *line.split()]
    try:
        cli.main()
    except (SystemExit, Seen) as end:
        code = getattr(end, "code", "stopped")
    said = capsys.readouterr()
    made = {p.name for p in Path.cwd().iterdir()} - before
    return list(calls), code, said.out, said.err, made


@pytest.mark.parametrize(
    ("command", "option"), [(c, o) for c, rows in LINES.items() for o in rows]
)
def test_every_option_of_a_command_acts(folder, monkeypatch, capsys, command, option):
    calls = []
    stubbed(monkeypatch, calls, command, option)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr("warnings.showwarning", None)
    one, two = LINES[command][option]
    seen = ran(capsys, command, one, calls)
    assert seen[1] in (0, "stopped"), seen[3]
    assert ran(capsys, command, two, calls) != seen


def test_each_format_of_a_derivation_is_a_text_of_its_own(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr("warnings.showwarning", None)
    forms = set(get_args(Form)) - {"fragment", "bibtex"}
    assert len(forms) == 8
    seen = [ran(capsys, "derive", f"a.toml --format {form}", []) for form in forms]
    assert all(code == 0 and len(out) > 1000 for _, code, out, *_ in seen)
    assert len({out for _, _, out, *_ in seen}) == len(forms)


def test_an_option_that_does_nothing_would_be_seen(folder, monkeypatch, capsys):
    calls = []
    stubbed(monkeypatch, calls, "solve", "at")
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr("warnings.showwarning", None)
    line = "a.toml --at 0.5"
    assert ran(capsys, "solve", line, calls) == ran(capsys, "solve", line, calls)


# ------------------------------------------------------------------- public functions

EXPORT = """
k = Symbol("k", positive=True)
x = Symbol("x", real=True)
SYSTEMS = (System("test", "closed", None, (Equation("T1", x, 2*k),), (k,)),)
"""
EXPORT_2 = EXPORT.replace("2*k", "3*k")
POINT = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
SAMPLES = POINT | {"n": 16, "n_plus": 13, "ridge_u": 0.1, "ridge_w": 0.1}
STATE = {"m": 0.3, "q": 0.5, "omega": 0.2, "r": 0.4, "b": 0.0}
TIED_STATE = {"c": -1.0, "m": 0.1, "q": 0.1, "b": 0.0}
SHARED = {"m": 0.1, "q": 1.0, "b": 0.0}
TIMES = [0.2, 0.5, 0.8]


def spec(**numbers):
    return dilaton.default_spec().replace(n="inf", **numbers)


def flow(power=1, given=False):
    """x' = -k x^power, or with a given function in place of k."""
    x, k, s = sp.symbols("x k s", positive=True)
    one = Equation("T1", x, -k * x**power)
    names = {"inputs": (k,)} if given else {"parameters": (k,)}
    return System("test", "flow", s, (one,), **({"parameters": ()} | names))


def integrated(**changes):
    given = {"init": {"x": 1.0}, "params": {"k": 2.0}, "t": [0.0, 1.0]}
    given |= {"rtol": 1e-6, "atol": 1e-6, "backend": "scipy", "system": flow()}
    return dilaton.integrate(**{**given, **changes})


def functions(slope):
    return dilaton.Inputs.of(lambda s: {"k": slope * s}, [0.0, 1.0], 3)


def solved(limit="population", **changes):
    given = {"s": [0.5], "rtol": 1e-8, "atol": 1e-8, **POINT}
    return dilaton.solve(limit_of(limit), **{**given, **changes})


def batch(limit="population", columns=POINT, s=(0.5,), **settings):
    return dilaton.solve_rows(limit_of(limit), columns, s, **settings)


def learned(**changes):
    given = {"spec": spec(), "phase": "weights", "s": 0.5, "init": STATE, "times": [2]}
    return dilaton.learn(**{**given, **changes})


def tied(**changes):
    given = {"s": None, "init": TIED_STATE, "network": "tied", "d": 64, "tau": 0.1}
    return learned(**{**given, **changes})


def rows(spec, columns, settings):
    size = len(columns["p"])
    return {
        "x": columns["p"] * 2,
        "status": np.array(["ok"] * size),
        "reason": [""] * size,
    }


def swept(**changes):
    given = {"spec": spec(), "over": {"p": [0.5, 0.6]}, "out": "store", "rows": rows}
    return dilaton.sweep(**{**given, **changes})


def denoiser(x, t):
    return x * t / (t**2 + (1 - t) ** 2)


def noise(seed=0):
    return np.random.default_rng(seed)


def data(seed=1):
    return np.random.default_rng(seed).normal(size=(12, 3))


def turned(**changes):
    given = {"denoiser": denoiser, "data": data(), "feature": lambda x: x[:, 0] > 0}
    given |= {"times": TIMES, "generator": noise(), "steps": 4}
    return dilaton.uturn(**{**given, **changes})


def scored(**changes):
    return turned(feature=lambda x: x[:, 0], **changes)


def errors(**changes):
    given = {"denoiser": denoiser, "data": data(), "times": TIMES}
    return dilaton.mse_curve(**{"generator": noise(), **given, **changes})


def made(**changes):
    given = {"denoiser": denoiser, "shape": (4, 3), "generator": noise(), "steps": 4}
    return dilaton.generate(**{**given, **changes})


def wide_curve(seed, n):
    return turned(data=noise(seed).normal(size=(n, 3)), times=(0.02, *TIMES, 0.98, 1))


def window(**changes):
    given = {"curve": wide_curve(3, 200)}
    return dilaton.find_window(**{**given, **changes})


def dilation(**changes):
    given = {"features": {"a": window()}}
    return dilaton.dilate(
        **{"error": errors(), "mass": 0.5, **given, **changes}
    ).shares()


def preserving():
    from dilaton.torchcheck import VARIANCE_PRESERVING_PATH

    return VARIANCE_PRESERVING_PATH


def counted_calls(ask, **changes):
    """How often the denoiser is asked."""
    asked = []

    def noted(x, t):
        asked.append(x.shape)
        return denoiser(x, t)

    ask(denoiser=noted, **changes)
    return asked


def of_times(ask, **changes):
    given = {"spec": spec(), "densities": ["uniform"], "losses": ["data"]}
    return ask(**{**given, **changes})


def learning(**changes):
    return of_times(dilaton.learning_times, **{"d": [256], "within": 0.02, **changes})


def powers(**changes):
    return of_times(dilaton.time_exponents, **{"within": 0.02, **changes})


def other(**changes):
    return of_times(dilaton.other_times, **{"d": [256], **changes})


def best(ask=dilaton.best_density, shares=(1.0, 1.0, 1.0), **changes):
    from dilaton.numerics.times.best import Shares

    given = {"spec": spec(), "d": 256, "loss": "data", "within": 0.02}
    given |= {"points": 40} if ask is dilaton.best_density else {"name": "shift"}
    return ask(**{**given, "shares": Shares(*shares), **changes})


def best_of(**changes):
    return best(dilaton.best_in_family, **changes)


def shared(**changes):
    given = {"spec": spec(), "d": 256, "density": "uniform", "loss": "data"}
    given |= {"init": SHARED, "times": [1.0]}
    return dilaton.shared_flow(**{**given, **changes})


def studied(**changes):
    given = {"spec": spec(), "dims": [300, 1000, 3000], "seeds": 3}
    return dilaton.converge(**{**given, **changes})


def stepped(**changes):
    given = {"spec": spec(), "d": 1e4, "steps": [9], "grid": "dilated", "rule": "left"}
    return dilaton.steps(**{**given, **changes})


def drawn(result, *quantities, **how):
    figure = dilaton.plot(result, *quantities, **how)
    return [[list(line.get_ydata()) for line in ax.lines] for ax in figure.axes]


def drawn_on(name, count):
    """Curves on axes of one's own: all on one, or on as many as there are panels."""
    axes = Figure().subplots(1, count, squeeze=False)[0]
    dilaton.plot(solved(), "m", "b", **{name: axes[0] if name == "ax" else axes})
    return [len(ax.lines) for ax in axes]


def coloured(**how):
    return dilaton.plot(solved(), "m", **how).axes[0].lines[0].get_color()


def pair(call, name, one, two, **changes):
    """Two calls that differ in one argument."""
    return (
        lambda: call(**{name: one}, **changes),
        lambda: call(**{name: two}, **changes),
    )


EXACT = [[1.0, 0.0], [0.0, 1.0]]
CALLS = {
    "best_density": {
        "spec": pair(best, "spec", spec(), spec(p=0.6)),
        "d": pair(best, "d", 256, 512),
        "loss": pair(best, "loss", "data", "velocity"),
        "shares": pair(best, "shares", (1.0, 1.0, 1.0), (1.0, 1.0, 2.0)),
        "within": pair(best, "within", 0.02, 0.05),
        "points": pair(best, "points", 40, 50),
    },
    "best_in_family": {
        "spec": pair(best_of, "spec", spec(), spec(p=0.6)),
        "d": pair(best_of, "d", 256, 512),
        "name": pair(best_of, "name", "shift", "dilated"),
        "loss": pair(best_of, "loss", "data", "velocity"),
        "shares": pair(best_of, "shares", (1.0, 1.0, 1.0), (1.0, 1.0, 2.0)),
        "within": pair(best_of, "within", 0.02, 0.05),
    },
    "other_times": {
        "spec": pair(other, "spec", spec(), spec(sigma=2.0)),
        "d": pair(other, "d", [256], [512]),
        "densities": pair(other, "densities", ["uniform"], ["shift:3"]),
        "losses": pair(other, "losses", ["data"], ["velocity"]),
    },
    "converge": {
        "spec": pair(studied, "spec", spec(), spec(p=0.6)),
        "dims": pair(studied, "dims", [300, 1000, 3000], [300, 1000, 4000]),
        "seeds": pair(studied, "seeds", 3, 4),
        "values": pair(studied, "values", None, {"p": 0.6}),
        "output": pair(studied, "output", None, Path("study")),
        "limit": (lambda: studied(), lambda: studied(limit=limit_of("population"))),
        "curves": pair(studied, "curves", None, {"weights": {}}),
        "correction": pair(studied, "correction", True, False),
        "progress": pair(studied, "progress", iter, reversed),
    },
    "default_spec": {},
    "derive": {
        "model": tuple(
            lambda x=x: dilaton.derive(dilaton.Model(x())).parameters
            for x in (dilaton.two_modes, lambda: dilaton.product(0))
        )
    },
    "dilate": {
        "features": (dilation, lambda: dilation(features={"b": window(draws=9)})),
        "error": (dilation, lambda: dilation(error=errors(data=2 * data()))),
        "mass": pair(dilation, "mass", 0.5, 0.6),
    },
    "find_window": {
        "curve": (
            window,
            lambda: window(curve=wide_curve(4, 90)),
        ),
        "ends": pair(window, "ends", (0.9, 0.1), (0.8, 0.2)),
        "draws": pair(window, "draws", 50, 60),
        "level": pair(window, "level", 0.9, 0.5),
        "seed": pair(window, "seed", 0, 1),
    },
    "generate": {
        "denoiser": pair(made, "denoiser", denoiser, lambda x, t: 0 * x),
        "shape": pair(made, "shape", (4, 3), (5, 3)),
        "generator": (
            lambda: made(generator=noise(1)),
            lambda: made(generator=noise(2)),
        ),
        "path": (made, lambda: made(path=preserving())),
        "steps": pair(made, "steps", 4, 5),
        "sampler": pair(made, "sampler", "ode", "sde"),
    },
    "integrate": {
        "system": pair(integrated, "system", flow(), flow(2)),
        "init": pair(integrated, "init", {"x": 1.0}, {"x": 2.0}),
        "params": pair(integrated, "params", {"k": 1.0}, {"k": 2.0}),
        "t": pair(integrated, "t", [0.0, 1.0], [0.0, 2.0]),
        "rtol": pair(integrated, "rtol", 1e-3, 1e-9, atol=1e-12),
        "atol": pair(integrated, "atol", 1e-3, 1e-9, rtol=1e-9),
        "inputs": pair(
            integrated,
            "inputs",
            functions(1),
            functions(2),
            system=flow(given=True),
            params={},
        ),
        "backend": pair(integrated, "backend", "scipy", "none"),
        "method": pair(integrated, "method", "rk45", "radau"),
        "on_failure": pair(integrated, "on_failure", "keep", "raise", max_steps=1),
        "max_steps": pair(integrated, "max_steps", 1, 999, on_failure="keep"),
        "max_step": pair(integrated, "max_step", 0.01, 0.1),
        "singular_end": pair(integrated, "singular_end", False, True),
    },
    "learn": {
        "spec": pair(learned, "spec", spec(), spec(p=0.6)),
        "phase": pair(learned, "phase", "weights", "variance"),
        "s": pair(learned, "s", 0.5, 0.6),
        "init": pair(learned, "init", STATE, STATE | {"b": 0.5}),
        "times": pair(learned, "times", [1], [2]),
        "network": (learned, tied),
        "d": pair(tied, "d", 64, 99),
        "tau": pair(tied, "tau", 0.1, 0.2),
        "rate": pair(learned, "rate", 0.1, 0.2, batch=4),
        "batch": pair(learned, "batch", 4, 8, rate=0.1),
        "rtol": pair(learned, "rtol", 1e-3, 1e-9, atol=1e-12),
        "atol": pair(learned, "atol", 1e-3, 1e-9, rtol=1e-9),
    },
    "learning_times": {
        "spec": pair(learning, "spec", spec(), spec(p=0.6)),
        "d": pair(learning, "d", [256], [512]),
        "densities": pair(learning, "densities", ["uniform"], ["shift:3"]),
        "losses": pair(learning, "losses", ["data"], ["velocity"]),
        "within": pair(learning, "within", 0.02, 0.05),
    },
    "load_spec": {"path": pair(dilaton.load_spec, "path", "a.toml", "b.toml")},
    "make_kernel": {
        "system": pair(dilaton.make_kernel, "system", flow(), flow(2), backend="numpy"),
        "backend": pair(dilaton.make_kernel, "backend", "numpy", "jax", system=flow()),
    },
    "modes": {
        "loadings": pair(
            dilaton.modes, "loadings", EXACT, [[1.0, 0.0], [0.0, 2.0]], exponents=[0, 0]
        ),
        "exponents": pair(
            dilaton.modes, "exponents", [0, 0], [0, "1/4"], loadings=EXACT
        ),
    },
    "modes_of_gram": {
        "gram": pair(
            dilaton.modes_of_gram, "gram", EXACT, [[1.0, 0.5], [0.5, 1.0]], exponent=0
        ),
        "exponent": pair(dilaton.modes_of_gram, "exponent", 0, "1/4", gram=EXACT),
    },
    "mse": {
        "spec": tuple(
            lambda x=x: dilaton.mse(x, "weights", [0.5]) for x in (spec(), spec(p=0.6))
        ),
        "phase": tuple(
            lambda x=x: dilaton.mse(spec(), x, [0.5]) for x in ("weights", "variance")
        ),
        "s": tuple(lambda x=x: dilaton.mse(spec(), "weights", [x]) for x in (0.5, 0.6)),
        "d": tuple(lambda x=x: dilaton.mse(spec(), d=x, tau=[0.1]) for x in (64, 99)),
        "tau": tuple(
            lambda x=x: dilaton.mse(spec(), d=64, tau=[x]) for x in (0.1, 0.2)
        ),
    },
    "mse_curve": {
        "denoiser": pair(
            errors, "denoiser", denoiser, lambda x, t: 0.9 * denoiser(x, t)
        ),
        "data": pair(errors, "data", data(1), data(2)),
        "times": pair(errors, "times", TIMES, [0.3, 0.6]),
        "generator": (
            lambda: errors(generator=noise(1)),
            lambda: errors(generator=noise(2)),
        ),
        "path": (errors, lambda: errors(path=preserving())),
        "batch": tuple(lambda x=x: counted_calls(errors, batch=x) for x in (4, 6)),
        "look": tuple(lambda x=x: counted_calls(errors, look=x) for x in (True, False)),
    },
    "read_systems": {"text": pair(dilaton.read_systems, "text", EXPORT, EXPORT_2)},
    "parse_schedule": {
        "text": pair(dilaton.parse_schedule, "text", "tau", "tau**2"),
        "key": pair(dilaton.parse_schedule, "key", "alpha", "beta", text="tau +"),
    },
    "plot": {
        "result": (lambda: drawn(solved()), lambda: drawn(solved(p=0.6))),
        "quantities": (lambda: drawn(solved(), "m"), lambda: drawn(solved(), "b")),
        "names": (
            lambda: drawn(solved(), names=["m"]),
            lambda: drawn(solved(), names=["b"]),
        ),
        "ax": (lambda: drawn_on("ax", 1), lambda: drawn_on("axes", 2)),
        "axes": (lambda: drawn_on("axes", 2), lambda: drawn_on("ax", 1)),
        "style": (lambda: coloured(), lambda: coloured(style="dilaton")),
    },
    "product": {
        "exponents": (lambda: dilaton.product(0), lambda: dilaton.product(0, 0.25))
    },
    "shared_flow": {
        "spec": pair(shared, "spec", spec(), spec(p=0.6)),
        "d": pair(shared, "d", 256, 512),
        "density": pair(shared, "density", "uniform", "shift:3"),
        "loss": pair(shared, "loss", "data", "velocity"),
        "init": pair(shared, "init", SHARED, SHARED | {"b": 0.1}),
        "times": pair(shared, "times", [1.0], [2.0]),
        "rate": pair(shared, "rate", 0.1, 0.2, batch=4),
        "batch": pair(shared, "batch", 4, 8, rate=0.1),
        "repeats": pair(shared, "repeats", 1, 2, rate=0.1, batch=4),
        "ridge_w": pair(shared, "ridge_w", None, 0.1),
        "exact_noise": pair(shared, "exact_noise", False, True, rate=0.1, batch=4),
        "common_rate": pair(shared, "common_rate", False, True),
        "momentum": pair(shared, "momentum", 0.0, 0.5, rate=0.1, batch=4),
        "rtol": pair(shared, "rtol", 1e-3, 1e-8, atol=1e-12),
        "atol": pair(shared, "atol", 1e-3, 1e-8, rtol=1e-8),
    },
    "solve": {
        "limit": pair(solved, "limit", "population", "preserving"),
        "s": pair(solved, "s", [0.5], [0.6]),
        "rtol": pair(solved, "rtol", 1e-3, 1e-9, atol=1e-12, nu0=[0.3]),
        "atol": pair(solved, "atol", 1e-3, 1e-9, rtol=1e-9, nu0=[0.3]),
        "backend": pair(
            solved, "backend", "scipy", "numba", limit="samples", **SAMPLES
        ),
        "nu0": pair(solved, "nu0", None, [0.3]),
    },
    "solve_rows": {
        "limit": pair(batch, "limit", "population", "erf"),
        "columns": pair(batch, "columns", POINT, POINT | {"p": 0.6}),
        "s": pair(batch, "s", [0.5], [0.6]),
        "rtol": pair(
            *(batch, "rtol", 1e-6, 1e-7),
            **{"limit": "samples", "columns": SAMPLES, "backend": "scipy"},
        ),
        "backend": pair(
            batch, "backend", "scipy", "numba", limit="samples", columns=SAMPLES
        ),
        "final": pair(batch, "final", False, True),
    },
    "steps": {
        "spec": pair(stepped, "spec", spec(), spec(p=0.6)),
        "d": pair(stepped, "d", 1e4, 1e6),
        "steps": pair(stepped, "steps", [9], [12]),
        "grid": pair(stepped, "grid", "dilated", "uniform"),
        "rule": pair(stepped, "rule", "left", "midpoint"),
    },
    "sweep": {
        "spec": pair(swept, "spec", spec(), spec(kappa=3.0)),
        "over": pair(swept, "over", {"p": [0.5, 0.6]}, {"p": [0.5, 0.7]}),
        "out": pair(swept, "out", "one", "two"),
        "backend": pair(swept, "backend", "numba", "scipy"),
        "device": pair(swept, "device", "cpu", "gpu", backend="jax"),
        "s": pair(swept, "s", [0.5], [0.6]),
        "rtol": pair(swept, "rtol", 1e-6, 1e-7),
        "final": pair(swept, "final", False, True),
        "scheduler": pair(swept, "scheduler", None, "127.0.0.1:1"),
        "chunk_index": pair(swept, "chunk_index", None, 0, rows_per_chunk=1),
        "rows_per_chunk": pair(swept, "rows_per_chunk", 1, 2),
        "workers": pair(swept, "workers", 1, 2),
        "progress": pair(swept, "progress", False, True),
        "rows": pair(swept, "rows", rows, lambda *x: rows(*x) | {"y": x[1]["p"]}),
    },
    "time_exponents": {
        "spec": tuple(
            lambda x=x: powers(spec=dilaton.load_spec(x)) for x in ("a", "product")
        ),
        "densities": pair(powers, "densities", ["uniform"], ["dilated"]),
        "losses": pair(powers, "losses", ["data"], ["noise"]),
        "within": pair(powers, "within", 0.02, 2.0),
    },
    "two_modes": {},
    "uturn": {
        "denoiser": pair(turned, "denoiser", denoiser, lambda x, t: 0 * x, look=False),
        "data": pair(turned, "data", data(1), data(2)),
        "feature": pair(
            turned, "feature", lambda x: x[:, 0] > 0, lambda x: x[:, 1] > 0
        ),
        "times": pair(turned, "times", TIMES, [0.3, 0.6]),
        "generator": (
            lambda: turned(generator=noise(1)),
            lambda: turned(generator=noise(2)),
        ),
        "path": (turned, lambda: turned(path=preserving())),
        "steps": tuple(lambda x=x: counted_calls(turned, steps=x) for x in (4, 5)),
        "sampler": pair(turned, "sampler", "sde", "odd"),
        "threshold": pair(scored, "threshold", 0.0, 0.5),
        "classes": pair(turned, "classes", None, ["none"]),
        "progress": pair(turned, "progress", False, True),
        "batch": tuple(lambda x=x: counted_calls(turned, batch=x) for x in (4, 6)),
        "look": tuple(lambda x=x: counted_calls(turned, look=x) for x in (True, False)),
    },
}
NOTED = {  # what does the work of a function that is too long for a test
    "converge": (
        ("torchcheck.study.converge.limit_curves", {}),
        ("torchcheck.study.converge.predicted_offsets", {}),
        ("torchcheck.study.converge.train_cells", Seen),
    ),
    "best_in_family": (("numerics.times.best.family_goal", Seen),),
    "solve": (("numerics.batch.minimise", Seen),),
    "solve_rows": (("numerics.batch.minimise", Seen),),
    "sweep": (
        ("numerics.sweep.job._on_threads", None),
        ("numerics.sweep.job._client", Seen),
        ("numerics.sweep.job.found_device", Seen),
    ),
}
STOPPED_LATER = {("solve_rows", "rtol"): (("numerics.share.reduced._backwards", Seen),)}


def public_functions():
    found = {name: getattr(dilaton, name) for name in dilaton.__all__}
    return {k: f for k, f in found.items() if inspect.isfunction(f)}


def test_the_table_of_functions_is_complete():
    """Every argument but the values, which are parameters of a model by name."""
    wanted = {}
    for name, function in public_functions().items():
        kinds = inspect.signature(function).parameters.values()
        wanted[name] = {x.name for x in kinds if x.kind is not x.VAR_KEYWORD}
    assert {name: set(calls) for name, calls in CALLS.items()} == wanted


def outcome(call, calls, capsys):
    """All that can be seen of a call."""
    calls.clear()
    before = {str(p) for p in Path.cwd().rglob("*")}
    try:
        found = readable(call())
    except (Seen, DilatonError) as end:
        found = f"{type(end).__name__} {end}"
    said = capsys.readouterr()
    made = {str(p) for p in Path.cwd().rglob("*")} - before
    return list(calls), found, said.out, said.err.count("\n"), made


@pytest.mark.parametrize(
    ("name", "argument"), [(f, x) for f, calls in CALLS.items() for x in calls]
)
def test_every_argument_of_a_function_acts(folder, monkeypatch, capsys, name, argument):
    calls = []
    notes = STOPPED_LATER.get((name, argument), NOTED.get(name, ()))
    for dotted, result in notes:
        watch(monkeypatch, dotted, calls, result)
    one, two = (outcome(call, calls, capsys) for call in CALLS[name][argument])
    assert not one[1].startswith("ModelError") or argument == "key", one[1]
    assert one != two
