"""JAX in double precision while we compute with it, and on a device that is there.

The user's own setting of ``jax_enable_x64`` is as before once we return.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

from ...errors import ModelError


def found_device(kind: str | None = None) -> Any:
    """Return the first device of JAX, of a kind (``cpu``, ``gpu``) if one is named.

    Raises `ModelError` where JAX finds none.
    """
    import jax

    try:
        return jax.devices(kind)[0]
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS")
        why = f" with JAX_PLATFORMS={asked}" if asked else ""
        remedy = (
            "Install the GPU build of jax, or use `cpu`."
            if kind == "gpu"
            else "Unset JAX_PLATFORMS, or take another backend."
        )
        raise ModelError(
            f"`device` must be one that JAX finds, but it finds no `{kind or 'cpu'}` "
            f"here{why}. {remedy}"
        ) from error


def double() -> AbstractContextManager:
    """Return a context in which JAX computes with 64 bits, in this thread alone."""
    import jax

    found_device()
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # before jax 0.8

    return enable_x64()


def in_double(function: Callable) -> Callable:
    """Return a function that runs in `double`; inside another one it is free."""

    @wraps(function)
    def called(*given: Any, **named: Any) -> Any:
        with double():
            return function(*given, **named)

    return called


__all__ = ["double", "found_device", "in_double"]
