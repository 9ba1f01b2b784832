"""Derivations in other languages mean what the systems do.

The Mathematica text is read by sympy's own parser of that language, the Julia text
by a translation of the few forms it consists of, written here. Both are evaluated at
random numbers and compared with the systems, whose trees are walked node by node.
(Neither language runs here.)
"""

import operator
import re
from functools import reduce
from types import SimpleNamespace

import dilaton
import numpy as np
import pytest
import sympy as sp
from dilaton.theory.exports.julia import julia
from dilaton.theory.exports.mathematica import mathematica, mathematica_name
from dilaton.theory.symbols.gaussian import Average
from scipy.special import erf
from sympy.parsing.mathematica import parse_mathematica

from ...cases import derived, limit_of

CLOSE = 1e-9  # the trapezoidal rule of 721 nodes is exact to rounding here
NAMES = ("population", "samples", "frozen", "product")
NODES = np.linspace(-9, 9, 721)
WEIGHTS = np.exp(-(NODES**2) / 2) / np.sqrt(2 * np.pi) * (NODES[1] - NODES[0])
WHOLE = {"n": 16.0, "n_plus": 13.0, "d": 60.0, "noise_draws": 3.0}
FUNCTIONS = {sp.tanh: np.tanh, sp.log: np.log, sp.exp: np.exp, sp.erf: erf}
FUNCTIONS |= {sp.Function("Erf"): erf, sp.Function("Sign"): np.sign}
FUNCTIONS |= {sp.Pow: np.power, sp.sin: np.sin, sp.cos: np.cos, sp.sign: np.sign}
BUILT_IN = {
    *("Tanh", "Log", "Sqrt", "Exp", "Erf", "Sin", "Cos", "Pi", "Sign", "Infinity"),
    *("Module", "Map", "First", "Last", "NIntegrate", "Evaluate", "Sequence", "Length"),
    *("NumericQ", "Thread", "With", "True", "Integer", "Symbol", "Indeterminate"),
}
MODES = dilaton.modes([[1, 0], [-1, 1], [-1, -1]], [0, "1/4"])


def point(system, seed=3):
    """Values of all that a system contains, in the middle of their domains."""
    rng = np.random.default_rng(seed)
    at = {} if system.time is None else {str(system.time): 0.4}
    for x in (*system.unknowns, *system.parameters, *system.inputs):
        at.setdefault(str(x), float(rng.uniform(0.3, 0.7)))
    return at | {k: v for k, v in WHOLE.items() if k in at}


def expected(system, at):
    """Every quantity of a system, its trees walked by `number`."""
    key = {"closed": "values", "flow": "rhs", "stationary": "gradient"}[system.kind]
    seen, found = dict(at), {key: {}}
    for eq in system.equations:
        found[key][str(eq.lhs)] = number(sp.sympify(eq.rhs), seen)
        if system.kind == "closed":
            seen[str(eq.lhs)] = found[key][str(eq.lhs)]
    others = found[key] if system.kind == "closed" else {}
    for eq in system.observables:
        others[str(eq.lhs)] = seen[str(eq.lhs)] = number(sp.sympify(eq.rhs), seen)
    if system.kind != "closed" and system.observables:
        found["observables"] = others
    if system.objective is not None:
        found["objective"] = {"objective": number(system.objective, at)}
    return found


# ------------------------------------------------------------------------ Mathematica


def bare(text):
    """Mathematica without its comments, which nest."""
    while (inner := re.sub(r"\(\*((?!\(\*|\*\)).)*\*\)", "", text, flags=re.S)) != text:
        text = inner
    return text


