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

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .mistakes import explained
from .show.accessor import register

if TYPE_CHECKING:
    from .errors import (
        AdmissibilityError as AdmissibilityError,
        ArgumentError as ArgumentError,
        DerivationError as DerivationError,
        DilatonError as DilatonError,
        MissingExtra as MissingExtra,
        ModelError as ModelError,
        ShapeError as ShapeError,
        SolveError as SolveError,
        StoreError as StoreError,
    )
    from .numerics.batch import solve_rows as solve_rows
    from .numerics.codegen.kernel import Kernel as Kernel, make_kernel as make_kernel
    from .numerics.codegen.known import derive as derive
    from .numerics.learn import learn as learn, mse as mse
    from .numerics.ode.inputs import Inputs as Inputs
    from .numerics.ode.integrate import integrate as integrate
    from .numerics.share.euler import steps as steps
    from .numerics.solve import solve as solve
    from .numerics.sweep.job import sweep as sweep
    from .numerics.times.best import (
        best_density as best_density,
        best_in_family as best_in_family,
    )
    from .numerics.times.table import (
        learning_times as learning_times,
        other_times as other_times,
        shared_flow as shared_flow,
        time_exponents as time_exponents,
    )
    from .show.display import plot as plot
    from .theory.derive import Limit as Limit, Phase as Phase, System as System
    from .theory.exports.reader import read_systems as read_systems
    from .theory.models.model import (
        LINEAR as LINEAR,
        TRIGONOMETRIC as TRIGONOMETRIC,
        VARIANCE_EXPLODING as VARIANCE_EXPLODING,
        VARIANCE_PRESERVING as VARIANCE_PRESERVING,
        Autoencoder as Autoencoder,
        Data as Data,
        Feature as Feature,
        Interpolant as Interpolant,
        Model as Model,
        Modes as Modes,
        Target as Target,
        modes as modes,
        modes_of_gram as modes_of_gram,
        product as product,
        two_modes as two_modes,
    )
    from .theory.models.schedule import parse_schedule as parse_schedule
    from .theory.models.spec import (
        Spec as Spec,
        default_spec as default_spec,
        load_spec as load_spec,
    )
    from .torchcheck.real_data.data_dilation import dilate as dilate
    from .torchcheck.real_data.decision_window import find_window as find_window
    from .torchcheck.real_data.denoisers import generate as generate
    from .torchcheck.real_data.training_times import TrainingTimes as TrainingTimes
    from .torchcheck.real_data.uturn import mse_curve as mse_curve, uturn as uturn
    from .torchcheck.study.converge import converge as converge

register()

__version__ = "0.1.0"


def _homes() -> dict[str, str]:
    """Return the module of each public name: what the imports above say."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    found = (x for x in ast.walk(tree) if isinstance(x, ast.ImportFrom))
    return {x.asname: str(y.module) for y in found for x in y.names if x.asname}


_MODULE_OF = _homes()
LISTED = "Its names are in `dir(dilaton)`"

__all__ = sorted([*_MODULE_OF, "__version__"])


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _MODULE_OF:
        from .errors import did_you_mean

        remedy = did_you_mean(name, __all__).replace("Use one of those", LISTED)
        raise AttributeError(f"module 'dilaton' has no attribute {name!r}{remedy}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = explained(value)
    return globals()[name]


def __dir__() -> list[str]:
    """Return the public names and nothing else."""
    return __all__.copy()
