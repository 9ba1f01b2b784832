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

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

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

    def __call__(self, h: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the activation and its first two derivatives."""
        if self.activation == "tanh":
            p = np.tanh(h)
            slope = 1 - p * p
            return p, slope, -2 * p * slope
        from scipy.special import erf

        slope = np.sqrt(2 / np.pi) * np.exp(-h * h / 2)
        return erf(h / np.sqrt(2)), slope, -h * slope


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
    ) -> Evaluation:
        """Return the objective and its slopes in `a` (..., units, classes) and `b`.

        Points on leading axes are evaluated together. A unit that is not active is a
        constant, whatever its `b`; its `a` counts where its readout is tied to it.
        """
        live, free = np.asarray(active), self.network.turning(active)
        a, n = a * free[:, None], self.counts.sum()
        seen_w = a @ self.gram
        size_w = seen_w @ a.mT
        mean = beta * seen_w + b[..., None]
        fields = _Fields(self, mean, alpha**2 * size_w, live)
        hits = fields.means * self.counts
        tie = alpha**2 / beta if self.network.tied else 0.0
        readout = tie * a if tie else np.linalg.solve(fields.products, hits)
        seen = readout @ self.gram
        size_u = seen @ readout.mT
        error = (size_u * fields.products).sum((-2, -1))
        error -= 2 * (seen * hits).sum((-2, -1))
        error += self.ridge_w * np.trace(size_w, axis1=-2, axis2=-1)
        value = self.rho.sum() + self.sigma**2 + error / n
        push, bend = fields.pull(seen, size_u)
        bend = alpha**2 * bend + self.ridge_w * np.eye(self.units)
        bend = (bend + tie**2 * fields.products) / n
        slope_a = (beta * push - 2 * tie * hits) @ self.gram / n + 2 * bend @ seen_w
        slope_b = push.sum(-1) / n * live
        return Evaluation(value, slope_a * free[:, None], slope_b, readout, bend)

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
    orthogonal to the samples lowers the objective.
    """

    value: np.ndarray
    slope_a: np.ndarray
    slope_b: np.ndarray
    readout: np.ndarray
    bend: np.ndarray


class _Fields:
    """Averages of the units over their fields, and the slopes of averages (G2)."""

    def __init__(
        self, data: Objective, mean: np.ndarray, cov: np.ndarray, live: np.ndarray
    ) -> None:
        self.data, self.mean, self.cov, self.live = data, mean, cov, live
        self.nodes, self.weights = trapezoid(data.intervals)
        *_, units, _ = mean.shape
        self.means, self.first, self.second = np.zeros((3, *mean.shape))
        self.squares = np.zeros((3, *mean.shape))
        for j in range(units):
            self._alone(j)
        sums = (self.squares[0] * data.counts).sum(-1) + data.ridge_u
        self.products = sums[..., None] * np.eye(units)
        self.pairs = {}
        for j, k in combinations(range(units), 2):
            together, *self.pairs[j, k] = self._together(j, k)
            both = (data.counts * together).sum(-1)
            self.products[..., j, k] = self.products[..., k, j] = both

    def _unit(self, j: int, h: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.live[j]:
            return self.data.network(h)
        still = np.full_like(h, self.data.network.constant)
        return still, np.zeros_like(h), np.zeros_like(h)

    def _alone(self, j: int) -> None:
        std = np.sqrt(np.maximum(self.cov[..., j, j], 0.0))[..., None, None]
        h = self.mean[..., j, :, None] + std * self.nodes
        p, d, dd = self._unit(j, h)
        alone = self.means, self.first, self.second, *self.squares
        parts = p, d, dd, p * p, 2 * p * d, 2 * (d * d + p * dd)
        for average, part in zip(alone, parts, strict=True):
            average[..., j, :] = part @ self.weights

    def _together(self, j: int, k: int) -> list[np.ndarray]:
        """Averages of the product, of its slopes and of its second slopes."""
        g, cov = self.nodes, self.cov[..., None, None]
        std = np.sqrt(np.maximum(cov[..., j, j, :, :], 1e-300))
        lean = cov[..., j, k, :, :] / std
        rest = np.sqrt(np.maximum(cov[..., k, k, :, :] - lean**2, 0.0))
        p, d, dd = self._unit(j, self.mean[..., j, :, None] + std * g)
        fields = lean[..., None] * g[:, None] + rest[..., None] * g
        inner = self.mean[..., k, :, None, None] + fields
        q, e, ee = (x @ self.weights for x in self._unit(k, inner))
        both = ((p, q), (d, q), (p, e), (dd, q), (p, ee), (d, e))
        return [(x * y) @ self.weights for x, y in both]

    def pull(self, seen: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Slopes of n J in the means of the fields, and in their covariances.

        `seen` is $u_j\cdot\bar x_c/d$, `size` is $u_j\cdot u_k/d$; both are held.
        """
        n = self.data.counts
        own = np.diagonal(size, axis1=-2, axis2=-1)[..., None]
        push = n * (own * self.squares[1] - 2 * seen * self.first)
        alone = (n * (own * self.squares[2] / 2 - seen * self.second)).sum(-1)
        bend = alone[..., None] * np.eye(alone.shape[-1])
        for (j, k), (dj, dk, ddj, ddk, cross) in self.pairs.items():
            held = size[..., j, k]
            push[..., j, :] += 2 * held[..., None] * n * dj
            push[..., k, :] += 2 * held[..., None] * n * dk
            bend[..., j, j] += held * (n * ddj).sum(-1)
            bend[..., k, k] += held * (n * ddk).sum(-1)
            bend[..., j, k] = bend[..., k, j] = held * (n * cross).sum(-1)
        return push, bend
