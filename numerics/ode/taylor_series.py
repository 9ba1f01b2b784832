r"""Taylor coefficients of a flow, printed: all derivatives for one evaluation.

Along a solution the right-hand side is a chain of sums, products and elementary
functions of power series in the step. Each function obeys a differential equation
of its own, so its coefficients follow one by one from those of its argument (R. E.
Moore, *Interval Analysis*, 1966, chapter 11):

$$
u = \tanh w, \quad v = 1 - u^2: \qquad u' = v\, w', \qquad
k\, u_k = \sum_{j=1}^{k} j\, w_j\, v_{k-j} .
\tag{J1}
$$

The chain is read off the system's expressions; the printed function `jets` goes
through it order by order, for `LANES` rows side by side, in loops without
branches. Constants and polynomials of the time are series that end, and what they
do not have is not printed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any

import sympy as sp

from ...theory.symbols.system import System
from ..codegen.printer import scalar_text

Rule = Callable[[int], str]
"""Gives the text of a coefficient by its order; empty if it is zero."""

SMOOTH = (
    *(sp.exp, sp.log, sp.tanh, sp.tan, sp.sin, sp.cos),
    *(sp.sinh, sp.cosh, sp.atan, sp.erf),
)
"""The functions whose series are known; the other ones have kinks or jumps."""


@lru_cache(maxsize=64)
def has_jets(system: System) -> bool:
    """Return whether a flow is made of smooth functions of state and time alone."""
    return not system.inputs and all(
        _smooth(sp.sympify(eq.rhs)) for eq in system.equations
    )


def _smooth(expr: sp.Expr) -> bool:
    if expr.is_Atom:
        return bool(expr.is_Symbol or expr.is_finite)
    kinds = (sp.Add, sp.Mul, sp.Pow, *SMOOTH)
    return isinstance(expr, kinds) and all(map(_smooth, expr.args))


def print_jets(system: System, order: int) -> str:
    """Print `jets`: the coefficients of the states up to `order`, lane by lane.

    Calls of functions have a loop of their own, so that no lane's recurrences wait
    for them; `SPARE` values a lane are handed on behind the coefficients.
    """
    chain = Chain(system)
    slopes = [chain.of(sp.sympify(eq.rhs)) for eq in system.equations]
    chain.extend(0)
    states = len(slopes)
    names = dict.fromkeys(chain.terms[index][0] for index in chain.calls)
    kept = {name: _place((order + 1) * states + i) for i, name in enumerate(names)}
    first = chain.lines | {place: name for name, place in kept.items()}
    for k in range(order):
        chain.extend(k)
        for state, slope in zip(chain.states, slopes, strict=True):
            chain.put(state, k + 1, chain.weighted(repr(1 / (k + 1)), slope, k))
    results = {
        _place(k * states + i): chain.terms[state][k] or "0.0"
        for k in range(order + 1)
        for i, state in enumerate(chain.states)
    }
    lines = [f"SPARE = {len(kept)}", "", "", "@called_fused"]
    lines += ["def jets(t, y, params, c):"]
    lines += [
        '    """Fill the coefficients: power by power, state by state, lane by lane."""'
    ]
    lines += _loop(first) if kept else []
    lines += [*_loop(chain.lines | kept | results), "    return 0.0"]
    return "\n".join(lines) + "\n"


def _place(number: int) -> str:
    return f"c[{number}*LANES + lane]"


def _loop(lines: dict[str, str]) -> list[str]:
    body = [f"        {name} = {text}" for name, text in lines.items()]
    return ["    for lane in range(LANES):", *body]


class Chain:
    """Series made one from another, and the lines that compute their coefficients.

    `lines` holds names and texts; `terms[i][k]` names coefficient k of series i, and is
    empty where it is zero; `calls` lists the series that begin with a slow operation.
    So that few operations wait for the coefficient before, constants are multiplied
    with each other: `fixed` holds the series that are constant, `multiples[i]` the
    constant and the series whose product i is, `shifted[i]` the one that differs from
    i by a constant, `unscaled[x]` the number and the name whose product x is.
    """

    def __init__(self, system: System) -> None:
        self.lines: dict[str, str] = {}
        self.calls: list[int] = []
        self.terms: list[list[str]] = []
        self.rules: list[Rule] = []
        self.known: dict[Any, int] = {}
        self.fixed: set[int] = set()
        self.shifted: dict[int, int] = {}
        self.multiples: dict[int, tuple[int, int]] = {}
        self.unscaled: dict[str, tuple[str, str]] = {}
        self.moving = frozenset(system.unknowns) | {system.time}
        for i, symbol in enumerate(system.parameters):
            self.lines[str(symbol)] = f"params[{i}, lane]"
        self.states = [
            self._add(symbol, _ending(f"y[{i}, lane]"))
            for i, symbol in enumerate(system.unknowns)
        ]
        if system.time is not None:
            self._add(system.time, _ending("t[lane]", "1.0"))

    def _add(self, key: Any, rule: Rule) -> int:
        """Return the series called `key`, a new one if need be."""
        if key not in self.known:
            self.known[key] = len(self.rules)
            self.rules.append(rule)
            self.terms.append([])
        return self.known[key]

    def extend(self, k: int) -> None:
        """Write down coefficient k of every series that lacks it."""
        for index, rule in enumerate(self.rules):
            if len(self.terms[index]) == k:
                self.put(index, k, rule(k))

    def put(self, index: int, k: int, text: str) -> None:
        """Write down one coefficient."""
        name = f"series_{index}_{k}" if text else ""
        if text:
            self.lines[name] = text
        self.terms[index].append(name)

    def weighted(self, factor: str, index: int, k: int) -> str:
        """Return a coefficient times `factor`, which meets a constant first."""
        fixed, base = self.multiples.get(index, (-1, index))
        text = self.terms[base][k]
        constant = self.terms[fixed][0] if fixed >= 0 else ""
        return self._met("*".join(filter(None, (constant, factor))), text)

    def _met(self, factor: str, last: str) -> str:
        """Multiply the newest coefficient by the product of constants, made first."""
        if not factor or not last:
            return last
        number, last = self.unscaled.get(last, ("", last))
        return f"({'*'.join(filter(None, (number, factor)))})*{last}"

    # an expression becomes a series

    def of(self, expr: sp.Expr) -> int:
        """Return the series of an expression."""
        if expr in self.known:
            return self.known[expr]
        if not expr.free_symbols & self.moving:
            index = self._add(expr, _ending(scalar_text(expr)))
            self.fixed.add(index)
            return index
        if isinstance(expr, sp.Add):
            return self._sum(expr, [self.of(a) for a in expr.args])
        if isinstance(expr, sp.Mul):
            return self._product(expr)
        if isinstance(expr, sp.Pow):
            return self._power(expr, *expr.args)
        inner = sp.Dummy()
        slope = expr.func(inner).diff(inner).xreplace({inner: expr.args[0]})
        return self._function(expr, lambda _: self.of(slope))

    def _sum(self, expr: sp.Expr, parts: list[int]) -> int:
        def rule(k: int) -> str:
            return " + ".join(filter(None, (self.terms[part][k] for part in parts)))

        moving = [part for part in parts if part not in self.fixed]
        index = self._add(expr, rule)
        if len(moving) == 1:
            self.shifted[index] = moving[0]
        return index

    def _product(self, expr: sp.Expr) -> int:
        """Multiply the constants, then what is above the line, then divide."""
        fixed, moving = expr.as_independent(*self.moving, as_Add=False)
        factors = sp.Mul.make_args(moving)
        above = [self.of(a) for a in factors if not _below(a)]
        result = reduce(self._times, above or [self.of(sp.S.One)])
        for factor in filter(_below, factors):
            result = self._over(result, self.of(1 / factor))
        return result if fixed == 1 else self._times(self.of(fixed), result)

    def _power(self, expr: sp.Expr, base: sp.Expr, exponent: sp.Expr) -> int:
        if exponent.free_symbols & self.moving:
            return self.of(sp.exp(exponent * sp.log(base)))
        if _below(expr):
            return self._over(self.of(sp.S.One), self.of(1 / expr))
        if not exponent.is_Integer:
            # u' = exponent (u/w) w'
            w, factor = self.of(base), self.of(exponent)
            return self._function(expr, lambda u: self._times(factor, self._over(u, w)))
        half, rest = divmod(int(exponent), 2)
        square = self._times(self.of(base**half), self.of(base**half))
        return self._times(square, self.of(base)) if rest else square

    def _times(self, a: int, b: int) -> int:
        """Multiply: constants come first, a term of a square is computed once."""
        if b in self.fixed:
            a, b = b, a

        def rule(k: int) -> str:
            if a != b:
                return _total(*self._convolution(a, b, range(k + 1), k))
            half, last = self._convolution(a, a, range((k + 1) // 2), k, "2.0")
            if half:
                self.lines[f"half_{a}_{k}"] = half
                half = f"half_{a}_{k} + half_{a}_{k}"
            middle = self.terms[a][k // 2] if k % 2 == 0 else ""
            return _total(half, middle and f"{middle}*{middle}", last)

        index = self._add(("*", a, b), rule)
        if b in self.fixed:
            self.fixed.add(index)
        elif a in self.fixed:
            self.multiples[index] = (a, b)
        return index

    def _over(self, a: int, b: int) -> int:
        """Divide: q b = a, solved for the last coefficient of q."""
        inverse = self._add(
            ("1/", b), lambda k: f"1.0/{self.terms[b][0]}" if k == 0 else ""
        )
        q = self._add(("/", a, b), lambda k: "")
        self.calls.append(inverse)

        def rule(k: int) -> str:
            ratio, part = self.terms[inverse][0], self.terms[a][k]
            early, last = self._convolution(b, q, range(1, k + 1), k, ratio)
            first = part + (f" - ({early})" if early else "")
            first = f"{ratio}*({first})" if ratio and first else first
            return first + (f" - {last}" if last else "")

        self.rules[q] = rule
        return q

    def _function(self, expr: sp.Expr, slope: Callable[[int], int]) -> int:
        """Integrate u' = g w' (J1), where `slope` gives g from u."""
        w = self.of(expr.args[0])
        moved = self.shifted.get(w, w)
        rise = self._add(
            ("k *", moved), lambda k: self.weighted(f"{k}.0", moved, k) if k else ""
        )
        u = self._add(expr, lambda k: "")
        self.calls.append(u)
        g = slope(u)

        def rule(k: int) -> str:
            if k == 0:
                first = sp.Symbol(self.terms[w][0])
                return scalar_text(expr.func(first, *expr.args[1:]))
            known = self._convolution(rise, g, range(1, k), k)
            first = self.terms[g][0] and f"{k}.0*{self.terms[g][0]}"
            total = _total(*known, first and self.weighted(first, moved, k))
            if not total:
                return ""
            name, unscaled = f"series_{u}_{k}", f"unscaled_{u}_{k}"
            self.lines[unscaled], self.unscaled[name] = total, (repr(1 / k), unscaled)
            return f"{1 / k!r}*{unscaled}"

        self.rules[u] = rule
        return u

    # texts of coefficients

    def _convolution(
        self, a: int, b: int, which: range, k: int, factor: str = ""
    ) -> tuple[str, str]:
        """Return the sum of a_j b_(k-j) and, apart, its last term times `factor`.

        The last term is the one with the factor that is known last.
        """
        order = sorted(which, key=lambda j: (max(j, k - j), -j))
        pairs = [
            (self.terms[a][j], self.terms[b][k - j])[:: 1 if 2 * j < k else -1]
            for j in order
            if self.terms[a][j] and self.terms[b][k - j]
        ]
        early = " + ".join(f"{x}*{y}" for x, y in pairs[:-1])
        late = [self._met(f"{factor}*{x}" if factor else x, y) for x, y in pairs[-1:]]
        return early, "".join(late)


def _total(*parts: str) -> str:
    return " + ".join(filter(None, parts))


def _ending(*first: str) -> Rule:
    return lambda k: first[k] if k < len(first) else ""


def _below(factor: sp.Expr) -> bool:
    """Return whether a factor stands below the line of a fraction."""
    return factor.is_Pow and bool(factor.exp.is_Rational and factor.exp < 0)
