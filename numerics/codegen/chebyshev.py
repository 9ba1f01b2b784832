"""Interpolation at Chebyshev points of the second kind."""

from __future__ import annotations

import numpy as np


def chebyshev(points: int) -> np.ndarray:
    """Return the Chebyshev points of the second kind, from 1 to -1."""
    return np.cos(np.pi * np.arange(points) / (points - 1))


def barycentric(z: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the matrix that interpolates from Chebyshev points `grid` to `z`."""
    weights = np.where(np.arange(grid.size) % 2, -1.0, 1.0)
    weights[[0, -1]] /= 2
    gap = z[:, None] - grid
    hit = np.abs(gap) < 1e-15
    terms = weights / np.where(hit, 1.0, gap)
    matrix = terms / terms.sum(axis=1, keepdims=True)
    return np.where(hit.any(axis=1, keepdims=True), hit.astype(float), matrix)
