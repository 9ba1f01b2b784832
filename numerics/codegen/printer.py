"""A `System` printed as readable Python: one source for NumPy, numba and JAX.

Every printed function has the arguments ``(at, states, inputs, params, nodes,
weights)``: the time, the unknowns, the given functions of time and the parameters in
the system's order, and a quadrature rule. Array code returns ``(values, doubt)``,
compiled code fills `out` and returns the doubt: the largest estimate, over all
Gaussian averages of the function, of what the rule may be wrong by.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from keyword import iskeyword

import sympy as sp
from sympy.printing.pycode import PythonCodePrinter

from ...errors import ModelError
from ...theory.symbols.gaussian import Average, G
from ...theory.symbols.system import Equation, System
from .snapshot import SATURATED

ELEMENTARY = {
    sp.tanh: "tanh",
    sp.exp: "exp",
    sp.log: "log",
    sp.erf: "erf",
    sp.sign: "sign",
    sp.sin: "sin",
    sp.cos: "cos",
    sp.tan: "tan",
    sp.sinh: "sinh",
    sp.cosh: "cosh",
    sp.atan: "arctan",
    sp.Abs: "absolute",
    sp.Min: "minimum",
    sp.Max: "maximum",
}
"""The functions a kernel may contain, by the name every backend gives them."""

NODES = (sp.Symbol("node", real=True), sp.Symbol("node_2", real=True))
ARGUMENTS = "at, states, inputs, params, nodes, weights"


def outputs_of(
    system: System, only: tuple[str, ...] = ()
) -> dict[str, tuple[sp.Expr, ...]]:
    """Return what can be printed from a system, by function name.

    Closed: `values`. Flow: `rhs`, `jacobian` (row by row). Stationary: `objective`,
    `gradient`, `hessian` (row by row) and `newton`, the three together, and `branch`,
    every quantity on the closed branch. Flows and stationary systems have
    `observables` when they declare some. `only` picks some; `fields`, the mean and the
    width of each Gaussian field of a stationary system, is printed when it is picked.
    """
    if only == ("rhs",):
        return {"rhs": tuple(sp.sympify(eq.rhs) for eq in system.equations)}
    found = _outputs(system)
    if "fields" in only:
        found["fields"] = _fields(sp.sympify(system.objective))
    return {k: v for k, v in found.items() if not only or k in only}


def _outputs(system: System) -> dict[str, tuple[sp.Expr, ...]]:
    unknowns = system.unknowns
    rhs = tuple(sp.sympify(eq.rhs) for eq in system.equations)
    if system.kind == "closed":
        return {"values": _resolved(system.equations + system.observables)}
    seen = _resolved(system.observables)
    slopes = tuple(_slope(f, x) for f in rhs for x in unknowns)
    out: dict[str, tuple[sp.Expr, ...]]
    if system.kind == "flow":
        out = {"rhs": rhs, "jacobian": slopes}
    else:
        if system.objective is None:
            raise ModelError(
                f"A stationary system must have an objective, but `{system.name}` has "
                "none. Give `objective`, whose gradient the equations are."
            )
        objective = (sp.sympify(system.objective),)
        out = {"objective": objective, "gradient": rhs, "hessian": slopes}
        out["newton"] = objective + rhs + slopes
        out["branch"] = _on_branch(system, seen)
    return {**out, "observables": seen} if seen else out


def _on_branch(system: System, seen: tuple[sp.Expr, ...]) -> tuple[sp.Expr, ...]:
    """Unknowns, observables, objective on the closed branch; zeros without one."""
    values: dict[sp.Symbol, sp.Expr] = dict.fromkeys(system.unknowns, sp.S.Zero)
    known: dict[sp.Symbol, sp.Expr] = {}
    for branch in system.branches[:1]:
        known = {eq.lhs: eq.rhs for eq in branch.equations}
        if branch.name == "saturated":
            infinite = {x: sp.Integer(SATURATED) for x in values if str(x)[0] == "b"}
            values |= infinite
    values |= {x: known[x] for x in values if x in known}
    rest = zip(system.observables, seen, strict=True)
    inserted = [known.get(eq.lhs, value.subs(values)) for eq, value in rest]
    objective = system.branches[0].objective if system.branches else sp.S.Zero
    return (*values.values(), *inserted, sp.sympify(objective))


def _fields(objective: sp.Expr) -> tuple[sp.Expr, ...]:
    """Mean and width of the field of each unit that the objective averages."""
    averages, _ = _parts([objective])
    units = set().union(*(x.integrand.atoms(sp.tanh, sp.erf) for x in averages))
    fields = sorted({unit.args[0] for unit in units if unit.has(G)}, key=str)
    return tuple(part for h in fields for part in (h.subs(G, 0), sp.diff(h, G)))


def _slope(expr: sp.Expr, x: sp.Symbol) -> sp.Expr:
    """Differentiate; the delta functions of kinks and jumps are left out."""
    slope = sp.diff(expr, x)
    if not any(isinstance(part, sp.DiracDelta) for part in _distinct([slope])):
        return slope
    return slope.replace(sp.DiracDelta, lambda *_: sp.S.Zero)


def _resolved(equations: Iterable[Equation]) -> tuple[sp.Expr, ...]:
    """Return the values with every quantity that an earlier equation gives put in."""
    known: dict[sp.Symbol, sp.Expr] = {}
    for eq in equations:
        known[eq.lhs] = sp.sympify(eq.rhs).xreplace(known)
    return tuple(known.values())


@dataclass(frozen=True)
class EvaluationOrder:
    """A function in evaluation order: `before`, the averages, `after`, `values`.

    `integrands` maps the number of Gaussian variables to (temporaries, averages).
    """

    before: tuple[tuple[sp.Symbol, sp.Expr], ...]
    integrands: dict[int, tuple[tuple, tuple[tuple[sp.Symbol, sp.Expr], ...]]]
    after: tuple[tuple[sp.Symbol, sp.Expr], ...]
    values: tuple[sp.Expr, ...]


def plan(values: Sequence[sp.Expr]) -> EvaluationOrder:
    """Order the evaluation: common subexpressions, hoisted constants, averages."""
    values = tuple(sp.sympify(v) for v in values)
    averages, taken = _parts(values)
    _check_names(taken)
    names = sp.numbered_symbols("x", exclude=taken)
    hoisted: dict[sp.Expr, sp.Symbol] = {}
    groups: dict[int, list[tuple[sp.Symbol, sp.Expr]]] = {}
    for i, node in enumerate(averages):
        dim = len(node.variables)
        if node.integrand.has(Average) or dim > len(NODES):
            raise ModelError(
                "An average must be over one or two Gaussian variables with no average "
                f"inside, but `{node}` is not. Reduce it to such averages."
            )
        body = node.integrand.xreplace(dict(zip(node.variables, NODES, strict=False)))
        body = _hoist(body, hoisted)
        groups.setdefault(dim, []).append((sp.Symbol(f"average_{i}"), body))
    symbol_of = {
        node: sp.Symbol(f"average_{i}", real=True) for i, node in enumerate(averages)
    }
    outer = [v.xreplace(symbol_of) for v in values]
    steps, reduced = sp.cse(list(hoisted) + outer, names, order="canonical")
    late = {str(s) for s in symbol_of.values()}
    before: list[tuple[sp.Symbol, sp.Expr]] = []
    after: list[tuple[sp.Symbol, sp.Expr]] = []
    for name, expr in steps:
        depends = any(str(s) in late for s in expr.free_symbols)
        (after if depends else before).append((name, expr))
        late |= {str(name)} if depends else set()
    before += [(s, e) for s, e in zip(hoisted.values(), reduced, strict=False)]
    integrands = {dim: _shared(group, names) for dim, group in sorted(groups.items())}
    return EvaluationOrder(
        tuple(before), integrands, tuple(after), tuple(reduced[len(hoisted) :])
    )


def _parts(values: Iterable[sp.Expr]) -> tuple[list[Average], set[sp.Basic]]:
    """Return the averages, sorted, and the free symbols of expressions."""
    seen = _distinct(values, Average)
    averages = sorted((x for x in seen if isinstance(x, Average)), key=str)
    symbols = {x for x in seen if isinstance(x, sp.Symbol)}
    return averages, symbols.union(*(x.free_symbols for x in averages))


def _distinct(values: Iterable[sp.Expr], leaf: tuple | type = ()) -> set[sp.Basic]:
    """Return every subexpression, each once; what is in a `leaf` is left out.

    (SymPy looks at each as often as it occurs. Slopes of slopes, written out, are a
    thousand times as long.)
    """
    seen: set[sp.Basic] = set()
    ahead: list[sp.Basic] = list(values)
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead += () if isinstance(node, leaf) else node.args
    return seen


RESERVED = {*ARGUMENTS.split(", "), "out", "lane", "doubt", "off", "sums"}
"""Names that printed code uses for itself, besides x0, x1, ... and fixed_0, ..."""


def _check_names(symbols: Iterable[sp.Symbol]) -> None:
    """Names become code, so they must be plain identifiers."""
    for name in sorted(map(str, symbols)):
        plain = name.isascii() and name.isidentifier() and not iskeyword(name)
        if not plain or name in RESERVED or name in ELEMENTARY.values():
            raise ModelError(
                "Every symbol of a kernel must be named by a plain ASCII identifier "
                f"that kernels do not use themselves, but `{name}` is not. Rename it."
            )


def _shared(group: list[tuple[sp.Symbol, sp.Expr]], names: Iterable[sp.Symbol]):
    steps, bodies = sp.cse([e for _, e in group], names, order="canonical")
    return tuple(steps), tuple((s, e) for (s, _), e in zip(group, bodies, strict=True))


def _hoist(expr: sp.Expr, found: dict[sp.Expr, sp.Symbol]) -> sp.Expr:
    """Replace what does not depend on the nodes by a symbol set before the loop."""
    if expr.is_Atom:
        return expr
    if not expr.has(*NODES):
        return found.setdefault(expr, sp.Symbol(f"fixed_{len(found)}", real=True))
    if isinstance(expr, sp.Add | sp.Mul):
        fixed, rest = expr.as_independent(*NODES, as_Add=isinstance(expr, sp.Add))
        if not fixed.is_Atom:
            fixed = _hoist(fixed, found)
        terms = expr.func.make_args(rest)
        return expr.func(fixed, *(_hoist(a, found) for a in terms))
    if isinstance(expr, sp.Pow) and expr.exp.is_number:
        return expr.func(_hoist(expr.base, found), expr.exp)
    return expr.func(*(_hoist(a, found) for a in expr.args))


class _Printer(PythonCodePrinter):
    """Print bare function names; each backend brings its own namespace."""

    def __init__(self) -> None:
        super().__init__({"fully_qualified_modules": False})

    def _print_Function(self, expr: sp.Function) -> str:
        if type(expr) not in ELEMENTARY:
            raise ModelError(
                "A kernel may contain "
                f"{', '.join(str(f) for f in ELEMENTARY)}, but `{expr}` is "
                f"`{type(expr).__name__}`. Rewrite it in those functions."
            )
        return f"{ELEMENTARY[type(expr)]}({self._print(expr.args[0])})"

    def _print_Pi(self, expr: sp.Expr) -> str:
        return "pi"

    def _print_Exp1(self, expr: sp.Expr) -> str:
        return "euler"

    _print_tanh = _print_sign = _print_Abs = _print_exp = _print_log = _print_Function
    _print_sinh = _print_cosh = _print_sin = _print_cos = _print_tan = _print_Function
    _print_erf = _print_atan = _print_Function

    def _print_Min(self, expr: sp.Expr) -> str:
        name, *parts = ELEMENTARY[type(expr)], *(self._print(a) for a in expr.args)
        text = parts.pop()
        while parts:
            text = f"{name}({parts.pop()}, {text})"
        return text

    _print_Max = _print_Min

    def _print_Rational(self, expr: sp.Rational) -> str:
        return f"({expr.p}/{expr.q})"

    def _print_Integer(self, expr: sp.Integer) -> str:
        return f"{expr.p}.0"

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        base, exponent = expr.base, expr.exp
        if exponent.is_Rational and exponent < 0:
            return f"(1.0/{self._factor(sp.Pow(base, -exponent, evaluate=False))})"
        if exponent == sp.S.Half:
            return f"sqrt({self._print(base)})"
        if exponent.is_Integer and 2 <= exponent <= 6 and base.is_Symbol:
            return "(" + "*".join([self._print(base)] * int(exponent)) + ")"
        power = int(exponent) if exponent.is_Integer else self._print(exponent)
        return f"({self._print(base)})**{power}"

    def _factor(self, expr: sp.Expr) -> str:
        if isinstance(expr, sp.Pow) and expr.exp == 1:
            expr = expr.base
        return f"({self._print(expr)})"

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        *cases, (last, condition) = expr.args
        text = self._print(last) if condition == sp.true else "nan"
        if condition != sp.true:
            cases.append((last, condition))
        for value, test in reversed(cases):
            text = f"where({self._print(test)}, {self._print(value)}, {text})"
        return text

    def _print_Heaviside(self, expr: sp.Expr) -> str:
        x = self._print(expr.args[0])
        return f"(0.5*(1.0 + sign({x})))"

    def _print_And(self, expr: sp.Basic) -> str:
        return "(" + " & ".join(f"({self._print(a)})" for a in expr.args) + ")"

    def _print_Or(self, expr: sp.Basic) -> str:
        return "(" + " | ".join(f"({self._print(a)})" for a in expr.args) + ")"


_PRINTER = _Printer()


def scalar_text(expr: sp.Expr) -> str:
    """Return the text of an expression without averages."""
    return _PRINTER.doprint(expr)


def _assign(steps: Iterable[tuple[sp.Symbol, sp.Expr]], indent: int) -> list[str]:
    pad = " " * indent
    return [f"{pad}{name} = {_PRINTER.doprint(expr)}" for name, expr in steps]


def _docstring(system: System, name: str, shape: str) -> list[str]:
    def listed(symbols: Iterable[sp.Symbol]) -> str:
        return ", ".join(map(str, symbols)) or "(none)"

    return [
        f'    """`{name}` of the system `{system.name}`.',
        "",
        f"    at: {system.time if system.time is not None else '(unused)'}",
        f"    states: {listed(system.unknowns)}",
        f"    inputs: {listed(system.inputs)}",
        f"    params: {listed(system.parameters)}",
        f"    units: none (overlaps are of order one in d); {shape}",
        '    """',
    ]


