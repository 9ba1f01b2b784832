r"""One tied network for all times, trained by plain SGD with its slopes by autograd.

$D(x) = \frac{\beta\sigma^2}{\Delta}x + \frac{\alpha^2}{\Delta}
\sum_jw_j\tanh(\frac\beta\Delta w_j\cdot x + b_j)$ on full vectors of
dimension `d`, a unit for each feature: nothing here knows an overlap but
`shared_overlaps`. A step moves vectors by $\frac\eta2$ and biases by $\frac\eta{2d}$
times the slope of the loss per dimension, and takes a training time $\eta/d$.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...errors import ModelError
from ...theory.models.classes import pair

Curves = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SharedTask:
    """The training task: the mixture, the interpolant, and the density of times.

    `p` and `lengths` (of the means) have an entry for each feature; `alpha`, `beta` and
    `weight` are functions of arrays of times, `quantile` takes uniform numbers in
    (0, 1) to times.
    """

    p: tuple[float, ...]
    lengths: tuple[float, ...]
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
    `momentum` a step is `rate` times the running sum of slopes, so that a lasting slope
    moves by ``rate/(1 - momentum)``, and takes that much more training time. `ridge_w`
    times |w|^2/d is added to the loss. With `common_rate` the bias has the rate of the
    vector, not 1/d of it.
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


def overlap_names(units: int) -> tuple[str, ...]:
    """Return the names of the overlaps of a network: m, q and b, or m_1, ..., b_2."""
    if units == 1:
        return ("m", "q", "b")
    pairs = [(j, k) for j in range(1, units + 1) for k in range(1, units + 1)]
    names = [pair("m", j, k) for j, k in pairs]
    names += [pair("r", j, k) for j, k in pairs if j <= k]
    return (*map(str, names), *(f"b_{j}" for j in range(1, units + 1)))


def train_shared(
    task: SharedTask, run: SharedRun, init: Mapping[str, float], times: Sequence[float]
) -> np.ndarray:
    """Return the overlaps at training times: shape (times, overlaps, networks).

    `init` has them at time 0 by name, in the units of `overlap_names`.
    """
    if run.batch % run.repeats:
        raise ModelError(
            f"`batch` must be a multiple of `repeats`, but is {run.batch} with "
            f"{run.repeats} times a pair. Change one of them."
        )
    generator = torch.Generator().manual_seed(run.seed)
    rng = np.random.default_rng(run.seed)
    w, b = _start(task, run, init, generator)
    sums = [torch.zeros_like(w), torch.zeros_like(b)]
    seen, step = [], 0
    pace = run.d * (1 - run.momentum) / run.rate
    for time in times:
        for _ in range(step, round(time * pace)):
            loss = batch_loss(task, run, w, b, rng, generator)
            loss = loss + run.ridge_w * (w**2).sum((1, 2)) / run.d
            slopes = torch.autograd.grad(loss.sum(), (w, b))
            for total, slope in zip(sums, slopes, strict=True):
                total.mul_(run.momentum).add_(slope)
            with torch.no_grad():
                w.sub_(sums[0] * (run.rate / 2))
                b.sub_(sums[1] * (run.rate / 2 / (1 if run.common_rate else run.d)))
            step += 1
        seen.append(shared_overlaps(task, w, b))
    return np.array(seen)


def _start(task: SharedTask, run: SharedRun, init: Mapping[str, float], generator):
    """Return vectors w with the overlaps asked for, and b; mu_j is along axis j."""
    units = len(task.p)
    values = [float(init[name]) for name in overlap_names(units)]
    length = np.array(task.lengths)
    along = np.reshape(values[: units**2], (units, units))
    norm = np.zeros((units, units))
    norm[np.triu_indices(units)] = values[units**2 : -units]
    across = norm
    if units > 1:
        across = norm + np.triu(norm, 1).T - along @ along.T
    lower, vectors = np.linalg.eigh(across * np.outer(length, length))
    root = vectors * np.sqrt(np.maximum(lower, 0))
    rest = torch.randn(
        run.networks, units, run.d, generator=generator, dtype=torch.float32
    )
    rest[..., :units] = 0
    rest = torch.linalg.qr(rest.mT).Q.mT
    w = torch.as_tensor(root, dtype=torch.float32) @ rest
    w[..., :units] = torch.as_tensor(along * length[:, None], dtype=torch.float32)
    bias = torch.tensor(values[-units:], dtype=torch.float32)
    return w.requires_grad_(), bias.repeat(run.networks, 1).requires_grad_()


def _times(task: SharedTask, run: SharedRun, rng: np.random.Generator) -> np.ndarray:
    u = rng.random((run.networks, run.batch))
    if run.stratified:
        u = (np.arange(run.batch) + u) / run.batch
        u = rng.permuted(u, axis=1)
    return task.quantile(u)


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
    x1 = task.sigma * z
    for j, (p, length) in enumerate(zip(task.p, task.lengths, strict=True)):
        signs = np.where(rng.random((run.networks, pairs)) < p, length, -length)
        x1[..., j] += torch.as_tensor(signs).repeat(1, run.repeats)
    x = alpha * x0 + beta * x1
    delta = alpha**2 + task.sigma**2 * beta**2
    field = beta / delta * (x @ w.mT) + b[:, None, :]
    output = task.sigma**2 * beta / delta * x
    output = output + alpha**2 / delta * (torch.tanh(field) @ w)
    return (weight * (x1 - output) ** 2).sum(-1).mean(-1) / run.d


def shared_overlaps(task: SharedTask, w: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Return the overlaps of each network, shape (overlaps, networks)."""
    with torch.no_grad():
        units, w = len(task.p), w.double()
        length = torch.tensor(task.lengths, dtype=torch.float64)
        along = w[..., :units] / length[:, None]
        scaled = w[..., units:] if units == 1 else w
        norm = scaled @ scaled.mT / torch.outer(length, length)
        upper = norm[:, *np.triu_indices(units)]
        parts = (along.flatten(1), upper, b.double())
        return torch.cat(parts, dim=1).T.numpy().copy()