def split(text):
    """The parts of a list, at its outer commas."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if c == "," and not depth:
            parts.append("")
        else:
            parts[-1] += c
    return [x.strip() for x in parts if x.strip()]


def associations(text):
    """What each `dilaton[...]` is: its own names, and its fields as text."""
    found, text = {}, " ".join(bare(text).split())
    whole = re.compile(r'dilaton\["([^"]+)"\] = Module\[(.*?)\|>\];')
    for name, body in whole.findall(text):
        head, _, inside = body.partition("<|")
        steps = split(head.partition("},")[2].replace(";", ","))
        pairs = [re.split(r"\s->\s", x, maxsplit=1) for x in split(inside)]
        fields = {key.strip('"'): value for key, value in pairs}
        found[name] = dict(x.split(" = ", 1) for x in steps), fields
    return found


def rules(text):
    pairs = (re.split(r"\s->\s", x, maxsplit=1) for x in split(text[1:-1]))
    return {name: value for name, value in pairs}


def number(expr, at):
    """The value of an expression, averages by the trapezoidal rule."""
    if isinstance(expr, Average) or expr.func == sp.Function("gaussAverage"):
        body, g = expr.args
        return WEIGHTS @ (number(body, at | {str(g): NODES}) * np.ones_like(NODES))
    if isinstance(expr, sp.Symbol):
        return at[str(expr)]
    if not expr.args:
        return float(expr)
    parts = [number(x, at) for x in expr.args]
    if isinstance(expr, sp.Add | sp.Mul):
        return reduce(operator.add if expr.is_Add else operator.mul, parts)
    return FUNCTIONS[expr.func](*parts)


@pytest.mark.parametrize("name", NAMES)
def test_mathematica_evaluates_to_the_systems(name):
    limit = limit_of(name)
    text = associations(mathematica(limit))
    assert list(text) == [system.name for system in limit.systems]
    for system in limit.systems:
        at = point(system)
        local, fields = text[system.name]
        known = {mathematica_name(k): v for k, v in at.items()}
        for step, value in local.items():
            known[step] = number(parse_mathematica(value), known)
        for part, values in expected(system, at).items():
            key = {"rhs": "flow"}.get(part, part)
            shown = {"objective": fields[key]} if key == "objective" else None
            shown = shown or rules(fields[key])
            if part == "values" and "observables" in fields:
                shown |= rules(fields["observables"])
            for x, wanted in values.items():
                if not np.isnan(wanted):
                    made = number(parse_mathematica(shown[mathematica_name(x)]), known)
                    assert made == pytest.approx(float(wanted), rel=CLOSE, abs=CLOSE)
                    known.setdefault(mathematica_name(x), made)


def test_another_number_in_mathematica_is_seen():
    limit = limit_of("population")
    flow = limit.phase("weights").sampling
    at = point(flow)
    known = {mathematica_name(k): v for k, v in at.items()}
    text = mathematica(limit).replace("nu -> kappa*Tanh[", "nu -> 2*kappa*Tanh[")
    shown = rules(associations(text)[flow.name][1]["flow"])["nu"]
    wanted = float(expected(flow, at)["rhs"]["nu"])
    assert number(parse_mathematica(shown), known) == pytest.approx(2 * wanted)


@pytest.mark.parametrize("make", [mathematica, julia])
@pytest.mark.parametrize("name", [*NAMES, "modes"])
def test_brackets_close_and_no_line_is_long(name, make):
    limit = derived(dilaton.Model(MODES)) if name == "modes" else limit_of(name)
    text = make(limit)
    body = bare(text) if make is mathematica else text.partition("=#")[2]
    body = re.sub(r'"[^"]*"' + ("|#.*" if make is julia else ""), "", body)
    open_ones = []
    for c in body:
        if c in "([{":
            open_ones.append(c)
        elif c in ")]}":
            assert open_ones, text[:200]
            assert open_ones.pop() + c in ("()", "[]", "{}")
    assert not open_ones
    assert max(map(len, text.splitlines())) <= 110  # a factor has no blank


def test_no_sum_of_mathematica_is_over_a_letter_that_rules_put_in():
    text = bare(mathematica(derived(dilaton.Model(MODES))))
    patterns = set(re.findall(r"(\w+)_[,\]]", text))
    iterators = set(re.findall(r"\{(\w+),\s+1,", text))
    assert {"k", "j"} <= patterns
    assert {"kk", "jj"} <= iterators
    assert not patterns & iterators


def test_mathematica_has_only_names_that_are_ours_or_built_in():
    for name in NAMES:
        text = bare(mathematica(limit_of(name)))
        assert set(re.findall(r"(?<![\w$\"])[A-Z]\w*", text)) <= BUILT_IN, name


def test_names_of_mathematica_have_no_underscores_and_differ():
    from dilaton.theory.symbols.notation import TABLE

    names = [*TABLE, "omega_1_2", "omega_12", "n_pm", "zeta_2_pm", "p_1", "p_2"]
    made = [mathematica_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9$]*", x) or x[:3] == "cap" for x in made)


# ------------------------------------------------------------------------------ Julia


class Family:
    """An array that counts from 1, with one index or two."""

    def __init__(self, values):
        self.values = np.asarray(values, float)

    def __getitem__(self, at):
        if isinstance(at, slice):
            return Family(self.values[at.start - 1 : at.stop])
        return self.values[tuple(np.atleast_1d(at) - 1)]

    def __iter__(self):
        return iter(self.values)


def average(f):
    return WEIGHTS @ (f(NODES) * np.ones_like(NODES))


def softmax(f, k, size):
    fields = np.array([f(i) for i in range(1, size + 1)])
    return np.exp(fields[k - 1]) / np.exp(fields).sum()


JULIA = {"gauss": average, "softmax": softmax, "erf": erf, "pi": np.pi, "NaN": np.nan}
JULIA |= {"collect": lambda x: Family(list(x)), "span": lambda a, b: range(a, b + 1)}
PLAIN = ("tanh", "log", "exp", "sqrt", "sign", "cos", "sin")
JULIA |= {x: getattr(np, x) for x in PLAIN} | {"sum": sum}
JULIA["vcat"] = lambda *parts: np.concatenate([np.ravel(list(x)) for x in parts])


def functions(text):
    """The functions of a module after its own: arguments, and statements in Python."""
    body = text.partition("=#")[2].partition("\nend\n")[2]
    found = {}
    for name, given, inside in re.findall(
        r"^function (\w+)\((.*?)\)\n(.*?)^end$", body, re.S | re.M
    ):
        lines, held = [], ""
        for line in re.sub(r"\s*#.*", "", inside).splitlines():
            held += f" {line.strip()}"
            closed = all(held.count(a) == held.count(b) for a, b in ("()", "[]"))
            if held.strip() and closed and held[-1] != "=":
                lines.append(as_python(held.strip()))
                held = ""
        found[name] = given.split(", "), lines
    return found


def as_python(line):
    line = line.replace("^", "**").replace("float.(", "(").replace("(; ", "(")
    line = re.sub(r"(\w+) -> ", r"lambda \1: ", line)
    line = re.sub(r"\bin (\w+):(\w+), (\w+) in", r"in \1:\2 for \3 in", line)
    return re.sub(r"\bin (\w+):(\w+)", r"in span(\1, \2)", line)


def called(made, name, at, state, given=None):
    """What a function returns: a state's rates, or quantities by name."""
    arguments, lines = made[name]
    params = SimpleNamespace(**at, given=lambda _: SimpleNamespace(**given))
    space = JULIA | {arguments[-1]: at.get(arguments[-1], 0.0)}
    space |= {"params": params, "u": Family(state)}
    for line in lines[:-1]:
        left, _, right = line.partition(" = ")
        space[left] = eval(right, space)
    names = re.fullmatch(r"return \((.*?),?\)", lines[-1])
    if names:
        return {x: space[x] for x in names[1].split(", ")}
    return eval(lines[-1].removeprefix("return "), space)


