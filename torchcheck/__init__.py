"""torchcheck: finite networks, trained and measured against the limit.

The public names load on first use, so that importing this package loads no torch.
A function called like its module is imported from it:
``from dilaton.torchcheck.networks.train import train``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .device import need_torch

_HOME = {
    "study.compare": "Study",
    "experiments.datasets": "Images Mixture load_digits load_mnist read_idx",
    "networks.training_set": "TrainingSet draw_training_set in_span",
    "networks.step_grid": "Grid dilated_grid phase_times uniform_grid",
    "networks.network": "Network",
    "study.plan": "Plan",
    "networks.sample": "Samples",
    "real_data.training_times": "TrainingTimes",
    "real_data.ddpm_steps": "StepDistribution",
    "real_data.empirical": "EmpiricalLaw",
    "real_data.interpolants": "LINEAR_PATH VARIANCE_PRESERVING_PATH NumericInterpolant",
    "networks.train": "Trained",
    "real_data.adapters": "from_ddpm from_edm from_noise from_score from_velocity",
    "real_data.data_dilation": "DataDilation dilate",
    "real_data.denoisers": "default_times denoise generate snr_times",
    "real_data.uturn": "Curve MseCurve mse_curve",
    "real_data.decision_window": (
        "DecisionInterval agreement find_mse_window find_window"
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'dilaton.torchcheck' has no attribute {name!r}")
    try:
        module = import_module(f".{_MODULE_OF[name]}", __name__)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        need_torch()
        raise
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})
