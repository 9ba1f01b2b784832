r"""The mixture's two networks: one parameter set a time, or one shared over times.

Both have the form $f(x) = c\,x + U\,(g \odot \tanh(a \odot Wx/\sqrt d + b))$ at each
time, so a sample enters only through $Wx$. Hence `final_overlaps` generates exactly
(in law) in the span of $W$ and $\mu$ instead of in all d dimensions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..real_data.interpolants import LINEAR_PATH
from ..real_data.training_times import TrainingTimes

PATH = LINEAR_PATH
VECTOR_RATE = 0.05
"""Adam's step for the entries of u and w, which are O(1)."""
SCALAR_TRAVEL = 2.4
"""Adam's step for c and b times the number of steps: slow, or b saturates before w has
found the mean; and as far at every budget."""
TIME_RATE = 0.02
"""Adam's step for the shared network's dependence on time."""
START = 0.1
"""Standard deviation of the entries of u and w at the start: below what they learn, or
the fields stay those of the random start."""
SMALLEST = 1e-16
"""Adam's eps: gradients of a loss per coordinate shrink as 1/d, below the usual 1e-8
at large d, and steps would shrink with them."""


@dataclass(frozen=True, eq=False)
class Unit:
    """The network at one time; shapes: `u`, `w` (hidden, d), `b, a, g` (hidden,)."""

    c: Tensor
    u: Tensor
    w: Tensor
    b: Tensor
    a: Tensor
    g: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.c * x + self.active(x @ self.w.T / math.sqrt(x.shape[1])) @ self.u

    def active(self, fields: Tensor) -> Tensor:
        r"""The output of the hidden units, from $Wx/\sqrt d$."""
        return self.g * torch.tanh(self.a * fields + self.b)


@dataclass(frozen=True, eq=False)
class PerTime:
    """One hidden unit and one parameter set for each of `times` (T,).

    `c, b` have shape (T,), `u, w` have shape (T, d).
    """

    times: np.ndarray
    c: Tensor
    u: Tensor
    w: Tensor
    b: Tensor

    def at(self, t: float) -> Unit:
        """The parameters trained nearest to `t` in log SNR."""
        logs = np.log([min(max(PATH.ratio(s), 1e-9), 1e9) for s in (*self.times, t)])
        i = int(np.argmin(abs(logs[:-1] - logs[-1])))
        rows = slice(i, i + 1)
        one = torch.ones_like(self.b[rows])
        return Unit(self.c[i], self.u[rows], self.w[rows], self.b[rows], one, one)

    def denoiser(self, x: Tensor, t: float) -> Tensor:
        """`at` as a denoiser."""
        return self.at(t)(x)


def train_per_time(
    x1: Tensor, times: np.ndarray, steps: int, batch: int, generator: Any
) -> PerTime:
    r"""Train one unit a time by Adam, on `batch` samples with fresh noise a step.

    All times see the same samples and noise draws, which makes a step a few matrix
    products. The mean of $|x_1 - f(x_t)|^2/d$ is minimised, without ridge.
    """
    d, count = x1.shape[1], len(times)
    alpha = x1.new_tensor([PATH.alpha(float(t)) for t in times])[:, None]
    beta = x1.new_tensor([PATH.beta(float(t)) for t in times])[:, None]
    w, u = (
        START * torch.randn(count, d, generator=generator, device=x1.device)
        for _ in range(2)
    )
    c, b = (torch.zeros(count, 1, device=x1.device) for _ in range(2))
    for step in _adam([u, w], [c, b], SCALAR_TRAVEL / steps, steps):
        rows = _rows(x1, batch, generator)
        noise = torch.randn(rows.shape, generator=generator, device=x1.device)
        step(_unit_loss((c, u, w, b), (alpha, beta), noise, rows).sum())
    c, u, w, b = (x.detach() for x in (c, u, w, b))
    return PerTime(np.asarray(times), c[:, 0], u, w, b[:, 0])


def _unit_loss(
    network: tuple[Tensor, ...], path: tuple[Tensor, Tensor], x0: Tensor, x1: Tensor
) -> Tensor:
    """Mean of |x1 - f(x_t)|^2/d less |x1|^2/d, at every time, from inner products."""
    (c, u, w, b), (alpha, beta), d = network, path, x1.shape[1]
    w0, u0 = (torch.cat([w, u]) @ x0.T).chunk(2)
    w1, u1 = (torch.cat([w, u]) @ x1.T).chunk(2)
    phi = torch.tanh((alpha * w0 + beta * w1) / math.sqrt(d) + b)
    x00, x01, x11 = (x0 * x0).sum(1), (x0 * x1).sum(1), (x1 * x1).sum(1)
    xt1 = alpha * x01 + beta * x11
    xtt = alpha**2 * x00 + 2 * alpha * beta * x01 + beta**2 * x11
    square = c**2 * xtt + phi**2 * (u * u).sum(1, keepdim=True)
    cross = 2 * c * phi * (alpha * u0 + beta * u1) - 2 * c * xt1 - 2 * phi * u1
    return (square + cross).mean(1) / d


