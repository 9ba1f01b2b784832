"""Scrambled Sobol points, uniform and as standard normals."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

LEAST = 1e-15  # of a uniform number, so that its normal is finite


def scrambled(count: int, width: int, seed: int) -> np.ndarray:
    """Return one scrambling of a Sobol sequence in [0, 1), shape (count, width)."""
    from scipy.stats import qmc  # takes longer to import than most uses of grids

    return qmc.Sobol(width, seed=seed).random(count)


def as_normals(unit: np.ndarray) -> np.ndarray:
    """Return the standard normals with these probabilities below them."""
    return ndtri(np.clip(unit, LEAST, 1 - LEAST))
