r"""Training of several features in indexed form: a row for all features, or all pairs.

The rows are written once and read twice: with letters $j$, $k$ and sums over $l$ for
print, and with numbers. They are printed only where each row of the system is what the
rows with numbers say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import sympy as sp

from ..symbols.notation import symbol
from ..symbols.system import System
from .sheet import Sheet

J, K, L = "j", "k", "l"
SYMMETRIC = ("q", "r")
Mean = tuple[tuple[str, ...], tuple[tuple[int, str], ...]]


class FeatureSum(sp.Sum):
    """The sum over the features of a window, whose limits are not printed."""


@dataclass(frozen=True)
class Quantities:
    """Overlaps, averages and sums of `units`, whose indices are letters."""

    units: tuple[str, ...]
    beta: sp.Expr
    named: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)

    def of(self, name: str, *index: str) -> sp.Symbol:
        """Return a quantity of one or two units."""
        return sp.Symbol("_".join((name, *index)), real=True)

    def root(self, *index: str) -> sp.Expr:
        """Return the root of the scales."""
        return sp.Mul(*(sp.sqrt(sp.Symbol(f"rho_{x}", positive=True)) for x in index))

    def mean(self, labels: str, *units: tuple[int, str]) -> sp.Expr:
        """Return the average of labels and of slopes, each of an order and a unit."""
        factors = [f"y_{x}" for x in labels]
        factors += [f"phi{chr(39) * order}(H_{x})" for order, x in units]
        return sp.Symbol(f"E[{'*'.join(factors)}]", real=True)

    def total(self, term: Callable[[str], sp.Expr], index: str = L) -> sp.Expr:
        """Return the sum over all features."""
        return FeatureSum(term(index), (sp.Symbol(index), 1, len(self.units)))

    def name(self, letter: str, index: str, value: sp.Expr) -> sp.Expr:
        """Return the name of a value that several rows have."""
        short = self.of(letter, *index)
        self.named[short] = value
        return short


@dataclass(frozen=True)
class Numbered(Quantities):
    """The same for units that are numbered, as the sheet of a system writes them."""

    means: dict[Mean, sp.Symbol] = field(default_factory=dict)

    def of(self, name: str, *index: str) -> sp.Symbol:
        """Return a quantity: that of two equal units is the unit's."""
        index = tuple(sorted(index)) if name in SYMMETRIC else index
        index = index[:1] if len(set(index)) == 1 else index
        return symbol("_".join((name, *index)))

    def mean(self, labels: str, *units: tuple[int, str]) -> sp.Expr:
        """Return an average of the sheet; nan if it has none."""
        odd = tuple(sorted(x for x in set(labels) if labels.count(x) % 2))
        return self.means.get((odd, tuple(sorted(units))), sp.nan)

    def total(self, term: Callable[[str], sp.Expr], index: str = L) -> sp.Expr:
        """Return the sum written out."""
        return sp.Add(*map(term, self.units))

    def name(self, letter: str, index: str, value: sp.Expr) -> sp.Expr:
        """Return the value."""
        return value


@dataclass(frozen=True)
class PairFlow:
    """The flow of the overlaps of any two units, and the sums that it is made of."""

    has: Quantities

    def pull(self, a: str, order: int, labels: str, b: str) -> sp.Expr:
        """Sum over the features what the means give to a unit less what units do.

        `a` is the unit that is averaged, with the order of its slope and more labels,
        `b` the unit whose overlaps enter.
        """
        has = self.has
        return has.total(
            lambda l: (
                has.root(l)
                * (
                    has.mean(labels + l, (order, a)) * has.of("m", b, l)
                    - has.mean(labels, (order, a), (0, l)) * has.of("q", b, l)
                )
            )
        )

    def slope(self, a: str) -> sp.Expr:
        """Return the rate of `w` along itself."""
        return self.has.name("B", a, self.has.root(a) * self.pull(a, 2, "", a))

    def drive(self, a: str, b: str) -> sp.Expr:
        """Return the rate of `w` along a mean."""
        return self.has.name("T", a + b, self.has.root(a) * self.pull(a, 1, b, a))

    def coupling(self, a: str, b: str) -> sp.Expr:
        """Return the rate of `w` along that of another unit."""
        has = self.has
        slopes = has.mean("", (1, a), (1, b))
        return has.name("C", a + b, has.root(a, b) * slopes * has.of("q", a, b))

    def of_u(self, a: str, b: str) -> sp.Expr:
        """Return the part of a rate of `q` that is due to the first unit."""
        return self.has.name("U", a + b, self.pull(a, 0, "", b) / self.has.root(a))

    def of_w(self, a: str, b: str) -> sp.Expr:
        """Return the part of a rate of `r` that is due to the first unit."""
        has = self.has
        gained = has.total(
            lambda l: (
                has.beta * has.root(l) * self.drive(a, l) * has.of("omega", b, l)
                - self.coupling(a, l) * has.of("r", l, b)
            )
        )
        return has.name("G", a + b, self.slope(a) * has.of("r", a, b) + gained)

    def rate(self, name: str, j: str, k: str) -> sp.Expr:
        """Return the rate of the overlap `name` of two units."""
        has = self.has
        root, mean, of = has.root, has.mean, has.of
        if name == "m":
            shared = has.total(
                lambda l: mean("", (0, j), (0, l)) * of("m", l, k) * root(l)
            )
            return (mean(k, (0, j)) * root(k) - shared) / root(j)
        if name == "q":
            return self.of_u(j, k) + self.of_u(k, j)
        if name == "omega":
            turned = has.total(lambda l: self.coupling(j, l) * of("omega", l, k))
            along = has.beta * root(k) * self.drive(j, k)
            return along + self.slope(j) * of("omega", j, k) - turned
        if name == "r":
            return self.of_w(j, k) + self.of_w(k, j)
        return root(j) * self.pull(j, 1, "", j) if name == "b" else sp.nan

    def named(self) -> dict[sp.Symbol, sp.Expr]:
        """Return the definitions of the names in the rates."""
        self.has.named.clear()
        vectors = self.of_u(J, K), self.of_w(J, K)
        made = self.slope(J), self.coupling(J, K), self.drive(J, K), *vectors
        return {x: self.has.named[x] for x in made}


