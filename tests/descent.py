r"""Gradient descent at one fixed time, followed by its overlaps.

With the noise averaged, $u$ and $w$ never leave the span of the data and of their
starting values: descent in all d coordinates is descent in a few, exactly, at every d.
The steps are those of the gradient flow

$$
\dot u = -\tfrac d2 \nabla_u, \quad \dot w = -\tfrac d2 \nabla_w, \quad
\dot b = -\tfrac12\partial_b, \quad \dot c = -\tfrac12\partial_c
\quad\text{of the loss per row and coordinate.}
$$
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from dilaton.theory.models.model import Model
from dilaton.torchcheck.networks.network import Network
from dilaton.torchcheck.networks.train import make_loss, noisy_loss
from dilaton.torchcheck.networks.training_set import (
    TrainingSet,
    Values,
    draw_training_set,
    generator,
)
from torch import Tensor


@dataclass(frozen=True)
class Descent:
    """Overlaps along a training.

    Attributes
    ----------
    train_time
        Training times, shape (K,).
    overlaps
        By name, shape (K,) each.
    tau, d
        The interpolant's time and the dimension.
    """

    train_time: np.ndarray
    overlaps: dict[str, np.ndarray]
    tau: float
    d: int


def descend(
    model: Model,
    values: Values,
    tau: float,
    d: int,
    init: Mapping[str, float],
    times: Sequence[float],
    *,
    step: float,
    seed: int = 0,
    method: Literal["averaged", "sampled"] = "averaged",
    batch: int = 64,
) -> Descent:
    r"""Follow the overlaps of an untied network trained at the time `tau`.

    Parameters
    ----------
    model, values
        A population or a training set with fresh noise.
    tau
        The interpolant's time in (0, 1).
    d
        The dimension.
    init
        `m`, `q`, `omega`, `r` and `b` at training time 0, where c = 0 and what u and w
        have outside the mean is random and orthogonal. With samples also `a_plus`,
        `a_minus`, `zeta_plus`, `zeta_minus` (zero unless given).
    times
        Training times at which to measure.
    step
        Training time of one step of gradient descent.
    seed
        Of the training set, and of the noise when sampled.
    method
        ``"averaged"``, or ``"sampled"``: stochastic gradient descent with `batch`
        fresh samples a step, in all d coordinates (population only).

    """
    sampled = method == "sampled"
    data = draw_training_set(
        model, values, d, seed, embedding="full" if sampled else "span"
    )
    if not sampled:
        data = _padded(data, 2)
    loss = replace(make_loss(model, values, np.array([tau]), data), nodes=256)
    start = _start(data, init, seed)
    random = generator(seed, "noise")

    def gradient(point: list[Tensor]) -> list[Tensor]:
        total = (
            noisy_loss(loss, point, random, batch) if sampled else loss.value(*point)
        )
        return [-x / 2 for x in torch.autograd.grad(total.sum(), point)]

    rate = gradient if model.autoencoder.bias else _without_bias(gradient)

    def observe(point: list[Tensor]) -> dict[str, float]:
        c, u, w, b = point
        network = Network(d, c, d**0.5 * u, d**0.5 * w, b, loss.phi)
        return {name: x[0] for name, x in network.overlaps(data).items()}

    return _follow(rate, observe, start, times, step, tau, d)


def descend_tied(
    model: Model,
    values: Values,
    tau: float,
    d: int,
    init: Mapping[str, float],
    times: Sequence[float],
    *,
    step: float,
) -> Descent:
    r"""Follow the tied score network $s(x) = c\,x + w\tanh(w\cdot x + b)$.

    Gradient flow of $E|\alpha s(x_\tau) + x_0|^2/d$ on the population, in $c, w, b$;
    the overlaps are $m = w\cdot\mu/(\beta d)$ and $q = |w_\perp|^2/(\beta^2 d)$. The
    loss is $(\beta/\alpha)^2$ times that of the denoiser with
    $c_f = (1 + \alpha^2c)/\beta$ and the tied readout.

    Parameters
    ----------
    init
        `c`, `m`, `q`, `b`.
    others
        As for `descend`.
    """
    data = _padded(draw_training_set(model, values, d, 0), 1)
    loss = replace(make_loss(model, values, np.array([tau]), data), nodes=512)
    alpha, beta = loss.alpha, loss.beta
    w = torch.zeros(1, 1, 2, dtype=torch.float64)
    w[0, 0, 0] = float(init["m"] * beta) * d**0.5
    w[0, 0, 1] = float(beta) * (init["q"] * d) ** 0.5
    start = [_scalar(init["c"]), w, _scalar(init["b"])[:, None]]

    def gradient(point: list[Tensor]) -> list[Tensor]:
        c, w, b = point
        total = loss.value(
            (1 + alpha**2 * c) / beta, loss.ratio[:, None, None] * w, w, b
        )
        total = (beta / alpha) ** 2 * total
        return [-x for x in torch.autograd.grad(total.sum(), point)]

    def observe(point: list[Tensor]) -> dict[str, float]:
        c, w, b = point
        along, across = float(w[0, 0, 0]), float(w[0, 0, 1])
        return {
            "c": float(c),
            "m": along / float(beta) / d**0.5,
            "q": across**2 / float(beta) ** 2 / d,
            "b": float(b),
        }

    return _follow(gradient, observe, start, times, step, tau, d)


def _scalar(x: float) -> Tensor:
    return torch.full((1,), float(x), dtype=torch.float64)


def _padded(data: TrainingSet, extra: int) -> TrainingSet:
    """Add coordinates for directions of the start that the data do not have."""
    pad = torch.nn.functional.pad
    wider = {name: pad(getattr(data, name), (0, extra)) for name in ("means", "x1")}
    return replace(data, **wider)


def _start(data: TrainingSet, init: Mapping[str, float], seed: int) -> list[Tensor]:
    r"""Parameters $(c, \hat u, \hat w, b)$ with the overlaps of `init`."""
    u = _vector(data, init, "m", "q", "a", seed, -2)
    w = _vector(data, init, "omega", "r", "zeta", seed + 1, -1)
    return [_scalar(0.0), u[:, None], w[:, None], _scalar(init["b"])[:, None]]


def _vector(
    data: TrainingSet,
    init: Mapping[str, float],
    along: str,
    square: str,
    noise: str,
    seed: int,
    spare: int,
) -> Tensor:
    """A vector with given overlaps: mean, samples' noise, and the rest of its norm."""
    root = data.d**0.5
    vector = init[along] * data.mu / root
    if data.samples:
        for sign, name in ((1, "plus"), (-1, "minus")):
            part = data.z[data.labels == sign].sum(0) / root
            vector = vector + init.get(f"{noise}_{name}", 0.0) * part
    used = float(vector @ vector)
    rest = init[square] - used
    assert rest > -1e-12
    other = torch.zeros_like(vector)
    if data.full:
        other = torch.randn(
            data.d, generator=generator(seed, "init"), dtype=torch.float64
        )
        other -= (other @ data.mu) / data.d * data.mu
        other /= other.norm()
    else:
        other[spare] = 1.0
    return (vector + max(rest, 0.0) ** 0.5 * other)[None]


Rate = Callable[[list[Tensor]], list[Tensor]]


def _without_bias(rate: Rate) -> Rate:
    def frozen(point: list[Tensor]) -> list[Tensor]:
        *others, b = rate(point)
        return [*others, 0 * b]

    return frozen


def _follow(
    rate: Rate,
    observe: Callable[[list[Tensor]], dict[str, float]],
    start: list[Tensor],
    times: Sequence[float],
    step: float,
    tau: float,
    d: int,
) -> Descent:
    """Take steps of at most `step` so as to meet every time exactly."""
    point, now = [x.requires_grad_() for x in start], 0.0
    seen: list[dict[str, float]] = []
    for time in times:
        count = int(np.ceil((time - now) / step - 1e-9))
        for _ in range(count):
            change = rate(point)
            with torch.no_grad():
                for x, y in zip(point, change, strict=True):
                    x += (time - now) / count * y
        now = time
        seen.append(observe([x.detach() for x in point]))
    names = seen[0]
    overlaps = {name: np.array([row[name] for row in seen]) for name in names}
    return Descent(np.array(times, float), overlaps, tau, d)
