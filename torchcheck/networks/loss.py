r"""The loss of the autoencoder with its average over the noise taken exactly.

A network sees fresh noise $x_0$ only through the scalar $w\cdot x_0/|w|$, so the
average is a one-dimensional integral at any dimension. With $\hat u = u/\sqrt d$,
$\hat w = w/\sqrt d$ and centres $y_i$ of weight $\pi_i$ (the samples; for a
population the means, with the spread averaged too),

$$
\mathcal L/d = S_{yy} - 2cS_{yx} + c^2S_{xx} - 2\hat u\cdot(B_y - cB_x)
  + (Q+\lambda)|\hat u|^2 + \ell|\hat w|^2, \tag{N1}
$$

with $B_y = E[\varphi\,x_1]/\sqrt d$, $B_x = E[\varphi\,x_\tau]/\sqrt d$ and
$Q = E[\varphi^2]$, summed over the centres. Gaussian integration by parts gives the
noise's part of $B$ from $E[\varphi']$. Status: exact at every d.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .network import activation
from .training_set import TrainingSet

REACH = 8.0  # E over |g| > 8 is below 2e-15 for integrands bounded by one
_CHUNK = 2**18  # field values held at once, 2 MiB in float64


@dataclass(frozen=True)
class RowsLoss:
    r"""What the losses of one and of several units share: rows of data at T times.

    A row is a centre $y_i$ of weight $\pi_i$ in a training set, with each of its noise
    draws where these are frozen. `nodes` equally spaced abscissae integrate over fresh
    noise; the rule converges geometrically for functions analytic in a strip.
    """

    data: TrainingSet
    alpha: Tensor
    beta: Tensor
    ridge_u: float
    ridge_w: float
    phi: str
    tied: bool
    bias: bool
    nodes: int

    @property
    def noise(self) -> Tensor:
        r"""Variance of the noise in a coordinate of $x_\tau$ around a centre, (T,)."""
        return self.alpha**2 + self.data.spread**2 * self.beta**2

    @property
    def ratio(self) -> Tensor:
        r"""The tied readout's $\hat u / \hat w = \alpha^2/(\beta\sqrt d)$."""
        return self.alpha**2 / (self.beta * self.data.d**0.5)

    def part(self, rows: slice | Tensor) -> Self:
        """The same loss at some of the times."""
        data = self.data
        if data.x0 is not None:
            data = replace(data, x0=data.x0[rows])
        return replace(self, data=data, alpha=self.alpha[rows], beta=self.beta[rows])

    def slices(self, most: int) -> list[slice]:
        """Slices of the times that hold at most so many field values at once."""
        data = self.data
        each = len(data.weights) * (self.nodes if data.x0 is None else data.x0.shape[2])
        size = max(1, most // each)
        return [slice(i, i + size) for i in range(0, len(self.alpha), size)]

    def frozen_inputs(self) -> Tensor:
        r"""$\alpha x_0 + \beta x_1$ of every frozen draw, (T, n, noise_draws, k)."""
        assert self.data.x0 is not None
        alpha, beta = self.alpha[:, None, None, None], self.beta[:, None, None, None]
        return alpha * self.data.x0 + beta * self.data.x1[:, None, :]

    def constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """The loss's terms without the hidden unit: $S_{yy}, S_{yx}, S_{xx}$ (T,)."""
        data, d = self.data, self.data.d
        if data.x0 is not None:
            x, y = self.frozen_inputs(), data.x1
            total = data.x0.shape[2] * (y * y).sum() / d
            mixed = torch.einsum("nk,tnjk->t", y, x) / d
            return total.expand_as(mixed), mixed, (x * x).sum((1, 2, 3)) / d
        power = (data.x1**2).sum(1) / d + data.spread**2
        total = (data.weights @ power).expand_as(self.alpha)
        rows = data.weights.sum()
        return total, self.beta * total, self.beta**2 * total + self.alpha**2 * rows


@dataclass(frozen=True)
class Moments:
    """What the loss knows of the hidden unit: (T, k), (T, k) and (T,)."""

    with_data: Tensor
    with_input: Tensor
    squared: Tensor


@dataclass(frozen=True)
class Loss(RowsLoss):
    r"""The loss of one unit on one training set, per row and coordinate (N1)."""

    most_nodes = 1024
    longest = float("inf")

    @property
    def scale(self) -> Tensor:
        """Size of the field that a unit weight makes: the natural unit of w."""
        return torch.sqrt(self.alpha**2 + self.data.d * self.beta**2)

    def parts(self) -> list[slice]:
        """Slices of the times that keep the field values in a small memory."""
        return self.slices(_CHUNK)

    def moments(self, w: Tensor, b: Tensor) -> Moments:
        r"""Averages of the hidden unit at $\hat w$ (T, k) and b (T,)."""
        return self._fresh(w, b) if self.data.x0 is None else self._frozen(w, b)

    def _fresh(self, w: Tensor, b: Tensor) -> Moments:
        data, root = self.data, self.data.d**0.5
        centres = data.x1 / root
        variance = self.noise * (w * w).sum(1)
        mean = (self.beta * root)[:, None] * (w @ centres.T) + b[:, None]
        first, slope, second = unit_averages(self.phi, mean, variance, self.nodes)
        pi = data.weights
        on_centres = (pi * first) @ centres
        stein = (slope @ pi / root)[:, None] * w
        return Moments(
            on_centres + data.spread**2 * self.beta[:, None] * stein,
            self.beta[:, None] * on_centres + self.noise[:, None] * stein,
            second @ pi,
        )

    def _frozen(self, w: Tensor, b: Tensor) -> Moments:
        data, root = self.data, self.data.d**0.5
        x = self.frozen_inputs() / root
        field = root * torch.einsum("tk,tnjk->tnj", w, x) + b[:, None, None]
        phi = activation(self.phi, field)
        return Moments(
            phi.sum(2) @ (data.x1 / root),
            torch.einsum("tnj,tnjk->tk", phi, x),
            (phi**2).sum((1, 2)),
        )

    def value(self, c: Tensor, u: Tensor, w: Tensor, b: Tensor) -> Tensor:
        r"""The loss (T,) at $(c, \hat u, \hat w, b)$; differentiable."""
        yy, yx, xx = self.constants()
        mo = self.moments(w, b)
        cross = (u * (mo.with_data - c[:, None] * mo.with_input)).sum(1)
        total = yy - 2 * c * yx + c**2 * xx - 2 * cross
        total = total + (mo.squared + self.ridge_u) * (u * u).sum(1)
        return (total + self.ridge_w * (w * w).sum(1)) / self.data.rows

    def best(self, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""The optimal $c$ and $\hat u$ at $(\hat w, b)$ and the loss there."""
        yy, yx, xx = self.constants()
        mo = self.moments(w, b)
        y, x, weight = mo.with_data, mo.with_input, mo.squared + self.ridge_u
        if self.tied:
            u = self.ratio[:, None] * w
            c = (yx - (u * x).sum(1)) / xx
            used = 2 * (u * (y - c[:, None] * x)).sum(1) - weight * (u * u).sum(1)
        else:
            c = (yx - (y * x).sum(1) / weight) / (xx - (x * x).sum(1) / weight)
            u = (y - c[:, None] * x) / weight[:, None]
            used = (u * (y - c[:, None] * x)).sum(1)
        total = yy - 2 * c * yx + c**2 * xx - used + self.ridge_w * (w * w).sum(1)
        return c, u, total / self.data.rows

    def reduced(self, point: Tensor) -> tuple[Tensor, Tensor]:
        r"""Loss and gradient at points (T, k + 1): $\hat w$ in units of `scale`, b."""
        values, grads = [], []
        for rows in self.parts():
            part = self.part(rows)
            x = point[rows].detach().requires_grad_()
            _, _, total = part.best(*part.split(x))
            (grad,) = torch.autograd.grad(total.sum(), x)
            values.append(total.detach())
            grads.append(grad)
        return torch.cat(values), torch.cat(grads)

    def split(self, point: Tensor) -> tuple[Tensor, Tensor]:
        r"""Turn points (T, k + 1) into $\hat w$ and b (zero without a bias)."""
        b = point[:, -1]
        return point[:, :-1] / self.scale[:, None], b if self.bias else 0 * b

    def gradient_norm(self, c: Tensor, u: Tensor, w: Tensor, b: Tensor) -> Tensor:
        r"""Norm (T,) of the gradient in $(c, \hat u, b)$ and $\hat w$ in its unit.

        Tied readouts and absent biases are not free and do not count.
        """
        norms = []
        for rows in self.parts():
            part = self.part(rows)
            unit = part.scale[:, None]
            free = [c[rows], w[rows] * unit, u[rows], b[rows]]
            free = [y.detach().requires_grad_() for y in free]
            skip, natural, readout, bias = free
            weights = natural / unit
            if part.tied:
                readout = part.ratio[:, None] * weights
                free[2:3] = []
            total = part.value(skip, readout, weights, bias).sum()
            grads = torch.autograd.grad(total, free if self.bias else free[:-1])
            norms.append(sum((g.reshape(len(g), -1) ** 2).sum(1) for g in grads).sqrt())
        return torch.cat(norms)


def unit_averages(
    phi: str, mean: Tensor, variance: Tensor, nodes: int
) -> tuple[Tensor, Tensor, Tensor]:
    r"""$E\varphi, E\varphi', E\varphi^2$ at fields N(mean, variance): (T, n) each."""
    g = torch.linspace(-REACH, REACH, nodes, dtype=mean.dtype, device=mean.device)
    weight = torch.softmax(-g * g / 2, 0)
    std = (variance + torch.finfo(mean.dtype).tiny ** 0.5).sqrt()
    field = mean[:, :, None] + std[:, None, None] * g
    value = activation(phi, field)
    first, second = value @ weight, (value * value) @ weight
    if phi == "tanh":
        return first, 1 - second, second
    slope = torch.exp(-field * field / 2) * (2 / torch.pi) ** 0.5
    return first, slope @ weight, second
