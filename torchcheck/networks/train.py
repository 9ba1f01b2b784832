"""Train one network a time: on sampled noise, or on the exact average over it.

*Sampled* training draws fresh noise at every step, as practitioners do. *Averaged*
training integrates it out (see `NetworkLoss`): the error of finite d remains.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ...errors import ModelError, ShapeError
from ...theory.models.model import Model, suffix
from .lbfgs import RowObjective, minimise_rows, only_new_rows
from .network import Network, check_activation
from .network_loss import SATURATED_BIAS, NetworkLoss, lowest_choice, starts
from .step_grid import coefficients
from .training_set import (
    Embedding,
    TrainingSet,
    Values,
    draw_training_set,
    generator,
    value,
)

Method = Literal["sampled", "averaged"]

_QUADRATURE = 1e-9  # change of loss or gradient allowed when the nodes are doubled
NODES = 64  # to begin with; doubled until the rule above holds


@dataclass(frozen=True)
class Trained:
    r"""Networks at T times with everything needed to judge and to use them.

    `data` is the training set, in the coordinates that the `network` uses, `model` what
    was trained, `times` the interpolant's times, (T,). `loss` is that per row and
    coordinate, ridge included, (T,): the exact average over fresh noise, whichever way
    the network was trained. `gradient_norm`, (T,), is the norm of its gradient in $c$,
    $u/\sqrt d$, $b$ and in $w/\sqrt d$ times $\sqrt{\alpha^2 + d\beta^2}$, the unit
    that makes the field O(1). `branch` is ``"finite"`` at a time, or ``"saturated"``
    where the minimum has $|b| \to \infty$ and $\varphi = \pm 1$ for every input.
    `seconds` of wall-clock time and `settings` (method, dtype, device, seed, optimiser)
    are for a report.
    """

    network: Network
    data: TrainingSet
    model: Model
    times: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    branch: tuple[str, ...]
    seconds: float
    settings: dict[str, str | int | float]


def train(
    model: Model,
    values: Values,
    times: np.ndarray,
    d: int,
    seed: int,
    *,
    method: Method = "averaged",
    data: TrainingSet | None = None,
    embedding: Embedding | None = None,
    tolerance: float = 1e-8,
    steps: int = 2000,
    rate: float = 0.05,
    batch: int | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Trained:
    r"""Train networks at all `times` at once on one training set of dimension d.

    `model` is what `derive` takes. `values` holds, without defaults, `sigma`, then `p`
    (population) or `n`, `n_plus`, `ridge_u`, `ridge_w` (and `noise_draws`); `ridge_w`
    multiplies $|w|^2$, or $\alpha^2|w|^2$ where the noise explodes. `times` are those
    of the interpolant in [0, 1), (T,), see `dilated_grid`; `seed` fixes every random
    number.

    ``method="averaged"`` takes the exact average over fresh noise (or the given frozen
    draws) and L-BFGS until the gradient norm is below `tolerance` or `steps` are done,
    in the ``"span"`` unless another `embedding` is asked for. ``"sampled"`` takes
    `steps` steps of Adam at `rate` in all coordinates, each with fresh noise and
    `batch` samples: all unless given, which it must be for a population. `data` is
    trained on instead of a set that is drawn. `dtype` is float64 for verdicts, float32
    for speed. Loss and gradient norm are exact for both methods.
    """
    begin = time.perf_counter()
    check_activation(model.autoencoder.activation)
    if method == "sampled":
        check_two_modes(model)
    times = checked_times(times)
    if data is None:
        data = draw_training_set(
            model,
            values,
            d,
            seed,
            times=len(times),
            embedding=embedding or ("span" if method == "averaged" else "full"),
            dtype=dtype,
            device=device,
        )
    loss = make_loss(model, values, times, data)
    settings: dict[str, str | int | float] = {
        "method": method,
        "seed": seed,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device,
    }
    if method == "averaged":
        many, points = minimise_loss(*starts(loss, seed), tolerance, steps)
        loss, point = lowest_choice(many, points, len(times))
        parameters = _solved(loss, point)
        settings |= {"tolerance": tolerance, "nodes": loss.nodes}
    elif method == "sampled":
        parameters = _sampled(loss, seed, steps, rate, batch)
        settings |= {"steps": steps, "optimiser": "adam", "rate": rate}
        loss = replace(loss, nodes=4 * NODES)
    else:
        raise ModelError(
            f"`method` must be `averaged` or `sampled`, but is `{method}`. Choose one."
        )
    return _finish(model, loss, parameters, times, begin, settings)


def checked_times(times: np.ndarray) -> np.ndarray:
    """Return the times as an array (T,), or raise `ShapeError`."""
    times = np.atleast_1d(np.asarray(times, float))
    if times.ndim != 1 or not times.size:
        raise ShapeError(
            f"`times` must be a list of times, but has shape {times.shape}. Pass one "
            "dimension."
        )
    return times


def check_two_modes(model: Model) -> None:
    """Refuse targets that networks are not trained on by sampled noise."""
    if suffix(model, 1):
        features = model.target.features
        raise ModelError(
            "Sampled training is that of the two-modes target, but this one has "
            f"{len(features)} features with exponents "
            f"{', '.join(str(f.exponent) for f in features)}. Use "
            '`dilaton.two_modes()`, or `method="averaged"` for a unit a feature.'
        )


def make_loss(
    model: Model, values: Values, times: np.ndarray, data: TrainingSet
) -> NetworkLoss:
    """Return the exact loss of `data` at `times`, which both methods minimise."""
    at = coefficients(model.interpolant, times, data.d)
    like = {"dtype": data.x1.dtype, "device": data.x1.device}
    ridge_u, ridge_w = (
        float(value(values, name)) if data.samples else 0.0
        for name in ("ridge_u", "ridge_w")
    )
    unit = at.alpha if model.interpolant.explodes else np.ones_like(at.alpha)
    beta = torch.as_tensor(at.beta, **like)
    _check_seen(model, data, beta)
    return NetworkLoss(
        data=data,
        alpha=torch.as_tensor(at.alpha, **like),
        beta=beta,
        ridge_u=ridge_u,
        ridge_w=ridge_w * torch.as_tensor(unit**2, **like),
        phi=model.autoencoder.activation,
        tied=model.autoencoder.tied,
        bias=model.autoencoder.bias,
        nodes=NODES,
        live=torch.ones_like(beta[:, None].expand(-1, len(data.means)), dtype=bool),
    )


def _check_seen(model: Model, data: TrainingSet, beta: Tensor) -> None:
    """Refuse beta = 0 where the network is not defined, or its units are alike."""
    if torch.all(beta > 0):
        return
    if data.numbered:
        raise ModelError(
            "Several units are trained where the data are seen, beta > 0, but "
            "the times include one with beta = 0, where all units are alike. Leave "
            "tau = 0 out."
        )
    if model.autoencoder.tied:
        raise ModelError(
            "A tied network needs beta > 0, as u = alpha^2 w/(beta sqrt(d)), but the "
            "times include one with beta = 0. Leave tau = 0 out."
        )


def minimise_loss(
    loss: NetworkLoss, point: Tensor, tolerance: float, steps: int
) -> tuple[NetworkLoss, Tensor]:
    """Minimise from `point`, doubling the nodes until they do not matter.

    Rows whose units are all constant have nothing to learn and stay where they are.
    """
    rows = loss.free.any(1).nonzero()[:, 0]
    part, x = loss.part(rows), point[rows]
    while True:
        x = minimise_rows(
            _objective(part),
            x,
            tolerance=tolerance,
            max_iterations=steps,
            longest=part.longest,
        ).point
        if part.nodes >= part.most_nodes or quadrature_error(part, x) < _QUADRATURE:
            found = point.index_copy(0, rows, x)
            return replace(loss, nodes=part.nodes), found
        part = replace(part, nodes=2 * part.nodes)


def _objective(loss: NetworkLoss) -> RowObjective:
    return only_new_rows(lambda rows: loss.part(rows).reduced)


def quadrature_error(loss: NetworkLoss, point: Tensor) -> float:
    """Largest change of loss or gradient when the nodes are doubled."""
    if loss.data.x0 is not None:
        return 0.0
    finer = replace(loss, nodes=2 * loss.nodes).reduced(point)
    pairs = zip(loss.reduced(point), finer, strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def _solved(loss: NetworkLoss, point: Tensor) -> list[Tensor]:
    """The parameters at a point: its weights and biases, the rest solved for."""
    w, b = loss.split(point)
    parts = [loss.part(rows).best(w[rows], b[rows])[:2] for rows in loss.parts()]
    c, u = (torch.cat(x) for x in zip(*parts, strict=True))
    return [c, u, w, b]


def _sampled(
    loss: NetworkLoss, seed: int, steps: int, rate: float, batch: int | None
) -> list[Tensor]:
    r"""Adam on $(c, \hat u, \hat w, b)$ with fresh noise at each step."""
    data = loss.data
    if not data.full:
        raise ModelError(
            "Sampled training draws noise in all d coordinates, but the training set "
            'is given in its span. Draw it with `embedding="full"`.'
        )
    if not data.samples and batch is None:
        raise ModelError(
            "Sampled training of a population needs `batch`, the samples drawn a step, "
            "but none was given. Give it."
        )
    random = generator(seed, "noise", data.mu.device.type)
    c, u, w, b = parameters = initial_parameters(loss, seed)
    trainable = [c, w] + ([] if loss.tied else [u]) + ([b] if loss.bias else [])
    for x in trainable:
        x.requires_grad_()
    # one coordinate of u/sqrt(d) is O(1/sqrt d): Adam's step must be that small
    small = rate / data.d**0.5
    groups = [{"params": [x], "lr": small if x.ndim == 3 else rate} for x in trainable]
    stepper = torch.optim.Adam(groups, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, max(1, steps))
    for _ in range(steps):
        stepper.zero_grad()
        for rows in _sampled_parts(loss, batch):
            part = loss.part(rows)
            now = [x[rows] for x in (c, u, w, b)]
            if loss.tied:
                now[1] = part.ratio[:, None, None] * now[2]
            noisy_loss(part, now, random, batch).sum().backward()
        stepper.step()
        schedule.step()
    if loss.tied:
        parameters[1] = loss.ratio[:, None, None] * w
    return [x.detach() for x in parameters]


def initial_parameters(loss: NetworkLoss, seed: int) -> list[Tensor]:
    r"""Random $(c, \hat u, \hat w, b)$ with $|\hat u| = |\hat w| = 1$ and c = b = 0."""
    (units, width), steps = loss.data.means.shape, len(loss.alpha)
    random = generator(seed, "init")

    def vectors() -> Tensor:
        x = torch.randn(steps, units, width, generator=random, dtype=torch.float64)
        return (x / x.norm(dim=2, keepdim=True)).to(loss.alpha)

    u, w = vectors(), vectors()
    return [torch.zeros_like(loss.alpha), u, w, torch.zeros_like(u[:, :, 0])]


def _sampled_parts(loss: NetworkLoss, batch: int | None) -> list[slice]:
    """Slices of the times that keep a batch of inputs within 256 MiB."""
    rows = batch or len(loss.data.weights)
    if loss.data.x0 is not None:
        rows *= loss.data.x0.shape[2]
    size = max(1, 2**25 // (rows * loss.data.d))
    return [slice(i, i + size) for i in range(0, len(loss.alpha), size)]


def noisy_loss(
    loss: NetworkLoss,
    parameters: list[Tensor],
    random: torch.Generator,
    batch: int | None,
) -> Tensor:
    """The loss (T,) on one draw of the noise, and of the batch."""
    data, root = loss.data, loss.data.d**0.5
    x1, x0 = _batch(loss, random, batch)
    x = loss.alpha[:, None, None] * x0 + loss.beta[:, None, None] * x1
    c, u, w, b = parameters
    f = Network(data.d, c, root * u, root * w, b, loss.phi)(x)
    error = ((x1 - f) ** 2).mean((1, 2))
    ridge = loss.ridge_u * (u * u).sum((1, 2)) + loss.ridge_w * (w * w).sum((1, 2))
    return error + ridge / data.rows


def _batch(
    loss: NetworkLoss, random: torch.Generator, batch: int | None
) -> tuple[Tensor, Tensor]:
    """Samples (1, B, d) and noise (T, B, d)."""
    data = loss.data
    like = {"dtype": data.mu.dtype, "device": data.mu.device}
    if data.x0 is not None:
        draws = data.x0.shape[2]
        return data.x1.repeat_interleave(draws, 0)[None], data.x0.flatten(1, 2)
    if not data.samples:
        pick = torch.rand(batch or 1, generator=random, **like) < data.weights[0]
        x1 = torch.where(pick[:, None], data.mu, -data.mu)
        x1 = x1 + data.sigma * torch.randn(x1.shape, generator=random, **like)
    elif batch is None:
        x1 = data.x1
    else:
        pick = torch.randint(
            len(data.x1), (batch,), generator=random, device=data.mu.device
        )
        x1 = data.x1[pick]
    shape = (len(loss.alpha), *x1.shape)
    return x1[None], torch.randn(shape, generator=random, **like)


def _finish(
    model: Model,
    loss: NetworkLoss,
    parameters: list[Tensor],
    times: np.ndarray,
    begin: float,
    settings: dict[str, str | int | float],
) -> Trained:
    c, u, w, b = parameters
    root = loss.data.d**0.5
    total = [loss.part(p).value(c[p], u[p], w[p], b[p]) for p in loss.parts()]
    sizes = w.norm(dim=2) * loss.natural
    flat = ~loss.live | ((b.abs() >= SATURATED_BIAS - 1) & (sizes < 1))
    return Trained(
        network=Network(loss.data.d, c, root * u, root * w, b, loss.phi),
        data=loss.data,
        model=model,
        times=times,
        loss=torch.cat(total).cpu().numpy(),
        gradient_norm=loss.gradient_norm(c, u, w, b).cpu().numpy(),
        branch=tuple("saturated" if x else "finite" for x in flat.any(1).tolist()),
        seconds=time.perf_counter() - begin,
        settings=settings,
    )
