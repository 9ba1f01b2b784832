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

from .show.accessor import register

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
    from .numerics.batch import solve_rows
    from .numerics.codegen.kernel import Kernel, make_kernel
    from .numerics.codegen.known import derive
    from .numerics.learn import learn, mse
    from .numerics.ode.inputs import Inputs
    from .numerics.ode.integrate import integrate
    from .numerics.share.euler import steps
    from .numerics.solve import solve
    from .numerics.sweep.job import sweep
    from .numerics.times.best import best_density
    from .numerics.times.families import best_in_family
    from .numerics.times.table import (
        learning_times,
        other_times,
        shared_flow,
        time_exponents,
    )
    from .show.display import plot
    from .theory.derive import Limit, Phase, System
    from .theory.exports.reader import read_systems
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
    from .torchcheck.real_data.denoisers import generate
    from .torchcheck.real_data.dilation import dilate
    from .torchcheck.real_data.training_times import TrainingTimes
    from .torchcheck.real_data.uturn import mse_curve, uturn
    from .torchcheck.real_data.windows import find_window
    from .torchcheck.study.converge import converge

register()

__version__ = "0.1.0"

_HOME = {
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
    "numerics.batch": ("solve_rows",),
    "numerics.codegen.kernel": (
        "Kernel",
        "make_kernel",
    ),
    "numerics.codegen.known": ("derive",),
    "numerics.learn": (
        "learn",
        "mse",
    ),
    "numerics.ode.inputs": ("Inputs",),
    "numerics.ode.integrate": ("integrate",),
    "numerics.share.euler": ("steps",),
    "numerics.solve": ("solve",),
    "numerics.sweep.job": ("sweep",),
    "numerics.times.best": ("best_density",),
    "numerics.times.families": ("best_in_family",),
    "numerics.times.table": (
        "learning_times",
        "other_times",
        "shared_flow",
        "time_exponents",
    ),
    "show.display": ("plot",),
    "theory.derive": (
        "Limit",
        "Phase",
        "System",
    ),
    "theory.exports.reader": ("read_systems",),
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
    "theory.models.spec": (
        "Spec",
        "default_spec",
        "load_spec",
    ),
    "torchcheck.real_data.denoisers": ("generate",),
    "torchcheck.real_data.dilation": ("dilate",),
    "torchcheck.real_data.training_times": ("TrainingTimes",),
    "torchcheck.real_data.uturn": (
        "mse_curve",
        "uturn",
    ),
    "torchcheck.real_data.windows": ("find_window",),
    "torchcheck.study.converge": ("converge",),
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
    "Inputs",
    "Interpolant",
    "Kernel",
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
    "TrainingTimes",
    "__version__",
    "best_density",
    "best_in_family",
    "converge",
    "default_spec",
    "derive",
    "dilate",
    "find_window",
    "generate",
    "integrate",
    "learn",
    "learning_times",
    "load_spec",
    "make_kernel",
    "modes",
    "modes_of_gram",
    "mse",
    "mse_curve",
    "other_times",
    "parse_schedule",
    "plot",
    "product",
    "read_systems",
    "shared_flow",
    "solve",
    "solve_rows",
    "steps",
    "sweep",
    "time_exponents",
    "two_modes",
    "uturn",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'dilaton' has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names and nothing else."""
    return sorted(__all__)
