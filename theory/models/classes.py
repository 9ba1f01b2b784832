r"""Samples grouped by the signs of their features, and the names that go with them.

Samples with one sign pattern $c$ are alike: $x_i = \sum_k s_{ck}\mu_k + \sigma z_i$,
$n_c$ of them. Everything a network learns from them in the limit depends on the class
means $\bar x_c$ and on overlaps that the samples of a class share. The two modes of the
paper are the case of one feature, with names of their own: the counts are `n_plus` and
`n - n_plus`, the overlaps of the noises `zeta_plus` and `zeta_minus`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import sympy as sp

from ...errors import ModelError, did_you_mean
from ..symbols.notation import symbol
from .model import Model, suffix

Pattern = tuple[int, ...]
"""The signs of the features in a class, or of one sample: its label, not averaged."""

MOST_UNITS = 3  # features for which the equations of n samples are derived


def has_patterns(model: Model) -> bool:
    """Whether the model's samples are counted by sign pattern: a product mixture."""
    return model.data.samples and suffix(model, 1) != ""


def spelled(pattern: Pattern) -> str:
    """``"+-"``: how a spec writes a pattern."""
    return "".join("+" if s > 0 else "-" for s in pattern)


def mark(pattern: Pattern) -> str:
    """``"pm"``: how a name carries a pattern."""
    return "".join("p" if s > 0 else "m" for s in pattern)


def labels(features: int) -> tuple[sp.Symbol, ...]:
    """The label of a sample: a sign ``y``, or ``y_1``, ``y_2``, ... of each feature."""
    numbers = range(1, features + 1)
    names = ["y"] if features == 1 else [f"y_{k}" for k in numbers]
    return tuple(sp.Symbol(x, real=True) for x in names)


def every_pattern(features: int) -> tuple[Pattern, ...]:
    """All sign patterns, from ``++`` to ``--``."""
    return tuple(product((1, -1), repeat=features))