@dataclass(frozen=True)
class EveryFeature:
    """A training flow in indexed form: the field, what is named, and the rates."""

    field: sp.Expr
    named: dict[sp.Symbol, sp.Expr]
    rates: dict[sp.Symbol, sp.Expr]


def every_feature(sheet: Sheet, system: System) -> EveryFeature | None:
    """Return the flow of several features for print; `None` if it is no such flow.

    Each row of the system is compared with what the indexed rates say of it, in exact
    arithmetic.
    """
    numbers = units_of(sheet)
    if numbers is None or system.kind != "flow":
        return None
    flow = PairFlow(numbers)
    for i, eq in enumerate(system.equations):
        name, *index = str(eq.lhs).split("_")
        if not index or not all(map(str.isdigit, index)):
            return None
        said = flow.rate(name, index[0], index[-1])
        if not same_value(said, sheet.plain(sheet.rows["equation", i])):
            return None
    letters = Quantities(numbers.units, numbers.beta)
    biased = symbol(f"b_{numbers.units[0]}") in system.unknowns
    names = {"m": K, "q": K, "omega": K, "r": K} | ({"b": ""} if biased else {})
    flow = PairFlow(letters)
    rates = {letters.of(x, J, *k): flow.rate(x, J, K) for x, k in names.items()}
    mean = letters.total(
        lambda l: letters.of("omega", J, l) * letters.root(l) * letters.of("y", l)
    )
    noise = sp.sqrt(letters.of("r", J)) * sp.Symbol("g", real=True)
    whole = int(biased) * letters.of("b", J) + letters.beta * mean + noise
    return EveryFeature(whole, flow.named(), rates)


def units_of(sheet: Sheet) -> Numbered | None:
    """Return the quantities of the units of a sheet, if it has several."""
    fields = {y: sp.Symbol(f"H{str(y)[1:]}", real=True) for y in sheet.signs}
    mine = [y for y, field in fields.items() if field in sheet.fields]
    if len(mine) < 2:
        return None
    units = tuple(str(y)[2:] for y in mine)
    seen = sp.expand(sheet.fields[fields[mine[0]]]).coeff(mine[0])
    beta = seen / symbol(f"omega_{units[0]}") / sp.sqrt(symbol(f"rho_{units[0]}"))
    return Numbered(units, beta, means=_means(sheet))


def same_value(one: sp.Expr, other: sp.Expr) -> bool:
    """Whether rows agree where their symbols are primes, and scales are squares."""
    every = sorted(one.free_symbols | other.free_symbols, key=str)
    primes = {x: sp.Integer(sp.prime(i)) for i, x in enumerate(every, 11)}
    values = {x: v**2 if str(x)[:3] == "rho" else v for x, v in primes.items()}
    return bool(one.xreplace(values) == other.xreplace(values))


FACTOR = re.compile(r"(?:y_(\d+)|phi('*)\(H_(\d+)\))(?:\*\*(\d))?")


def _means(sheet: Sheet) -> dict[Mean, sp.Symbol]:
    """Return the averages of a sheet by what they are of."""
    found = {}
    for x in sheet.averages:
        labels: list[str] = []
        units: list[tuple[int, str]] = []
        for label, dashes, unit, power in FACTOR.findall(str(x)):
            labels += [label] if label else []
            units += [] if label else [(len(dashes), unit)] * int(power or 1)
        found[tuple(sorted(labels)), tuple(sorted(units))] = x
    return found
