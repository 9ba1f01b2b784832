r"""One tied network for all times, trained by plain SGD with its slopes by autograd.

$D(x) = \frac{\beta\sigma^2}{\Delta}x + \frac{\alpha^2}{\Delta} w\tanh(\frac\beta\Delta
w\cdot x + b)$ on full vectors of dimension `d`: nothing here knows an overlap but
`shared_overlaps`. A step moves vectors by $\frac\eta2$ and the bias by
$\frac\eta{2d}$ times the slope of the loss per dimension, and takes a training time
$\eta/d$.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from ...errors import ModelError

Optimiser = Literal["sgd", "adam"]
Curves = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SharedTask:
    """The training task: the mixture, the interpolant, and the density of times.

    `alpha`, `beta` and `weight` are functions of arrays of times, `quantile` takes
    uniform numbers in (0, 1) to times.
    """

    p: float
    sigma: float
    alpha: Curves
    beta: Curves
    weight: Curves
    quantile: Curves


@dataclass(frozen=True)
class SharedRun:
    """A training: `batch` fresh samples in each step, many networks side by side.

    `stratified` draws the times of a batch one from each of its equal shares;
    `repeats` uses each pair of noise and data at that many times. With heavy-ball
    `momentum` the steps are ``(1 - momentum) * rate`` times the running sum of slopes,
    so that `rate` is what a lasting slope moves by. `ridge_w` times |w|^2/d is added to
    the loss. With `common_rate` the bias has the rate of the vector, not 1/d of it.
    """

    d: int
    rate: float
    batch: int
    seed: int
    networks: int
    stratified: bool = False
    repeats: int = 1
    momentum: float = 0.0
    ridge_w: float = 0.0
    common_rate: bool = False
    optimiser: Optimiser = "sgd"


def train_shared(
    task: SharedTask,
    run: SharedRun,
    init: tuple[float, float, float],
    times: Sequence[float],
) -> np.ndarray:
    """Return the overlaps (m, q, b) at training times: shape (times, 3, networks).

    `init` is (m, q, b) at time 0. Adam's steps are `rate`/d long in each coordinate;
    no theory here predicts it.
    """
    if run.batch % run.repeats:
        raise ModelError(
            f"`batch` must be a multiple of `repeats`, but is {run.batch} with "
            f"{run.repeats} times a pair. Change one of them."
        )
    generator = torch.Generator().manual_seed(run.seed)
    rng = np.random.default_rng(run.seed)
    w, b = _start(run, init, generator)
    move = _mover(run, w, b)
    seen, step = [], 0
    for time in times:
        for _ in range(step, round(time * run.d / run.rate)):
            loss = batch_loss(task, run, w, b, rng, generator)
            loss = loss + run.ridge_w * (w**2).sum(1) / run.d
            move(torch.autograd.grad(loss.sum(), (w, b)))
            step += 1
        seen.append(shared_overlaps(w, b))
    return np.array(seen)


def _start(run: SharedRun, init: tuple[float, float, float], generator):
    """Return w with the overlaps asked for, mu along the first axis, and b."""
    m, q, b = init
    rest = torch.randn(run.networks, run.d, generator=generator, dtype=torch.float32)
    rest[:, 0] = 0
    rest *= (q * run.d) ** 0.5 / rest.norm(dim=1, keepdim=True)
    rest[:, 0] = m * run.d**0.5
    bias = torch.full((run.networks,), float(b), dtype=torch.float32)
    return rest.requires_grad_(), bias.requires_grad_()


def _mover(run: SharedRun, w: torch.Tensor, b: torch.Tensor):
    """Return what takes slopes and moves the parameters in place."""
    if run.optimiser == "adam":
        adam = torch.optim.Adam([w, b], lr=run.rate / run.d)

        def by_adam(slopes: Sequence[torch.Tensor]) -> None:
            w.grad, b.grad = slopes
            adam.step()

        return by_adam

    sums, rate = [torch.zeros_like(w), torch.zeros_like(b)], run.rate / 2
    step = rate * (1 - run.momentum)
    slower = 1 if run.common_rate else run.d

    def by_sgd(slopes: Sequence[torch.Tensor]) -> None:
        with torch.no_grad():
            for total, slope in zip(sums, slopes, strict=True):
                total.mul_(run.momentum).add_(slope)
            w.sub_(sums[0] * step)
            b.sub_(sums[1] * (step / slower))

    return by_sgd


def _times(task: SharedTask, run: SharedRun, rng: np.random.Generator) -> np.ndarray:
    u = rng.random((run.networks, run.batch))
    if run.stratified:
        u = (np.arange(run.batch) + u) / run.batch
        u = rng.permuted(u, axis=1)
    return task.quantile(u)


def _wide(values: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    """Return values of times as a tensor with room for the coordinates."""
    return torch.as_tensor(np.broadcast_to(values, shape).astype(np.float32))[..., None]


def batch_loss(
    task: SharedTask,
    run: SharedRun,
    w: torch.Tensor,
    b: torch.Tensor,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return the loss per dimension of one batch, for each network."""
    tau = _times(task, run, rng)
    alpha, beta, weight = (
        torch.as_tensor(np.broadcast_to(f(tau), tau.shape).astype(np.float32))[
            ..., None
        ]
        for f in (task.alpha, task.beta, task.weight)
    )
    pairs = run.batch // run.repeats
    shape = (run.networks, pairs, run.d)
    x0, z = (
        torch.randn(shape, generator=generator).repeat(1, run.repeats, 1)
        for _ in range(2)
    )
    signs = np.where(rng.random((run.networks, pairs)) < task.p, 1, -1)
    x1 = task.sigma * z
    x1[..., 0] += torch.as_tensor(signs).repeat(1, run.repeats) * run.d**0.5
    x = alpha * x0 + beta * x1
    delta = alpha**2 + task.sigma**2 * beta**2
    field = beta / delta * (x @ w[..., None]) + b[:, None, None]
    output = task.sigma**2 * beta / delta * x
    output = output + alpha**2 / delta * torch.tanh(field) * w[:, None, :]
    return (weight * (x1 - output) ** 2).sum(-1).mean(-1) / run.d


def shared_overlaps(w: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Return the overlaps (m, q, b) of each network, shape (3, networks)."""
    with torch.no_grad():
        d, w = w.shape[1], w.double()
        m = w[:, 0] / d**0.5
        q = (w[:, 1:] ** 2).sum(1) / d
        return torch.stack([m, q, b.double()]).numpy().copy()