def _unpack(system: System, used: set[str], lane: str, indent: int) -> list[str]:
    pad = " " * indent
    lines = []
    if system.time is not None and str(system.time) in used:
        lines.append(f"{pad}{system.time} = at" + (f"[{lane}]" if lane else ""))
    index = f", {lane}" if lane else ""
    for where, symbols in (
        ("states", system.unknowns),
        ("inputs", system.inputs),
        ("params", system.parameters),
    ):
        lines += [
            f"{pad}{symbol} = {where}[{i}{index}]"
            for i, symbol in enumerate(symbols)
            if str(symbol) in used
        ]
    return lines


def _used(steps: EvaluationOrder) -> set[str]:
    exprs = [e for _, e in steps.before + steps.after] + list(steps.values)
    for temporaries, averages in steps.integrands.values():
        exprs += [e for _, e in temporaries + averages]
    return {str(s) for e in exprs for s in e.free_symbols}


def array_function(system: System, name: str, values: Sequence[sp.Expr]) -> str:
    """Print a function that broadcasts over batches (NumPy, JAX)."""
    steps = plan(values)
    known = [s for s, _ in steps.before] + [
        *system.unknowns,
        *system.inputs,
        *system.parameters,
        *([system.time] if system.time is not None else []),
    ]
    lines: list[str] = []
    calls: list[str] = []
    for dim, (temporaries, averages) in steps.integrands.items():
        exprs = [e for _, e in temporaries + averages]
        used = {str(s) for e in exprs for s in e.free_symbols}
        passed = [str(s) for s in known if str(s) in used]
        nodes = [str(s) for s in NODES[:dim]]
        lines += [f"def {name}_integrand_{dim}({', '.join(nodes + passed)}):"]
        lines += _assign(temporaries, 4)
        bodies = ", ".join(_PRINTER.doprint(e) for _, e in averages)
        lines += [f"    return ({bodies},)", "", ""]
        targets = ", ".join(str(s) for s, _ in averages)
        arguments = "".join(f", {s}" for s in passed)
        calls += [
            f"    ({targets},), off = average("
            f"{name}_integrand_{dim}, {dim}, nodes, weights{arguments})",
            "    doubt = maximum(doubt, off)",
        ]
    lines += [f"def {name}({ARGUMENTS}):"]
    lines += _docstring(system, name, "leading axis of the values, then the batch")
    lines += _unpack(system, _used(steps), "", 4)
    lines += [*_assign(steps.before, 4), "    doubt = 0.0", *calls]
    lines += _assign(steps.after, 4)
    results = ", ".join(_PRINTER.doprint(v) for v in steps.values)
    lines += [f"    return stack(at, states, inputs, params, ({results},)), doubt"]
    return "\n".join(lines) + "\n"


