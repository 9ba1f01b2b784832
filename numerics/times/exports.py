r"""Grids in the words of other libraries: noise levels, integer timesteps, times.

The other libraries write $\sigma = 1 - \tau$ on the linear path, or $\sigma =
\alpha/\beta$, and some then shift what they are given: what is exported is the
pre-image of their shift, so that the grid is what they step on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy as sp

from ...errors import MissingExtra, ModelError
from ...theory.times.maps import shift
from .map_curves import evaluate_inverse
from .time_grid import TimeGrid

OWN_LEVELS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


def applied_shift(config: Mapping[str, Any], mu: float | None) -> float:
    """Return the factor by which a flow-matching scheduler shifts what it is given.

    `config` is that of diffusers' ``scheduler.config``, `mu` what is passed to
    ``set_timesteps(mu=...)`` where the shift is dynamic.
    """
    if not config.get("use_dynamic_shifting"):
        return float(config.get("shift", 1.0))
    if mu is None:
        raise ModelError(
            "A scheduler that shifts dynamically needs `mu`, but none is given. Pass "
            "what you pass to `set_timesteps(mu=...)`."
        )
    linear = config.get("time_shift_type", "exponential") == "linear"
    return float(mu) if linear else math.exp(mu)


def scheduler_sigmas(
    grid: TimeGrid, count: int, config: Mapping[str, Any], mu: float | None = None
) -> list[float]:
    r"""Return decreasing levels for ``FlowMatchEulerDiscreteScheduler.set_timesteps``.

    With ``set_timesteps(sigmas=..., mu=mu)`` the scheduler applies its own shift and
    stretch, and appends 0; it then steps on $1 - \tau$ of the grid. Where it ends on a
    terminal level of its own, that level takes the place of the grid's last one. The
    arguments are those of `applied_shift`. Raises `ModelError` where the scheduler
    replaces the levels, or its terminal level is not the lowest.
    """
    for key in OWN_LEVELS:
        if config.get(key):
            raise ModelError(
                f"A scheduler keeps the levels that it is given, but `{key}` replaces "
                "them. Set it to false."
            )
    tau = _with_terminal(grid.ends(count)[:-1], config.get("shift_terminal"))
    factor = sp.Float(applied_shift(config, mu), 17)
    return (1 - evaluate_inverse(shift(factor), {})(tau)).tolist()


def _with_terminal(tau: np.ndarray, terminal: float | None) -> np.ndarray:
    if not terminal:
        return tau
    if len(tau) < 2 or 1 - terminal <= tau[-2]:
        raise ModelError(
            "The scheduler's terminal level must be below the grid's others, but "
            f"`shift_terminal` is {terminal:g}. Lower it, or take fewer steps."
        )
    return np.append(tau[:-1], 1 - terminal)


def diffusion_timesteps(
    grid: TimeGrid, count: int, alphas_cumprod: np.ndarray
) -> list[int]:
    r"""Return decreasing integer timesteps for schedulers of DDPM type.

    A training step $i$ has $\beta/\alpha = (\bar\alpha_i/(1-\bar\alpha_i))^{1/2}$. Each
    time of the grid takes the step that is nearest in $\log(\beta/\alpha)$ of the
    linear path; times that share one move to lower steps.
    """
    held = np.asarray(alphas_cumprod, float)
    if count > len(held):
        raise ModelError(
            f"The steps must be at most the {len(held)} of training, but are {count}. "
            "Take fewer."
        )
    levels = np.log(held / (1 - held)) / 2  # falls with the training step
    tau = grid.ends(count)[:-1]
    with np.errstate(divide="ignore"):
        wanted = np.log(tau) - np.log1p(-tau)
    clipped = np.clip(wanted, levels[-1], levels[0])
    nearest = [int(np.argmin(np.abs(levels - x))) for x in clipped]
    steps: list[int] = []
    for k, step in enumerate(nearest):
        top = steps[-1] - 1 if steps else step
        steps.append(max(min(step, top), count - 1 - k))
    return steps


def karras_sigmas(grid: TimeGrid, count: int, largest: float) -> list[float]:
    r"""Return $\sigma = (1-\tau)/\tau$, decreasing to 0, for k-diffusion's samplers.

    They cannot start at infinite noise: the grid's start is replaced by `largest`.
    """
    tau = grid.ends(count)[1:]
    levels = (1 - tau) / tau
    if not levels[0] < largest < math.inf:
        raise ModelError(
            "`largest` must be above the grid's other noise levels, but is "
            f"{largest:g} where the first of them is {levels[0]:g}. Raise it."
        )
    return [float(largest), *levels.tolist()]


def draw_times(grid: TimeGrid, count: int, rng: np.random.Generator) -> np.ndarray:
    r"""Draw training times $\tau$: the grid's map of uniform points, shape (count,).

    In torchcfm: ``sample_location_and_conditional_flow(x0, x1, t=torch.tensor(...))``.
    """
    return grid.curve(rng.uniform(size=count))


def slope(grid: TimeGrid, t: np.ndarray, width: float = 1e-6) -> np.ndarray:
    r"""Return $d\tau/dt$ just after the grid times `t`.

    At a knot it is the slope of the piece that begins there, as a step to the right
    needs; the last point has that of the piece that ends there.
    """
    at = np.minimum(np.asarray(t, float), 1 - width)
    return (grid.curve(at + width) - grid.curve(at)) / width


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


def dynamic_mu(config: Mapping[str, Any], tokens: float) -> float:
    r"""Return $\mu$ at a number of tokens, linear between the scheduler's anchors."""
    few, many = config["base_image_seq_len"], config["max_image_seq_len"]
    low, high = config["base_shift"], config["max_shift"]
    return low + (tokens - few) * (high - low) / (many - few)