@dataclass(frozen=True)
class Classes:
    r"""The classes of samples of a model that are not empty, and every name they need.

    `counted` classes have a number of samples each (`n_pm`) and numbered units; the
    others are the two modes, whose names carry no number.
    """

    model: Model
    patterns: tuple[Pattern, ...]

    @property
    def counted(self) -> bool:
        """Whether each class has its own count: samples of a product mixture."""
        return has_patterns(self.model)

    @property
    def units(self) -> range:
        """Numbers of the hidden units, one for each feature."""
        return range(1, len(self.model.target.features) + 1)

    @property
    def sigma(self) -> sp.Expr:
        """The spread of a mode."""
        return self.model.target.sigma

    def rho(self, j: int) -> sp.Expr:
        r"""$\rho_j = |\mu_j|^2/d$."""
        return self.model.target.features[j - 1].rho

    def root(self, j: int) -> sp.Expr:
        r"""$|\mu_j|/\sqrt d$."""
        return sp.sqrt(self.rho(j))

    @property
    def norm2(self) -> sp.Expr:
        r"""$\sum_k\rho_k + \sigma^2 = |x_i|^2/d$."""
        return sp.Add(*(self.rho(j) for j in self.units)) + self.sigma**2

    def count(self, c: Pattern) -> sp.Expr:
        """The number of samples of class `c`: ``n_pm``, or ``n_plus`` and the rest."""
        if self.counted:
            return symbol(f"n_{mark(c)}")
        return symbol("n_plus") if c[0] > 0 else symbol("n") - symbol("n_plus")

    @property
    def counts(self) -> tuple[sp.Symbol, ...]:
        """The symbols that the numbers of samples are written in."""
        if not self.counted:
            return (symbol("n"), symbol("n_plus"))
        return tuple(symbol(f"n_{mark(c)}") for c in self.patterns)

    @property
    def size(self) -> sp.Expr:
        """The number of samples."""
        return sp.Add(*self.counts) if self.counted else symbol("n")

    def agreement(self, j: int, k: int) -> sp.Expr:
        r"""$T_{jk} = \sum_i s_{ij}s_{ik}$."""
        return sp.Add(*(self.count(c) * c[j - 1] * c[k - 1] for c in self.patterns))

    @property
    def tied(self) -> bool:
        """Whether `u` follows from `w`."""
        return self.model.autoencoder.tied

    @property
    def closed(self) -> bool:
        """Whether stationarity of `w` and `b` fixes a relation of the overlaps (R1).

        It takes a bias, and a loss that sees `w` through the fields alone.
        """
        return self.model.autoencoder.bias and not self.tied

    def bias(self, j: int) -> sp.Expr:
        """The bias of unit `j`; 0 for units without one."""
        return self.of("b", j) if self.model.autoencoder.bias else sp.S.Zero

    def of(self, name: str, j: int) -> sp.Symbol:
        """``b_1``: a quantity of unit or feature 1; ``b`` for two modes."""
        return overlap(self.model, name, j, j)

    def pair(self, name: str, j: int, k: int) -> sp.Symbol:
        """``m_1_2``: overlap of unit 1 with mean 2; ``m`` for two modes."""
        return overlap(self.model, name, j, k)

    def own(self, name: str, j: int, c: Pattern) -> sp.Symbol:
        """``zeta_1_pm``: overlap of unit 1 with the noise of a sample of a class.

        It is ``zeta_plus`` or ``zeta_minus`` for two modes.
        """
        if self.counted:
            return symbol(f"{name}_{j}_{mark(c)}")
        return symbol(f"{name}_plus" if c[0] > 0 else f"{name}_minus")

    @property
    def projections(self) -> dict[Pattern, sp.Symbol]:
        """``g_pm``, or ``g_plus``: what a sample has along the noises of a class."""
        if self.counted:
            return {c: symbol(f"g_{mark(c)}") for c in self.patterns}
        return {c: self.own("g", 1, c) for c in self.patterns}

    def each(self, *names: str) -> Iterator[sp.Symbol]:
        """Yield the symbols of overlaps with the means (`m, omega`) or the noises.

        Biases are `b`; units without them have none.
        """
        for name in names:
            for j in self.units:
                if name in ("m", "omega"):
                    yield from (self.pair(name, j, k) for k in self.units)
                elif name == "b":
                    yield from self.bias(j).free_symbols
                else:
                    yield from (self.own(name, j, c) for c in self.patterns)

    def directions(self) -> sp.Matrix:
        r"""Columns that span what each `w` is made of; rows are classes.

        Dual to the products of signs $\chi_T(c) = \prod_{k\in T} s_{ck}$, $T$ from
        `direction_subsets`: with no class empty, column $T$ is $\chi_T/2^K$. By (R1)
        the columns are contrasts, sums to zero over classes; without it all of them.
        """
        rows = [self.characters(t) for t in self._independent]
        return sp.Matrix(rows).inv()[:, 1 if self.closed else 0 :]

    def direction_subsets(self) -> tuple[tuple[int, ...], ...]:
        """The subsets of features, one for each column of `directions`."""
        return self._independent[1 if self.closed else 0 :]

    @property
    def _independent(self) -> tuple[tuple[int, ...], ...]:
        """The subsets of features whose products of signs are independent on data."""
        found: list[tuple[int, ...]] = [()]
        rows = sp.ones(1, len(self.patterns))
        for subset in subsets(len(self.units)):
            wider = rows.col_join(sp.Matrix([self.characters(subset)]))
            if wider.rank() == wider.rows:
                rows, found = wider, [*found, subset]
        return tuple(found)

    def characters(self, subset: tuple[int, ...]) -> list[int]:
        r"""$\chi_T(c)$ for every class."""
        return [sp.prod([c[k - 1] for k in subset]) for c in self.patterns]


def subsets(features: int) -> list[tuple[int, ...]]:
    """The subsets of the features that are not empty, small ones first."""
    return [
        t
        for size in range(1, features + 1)
        for t in combinations(range(1, features + 1), size)
    ]


def pair(name: str, j: int, k: int) -> sp.Symbol:
    """``m_1`` for unit 1 with mean 1, ``m_1_2`` for unit 1 with mean 2."""
    return symbol(f"{name}_{j}" if j == k else f"{name}_{j}_{k}")


def overlap(model: Model, name: str, j: int, k: int) -> sp.Symbol:
    """The symbol of `pair` in a model; two modes have one unit and no numbers."""
    return pair(name, j, k) if suffix(model, 1) else symbol(name)


def classes_of(model: Model) -> Classes:
    """Return the classes of a model with samples, or say why there are none."""
    count = len(model.target.features)
    found = every_pattern(count)
    names = [spelled(c) for c in found]
    for name in model.data.empty:
        if name not in names:
            raise ModelError(
                f"`empty` must name sign patterns of {count} features "
                f"({', '.join(names)}), but has {name!r}{did_you_mean(name, names)}"
            )
    found = tuple(c for c in found if spelled(c) not in model.data.empty)
    for j in range(1, count + 1):
        if len({c[j - 1] for c in found}) < 2:
            raise ModelError(
                f"Samples must show both signs of every feature, but those of feature "
                f"{j} have one sign. Leave fewer classes empty."
            )
    return Classes(model, found)
