"""A derivation as a Julia module of plain functions, one or more for each system.

``weights_sampling(u, params, s)`` has the signature that ODE solvers of Julia take. All
else is what a reader of the printed equations expects: names, averages and sums.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import sympy as sp
from sympy.printing.julia import JuliaCodePrinter
from sympy.printing.str import StrPrinter

from ..limit import Limit
from ..symbols.indexed import DIRECTION, MODE
from ..symbols.system import Equation, System
from .walk import headed, remarks, renamed, title, wrapped

SIZE_OF = {MODE: "K", DIRECTION: "R"}
"""Sizes of families, by index; whole numbers, all other parameters are floats."""

RESERVED = {"pi", "im", "end", "in", "function", "let", "do", "if", "for"}
RESERVED |= {"u", "params"}
"""Names of Julia, and of arguments, that quantities do not take."""

HEAD = """\
A system "weights/learned" is the function weights_learned. `params` is a named tuple
of its parameters, s the time: closed systems are called with (params, s) and return a
named tuple; flows with (u, params, s), u the unknowns in order, and return their
derivatives; stationary systems have an objective, its gradient and observables, each
of (u, params, s). Where a flow follows given functions of time, params.given(s)
returns them as a named tuple. Averages are sums over 721 nodes (over 97^R for
families). The text was compared with the systems by a translation, not run in Julia."""

AVERAGES = """\
const NODES = range(-9.0, 9.0; length=721)
const FEW = range(-6.0, 6.0; length=97)
density(g) = exp(-g^2/2)/sqrt(2*pi)
gauss(f) = step(NODES)*sum(density(g)*f(g) for g in NODES)
gauss2(f) = step(NODES)^2*sum(density(g)*density(h)*f(g, h) for g in NODES, h in NODES)
gauss_family(f, R) = step(FEW)^R*sum(prod(density.(g))*f(g)
    for g in Iterators.product(ntuple(_ -> FEW, R)...))
function softmax(f, k, K)
    top = maximum(f(l) for l in 1:K)
    return exp(f(k) - top)/sum(exp(f(l) - top) for l in 1:K)
end"""


class Scalars(JuliaCodePrinter):
    """Sympy's printer for scalars: no dots, our averages, sums and families."""

    _print_Mul = StrPrinter._print_Mul

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return julia_name(str(expr))

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        base, exponent = expr.base, expr.exp
        if exponent == sp.S.Half:
            return f"sqrt({self._print(base)})"
        if exponent.is_Rational and exponent < 0:
            return f"1/{self.parenthesize(sp.Pow(base, -exponent), 60)}"
        return f"{self.parenthesize(base, 100)}^{self.parenthesize(exponent, 100)}"

    def _print_Rational(self, expr: sp.Rational) -> str:
        return f"({expr.p}/{expr.q})"

    def _print_Exp1(self, expr: sp.Basic) -> str:
        return "exp(1)"

    def _print_Average(self, expr: sp.Expr) -> str:
        body, *variables = expr.args
        names = ", ".join(map(self._print, variables))
        several = len(variables) > 1
        call = f"gauss2(({names})" if several else f"gauss({names}"
        return f"{call} -> {self._print(body)})"

    def _print_NormalAverage(self, expr: sp.Expr) -> str:
        body, normals = expr.args
        return f"gauss_family({self._print(normals.label)} -> {self._print(body)}, R)"

    def _print_Softmax(self, expr: sp.Expr) -> str:
        field, index = map(self._print, expr.args)
        return f"softmax({index} -> {field}, {index}, K)"

    def _print_Sum(self, expr: sp.Sum) -> str:
        body, *bounds = expr.args
        spans = (
            f"{self._print(i)} in {self._print(low)}:{self._print(high)}"
            for i, low, high in bounds
        )
        return f"sum({self._print(body)} for {', '.join(spans)})"

    def _print_Indexed(self, expr: sp.Indexed) -> str:
        base, *indices = expr.args
        return f"{self._print(base.label)}[{','.join(map(self._print, indices))}]"

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        *cases, (last, condition) = expr.args
        text = self._print(last)
        if condition != sp.true:
            text = f"ifelse({self._print(condition)}, {text}, NaN)"
        for value, test in reversed(cases):
            text = f"ifelse({self._print(test)}, {self._print(value)}, {text})"
        return text

    def _print_Min(self, expr: sp.Basic) -> str:
        name = type(expr).__name__.lower()
        return f"{name}({', '.join(map(self._print, expr.args))})"

    _print_Max = _print_Min


def julia(limit: Limit) -> str:
    """Return the systems of a limit as a Julia module of plain functions.

    Labels stand in comments beside their lines. Quantities are O(1) in d; their
    definitions stand in the first comment.
    """
    systems = limit.systems
    code = [line for system in systems for line in _system(system)]
    head = [*headed(limit, julia_name), "", HEAD]
    text = "\n".join(head).replace("#=", "# =").replace("=#", "= #")
    uses = ["using SpecialFunctions: erf"] if any("erf(" in x for x in code) else []
    body = [f"#= {text} =#", "module Derivation", "", *uses, "", AVERAGES]
    return "\n".join([*body, *code, "", "end"]) + "\n"


def julia_name(name: str) -> str:
    """Return a name of the notation table as an identifier of Julia."""
    plain = re.sub(r"\W+", "_", name).strip("_")
    return f"{plain}_" if plain in RESERVED else plain


