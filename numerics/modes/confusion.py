r"""The confusion matrix of nearest means, which assign the samples to modes.

A sample of mode `k` is $N(x_k, I)$ and is counted to the nearest of the points
$x_1, \dots, x_K$. Only their distances matter. The matrix is closed on a line, one
integral where the points can be placed at right angles (three of an acute triangle,
orthogonal modes of any size), nested integrals in two and three dimensions, and
randomised quasi-Monte Carlo beyond.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_ndtr, ndtr

from .normal_averages import FLAT, as_normals, differences, scrambled

REACH = 9.0  # standard deviations; a normal leaves 2e-19 outside
NODES = 16  # Gauss-Legendre nodes of a panel
TOLERANCE = 1e-11  # of a matrix by quadrature; panels are halved until it is met
HALVINGS = 5
ROUNDING = 4e-16  # error of a closed entry, for each mode

SCRAMBLES = 32  # so that a standard error is itself known to an eighth
COST = 4e8  # entries of arrays that quasi-Monte Carlo may fill
MOST_SMOOTH = 40  # points whose cells are integrated along one direction
MOST_NESTED = 12  # points in three dimensions that are integrated, not sampled


class Confusion(NamedTuple):
    """``matrix[k, l]`` is P(counted to l | mode k); `error` bounds each entry.

    A sampled matrix is the mean of its `estimates`, (scrambles, K, K), and the error a
    standard error; rows of one estimate go together, as they share their points.
    """

    matrix: np.ndarray
    error: np.ndarray
    estimates: np.ndarray | None = None


def confusion(points: np.ndarray) -> Confusion:
    """Return the confusion matrix of `points`, of shape (K, dimension)."""
    size = len(points)
    if not np.all(np.isfinite(points)):  # no noise is left
        return Confusion(np.eye(size), np.zeros((size, size)))
    reduced = span_coordinates(points)
    if reduced.shape[1] == 1:
        return _on_line(reduced[:, 0])
    legs = right_angles(reduced)
    if legs is not None:
        return _halved(lambda panels: _independent(legs, panels))
    parts = _factors(points)
    if parts is not None:
        return _product(points, parts)
    if reduced.shape[1] == 2:
        return _halved(lambda panels: _planar(_turned(reduced), panels))
    if reduced.shape[1] == 3 and size <= MOST_NESTED:
        return _halved(lambda panels: _nested(reduced, panels), most=1)
    return _sampled(reduced)


def span_coordinates(points: np.ndarray) -> np.ndarray:
    """Coordinates of points in the span of their differences, largest spread first."""
    return (points - points.mean(0)) @ differences(points)


def right_angles(points: np.ndarray) -> np.ndarray | None:
    """Squared legs D with ``|x_k - x_l|^2 = D_k + D_l``, or None if there are none."""
    square = np.sum((points[:, None] - points) ** 2, axis=-1)
    legs = np.empty(len(points))
    for k in range(len(points)):
        one, two = [i for i in range(len(points)) if i != k][:2]
        legs[k] = (square[k, one] + square[k, two] - square[one, two]) / 2
    wanted = legs[:, None] + legs
    np.fill_diagonal(wanted, 0.0)
    apart = np.abs(wanted - square).max() > FLAT * square.max()
    return None if apart or legs.min() < -FLAT * square.max() else np.maximum(legs, 0)


def _halved(
    integrate: Callable[[float], np.ndarray], most: int = HALVINGS
) -> Confusion:
    """Halve the panels until two matrices agree; their difference is the error."""
    width = 1.0
    found = integrate(width)
    for _ in range(most):
        width /= 2
        last, found = found, integrate(width)
        error = np.abs(found - last)
        if error.max() < TOLERANCE:
            break
    return Confusion(found, error + ROUNDING * len(found))


def _panels(edges: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights between `edges`, panels at most `width`."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    cuts = [edges[:1]]
    for low, high in pairwise(edges):
        count = max(1, int(np.ceil((high - low) / width)))
        cuts.append(np.linspace(low, high, count + 1)[1:])
    cut = np.concatenate(cuts)
    half = np.diff(cut)[:, None] / 2
    return (cut[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()


def _normal(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _on_line(x: np.ndarray) -> Confusion:
    """Closed: cells are intervals between midpoints."""
    order = np.argsort(x)
    inner = (x[order][1:] + x[order][:-1]) / 2
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    found = np.empty((len(x), len(x)))
    found[:, order] = np.diff(ndtr(edges - x[:, None]), axis=1)
    return Confusion(found, np.full_like(found, ROUNDING))


def _independent(legs: np.ndarray, width: float) -> np.ndarray:
    r"""One integral: the fields of the points are independent normals.

    Given mode `k`, $a_l \sim N(\pm D_l/2, D_l)$ with the upper sign for `l = k`, and
    $P(l|k) = E\prod_{m\ne l} P(a_m < a_l)$. A point with D = 0 has the field 0.
    """
    roots = np.sqrt(legs)
    if np.ptp(roots) < FLAT * roots.max():
        return _alike(len(roots), float(roots.mean()), width)
    found = np.zeros((len(roots), len(roots)))
    for point in np.flatnonzero(roots).tolist():
        found[:, point] = _counted_to(roots, point, -1, width)
        found[point, point] = _counted_to(roots, point, 1, width)
    zero = np.flatnonzero(roots == 0)
    found[:, zero] = 1 - found.sum(1, keepdims=True) if zero.size else 0
    return found


def _alike(size: int, root: float, width: float) -> np.ndarray:
    r"""Orthogonal modes of one size: $P_c = E\,\Phi(g + \kappa)^{K-1}$."""
    g, w = _panels(np.array([-REACH, REACH]), width)
    right = float(np.sum(w * _normal(g) * ndtr(g + root) ** (size - 1)))
    found = np.full((size, size), (1 - right) / (size - 1))
    np.fill_diagonal(found, right)
    return found


def _counted_to(roots: np.ndarray, point: int, side: int, width: float) -> Any:
    """Chance of `point` given its own mode (`side` 1), or each of the others (-1)."""
    shift = side * roots[point] / 2
    start = max(-REACH, -shift) if np.any(roots == 0) else -REACH
    if start >= REACH:
        return 0.0
    g, w = _panels(np.array([start, REACH]), width)
    rivals = (roots > 0) & (np.arange(len(roots)) != point)
    sizes = np.where(rivals, roots, 1.0)[:, None]
    field = roots[point] * (g + shift) / sizes
    below = np.where(rivals[:, None], log_ndtr(field + sizes / 2), 0.0)
    chance = below.sum(0)
    if side < 0:
        there = np.where(rivals[:, None], log_ndtr(field - sizes / 2), 0.0)
        chance = chance + there - below
    return np.exp(chance) @ (w * _normal(g))


def _factors(points: np.ndarray) -> list[np.ndarray] | None:
    """The levels of each coordinate if the points are all their combinations."""
    levels = [np.unique(np.round(column, 12)) for column in points.T]
    levels = [x for x in levels if len(x) > 1]
    if len(levels) < 2 or np.prod([len(x) for x in levels]) != len(points):
        return None
    return levels


def _product(points: np.ndarray, levels: list[np.ndarray]) -> Confusion:
    """Closed: independent signs, or other levels, in each coordinate."""
    columns = [c for c in points.T if np.ptp(np.round(c, 12)) > 0]
    found = np.ones((len(points), len(points)))
    for column, values in zip(columns, levels, strict=True):
        part = _on_line(values).matrix
        place = np.searchsorted(values, np.round(column, 12))
        found *= part[np.ix_(place, place)]
    return Confusion(found, np.full_like(found, ROUNDING * len(levels)))


# ----------------------------------------------------------- two and three dimensions


def _turned(points: np.ndarray) -> np.ndarray:
    """Points of the plane turned by a generic angle, so that no edge is upright."""
    angle = 0.7316
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn


def _planar(points: np.ndarray, width: float) -> np.ndarray:
    """Measures of the cells of the plane under a normal around each point."""
    found = np.empty((len(points), len(points)))
    for cell in range(len(points)):
        normals, offsets = _borders(points, cell)
        found[:, cell] = _cell(normals, offsets, points, width)
    return found


def _borders(points: np.ndarray, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Half-planes ``n.y <= c`` that make the cell of a point."""
    rest = np.delete(points, cell, axis=0)
    normals = rest - points[cell]
    return normals, (np.sum(rest**2, 1) - np.sum(points[cell] ** 2)) / 2


