"""dilaton: derive, solve and confirm the phases of dilated diffusion models.

The public names load on first use, so that ``import dilaton`` is instant and loads
neither sympy nor numba, jax or torch.

Examples
--------
>>> import dilaton
>>> model = dilaton.Model(target=dilaton.two_modes())
>>> model.interpolant == dilaton.LINEAR
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import (
        AdmissibilityError,
        DerivationError,
        DilatonError,
        MissingExtra,
        ModelError,
        ShapeError,
        SolveError,
        StoreError,
    )
    from .numerics.codegen.known import derive
    from .numerics.solve import solve
    from .numerics.times.table import (
        bulk_times,
        learning_times,
        shared_flow,
        time_exponents,
    )
    from .show.display import plot
    from .theory.derive import Limit, Phase, System
    from .theory.models.model import (
        LINEAR,
        TRIGONOMETRIC,
        VARIANCE_EXPLODING,
        VARIANCE_PRESERVING,
        Autoencoder,
        Data,
        Feature,
        Interpolant,
        Model,
        Modes,
        Target,
        modes,
        modes_of_gram,
        product,
        two_modes,
    )
    from .theory.models.schedule import parse_schedule
    from .theory.models.spec import Spec, default_spec, load_spec

__version__ = "0.1.0"

_HOME = {
    "show.display": ("plot",),
    "errors": (
        "AdmissibilityError",
        "DerivationError",
        "DilatonError",
        "MissingExtra",
        "ModelError",
        "ShapeError",
        "SolveError",
        "StoreError",
    ),
    "numerics.codegen.known": ("derive",),
    "numerics.solve": ("solve",),
    "numerics.times.table": (
        "bulk_times",
        "learning_times",
        "shared_flow",
        "time_exponents",
    ),
    "theory.models.spec": ("Spec", "default_spec", "load_spec"),
    "theory.derive": ("Limit", "Phase", "System"),
    "theory.models.model": (
        "LINEAR",
        "TRIGONOMETRIC",
        "VARIANCE_EXPLODING",
        "VARIANCE_PRESERVING",
        "Autoencoder",
        "Data",
        "Feature",
        "Interpolant",
        "Model",
        "Modes",
        "Target",
        "modes",
        "modes_of_gram",
        "product",
        "two_modes",
    ),
    "theory.models.schedule": ("parse_schedule",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "LINEAR",
    "TRIGONOMETRIC",
    "VARIANCE_EXPLODING",
    "VARIANCE_PRESERVING",
    "AdmissibilityError",
    "Autoencoder",
    "Data",
    "DerivationError",
    "DilatonError",
    "Feature",
    "Interpolant",
    "Limit",
    "MissingExtra",
    "Model",
    "ModelError",
    "Modes",
    "Phase",
    "ShapeError",
    "SolveError",
    "Spec",
    "StoreError",
    "System",
    "Target",
    "__version__",
    "bulk_times",
    "default_spec",
    "derive",
    "learning_times",
    "load_spec",
    "modes",
    "modes_of_gram",
    "parse_schedule",
    "plot",
    "product",
    "shared_flow",
    "solve",
    "time_exponents",
    "two_modes",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'dilaton' has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})