def _rows(x1: Tensor, batch: int, generator: Any) -> Tensor:
    chosen = torch.randint(
        len(x1), (batch,), generator=generator, device=generator.device
    )
    return x1[chosen]


def _adam(
    vectors: list[Tensor], others: list[Tensor], rate: float, steps: int
) -> Iterator[Callable[[Tensor], None]]:
    """Yield, `steps` times, a function that takes a loss and makes one step."""
    for x in (*vectors, *others):
        x.requires_grad_()
    groups = [{"params": vectors, "lr": VECTOR_RATE}, {"params": others, "lr": rate}]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=SMALLEST)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    def step(loss: Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()

    for _ in range(steps):
        yield step


class Shared(torch.nn.Module):
    r"""One network for all times: `hidden` units, scaled and shifted by the time.

    $c, a, b, g$ come from a small network of the time; $U$ and $W$ are shared.
    """

    def __init__(self, d: int, hidden: int, generator: Any) -> None:
        super().__init__()
        device = generator.device

        def normal(*shape: int, scale: float = 1.0) -> torch.nn.Parameter:
            values = torch.randn(*shape, generator=generator, device=device)
            return torch.nn.Parameter(values * scale)

        self.w = normal(hidden, d, scale=START)
        self.u = normal(hidden, d, scale=START)
        self.first = normal(3, 32)
        self.shift = normal(32)
        self.last = normal(32, 3 * hidden + 1, scale=START)

    def controls(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The skip and the gains and shifts of the hidden units at times `t` (B,)."""
        logit = torch.log((t + 1e-4) / (1 + 1e-4 - t))
        seen = torch.stack([t, logit / 4, torch.sin(logit)], dim=1)
        out = torch.tanh(seen @ self.first + self.shift) @ self.last
        a, b, g = out[:, 1:].chunk(3, dim=1)
        return out[:, :1], 1 + a, b, 1 + g

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        c, a, b, g = self.controls(t)
        field = a * (x @ self.w.T) / math.sqrt(x.shape[1]) + b
        return c * x + (g * torch.tanh(field)) @ self.u

    def at(self, t: float) -> Unit:
        """The network frozen at one time."""
        with torch.no_grad():
            c, a, b, g = self.controls(self.w.new_tensor([t]))
            return Unit(c[0, 0], self.u, self.w, b[0], a[0], g[0])

    def denoiser(self, x: Tensor, t: float) -> Tensor:
        """`at` as a denoiser."""
        return self.at(t)(x)


def train_over_times(
    x1: Tensor,
    times: TrainingTimes,
    steps: int,
    batch: int,
    generator: Any,
    hidden: int = 32,
) -> Shared:
    """Train one network over all times by Adam, with times drawn from `times`."""
    net = Shared(x1.shape[1], hidden, generator)
    small = [net.first, net.shift, net.last]
    for step in _adam([net.u, net.w], small, TIME_RATE, steps):
        rows = _rows(x1, batch, generator)
        t = times.sample(batch, generator, stratified=True)
        noise = torch.randn(rows.shape, generator=generator, device=x1.device)
        x = (1 - t)[:, None] * noise + t[:, None] * rows
        step((rows - net(x, t)).square().mean())
    return net.requires_grad_(False)


def final_overlaps(
    unit_at: Callable[[float], Unit],
    edges: np.ndarray,
    mu: Tensor,
    count: int,
    generator: Any,
) -> Tensor:
    r"""Generate `count` samples and return $\mu\cdot X/\sqrt d$ at the last edge.

    The step from an edge to the next uses the network at the left one, for which the
    step is exact. All that happens to a sample is that multiples of itself and of the
    rows of $U$ are added, so its overlaps with $W$ and $\mu$ are followed alone; at
    the start they are Gaussian with the Gram matrix of those vectors.
    """
    d = len(mu)
    units = [unit_at(float(t)) for t in edges[:-1]]
    blocks = {unit.w.data_ptr(): unit.w for unit in units}
    first = itertools.accumulate(map(len, blocks.values()), initial=0)
    starts = dict(zip(blocks, first, strict=False))
    rows = torch.cat([*blocks.values(), mu[None]]).double() / math.sqrt(d)
    normal = torch.randn(
        count, len(rows), generator=generator, device=mu.device, dtype=torch.float64
    )
    y = normal @ _gram_root(rows).T
    for unit, (now, then) in zip(units, itertools.pairwise(edges), strict=True):
        start = starts[unit.w.data_ptr()]
        active = unit.active(y[:, start : start + len(unit.w)])
        x1 = unit.c * y + active @ (unit.u.double() @ rows.T)
        keep = PATH.alpha(float(then)) / PATH.alpha(float(now))
        y = keep * (y - PATH.beta(float(now)) * x1) + PATH.beta(float(then)) * x1
    return y[:, -1]


def _gram_root(rows: Tensor) -> Tensor:
    """A matrix R with R R^T the Gram matrix, also when rows depend on each other."""
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    return vectors * values.clamp(min=0).sqrt()
