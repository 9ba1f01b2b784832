r"""Averages of softmax functions over few or many standard normals, with their error.

Only the directions in which modes differ matter: in up to three of them the
trapezoidal rule converges exponentially and its half rule tells the error; beyond,
randomised quasi-Monte Carlo gives a standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

REACH = 8.0  # standard deviations: 1e-15 is left outside
TOLERANCE = 1e-11
FLAT = 1e-9  # of the largest: directions in which points differ less are dropped
LEAST = 1e-15  # of a uniform number, so that its normal is finite
RELATIVE = 1e-6  # of an average of scrambled points
BLOCK = 2**21  # entries of an array (modes, modes, nodes)
MOST = {1: 2**15, 2: 2**10, 3: 2**7}  # intervals of the finest rule by dimension
SCRAMBLES, LARGEST = 8, 2**15

Integrand = Callable[[np.ndarray], np.ndarray]


def normal_average(
    integrand: Integrand, points: np.ndarray, within: float = TOLERANCE
) -> tuple[float, float]:
    """Average ``integrand(g)`` over g of shape (directions, nodes); value and error.

    `points` (modes, directions) spans what the integrand depends on. Rules are made
    finer until the error is below `within`.
    """
    basis = differences(points)
    size = max(1, BLOCK // len(points) ** 2)

    def summed(z: np.ndarray, weights: np.ndarray) -> float:
        total = 0.0
        for low in range(0, z.shape[1], size):
            block = slice(low, low + size)
            total += float(weights[block] @ integrand(basis @ z[:, block]))
        return total

    if basis.shape[1] <= 3:
        return _trapezoid(summed, basis.shape[1], within)
    return _sobol(summed, basis.shape[1], max(within, RELATIVE))


def _trapezoid(
    summed: Callable[[np.ndarray, np.ndarray], float], dim: int, within: float
) -> tuple[float, float]:
    count, last = 32 if dim == 3 else 64, np.nan
    while True:
        value = summed(*_grid(count, dim))
        error = abs(value - last)
        if error < within or 2 * count > MOST[dim]:
            return value, error + 1e-15
        count, last = 2 * count, value


def _grid(count: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (dim, nodes) and weights of the product rule."""
    x = np.linspace(-REACH, REACH, count + 1)
    w = np.exp(-x * x / 2)
    w /= w.sum()
    return product_rule([(x, w)] * dim, 1e-18)


def product_rule(
    sides: Sequence[tuple[np.ndarray, np.ndarray]], least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (dim, nodes) and weights of a product of rules, those above the least."""
    nodes, weights = (
        np.stack(np.meshgrid(*part, indexing="ij")) for part in zip(*sides, strict=True)
    )
    kept = weights.prod(0).ravel() > least
    return nodes.reshape(len(nodes), -1)[:, kept], weights.prod(0).ravel()[kept]


def _sobol(
    summed: Callable[[np.ndarray, np.ndarray], float], dim: int, within: float
) -> tuple[float, float]:
    count = 2**9
    while True:
        points = (as_normals(scrambled(count, dim, k)).T for k in range(SCRAMBLES))
        rows = np.array([summed(x, np.full(count, 1 / count)) for x in points])
        error = float(rows.std(ddof=1) / np.sqrt(SCRAMBLES))
        if error < within * abs(rows.mean()) or 2 * count > LARGEST:
            return float(rows.mean()), error
        count *= 4


def scalar(value: Any) -> float:
    """Return the one number of an array of any shape."""
    return float(np.ravel(value)[0])


def differences(points: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the differences of points, (directions, rank)."""
    centred = points - points.mean(0)
    _, sizes, rows = np.linalg.svd(centred, full_matrices=False)
    rank = max(1, int(np.sum(sizes > FLAT * sizes[0])))
    return rows[:rank].T


def scrambled(count: int, width: int, seed: int) -> np.ndarray:
    """Return one scrambling of a Sobol sequence in [0, 1), shape (count, width)."""
    from scipy.stats import qmc  # takes longer to import than most uses of grids

    return qmc.Sobol(width, seed=seed).random(count)


def as_normals(unit: np.ndarray) -> np.ndarray:
    """Return the standard normals with these probabilities below them."""
    return ndtri(np.clip(unit, LEAST, 1 - LEAST))