def loop_function(
    system: System, name: str, values: Sequence[sp.Expr], lanes: bool = False
) -> str:
    """Print a function of scalars that fills `out` (numba).

    It is of one point, or of `LANES` points side by side, the last axis.
    """
    shape = f"fills out[{len(values)}{', LANES' if lanes else ''}]"
    lines = [f"def {name}({ARGUMENTS}, out):", *_docstring(system, name, shape)]
    if lanes:
        lines += ["    doubt = 0.0", "    for lane in range(LANES):"]
    lane, indent = ("lane", 8) if lanes else ("", 4)
    return "\n".join(lines + _loop_body(system, plan(values), lane, indent)) + "\n"


def _loop_body(
    system: System, steps: EvaluationOrder, lane: str, indent: int
) -> list[str]:
    pad = " " * indent
    lines = _unpack(system, _used(steps), lane, indent)
    lines += _assign(steps.before, indent)
    if not lane:
        lines += [f"{pad}doubt = 0.0"]
    for dim, group in steps.integrands.items():
        lines += _loop_sums(dim, *group, indent)
    lines += _assign(steps.after, indent)
    index = f", {lane}" if lane else ""
    lines += [
        f"{pad}out[{i}{index}] = {_PRINTER.doprint(v)}"
        for i, v in enumerate(steps.values)
    ]
    return [*lines, "    return doubt"]


