r"""Correlated hidden units on classes of samples: objective, slopes and curvature.

Units $\varphi(h_j)$ with $w_j = \sum_c A_{jc}\bar x_c$ see Gaussian fields of mean
$\beta\,(AX)_{jc} + b_j$ and covariance $\alpha^2 AXA^T$, with $X$ the Gram matrix of
the class means. With $u_j = \sum_c B_{jc}\bar x_c$ the loss per sample and dimension is

$$ J = \sum_k\rho_k + \sigma^2 - \tfrac2n\,\mathrm{tr}\,BXV^T + \tfrac1n\,\mathrm{tr}\,
   SBXB^T + \tfrac{\ell}{n}\,\mathrm{tr}\,AXA^T, \qquad
   S_{jk} = \lambda\delta_{jk} + \sum_c n_c\mathbb E_c[\varphi_j\varphi_k],\quad
   V_{jc} = n_c\mathbb E_c\varphi_j , $$

at its minimum $B = S^{-1}V$ where the readouts are free, and at $B = (\alpha^2/\beta)A$
where they are tied.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import combinations, product
from math import comb
from typing import Any, NamedTuple

import numpy as np

from ..codegen.quadrature import START, trapezoid


@dataclass(frozen=True)
class UnitKind:
    """The kind of the hidden units: their activation and their free parameters.

    Attributes
    ----------
    activation
        ``tanh`` or ``erf``.
    bias
        Whether units have biases; without one a unit with w = 0 is silent, with one
        it saturates and is the constant 1.
    tied
        Whether `u` follows from `w`.
    """

    activation: str = "tanh"
    bias: bool = True
    tied: bool = False

    @property
    def contrasts(self) -> bool:
        """Whether each `w` is a contrast of class means, a sum to zero."""
        return self.bias and not self.tied

    @property
    def constant(self) -> float:
        """The value of a unit that does not respond to its input."""
        return float(self.bias)

    def turning(self, active: tuple[bool, ...]) -> np.ndarray:
        """Return which units have a `w` that is free: a saturated, tied one has."""
        return np.array(active) | (self.tied and self.bias)

    def slopes(self, h: np.ndarray, order: int) -> list[np.ndarray]:
        """Return the activation and its first two, or four, derivatives."""
        if self.activation == "tanh":
            p = np.tanh(h)
            first = 1 - p * p
            second = -2 * p * first
            third = -2 * (first * first + p * second)
            if order == 2:
                return [p, first, second]
            return [p, first, second, third, -2 * (3 * first * second + p * third)]
        from scipy.special import erf

        found = [erf(h / np.sqrt(2)), np.sqrt(2 / np.pi) * np.exp(-h * h / 2)]
        found.append(-h * found[1])
        for k in range(order - 2):
            found.append(-h * found[-1] - (k + 1) * found[-2])
        return found


@dataclass(frozen=True)
class Objective:
    """The objective of one data set.

    `signs` has shape (classes, features), `counts` (classes,), `rho` (features,);
    `intervals` is the size of the quadrature rule in each of its two dimensions.
    """

    signs: np.ndarray
    counts: np.ndarray
    rho: np.ndarray
    sigma: float
    ridge_u: float
    ridge_w: float
    network: UnitKind = UnitKind()
    intervals: int = START

    @property
    def units(self) -> int:
        """How many units there are, one for each feature."""
        return len(self.rho)

    @cached_property
    def gram(self) -> np.ndarray:
        """Inner products of the class means, per dimension."""
        noise = np.diag(self.sigma**2 / self.counts)
        return (self.signs * self.rho) @ self.signs.T + noise

    def evaluate(
        self,
        alpha: float,
        beta: float,
        a: np.ndarray,
        b: np.ndarray,
        active: tuple[bool, ...],
        along: Directions | None = None,
    ) -> Evaluation:
        """Return the objective and its slopes in `a` (..., units, classes) and `b`.

        Points on leading axes are evaluated together; `along` asks for the second
        slopes in these directions, at one point. A unit that is not active is a
        constant, whatever its `b`; its `a` counts where its readout is tied to it.
        """
        live, free = np.asarray(active), self.network.turning(active)
        a, n = a * free[:, None], self.counts.sum()
        seen_w = a @ self.gram
        size_w = seen_w @ a.mT
        mean = beta * seen_w + b[..., None]
        order = 4 if along else 2
        fields = _Fields(self, mean, alpha**2 * size_w, live, order)
        hits = fields.means[..., 0]
        tie = alpha**2 / beta if self.network.tied else 0.0
        readout = tie * a if tie else np.linalg.solve(fields.products, hits)
        seen = readout @ self.gram
        size_u = seen @ readout.mT
        error = (size_u * fields.products).sum((-2, -1))
        error -= 2 * (seen * hits).sum((-2, -1))
        error += self.ridge_w * np.trace(size_w, axis1=-2, axis2=-1)
        value = self.rho.sum() + self.sigma**2 + error / n
        own, bend = fields.pull(seen, size_u)
        push, bend = own[..., 1], alpha**2 * bend + self.ridge_w * np.eye(self.units)
        bend = (bend + tie**2 * fields.products) / n
        slope_a = (beta * push - 2 * tie * hits) @ self.gram / n + 2 * bend @ seen_w
        slope_b = push.sum(-1) / n * live
        found = Evaluation(value, slope_a * free[:, None], slope_b, readout, bend)
        if along is None:
            return found
        moved = _Moves.along(along, alpha, beta, self.gram, seen_w)
        return replace(
            found, hessian=self._hessian(fields, moved, found, seen, own, tie)
        )

    def _hessian(
        self,
        fields: _Fields,
        moved: _Moves,
        at: Evaluation,
        seen: np.ndarray,
        own: np.ndarray,
        tie: float,
    ) -> np.ndarray:
        r"""Return second slopes; with free readouts, along $B = S^{-1}V$.

        $D = dS\,B - dV$ is how much the best readouts are missed by.
        """
        n, size = self.counts.sum(), len(moved.a)
        bent = fields.bend(own, seen @ at.readout.T)
        both = moved.fields @ bent @ moved.fields.mT
        seen_a = moved.a @ self.gram
        bent_a = (at.bend @ moved.a).reshape(size, seen.size)
        turned = bent_a @ seen_a.reshape(size, seen.size).T
        products, hits = fields.changes(moved)
        missed = products @ at.readout - hits
        seen_by = (missed @ self.gram).reshape(size, seen.size)
        if tie:
            tied = 2 * tie * seen_by @ moved.a.reshape(size, seen.size).T
            rest = tied + tied.T
        else:
            best = np.linalg.solve(fields.products, missed)
            rest = -2 * seen_by @ best.reshape(size, seen.size).T
        found = (both.sum(0) + rest) / n + 2 * turned
        return (found + found.T) / 2

    def finer(self) -> Objective:
        """Return the same objective with a quadrature rule twice as fine."""
        return replace(self, intervals=2 * self.intervals)

    def split(self, c: int) -> Objective:
        """Return the same data with one sample of class `c` as a class of its own."""
        counts = np.append(self.counts, 1.0)
        counts[c] -= 1
        return replace(
            self, signs=np.vstack([self.signs, self.signs[c]]), counts=counts
        )


@dataclass(frozen=True)
class Evaluation:
    r"""The objective at a point, or at several on leading axes.

    `slope_a` and `slope_b` are its derivatives, `readout` (..., units, classes) makes
    $u_j = \sum_c$ readout $\bar x_c$, and `bend` is the matrix of slopes in the
    overlaps $r_{jk}$ (with those of a tied `u`): positive definite where no direction
    orthogonal to the samples lowers the objective. `hessian` holds the second slopes in
    the directions that were asked for.
    """

    value: np.ndarray
    slope_a: np.ndarray
    slope_b: np.ndarray
    readout: np.ndarray
    bend: np.ndarray
    hessian: Any = None


class Directions(NamedTuple):
    """Directions of change: of `a`, (directions, units, classes), and of `b`."""

    a: np.ndarray
    b: np.ndarray


class _Moves(NamedTuple):
    r"""How directions move the fields: their `mean`, and their `cov` by half.

    `fields` are the factors of $\partial_j$ and of $\partial_j\partial_k$ in the change
    of an average (G2), of shape (classes, directions, units + units^2).
    """

    a: np.ndarray
    mean: np.ndarray
    half: np.ndarray
    fields: np.ndarray

    @classmethod
    def along(
        cls,
        given: Directions,
        alpha: float,
        beta: float,
        gram: np.ndarray,
        seen: np.ndarray,
    ) -> _Moves:
        """Return what directions do at a point whose `w` have the overlaps `seen`."""
        count, units, classes = given.a.shape
        mean = beta * given.a @ gram + given.b[..., None]
        one = given.a @ seen.T
        half = alpha**2 / 2 * (one + one.mT)
        fields = np.empty((classes, count, units + units**2))
        fields[..., :units] = mean.transpose(2, 0, 1)
        fields[..., units:] = half.reshape(count, units**2)
        return cls(given.a, mean, half, fields)


@lru_cache(maxsize=8)
def _places(units: int, orders: int) -> np.ndarray:
    """Where `_Fields.bend` finds the averages of products of two of its operators.

    The operators are those of `_Moves.fields`; of three units there is none (-1).
    """
    single = [(j,) for j in range(units)]
    operators = single + list(product(range(units), repeat=2))
    found = np.full((len(operators), len(operators)), -1)
    for x, y in product(range(len(operators)), repeat=2):
        seen = sorted(Counter(operators[x] + operators[y]).items())
        (j, first), (k, second) = seen[0], seen[-1]
        if len(seen) == 1:
            found[x, y] = j * orders + first
        elif len(seen) == 2:
            place = (j * units + k) * orders + first
            found[x, y] = (units + place) * orders + second
    return found


@lru_cache(maxsize=2)
def _leibniz(orders: int) -> np.ndarray:
    """Factors of products of two slopes in those of a square, (orders^2, orders)."""
    found = np.zeros((orders, orders, orders))
    for r in range(orders):
        for i in range(r + 1):
            found[i, r - i, r] = comb(r, i)
    return found.reshape(-1, orders)


class _Fields:
    """Sums over samples of averages of the units, and of their slopes (G2), by class.

    `means` (..., units, classes, orders) are of slopes of the units, `squares` of those
    of their squares, `pairs` (..., units, units, classes, orders, orders) of products
    of slopes of two; of a unit with itself they are left 0.
    """

    def __init__(
        self,
        data: Objective,
        mean: np.ndarray,
        cov: np.ndarray,
        live: np.ndarray,
        order: int,
    ) -> None:
        self.data, self.order = data, order
        nodes, weights = trapezoid(data.intervals)
        var = np.diagonal(cov, axis1=-2, axis2=-1)
        std = np.sqrt(np.maximum(var, 0.0))[..., None, None]
        fields = mean[..., None] + std * nodes
        units = np.stack(data.network.slopes(fields, order), axis=-2)
        if not live.all():
            units[..., ~live, :, 0, :] = data.network.constant
            units[..., ~live, :, 1:, :] = 0.0
        weighed, count, orders = units * weights, data.units, order + 1
        counted = data.counts[:, None]
        self.means = counted * (units @ weights)
        own = (weighed @ units.mT).reshape(*self.means.shape[:-1], -1)
        self.squares = counted * (own @ _leibniz(orders))
        shape = (*mean.shape[:-2], count, count, len(data.counts), orders, orders)
        self.pairs = np.zeros(shape)
        for j, k in combinations(range(count), 2):
            if live[j] and live[k]:
                second = self._given(mean[..., k, :], cov, j, k)
            else:
                second = units[..., k, :, :, :]  # one of the two does not vary
            found = counted[..., None] * (weighed[..., j, :, :, :] @ second.mT)
            self.pairs[..., j, k, :, :, :] = found
            self.pairs[..., k, j, :, :, :] = found.mT
        alone = self.squares[..., 0].sum(-1) + data.ridge_u
        self.products = self.pairs[..., 0, 0].sum(-1) + _diagonal(alone)

    def _given(self, mean: np.ndarray, cov: np.ndarray, j: int, k: int) -> np.ndarray:
        """Averages of the slopes of unit `k`, given each node of the field of `j`."""
        g, weights = trapezoid(self.data.intervals)
        lean = cov[..., j, k] / np.sqrt(np.maximum(cov[..., j, j], 1e-300))
        rest = np.sqrt(np.maximum(cov[..., k, k] - lean**2, 0.0))
        lean, rest = lean[..., None, None], rest[..., None, None, None]
        fields = (mean[..., None] + lean * g)[..., None] + rest * g
        slopes = self.data.network.slopes(fields, self.order)
        return np.stack([x @ weights for x in slopes], axis=-2)

    def pull(self, seen: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Slopes of n J in the field of each unit, (..., units, classes, orders).

        And those in the covariances of the fields. `seen` is $u_j\cdot\bar x_c/d$,
        `size` is $u_j\cdot u_k/d$; both are held.
        """
        wide = np.diagonal(size, axis1=-2, axis2=-1)[..., None, None]
        own = wide * self.squares - 2 * seen[..., None] * self.means
        own += 2 * np.einsum("...jk,...jkcr->...jcr", size, self.pairs[..., 0])
        cross = size * self.pairs[..., 1, 1].sum(-1)
        return own, cross + _diagonal(own[..., 2].sum(-1) / 2)

    def bend(self, own: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Averages of products of two operators on n J, (classes, operators, same)."""
        units, classes, orders = own.shape
        pairs = 2 * size[..., None, None, None] * self.pairs
        rows = [own.transpose(1, 0, 2), pairs.transpose(2, 0, 1, 3, 4)]
        table = [x.reshape(classes, -1) for x in rows] + [np.zeros((classes, 1))]
        return np.concatenate(table, axis=1)[:, _places(units, orders)]

    def changes(self, moved: _Moves) -> tuple[np.ndarray, np.ndarray]:
        """Changes of `products` and of the units' averages along directions."""
        mean, half = moved.mean, moved.half
        own = np.diagonal(half, axis1=-2, axis2=-1)[..., None]
        hits = self.means[..., 1] * mean + self.means[..., 2] * own
        alone = (self.squares[..., 1] * mean + self.squares[..., 2] * own).sum(-1)
        one = np.einsum("jkc,pjc->pjk", self.pairs[..., 1, 0], mean)
        one += own * self.pairs[..., 2, 0].sum(-1)
        both = one + one.mT + 2 * half * self.pairs[..., 1, 1].sum(-1)
        return both + _diagonal(alone), hits


def _diagonal(values: np.ndarray) -> np.ndarray:
    """Return matrices with these diagonals."""
    size = values.shape[-1]
    found = np.zeros((*values.shape[:-1], size**2))
    found[..., :: size + 1] = values
    return found.reshape(*values.shape, size)
