"""The rows of a sweep, solved: the row functions that a sweep uses by itself.

Shares of modes are linear in the weights of a branch, so rows that differ in weights
alone share the confusion matrices of their kappas and loadings.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from ..asked import known_limit
from ..batch import solve_rows
from ..codegen.double import found_device
from ..modes.tree_shares import tree_shares

if TYPE_CHECKING:
    from ...theory.models.spec import Spec
    from .chunk import RowFunction

SUM = 1e-9  # error of the sum of a row's weights


def solver_of(spec: Spec) -> RowFunction:
    """Return the solver of a spec, or refuse one whose limit cannot be derived."""
    known_limit(spec)
    return mode_share_rows if spec.kind == "modes" else sweep_rows


def sweep_rows(
    spec: Spec, columns: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the rows of a sweep over `spec`; the row function of `sweep`."""
    limit, device = known_limit(spec), nullcontext()
    if settings["backend"] == "jax":
        import jax

        device = jax.default_device(found_device(settings["device"]))
    asked = {k: settings[k] for k in ("s", "rtol", "backend", "final")}
    with device:
        return solve_rows(limit, columns, **asked)


def mode_share_rows(
    spec: Spec, columns: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the shares of the modes in each row; the row function for modes.

    Loadings ``L_1_2`` and kappas may vary beside the weights.
    """
    names = [k for k in columns if k.startswith("p_")]
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