def _cell(
    normals: np.ndarray, offsets: np.ndarray, centres: np.ndarray, width: float
) -> np.ndarray:
    """Measure of a polygon under a standard normal around each centre, (K,)."""
    low, high = centres[:, 0].min() - REACH, centres[:, 0].max() + REACH
    corners = _corners(normals, offsets)
    edges = np.unique(np.concatenate([[low, high], np.clip(corners, low, high)]))
    u, w = _panels(edges, width)
    bound = (offsets[:, None] - normals[:, :1] * u) / normals[:, 1:]
    up = normals[:, 1] > 0
    top = bound[up].min(0, initial=np.inf)
    bottom = bound[~up].max(0, initial=-np.inf)
    inside = top > bottom
    u, w, top, bottom = (x[inside] for x in (u, w, top, bottom))
    shift = centres[:, 1:2]
    height = ndtr(top - shift) - ndtr(bottom - shift)
    return np.sum(w * _normal(u - centres[:, :1]) * height, axis=1)


def _corners(normals: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """First coordinates of the corners of a polygon."""
    one, two = np.triu_indices(len(offsets), 1)
    a, b = normals[one], normals[two]
    det = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    good = np.abs(det) > 1e-14 * np.max(normals**2)
    a, b, det, one, two = a[good], b[good], det[good], one[good], two[good]
    c, e = offsets[one], offsets[two]
    corner = np.stack([c * b[:, 1] - e * a[:, 1], a[:, 0] * e - b[:, 0] * c], 1)
    corner /= det[:, None]
    slack = offsets - corner @ normals.T
    size = np.abs(offsets).max() + np.abs(corner).max(initial=0.0)
    return corner[np.all(slack > -1e-9 * (1 + size), axis=1), 0]


def _nested(points: np.ndarray, width: float) -> np.ndarray:
    """Cells of space: slices along the first direction, each a polygon of the plane."""
    low, high = points[:, 0].min() - REACH, points[:, 0].max() + REACH
    nodes, weights = _panels(np.array([low, high]), 2 * width)
    flat = np.column_stack([points[:, 0], _turned(points[:, 1:])])
    found = np.zeros((len(points), len(points)))
    borders = [_borders(flat, cell) for cell in range(len(points))]
    for u, w in zip(nodes, weights, strict=True):
        density = w * _normal(u - flat[:, 0])
        if density.max() < 1e-18:
            continue
        for cell, (normals, offsets) in enumerate(borders):
            there = offsets - normals[:, 0] * u
            part = _cell(normals[:, 1:], there, flat[:, 1:], 2 * width)
            found[:, cell] += density * part
    return found


# ------------------------------------------------------------------------------ beyond


def _sampled(points: np.ndarray) -> Confusion:
    """Randomised quasi-Monte Carlo, the direction of largest spread integrated."""
    size = len(points)
    count = int(np.clip(COST / (SCRAMBLES * size**3), 2**7, 2**14))
    count = 2 ** int(np.log2(count))
    make, count = (_scramble, count) if size <= MOST_SMOOTH else (_counted, 2**13)
    rows = np.stack([make(points, count, seed) for seed in range(SCRAMBLES)])
    error = rows.std(0, ddof=1) / np.sqrt(SCRAMBLES)
    return Confusion(rows.mean(0), error + ROUNDING * size, rows)


def _scramble(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """One estimate; given all other coordinates the first one's law is closed."""
    size, width = points.shape
    noise = as_normals(scrambled(count, width - 1, seed))
    slopes, rest = points[:, 0], points[:, 1:]
    half = np.sum(points**2, 1) / 2
    found = np.empty((size, size))
    for source in range(size):
        fields = (
            rest[source] + noise
        ) @ rest.T - half  # of each point, without the first
        for cell in range(size):
            low, high = _interval(fields, slopes, cell)
            shift = slopes[source]
            chance = ndtr(high - shift) - ndtr(low - shift)
            found[source, cell] = np.mean(np.maximum(chance, 0.0))
    return found


def _counted(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """One estimate by counting, for very many points."""
    size, width = points.shape
    noise = as_normals(scrambled(count, width, seed))
    seen, half = noise @ points.T, np.sum(points**2, 1) / 2
    shifts = points @ points.T - half
    rows = [np.argmax(seen + shift, axis=1) for shift in shifts]
    return np.stack([np.bincount(x, minlength=size) for x in rows]) / count


def _interval(
    fields: np.ndarray, slopes: np.ndarray, cell: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where along the first coordinate the field of `cell` is the largest."""
    lead = fields[:, [cell]] - fields
    steeper = slopes - slopes[cell]
    level = np.abs(steeper) <= 1e-14 * max(1.0, np.abs(slopes).max())
    level[cell] = False
    up, down = (steeper > 0) & ~level, (steeper < 0) & ~level
    up[cell] = down[cell] = False
    high = np.min(lead[:, up] / steeper[up], axis=1, initial=np.inf)
    low = np.max(lead[:, down] / steeper[down], axis=1, initial=-np.inf)
    beaten = np.any(lead[:, level] < 0, axis=1)
    return np.where(beaten, np.inf, low), high
