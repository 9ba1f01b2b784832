r"""Train one hidden unit a feature on a product mixture: its population, or samples."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ...errors import ModelError
from ...theory.models.model import Model
from .network import check_activation
from .train import (
    START_FIELD,
    Trained,
    checked_times,
    descend,
    quadrature_error,
    rows_of,
)
from .training_set import TrainingSet, Values, draw_training_set, generator
from .units import Units
from .units_loss import UnitsLoss

START_NOISE = 0.03
"""Random part of the starting weights, relative to their part along the mean."""


def train_units(
    model: Model,
    values: Values,
    times: np.ndarray,
    d: int,
    seed: int,
    *,
    data: TrainingSet | None = None,
    tolerance: float = 1e-8,
    steps: int = 2000,
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Trained:
    r"""Train a network with one unit a feature at all `times` at once, averaged.

    Unit j starts near the mean of feature j, with a small random part and
    random biases; the skip and the readouts are solved for. On samples each unit may
    also be constant (1, or 0 without a bias), and the lowest minimum over which of
    them are is returned.

    Parameters
    ----------
    model
        A product mixture; its population, or samples with fresh or frozen noise.
    values
        The numbers by name: `sigma`, ``rho_j`` of every feature, then ``p_j``, or
        ``n_pp``, ... of every sign pattern, `ridge_u`, `ridge_w` (and `noise_draws`).
    times
        Times of the interpolant in [0, 1), shape (T,); see `dilated_grid`.
    d, seed
        Dimension, and seed of the start.
    data
        Train on this set instead of drawing one.
    tolerance, steps
        L-BFGS runs until the gradient norm is below `tolerance` or `steps` are done.
    device, dtype
        ``"cpu"`` or ``"cuda"``; float64 for verdicts.
    """
    begin = time.perf_counter()
    check_activation(model.autoencoder.activation)
    times = checked_times(times)
    if data is None:
        data = draw_training_set(
            model, values, d, seed, times=len(times), dtype=dtype, device=device
        )
    loss = make_units_loss(model, values, times, data)
    many, points = descend(*_starts(loss, seed), tolerance, steps)
    loss, point = _lowest(many, points, len(times))
    w, b = loss.split(point)
    c, u = (torch.cat(x) for x in zip(*_readouts(loss, w, b), strict=True))
    root = data.d**0.5
    total = [loss.part(p).value(c[p], u[p], w[p], b[p]) for p in loss.parts()]
    return Trained(
        network=Units(data.d, c, root * u, root * w, b, loss.phi),
        data=data,
        model=model,
        times=times,
        loss=torch.cat(total).cpu().numpy(),
        gradient_norm=loss.gradient_norm(c, u, w, b).cpu().numpy(),
        branch=tuple("finite" if x else "saturated" for x in loss.live.all(1).tolist()),
        quadrature_error=quadrature_error(loss, point),
        seconds=time.perf_counter() - begin,
        settings={
            "method": "averaged",
            "seed": seed,
            "dtype": str(dtype).removeprefix("torch."),
            "device": device,
            "tolerance": tolerance,
            "nodes": loss.nodes,
        },
    )


def _readouts(loss: UnitsLoss, w: Tensor, b: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [loss.part(rows).best(w[rows], b[rows])[:2] for rows in loss.parts()]


def make_units_loss(
    model: Model, values: Values, times: np.ndarray, data: TrainingSet
) -> UnitsLoss:
    """Return the exact loss of `data` at `times`, no unit saturated."""
    rows = rows_of(model, values, times, data)
    if not torch.all(rows.beta > 0):
        raise ModelError(
            "Several units are trained where the data are seen, beta > 0, but "
            "the times include one with beta = 0, where all units are alike. Leave "
            "tau = 0 out."
        )
    live = torch.ones(len(rows.beta), len(data.means), dtype=torch.bool)
    return UnitsLoss(**vars(rows), live=live.to(rows.beta.device))


def _starts(loss: UnitsLoss, seed: int) -> tuple[UnitsLoss, Tensor]:
    """The loss once for each choice of units that may live, and where to start."""
    steps, count = loss.live.shape
    either = (True, False) if loss.data.samples else (True,)
    choices = list(product(either, repeat=count))
    live = torch.tensor(choices, device=loss.live.device).repeat_interleave(steps, 0)
    times = torch.arange(steps, device=live.device).repeat(len(choices))
    point = _start(loss, seed).repeat(len(choices), 1)
    return replace(loss.part(times), live=live), point


def _lowest(loss: UnitsLoss, point: Tensor, steps: int) -> tuple[UnitsLoss, Tensor]:
    """At each time the choice of `_starts` whose minimum is the lowest."""
    value = loss.reduced(point)[0].reshape(-1, steps)
    best = value.argmin(0) * steps + torch.arange(steps, device=value.device)
    return loss.part(best), point[best]


def _start(loss: UnitsLoss, seed: int) -> Tensor:
    r"""Weights near the means whose fields are at most a few units, random biases.

    The random part lies in a few directions, of the span or of all coordinates.
    """
    data = loss.data
    count, width = data.means.shape
    random = generator(seed, "init")
    like = {"generator": random, "dtype": torch.float64}
    mean = loss.beta[:, None] * data.norms
    slope = mean / loss.noise[:, None]  # of the exact denoiser
    slope = slope * (START_FIELD / (slope * mean)).clamp(max=1.0)
    other = torch.randn(count, width, **like)
    other /= other.norm(dim=1, keepdim=True)
    direction = data.axes + START_NOISE * other.to(data.axes)
    level = 0.9 + 0.2 * torch.rand(count, **like).to(data.axes)
    plus = (data.signs > 0).to(data.axes)
    shares = data.weights @ plus / data.weights.sum()
    odds = (torch.log(shares / (1 - shares)) / 2).clamp(-2.0, 2.0) * loss.bias
    w = slope[:, :, None] * direction
    b = (level * odds).expand(len(loss.alpha), count)
    return loss.join(w, b)
