r"""Gaussian averages of powers of tanh units in closed form, at any steepness.

A logistic variable is twice Kolmogorov's variable $K$ times an independent normal, so
that tanh is a mean of error functions over scales,

$$ \tanh h = \mathbb E_K\,\mathrm{erf}\Big(\frac{h}{K\sqrt2}\Big) : $$

averages over Gaussian fields are then closed, one scale for each unit, and what is left
is a Gauss rule in $\log K$. Powers of tanh are sums of its slopes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np

from .nodes import gauss_legendre

ONE, PAIR = 24, 8
"""Points of the rule in log K: tanh itself to 1e-13, for pairs of units to 1e-8."""

GAUSS = ((0.3, 4), (0.75, 8), (0.925, 14))
"""Correlations, and the points that integrate up to them to 1e-9."""

REACH = (0.15, 4.5)  # values of K beyond which its law has less than 1e-16

FINE, TERMS = 4001, 60
"""Points of the law from which the Gauss rule is made, and terms of its series."""


def kolmogorov_density(k: np.ndarray) -> np.ndarray:
    r"""Density of $K$: $8k\sum_j(-1)^{j+1}j^2e^{-2j^2k^2}$, or its dual at small k."""
    j = np.arange(1, TERMS)[:, None]
    signs = 1.0 - 2.0 * (j % 2 == 0)
    large = 8 * k * np.sum(signs * j**2 * np.exp(-2 * j**2 * k**2), axis=0)
    odd = ((2 * j - 1) * np.pi) ** 2
    parts = (odd / (4 * k**4) - 1 / k**2) * np.exp(-odd / (8 * k**2))
    return np.where(k > 1, large, np.sqrt(2 * np.pi) * np.sum(parts, axis=0))


@lru_cache(maxsize=4)
def kolmogorov_rule(count: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Return scales $K$ and weights: the Gauss rule of the law of $\log K$."""
    x = np.linspace(np.log(REACH[0]), np.log(REACH[1]), FINE)
    weight = kolmogorov_density(np.exp(x)) * np.exp(x)
    weight /= weight.sum()
    basis, diagonal, beside = [np.ones(FINE)], [], []
    for _ in range(count):
        last = basis[-1]
        diagonal.append(np.sum(weight * x * last**2))
        rest = x * last
        for old in (*basis, *basis):  # twice: orthogonal to rounding
            rest = rest - np.sum(weight * old * rest) * old
        beside.append(np.sqrt(np.sum(weight * rest**2)))
        basis.append(rest / beside[-1])
    jacobi = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    nodes, vectors = np.linalg.eigh(jacobi)
    return np.exp(nodes), vectors[0] ** 2


@lru_cache(maxsize=32)
def slopes_of_power(n: int) -> tuple[float, ...]:
    r"""Return `c` with $\tanh^n = c_0 + \sum_{k\ge1}c_k\tanh^{(k-1)}$."""
    slope = np.polynomial.Polynomial([0.0, 1.0])
    basis = [np.polynomial.Polynomial([1.0])]
    for _ in range(n):
        basis.append(slope)
        slope = slope.deriv() * np.polynomial.Polynomial([1.0, 0.0, -1.0])
    rows = np.zeros((n + 1, n + 1))
    for k, polynomial in enumerate(basis):
        rows[k, : polynomial.coef.size] = polynomial.coef
    wanted = np.eye(n + 1)[n]
    return tuple(np.linalg.solve(rows.T, wanted))


def one_field(
    powers: Sequence[int], mean: np.ndarray, var: np.ndarray
) -> list[np.ndarray]:
    r"""Return $\mathbb E\tanh^nh$, $h\sim N(\text{mean},\text{var})$, for each n."""
    k, weight = kolmogorov_rule(ONE)
    width = np.sqrt(k**2 + var[..., None])
    slopes, scale = [np.ones(mean.shape)], weight
    for slope in islice(_error_slopes(mean[..., None] / width), max(powers)):
        slopes.append((slope * scale).sum(-1))
        scale = scale / width
    wide = np.array(slopes)
    return [np.tensordot(slopes_of_power(n), wide[: n + 1], 1) for n in powers]


def _error_slopes(x: np.ndarray) -> Iterator[np.ndarray]:
    r"""Yield $\mathrm{erf}(x/\sqrt2)$ and its slopes, by Hermite's recursion."""
    from scipy.special import erf

    yield erf(x / np.sqrt(2))
    before, slope, order = np.zeros_like(x), np.sqrt(2 / np.pi) * np.exp(-x * x / 2), 1
    while True:
        yield slope
        before, slope = slope, -x * slope - (order - 1) * before
        order += 1


