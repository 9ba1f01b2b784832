"""The backend of computations: torch, if installed, and the device that it can use."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import MissingExtra, ModelError


def need_torch() -> None:
    """Raise `MissingExtra` when torch is not installed."""
    if find_spec("torch") is None:
        raise MissingExtra(
            "Networks are trained with torch, but it is not installed. Install it with "
            '`pip install "dilaton[torch]"`.'
        )


def check_device(device: str) -> None:
    """Raise `ModelError` when torch cannot compute on `device`."""
    if not device.startswith("cuda"):
        return
    need_torch()
    import torch

    if not torch.cuda.is_available():
        raise ModelError(
            "`device` is cuda, but this machine has no CUDA device that torch can use. "
            "Leave it out to train on the CPU."
        )
