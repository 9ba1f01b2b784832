"""Schedulers for the package flow_matching: a trained model under a dilated time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import MissingExtra
from ...numerics.times.exports import slope
from ...numerics.times.grid import TimeGrid


def grid_scheduler(grid: TimeGrid) -> Any:
    r"""Return a flow_matching ``Scheduler`` with $\alpha_t = \tau(t)$ (theirs), data.

    In flow_matching `alpha_t` multiplies the data and `sigma_t` the noise. With
    ``ScheduleTransformedModel(velocity_model, CondOTScheduler(), grid_scheduler(g))`` a
    model that was trained on the linear path is sampled under the grid's time, equal
    steps of which are the grid's steps, without training again.
    """
    try:
        import torch
        from flow_matching.path.scheduler.scheduler import (
            ConvexScheduler,
            SchedulerOutput,
        )
    except ImportError as error:
        raise MissingExtra(
            "A scheduler for flow_matching needs that package and torch, but one is "
            "not installed. Run `pip install 'dilaton[torch,interop]'`."
        ) from error

    def mapped(curve: Any, t: Any) -> Any:
        values = curve(t.detach().cpu().numpy().astype(np.float64))
        return torch.as_tensor(values, dtype=t.dtype, device=t.device)

    class GridScheduler(ConvexScheduler):
        def __call__(self, t: Any) -> Any:
            tau, speed = mapped(grid.curve, t), mapped(lambda x: slope(grid, x), t)
            return SchedulerOutput(
                alpha_t=tau, sigma_t=1 - tau, d_alpha_t=speed, d_sigma_t=-speed
            )

        def kappa_inverse(self, kappa: Any) -> Any:
            return mapped(grid.inverse, kappa)

    return GridScheduler()