def _loop_sums(dim: int, temporaries: tuple, averages: tuple, indent: int) -> list[str]:
    """Print the quadrature: blocks of 16 nodes, so that it vectorises as it stands."""
    pad = " " * indent
    lines = [f"{pad}sums = zeros(({1 if dim == 1 else 16}, {len(averages)}, 16))"]
    weight = "weights[j + lane_j]"
    parity = "0"
    if dim == 2:
        lines += [f"{pad}for i in range(nodes.size):", f"{pad}    node_2 = nodes[i]"]
        weight, parity = f"weights[i]*{weight}", "i % 16"
        pad += "    "
    lines += [
        f"{pad}for j in range(0, nodes.size, 16):",
        f"{pad}    for lane_j in range(16):",
        f"{pad}        node = nodes[j + lane_j]",
        f"{pad}        weight = {weight}",
    ]
    inner = len(pad) + 8
    lines += _assign(temporaries, inner)
    lines += [
        f"{pad}        sums[{parity}, {i}, lane_j] += weight*({_PRINTER.doprint(e)})"
        for i, (_, e) in enumerate(averages)
    ]
    pad = " " * indent
    lines += [f"{pad}doubt = maximum(doubt, totals(sums))"]
    return lines + [
        f"{pad}{symbol} = sums[0, {i}, 0]" for i, (symbol, _) in enumerate(averages)
    ]