class TwoFields:
    r"""Averages over two correlated fields, arrays of one shape. (R40)

    With $A^2 = a^2 + c_{11}$, $B^2 = b^2 + c_{22}$ for the scales `a`, `b` of the two
    units, $\mathbb E\,\mathrm{erf}\,\mathrm{erf} = F(x_1, x_2; \rho)$, the mean of the
    product of the signs of two normals of means $x_1 = m_1/A$, $x_2 = m_2/B$ and
    correlation $\rho = c_{12}/(AB)$, a bivariate normal probability.
    """

    def __init__(self, means, cov):
        k, self.weight = kolmogorov_rule(PAIR)
        (m1, m2), (c11, c12, c22) = (
            [np.asarray(x)[..., None, None] for x in part] for part in (means, cov)
        )
        a, b = k[:, None], k[None, :]
        self.width = np.sqrt(a**2 + c11), np.sqrt(b**2 + c22)
        one, two = self.width
        self.x = m1 / one, m2 / two
        self.rho = c12 / (one * two)
        clear = (a * b) ** 2 + a**2 * c22 + b**2 * c11
        self.left = (clear + np.maximum(c11 * c22 - c12**2, 0.0)) / (one * two) ** 2
        self.slopes: dict[tuple[int, int], np.ndarray] = {}
        self.means: dict[tuple[int, int], np.ndarray] = {}

    def power(self, n: int, m: int) -> np.ndarray:
        r"""Return $\mathbb E\tanh^nh_1\tanh^mh_2$, both powers positive."""
        first, second = slopes_of_power(n), slopes_of_power(m)
        total = np.zeros(self.rho.shape[:-2])
        for i, left in enumerate(first):
            for j, right in enumerate(second):
                if left * right:
                    total += left * right * self.mean(i, j)
        return total

    def mean(self, i: int, j: int) -> np.ndarray:
        """Mean of the slopes `i` - 1 and `j` - 1 of the units; 0 stands for 1."""
        if (i, j) == (0, 0):
            return np.ones(())
        if (i, j) not in self.means:
            found = self.slope(i - 1, j - 1) if i and j else self.alone(i, j)
            one, two = self.width
            found = found / one ** max(i - 1, 0) / two ** max(j - 1, 0)
            wide = np.broadcast_to(found, self.rho.shape)
            self.means[i, j] = (wide @ self.weight) @ self.weight
        return self.means[i, j]

    def alone(self, i: int, j: int) -> np.ndarray:
        """A slope of one unit, the other being a constant."""
        slopes = _error_slopes(self.x[0] if i else self.x[1])
        return next(islice(slopes, max(i, j) - 1, None))

    def slope(self, i: int, j: int) -> np.ndarray:
        r"""$\partial_1^i\partial_2^jF$, by recursions from $\partial_1\partial_2F$."""
        if (i, j) not in self.slopes:
            self.slopes[i, j] = self._slope(i, j)
        return self.slopes[i, j]

    def _slope(self, i: int, j: int) -> np.ndarray:
        (x, y), rho, left = self.x, self.rho, self.left
        if not i and not j:
            return _product_of_signs(x, y, rho, left)
        if not i or not j:
            return self._edge(max(i, j), j == 0)
        if i == j == 1:
            power = (x * x - 2 * rho * x * y + y * y) / (2 * left)
            return 2 / np.pi * np.exp(-power) / np.sqrt(left)
        if i == 1:
            i, j, x, y = j, i, y, x  # by symmetry: the recursion is in the first
            before = self.slope(1, i - 1), self.slope(1, i - 2) if i > 2 else 0.0
            return -((x - rho * y) * before[0] + (i - 2) * before[1]) / left
        total = (x - rho * y) * self.slope(i - 1, j)
        total = total + ((i - 2) * self.slope(i - 2, j) if i > 2 else 0.0)
        total = total - (rho * (j - 1) * self.slope(i - 1, j - 1) if j > 1 else 0.0)
        return -total / left

    def _edge(self, order: int, first: bool) -> np.ndarray:
        r"""$\partial_1^iF$ or $\partial_2^jF$."""
        from scipy.special import erf

        x, y = self.x if first else self.x[::-1]
        if order == 1:
            normal = np.sqrt(2 / np.pi) * np.exp(-x * x / 2)
            return normal * erf((y - self.rho * x) / np.sqrt(2 * self.left))

        def at(i: int, j: int) -> np.ndarray:
            return self.slope(i, j) if first else self.slope(j, i)

        n = order - 1
        found = -x * at(n, 0) - self.rho * at(n, 1)
        return found - (n - 1) * at(n - 1, 0) if n > 1 else found


def _product_of_signs(x, y, rho, left) -> np.ndarray:
    r"""$\mathbb E\,\mathrm{sign}(x+g_1)\,\mathrm{sign}(y+g_2)$, correlation `rho`.

    Its slope in the correlation is $4\varphi_2$, which Gauss points in
    $\arcsin\rho$ integrate; where fields are nearly parallel, Owen's function is used.
    """
    from scipy.special import erf, owens_t

    most = np.max(np.abs(rho), initial=0.0)
    points = next((n for limit, n in GAUSS if most < limit), 0)
    if points:
        nodes, weights = gauss_legendre(points)
        end = np.arcsin(rho)
        half, cross = (x * x + y * y) / 2, x * y
        total = 0.0
        for node, weight in zip(nodes, weights, strict=True):
            sine = np.sin(end * node)
            total = total + weight * np.exp((sine * cross - half) / (1 - sine * sine))
        return erf(x / np.sqrt(2)) * erf(y / np.sqrt(2)) + 2 / np.pi * end * total
    root = np.sqrt(left)
    x, y, rho, root = np.broadcast_arrays(x, y, rho, root)
    x, y = (np.where(np.abs(v) < 1e-150, 1e-150, v) for v in (x, y))
    both = owens_t(x, (y / x - rho) / root) + owens_t(y, (x / y - rho) / root)
    return np.where(x * y < 0, -1.0, 1.0) - 4 * both