@pytest.mark.parametrize("name", NAMES)
def test_julia_evaluates_to_the_systems(name):
    limit = limit_of(name)
    made = functions(julia(limit))
    for system in limit.systems:
        at = point(system)
        stem = re.sub(r"\W", "_", system.name)
        state = [at[str(x)] for x in system.unknowns]
        for part, values in expected(system, at).items():
            end = "" if part in ("values", "rhs") else f"_{part}"
            found = called(made, stem + end, at, state, at)
            if not isinstance(found, dict):
                found = dict(zip(values, found, strict=True))
            for x, wanted in values.items():
                assert found[x] == pytest.approx(
                    float(wanted), rel=CLOSE, abs=CLOSE, nan_ok=True
                )


def test_another_number_in_julia_is_seen():
    limit = limit_of("population")
    flow = limit.phase("weights").sampling
    at = point(flow)
    text = julia(limit).replace("rate_nu = kappa*tanh(", "rate_nu = 2*kappa*tanh(")
    found = called(functions(text), "weights_sampling", at, [at["nu"]])
    wanted = float(expected(flow, at)["rhs"]["nu"])
    assert found[0] == pytest.approx(2 * wanted)


def test_a_flow_of_modes_in_julia_is_the_one_written_by_hand():
    r"""$\dot y_j = \kappa \sum_k L_{kj} \pi_k$ in the first window of three modes."""
    made = functions(julia(derived(dilaton.Model(MODES))))
    loadings, p = np.array([[1.0, 0.4], [-1.0, 0.3]]), np.array([0.6, 0.4])
    y, kappa, s = np.array([0.2, -0.7]), 2.0, 0.3
    at = {"K": 2, "R": 2, "p": Family(p), "L": Family(loadings), "sigma": 1.0}
    at |= {"kappa_1": kappa, "s": s}
    field = np.log(p) + kappa * s * loadings @ y
    field -= (kappa * s) ** 2 * (loadings**2).sum(1) / 2
    weight = np.exp(field) / np.exp(field).sum()
    found = called(made, "weights_1_sampling", at, y)
    np.testing.assert_allclose(found, kappa * weight @ loadings, rtol=CLOSE)
