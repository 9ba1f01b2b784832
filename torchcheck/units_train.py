r"""Train one hidden unit a feature on the population of a product mixture."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from ..theory.model import Model
from .draws import Values, generator
from .grid import coefficients
from .network import check_activation
from .train import NODES, START_FIELD, Trained, descend, quadrature_error
from .units import Population, Units, draw_population
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
    data: Population | None = None,
    tolerance: float = 1e-8,
    steps: int = 2000,
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Trained:
    r"""Train a network with one unit a feature at all `times` at once, averaged.

    Unit j starts near the mean of feature j, with a small random part and
    random biases; the skip and the readouts are solved for.

    Parameters
    ----------
    model
        A product mixture; the population, untied.
    values
        The numbers by name: `sigma`, and ``p_j``, ``rho_j`` of every feature.
    times
        Times of the interpolant in [0, 1), shape (T,); see `dilated_grid`.
    d, seed
        Dimension, and seed of the start.
    data
        Train on this population instead of making one.
    tolerance, steps
        L-BFGS runs until the gradient norm is below `tolerance` or `steps` are done.
    device, dtype
        ``"cpu"`` or ``"cuda"``; float64 for verdicts.
    """
    begin = time.perf_counter()
    check_activation(model.autoencoder.activation)
    if data is None:
        data = draw_population(model, values, d, seed, dtype=dtype, device=device)
    times = np.atleast_1d(np.asarray(times, float))
    loss = make_units_loss(model, times, data)
    loss, point = descend(loss, _start(loss, seed), tolerance, steps)
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
        branch=("finite",) * len(times),
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


def make_units_loss(model: Model, times: np.ndarray, data: Population) -> UnitsLoss:
    """Return the exact loss of a product population at `times`."""
    at = coefficients(model.interpolant, times, data.d)
    if not np.all(at.beta > 0):
        raise ModelError(
            "Several units are trained where the data are seen, beta > 0, but "
            "the times include one with beta = 0, where all units are alike. Leave "
            "tau = 0 out."
        )
    like = {"dtype": data.means.dtype, "device": data.means.device}
    return UnitsLoss(
        data=data,
        alpha=torch.as_tensor(at.alpha, **like),
        beta=torch.as_tensor(at.beta, **like),
        phi=model.autoencoder.activation,
        bias=model.autoencoder.bias,
        nodes=NODES,
    )


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
    shares = data.weights @ plus
    odds = (torch.log(shares / (1 - shares)) / 2).clamp(-2.0, 2.0) * loss.bias
    w = slope[:, :, None] * direction
    b = (level * odds).expand(len(loss.alpha), count)
    return loss.join(w, b)
