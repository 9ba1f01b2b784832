"""numerics: from systems of equations to kernels and trajectories.

The public names load on first use; none of them imports numba or jax before a
kernel is made for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULE_OF = {
    "Kernel": "codegen.kernel",
    "make_kernel": "codegen.kernel",
    "numba_module": "codegen.kernel",
    "Rule": "codegen.quadrature",
    "average": "codegen.quadrature",
    "trapezoid": "codegen.quadrature",
    "Flow": "ode.problem",
    "Inputs": "ode.inputs",
    "integrate": "ode.integrate",
    "jax_solver": "ode.with_diffrax",
    "regular_end": "ode.singular_end",
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'dilaton.numerics' has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value
