"""A derivation in the Wolfram Language, in InputForm: rules to substitute and to solve.

A name keeps its letters without underscores, which would be patterns: ``n_plus`` is
``nPlus``, ``omega_1_2`` is ``omega1$2``, and a capital, which could be a built-in
symbol, is spelled: ``K`` is ``capK``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import sympy as sp
from sympy.printing.mathematica import MCodePrinter

from ..limit import Limit
from ..symbols.system import Equation, System
from .walk import headed, remarks, renamed, title, wrapped

HEAD = """\
An average over standard normals, gaussAverage[f, g], stays as it is until f is a number
for each g; it is then integrated numerically. Where you would rather have it as an
expectation, replace the definition by
  gaussAverage[f_, g__] := NExpectation[f,
    Map[Distributed[#, NormalDistribution[]] &, {g}]]
and for a symbolic attempt by Integrate in place of NIntegrate.

dilaton["weights/learned"] is an association. A closed system has "values", a list of
rules; a flow has "flow", the derivative of each unknown with respect to "time"; a
stationary system has "objective", what is minimised, and its "gradient". The rules of
"observables" and "solution" follow from the unknowns. For example
  dilaton["weights/learned"]["values"] /. {p -> 8/10, sigma -> 1, kappa -> 2, s -> 1/2}
  flowEquations["weights/sampling"], to be given to NDSolve with initial conditions."""

DEFINITIONS = """\
gaussAverage[f_, g__Symbol] := With[{all = {g}},
  NIntegrate[Evaluate[f*Exp[-all . all/2]/(2*Pi)^(Length[all]/2)],
    Evaluate[Sequence @@ Map[{#, -Infinity, Infinity} &, all]]]] /;
  NumericQ[f /. Thread[{g} -> 1/3]];
flowEquations[name_] := With[
  {rates = dilaton[name]["flow"], time = dilaton[name]["time"]},
  Map[First[#]'[time] == (Last[#] /. Map[First[#] -> First[#][time] &, rates]) &,
    rates]];"""

FAMILY = """\
gaussFamilyAverage[f_, g_, size_Integer] := Module[{all = Array[Unique["g"] &, size]},
  gaussAverage @@ Prepend[all, f /. Table[g[j] -> all[[j]], {j, size}]]];"""

KEYS = {"closed": "values", "flow": "flow", "stationary": "gradient"}


class InputForm(MCodePrinter):
    """Sympy's printer with our names, our averages, and sums that are not held."""

    def __init__(self) -> None:
        super().__init__({"user_functions": {"sign": "Sign", "Abs": "Abs"}})

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return mathematica_name(str(expr))

    def _print_Pow(self, expr: sp.Pow) -> str:
        if expr.exp == sp.S.Half:
            return f"Sqrt[{self._print(expr.base)}]"
        if expr.exp == -sp.S.Half:
            return f"1/Sqrt[{self._print(expr.base)}]"
        return str(super()._print_Pow(expr))

    def _print_Average(self, expr: sp.Expr) -> str:
        return f"gaussAverage[{', '.join(map(self._print, expr.args))}]"

    def _print_NormalAverage(self, expr: sp.Expr) -> str:
        body, normals = map(self._print, expr.args)
        return f"gaussFamilyAverage[{body}, {normals}, capR]"

    def _print_Softmax(self, expr: sp.Expr) -> str:
        return f"({self._print(expr.as_ratio())})"

    def _print_Sum(self, expr: sp.Sum) -> str:
        """Print a sum over a letter of its own, ``kk``: a rule for ``b[k_]`` puts a
        number for every ``k`` in it, also for one that a sum is over.
        """
        own = {x: sp.Symbol(2 * str(x)) for x in expr.variables if len(str(x)) == 1}
        body, *bounds = (x.xreplace(own) for x in expr.args)
        spans = ("{" + ", ".join(map(self._print, bound)) + "}" for bound in bounds)
        return f"Sum[{self._print(body)}, {', '.join(spans)}]"

    def _print_Indexed(self, expr: sp.Indexed) -> str:
        base, *indices = expr.args
        return f"{self._print(base)}[{', '.join(map(self._print, indices))}]"

    def _print_IndexedBase(self, expr: sp.IndexedBase) -> str:
        return str(self._print(expr.label))

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        cases = (f"{{{self._print(x)}, {self._print(c)}}}" for x, c in expr.args)
        return f"Piecewise[{{{', '.join(cases)}}}]"

    def _print_BooleanTrue(self, expr: sp.Basic) -> str:
        return "True"

    def _print_And(self, expr: sp.Basic) -> str:
        return f"({' && '.join(map(self._print, expr.args))})"

    def _print_Or(self, expr: sp.Basic) -> str:
        return f"({' || '.join(map(self._print, expr.args))})"


def mathematica(limit: Limit) -> str:
    """Return the systems of a limit in the Wolfram Language (InputForm).

    Labels stand in comments before their rules. Quantities are O(1) in d; their
    definitions stand in the first comment.
    """
    systems = limit.systems
    lines = [*headed(limit, mathematica_name), "", HEAD]
    text = [_comment("\n".join(lines)), "", DEFINITIONS]
    code = [line for system in systems for line in _system(system)]
    text += [FAMILY] if any("gaussFamilyAverage" in line for line in code) else []
    return "\n".join([*text, *code]) + "\n"


def mathematica_name(name: str) -> str:
    """Return a name of the notation table as a symbol of the Wolfram Language.

    >>> [mathematica_name(x) for x in ("n_plus", "omega_1_2", "K", "zeta_2_pm")]
    ['nPlus', 'omega1$2', 'capK', 'zeta2pm']
    """
    first, *rest = re.sub(r"\W+", "_", name).strip("_").split("_")
    out = f"cap{first}" if first[:1].isupper() else first
    for word in rest:
        digits = out[-1].isdigit() and word[:1].isdigit()
        joins = word.isalpha() and set(word) - set("pm")
        out += f"${word}" if digits else word.capitalize() if joins else word
    return out


def _comment(text: str) -> str:
    return f"(* {text.replace('(*', '( *').replace('*)', '* )')} *)"


def _system(system: System) -> list[str]:
    printer = InputForm()
    rows = _fields(system)
    expressions = [x for row in rows for x in row[2]]
    named, short = renamed(expressions, lambda i: f"x{i}")
    left = iter(short)
    lines = ["", _comment(title(system))]
    lines += [_comment(x) for x in remarks(system)]
    local = ", ".join(str(x) for x, _ in named)
    lines.append(f'dilaton["{system.name}"] = Module[{{{local}}},')
    lines += [f"  {x} = {printer.doprint(value)};" for x, value in named]
    fields = [f'"{key}" -> {value}' for key, value in _facts(system, printer)]
    for key, names, values in rows:
        mine = [printer.doprint(next(left)) for _ in values]
        fields.append(f'"{key}" -> {_rules(names, mine, printer)}')
    body = ",\n    ".join(fields)
    lines.append(f"  <|{body}|>];")
    return [row for line in lines for row in wrapped(line)]


def _facts(system: System, printer: InputForm) -> Iterable[tuple[str, str]]:
    def listed(values: Iterable[sp.Basic]) -> str:
        return f"{{{', '.join(map(printer.doprint, values))}}}"

    yield "kind", f'"{system.kind}"'
    yield "status", f'"{system.status}"'
    if system.time is not None:
        yield "time", printer.doprint(system.time)
    yield "parameters", listed(system.parameters)
    if system.inputs:
        yield "inputs", listed(system.inputs)
    if system.domain:
        yield "domain", listed(system.domain)


Row = tuple[str, list[tuple[str, sp.Basic]], list[sp.Basic]]
"""A field of an association: its key, the left sides with labels, the right sides."""


def _fields(system: System) -> list[Row]:
    rows = [_row(KEYS[system.kind], system.equations)]
    if system.objective is not None:
        rows.insert(0, ("objective", [], [sp.sympify(system.objective)]))
    for key in ("observables", "solution"):
        rows += [_row(key, getattr(system, key))] if getattr(system, key) else []
    if system.initial:
        pairs = system.initial
        rows.append(("initial", [("", x) for x, _ in pairs], [v for _, v in pairs]))
    for branch in system.branches:
        rows.append((f"{branch.name} objective", [], [sp.sympify(branch.objective)]))
        rows.append(_row(f"{branch.name} values", branch.equations))
    return rows


def _row(key: str, equations: tuple[Equation, ...]) -> Row:
    return key, [(eq.label, eq.lhs) for eq in equations], [eq.rhs for eq in equations]


def _rules(names: list, values: list[str], printer: InputForm) -> str:
    if not names and len(values) == 1:
        return values[0]
    rules = (
        f"{f'(* ({label}) *) ' if label else ''}{_left(x, printer)} -> {value}"
        for (label, x), value in zip(names, values, strict=True)
    )
    return "{\n      " + ",\n      ".join(rules) + "}" if names else "{}"


def _left(x: sp.Basic, printer: InputForm) -> str:
    """Return a left side; one of a family holds for every index."""
    if not isinstance(x, sp.Indexed):
        return str(printer.doprint(x))
    base, *indices = x.args
    patterns = ", ".join(f"{printer.doprint(i)}_" for i in indices)
    return f"{printer.doprint(base)}[{patterns}]"
