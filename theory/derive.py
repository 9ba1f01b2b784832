"""From a model to its limit: windows are found, and every phase is derived."""

from __future__ import annotations

from functools import lru_cache

from ..errors import ModelError
from .limit import Limit, Phase, Phases
from .models.cases import case_of
from .models.model import Model, Modes
from .models.schedule import check_schedule
from .modes.phase import ModesLimit, ModesPhase, check_network
from .symbols.system import System
from .windows.dilation import make_dilation
from .windows.search import find_windows, window_names

__all__ = ["Limit", "Phase", "System", "derive"]


def derive(model: Model) -> Limit:
    """Find the windows of `model`, and derive every system of every phase from there.

    This is `dilaton.derive` without its files; it raises the same errors. A process
    derives a model once: the limit is the same object when it is asked for again.
    """
    if not isinstance(model, Model):
        raise ModelError(
            f"`derive` takes a `dilaton.Model`, but was given a "
            f"{type(model).__name__}. Write `Model(two_modes())`, or take `spec.model` "
            "of a spec, which `load_spec` reads from a file."
        )
    return _derived(model)


@lru_cache(maxsize=64)
def _derived(model: Model) -> Limit:
    kinds: tuple[type[Phase], type[Limit]] = Phase, Limit
    if isinstance(model.target, Modes):
        check_network(model)
        kinds = ModesPhase, ModesLimit
    else:
        case_of(model)  # refuses what is not derived
    windows = find_windows(model)
    check_schedule(model.interpolant.alpha, model.interpolant.beta)
    names = window_names(windows)
    decided: tuple[int, ...] = ()
    phases = []
    for name, window in zip(names, windows, strict=True):
        phases.append(kinds[0](name, window, model, decided))
        decided += window.features
    for phase in phases:
        _ = phase.learned  # what cannot be derived is said at once
    return kinds[1](model, make_dilation(windows), Phases(phases))