def _system(system: System) -> list[str]:
    name = re.sub(r"\W", "_", system.name)
    lines = ["", f"# {title(system)}"]
    for text in remarks(system):
        lines += [f"# {row}" for row in wrapped(text)]
    for part, made in _functions(system).items():
        lines += _written(system, name + part, made)
    return lines


class _Function(NamedTuple):
    """The equations of a function in order; what it takes and returns.

    It takes the state `u`, and returns rates as a `flat` array, or a named tuple.
    """

    rows: tuple[Equation, ...]
    flat: bool = False
    state: bool = False


def _written(system: System, name: str, made: _Function) -> list[str]:
    printer = Scalars()
    named, values = renamed([eq.rhs for eq in made.rows], lambda i: f"x{i}")
    time = printer.doprint(system.time) if system.time is not None else "at"
    state = ["u"] if made.state else []
    lines = ["", f"function {name}({', '.join([*state, 'params', time])})"]
    lines += _unpacked(system, made.state, time, printer)
    for eq in _needed(system) if made.flat else ():
        lines.append(f"    {_name(eq)} = {_value(eq, eq.rhs, printer)}")
    lines += [f"    {x} = {printer.doprint(value)}" for x, value in named]
    names = [f"rate_{_name(eq)}" if made.flat else _name(eq) for eq in made.rows]
    for left, eq, value in zip(names, made.rows, values, strict=True):
        lines.append(f"    {left} = {_value(eq, value, printer)}  # ({eq.label})")
    many = any(isinstance(eq.lhs, sp.Indexed) for eq in made.rows)
    listed = ", ".join(names)
    flat = f"vcat({listed})" if many else f"[{listed}]"
    lines += [f"    return {flat if made.flat else f'(; {listed})'}", "end"]
    return [row for line in lines for row in _broken(line)]


def _functions(system: System) -> dict[str, _Function]:
    """Return the functions of a system by what their names end with."""
    if system.kind == "closed":
        return {"": _Function(system.equations + system.observables)}

    def one(objective: sp.Expr) -> Equation:
        return Equation("J", sp.Symbol("objective"), sp.sympify(objective))

    end = "_gradient" if system.kind == "stationary" else ""
    found = {end: _Function(system.equations, True, True)}
    if system.objective is not None:
        found["_objective"] = _Function((one(system.objective),), state=True)
    for x in system.branches:
        found[f"_{x.name}"] = _Function((*x.equations, one(x.objective)))
    if system.observables:
        found["_observables"] = _Function(system.observables, state=True)
    if system.solution:
        found["_solution"] = _Function(system.solution)
    return found


def _name(eq: Equation) -> str:
    x = eq.lhs.args[0].label if isinstance(eq.lhs, sp.Indexed) else eq.lhs
    return julia_name(str(x))


def _value(eq: Equation, value: sp.Expr, printer: Scalars) -> str:
    """Return a right side; that of a family as an array over its indices."""
    text = str(printer.doprint(value))
    if not isinstance(eq.lhs, sp.Indexed):
        return text
    spans = (f"{printer.doprint(i)} in 1:{SIZE_OF[i]}" for i in eq.lhs.args[1:])
    return f"collect({text} for {', '.join(spans)})"


def _unpacked(system: System, state: bool, time: str, printer: Scalars) -> list[str]:
    """Return the lines that name the parameters, the given functions, the unknowns."""
    lines = []
    for x in map(printer.doprint, system.parameters):
        sized = x in SIZE_OF.values()
        lines.append(
            f"    {x} = " + (f"params.{x}" if sized else f"float.(params.{x})")
        )
    lines += [f"    given = params.given({time})"] if system.inputs else []
    lines += [f"    {x} = given.{x}" for x in map(printer.doprint, system.inputs)]
    return lines + (_states(system) if state else [])


def _states(system: System) -> list[str]:
    """Split `u`: a number for an unknown, a range for a family."""
    lines: list[str] = []
    count, sizes = 0, ""
    for eq in system.equations:
        first = f"{sizes}{count + 1}"
        if isinstance(eq.lhs, sp.Indexed):
            sizes = f"{sizes}{SIZE_OF[eq.lhs.args[1]]} + "
            last = f"{sizes}{count}" if count else sizes.removesuffix(" + ")
            lines.append(f"    {_name(eq)} = u[{first}:{last}]")
        else:
            count += 1
            lines.append(f"    {_name(eq)} = u[{first}]")
    return lines


def _needed(system: System) -> list[Equation]:
    """The observables that the equations of a flow are written in, in order."""
    found: list[Equation] = []
    wanted = set().union(*(eq.rhs.free_symbols for eq in system.equations))
    for eq in reversed(system.observables):
        name = eq.lhs.args[0].label if isinstance(eq.lhs, sp.Indexed) else eq.lhs
        if name in wanted:
            found.insert(0, eq)
            wanted |= eq.rhs.free_symbols
    return found


def _broken(line: str) -> list[str]:
    """Break a long line; its value goes in brackets, which Julia reads on in."""
    code, mark, comment = line.partition("  # ")
    if len(line) <= 88 or " = " not in code or code.lstrip()[:1] in "(f":
        return [line] if len(line) <= 88 else wrapped(line)
    left, _, right = code.partition(" = ")
    pad = " " * (len(left) - len(left.lstrip()))
    first = [f"{pad}# {comment}"] if mark else []
    return first + wrapped(f"{left} = ({right})")
