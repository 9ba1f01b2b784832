"""The rows of a sweep, solved: the row function that a sweep uses by itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from ..asked import known_limit
from ..batch import solve_rows
from ..codegen.double import found_device
from .modes_rows import mode_share_rows

if TYPE_CHECKING:
    from ...theory.models.spec import Spec
    from .chunk import RowFunction


def solver_of(spec: Spec) -> RowFunction:
    """Return the solver of a spec, or refuse one whose limit cannot be derived."""
    known_limit(spec)
    return mode_share_rows if spec.kind == "modes" else sweep_rows


def sweep_rows(
    spec: Spec, columns: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the rows of a sweep over `spec`; the row function of `sweep`."""
    limit = known_limit(spec)
    with _device(settings["backend"], settings["device"]):
        return solve_rows(
            limit,
            columns,
            settings["s"],
            rtol=settings["rtol"],
            backend=settings["backend"],
            final=settings["final"],
        )


def _device(backend: str, device: str) -> AbstractContextManager:
    """Return a context in which JAX computes on `device`."""
    if backend != "jax":
        return nullcontext()
    import jax

    return jax.default_device(found_device(device))
