"""Sweeps of modes: shares of every row, one confusion matrix for each geometry.

Shares are linear in the weights of a branch, so rows that differ in weights alone
share the matrices of their kappas and loadings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..asked import known_limit
from ..modes.tree_shares import tree_shares

if TYPE_CHECKING:
    from ...theory.models.spec import Spec
    from .axes import Axis

SUM = 1e-9  # error of the sum of a row's weights
WEIGHTS = "p_"


def mode_share_rows(
    spec: Spec, columns: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the shares of the modes in each row; the row function for modes.

    Loadings ``L_1_2`` and kappas may vary beside the weights.
    """
    names = [k for k in columns if k.startswith(WEIGHTS)]
    weights = np.stack([columns[k] for k in names], axis=1)
    varied = [k for k in columns if k.startswith(("L_", "kappa"))]
    keys, group = np.unique(
        np.stack([columns[k] for k in varied], axis=1), axis=0, return_inverse=True
    )
    value, error = np.full_like(weights, np.nan), np.full_like(weights, np.nan)
    whole = np.abs(weights.sum(1) - 1) < SUM
    for i, key in enumerate(keys):
        rows = (group.ravel() == i) & whole
        point = dict(zip(varied, key.tolist(), strict=True))
        moved = {k: v for k, v in point.items() if k.startswith("L_")}
        limit = known_limit(spec.replace(**moved) if moved else spec)
        found = tree_shares(limit, limit.kappas(point), weights[rows])
        value[rows], error[rows] = found.value, found.error
    return {
        "status": np.where(whole, "ok", "inadmissible"),
        "reason": np.where(whole, "", "the weights of the modes must sum to 1"),
        "shares": value,
        "shares_error": error,
    }


def shared_out(
    columns: Mapping[str, np.ndarray], axes: Sequence[Axis]
) -> dict[str, np.ndarray]:
    """Let the weights that are not swept share what is left, in their proportions."""
    swept = {axis.name for axis in axes}
    names = [k for k in columns if k.startswith(WEIGHTS)]
    kept = [k for k in names if k not in swept]
    if not kept or len(kept) == len(names):
        return dict(columns)
    left = 1 - sum(columns[k] for k in names if k in swept)
    whole = sum(columns[k] for k in kept)
    return dict(columns) | {k: left * columns[k] / whole for k in kept}
