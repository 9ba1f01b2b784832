r"""The loss of the autoencoder with its average over the noise taken exactly.

A network sees fresh noise $x_0$ only through the scalars $w_k\cdot x_0$. Given a
sample, or the signs of a mode, the fields are jointly Gaussian, so every average is an
integral over one normal, or a series of such for two units, at any dimension. With
$\hat u = u/\sqrt d$, $\hat w = w/\sqrt d$,

$$
\mathcal L/d = S_{yy} - 2cS_{yx} + c^2S_{xx}
  - 2\sum_k\hat u_k\cdot(B^y_k - cB^x_k)
  + \sum_{kl} (Q_{kl} + \lambda\delta_{kl})\,\hat u_k\cdot\hat u_l
  + \ell\sum_k|\hat w_k|^2, \tag{N4}
$$

with $B^y_k = E[\varphi_k\,x_1]/\sqrt d$, $B^x_k = E[\varphi_k\,x_\tau]/\sqrt d$ and
$Q_{kl} = E[\varphi_k\varphi_l]$, summed over the samples, whose fields correlate by
$\alpha^2\,\hat w_k\cdot\hat w_l$; for a population over its modes with their weights,
$\alpha^2 + \sigma^2\beta^2$ for $\alpha^2$ and no ridges. Frozen noise is summed over.
Where the noise explodes, $\ell$ is `ridge_w` times $\alpha^2$, a number for each time.
Status: exact at every d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from .network import activation
from .training_set import TrainingSet, generator

REACH = 8.0
"""E over |g| > 8 is below 2e-15 for integrands bounded by one."""

SATURATED_BIAS = 20.0
"""Of a unit that is the constant 1: tanh(20) = 1 in float64."""

Moments = tuple[Tensor, Tensor, Tensor]
"""$B^y, B^x$ (T, K, k) and Q (T, K, K)."""

_MOST_ALIKE = 0.9  # 48 orders leave 0.9^48 = 6e-3 of a unit's smallest part
_STEEPEST = 2.0  # the minimum has 1 + sqrt(Lambda) at most
_CHUNK = 2**20  # field values held at once, 8 MiB in float64


@dataclass(frozen=True)
class NetworkLoss:
    r"""The loss of K units at T times, per row and coordinate (N4).

    A row is a centre $y_i$ of weight $\pi_i$ in a training set, with each of its noise
    draws where these are frozen. `nodes` equally spaced abscissae integrate over fresh
    noise; the rule converges geometrically for functions analytic in a strip. `live`
    (T, K) says which units are not constant: the others are 1 (0 without a bias),
    which is where the minimum over w and b has gone when they see too little.
    """

    data: TrainingSet
    alpha: Tensor
    beta: Tensor
    ridge_u: float
    ridge_w: Tensor
    phi: str
    tied: bool
    bias: bool
    nodes: int
    live: Tensor

    @property
    def natural(self) -> Tensor:
        r"""Natural unit of $\hat w_k$, inverted, (T, K): the field of a unit weight.

        That is $\sqrt{\alpha^2 + d\beta^2}$ for a unit alone; for several around each
        feature, times the size of the feature, so that a small one is learned as
        precisely as a large one.
        """
        data = self.data
        if not data.numbered:
            return torch.sqrt(self.alpha**2 + data.d * self.beta**2)[:, None]
        field = self.noise[:, None] + (self.beta[:, None] * data.reach) ** 2
        return field.sqrt() * data.sizes

    @property
    def most_nodes(self) -> int:
        """Bound on the nodes of a quadrature: `near` keeps several units gentle."""
        return 256 if self.data.numbered else 1024

    @property
    def longest(self) -> float:
        """The longest step of a descent: a few units of the smallest field."""
        return float(self.data.sizes.min()) if self.data.numbered else math.inf

    @property
    def may_be_constant(self) -> bool:
        """Whether minima with constant units are looked for beside the others.

        A tied unit alone, or one without a bias, saturates by itself if at all.
        """
        free = self.data.numbered or (self.bias and not self.tied)
        return self.data.samples and free

    def near(self, w: Tensor) -> Tensor:
        r"""Rows (T,) in the region that a descent of several units does not leave.

        No field is far steeper than the data's own, $\sqrt{\Lambda_k}$: a unit that
        sees no signal could otherwise turn into a step between two nodes, which would
        not notice. No two units are much alike: their series has to converge.
        """
        if not self.data.numbered or self.data.x0 is not None:  # nothing to miss
            return torch.ones_like(self.alpha, dtype=torch.bool)
        norms, spread = w.detach().norm(dim=2), self.noise.sqrt()[:, None]
        own = self.beta[:, None] * self.data.reach / spread
        steep = spread * norms > _STEEPEST * (1 + own)
        cosines = (w @ w.mT).detach() / (norms[:, None] * norms[:, :, None])
        alike = torch.triu(cosines.abs(), 1).flatten(1) > _MOST_ALIKE
        return ~(steep.any(1) | alike.any(1))

    @property
    def noise(self) -> Tensor:
        r"""Variance of the noise in a coordinate of $x_\tau$ around a centre, (T,)."""
        return self.alpha**2 + self.data.spread**2 * self.beta**2

    @property
    def ratio(self) -> Tensor:
        r"""The tied readout's $\hat u / \hat w = \alpha^2/(\beta\sqrt d)$."""
        return self.alpha**2 / (self.beta * self.data.d**0.5)

    def part(self, rows: slice | Tensor) -> NetworkLoss:
        """The same loss at some of the times."""
        data = self.data
        if data.x0 is not None:
            data = replace(data, x0=data.x0[rows])
        names = ("alpha", "beta", "ridge_w")
        pick = {name: getattr(self, name)[rows] for name in names}
        return replace(self, data=data, live=self.live[rows], **pick)

    def parts(self) -> list[slice]:
        """Slices of the times that keep the field values in a small memory."""
        data = self.data
        each = len(data.weights) * (self.nodes if data.x0 is None else data.x0.shape[2])
        size = max(1, _CHUNK // len(data.means) // each)
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

    def moments(self, w: Tensor, b: Tensor) -> Moments:
        r"""$B^y, B^x$ (T, K, k) and $Q$ (T, K, K) at $\hat w$ (T, K, k), b (T, K)."""
        return self._fresh(w, b) if self.data.x0 is None else self._frozen(w, b)

    def _fresh(self, w: Tensor, b: Tensor) -> Moments:
        """Units and times as rows of one table: its products are the quick ones."""
        data, root, (times, count, _) = self.data, self.data.d**0.5, w.shape
        centres, rows, levels = data.x1 / root, w.flatten(0, 1), b.flatten()
        beta, noise = (
            x.repeat_interleave(count)[:, None] for x in (self.beta, self.noise)
        )
        mean = beta * root * (rows @ centres.T) + levels[:, None]
        variance = noise[:, 0] * (rows * rows).sum(1)
        first, slope, second = unit_averages(self.phi, mean, variance, self.nodes)
        on_centres = (data.weights * first) @ centres
        stein = (slope @ data.weights / root)[:, None] * rows
        with_data = on_centres + data.spread**2 * beta * stein
        with_input = beta * on_centres + noise * stein
        products = (second @ data.weights).view(times, count, 1)
        if count > 1:  # a unit alone has its square and no series
            cov = self.noise[:, None, None] * (w @ w.mT)
            products = self._products(mean.view(times, count, -1), cov, products)
        return with_data.view(w.shape), with_input.view(w.shape), products

    def _frozen(self, w: Tensor, b: Tensor) -> Moments:
        data, root = self.data, self.data.d**0.5
        x = self.frozen_inputs().flatten(1, 2) / root
        phi = activation(self.phi, root * w @ x.transpose(1, 2) + b[:, :, None])
        by_sample = phi.unflatten(2, (len(data.x1), -1)).sum(3)
        return by_sample @ (data.x1 / root), phi @ x, phi @ phi.transpose(1, 2)

    def _products(self, mean: Tensor, cov: Tensor, squares: Tensor) -> Tensor:
        """The matrix Q from the fields' means (T, K, S) and covariances (T, K, K)."""
        count = mean.shape[1]
        tiny = torch.finfo(cov.dtype).tiny ** 0.5  # saturated units have none
        std = (torch.diagonal(cov, dim1=1, dim2=2) + tiny).sqrt()
        modes = hermite_modes(self.phi, mean, std, self.nodes)
        square = torch.diag_embed(squares[:, :, 0])
        rows = [list(row.unbind(1)) for row in square.unbind(1)]
        for k in range(count):
            for j in range(k):
                rho = cov[:, j, k] / (std[:, j] * std[:, k])
                powers = rho[:, None] ** torch.arange(modes.shape[-1]).to(rho)
                both = (modes[:, j] * modes[:, k]).transpose(1, 2) @ self.data.weights
                rows[j][k] = rows[k][j] = (powers * both).sum(1)
        return torch.stack([torch.stack(row, 1) for row in rows], 1)

    def value(self, c: Tensor, u: Tensor, w: Tensor, b: Tensor) -> Tensor:
        r"""The loss (T,) at $(c, \hat u, \hat w, b)$; differentiable."""
        y, x, products = self.moments(w, b)
        gain = 2 * (u * (y - c[:, None, None] * x)).sum((1, 2))
        return self._total(c, w, gain - self._square(u, products), self.constants())

    def best(self, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""The optimal $c$ and $\hat u$ at $(\hat w, b)$ and the loss there."""
        known, (y, x, products) = self.constants(), self.moments(w, b)
        _, yx, xx = known
        if self.tied:
            u = self.ratio[:, None, None] * w
            c = (yx - (u * x).sum((1, 2))) / xx
            gain = 2 * (u * (y - c[:, None, None] * x)).sum((1, 2))
            gain = gain - self._square(u, products)
        else:
            c, u = self._solved((y, x, products), known)
            gain = (u * (y - c[:, None, None] * x)).sum((1, 2))
        return c, u, self._total(c, w, gain, known)

    def _total(self, c: Tensor, w: Tensor, gain: Tensor, known: Moments) -> Tensor:
        """The loss, given what the units gain."""
        yy, yx, xx = known
        total = yy - 2 * c * yx + c**2 * xx - gain
        return (total + self.ridge_w * (w * w).sum((1, 2))) / self.data.rows

    def _square(self, u: Tensor, products: Tensor) -> Tensor:
        """The mean square of what the units say, with the ridge of the readouts."""
        return (u * (products @ u + self.ridge_u * u)).sum((1, 2))

    def _solved(self, seen: Moments, known: Moments) -> tuple[Tensor, Tensor]:
        """The skip and the readouts that are best; a division for a unit alone."""
        (y, x, products), (_, yx, xx) = seen, known
        if products.shape[1] == 1:
            scale = 1 / (products[:, 0, 0] + self.ridge_u)
            shared, own = (y * x).sum((1, 2)), (x * x).sum((1, 2))
            c = (yx - scale * shared) / (xx - scale * own)
            return c, scale[:, None, None] * (y - c[:, None, None] * x)
        ridged = products + self.ridge_u * torch.eye(products.shape[1]).to(products)
        both = torch.linalg.solve(ridged, torch.cat([y, x], 2))
        from_y, from_x = both.chunk(2, 2)
        c = (yx - (x * from_y).sum((1, 2))) / (xx - (x * from_x).sum((1, 2)))
        return c, from_y - c[:, None, None] * from_x

    def reduced(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and gradient at points (T, K (k + 1)), see `split`."""
        values, grads = [], []
        for rows in self.parts():
            part = self.part(rows)
            x = point[rows].detach().requires_grad_()
            w, b = part.split(x)
            _, _, total = part.best(w, b)
            (grad,) = torch.autograd.grad(total.sum(), x)
            values.append(total.detach().masked_fill(~part.near(w), torch.inf))
            grads.append(grad)
        return torch.cat(values), torch.cat(grads)

    def split(self, point: Tensor) -> tuple[Tensor, Tensor]:
        r"""Turn points into $\hat w$ (T, K, k) and b (T, K) (zero without a bias)."""
        count, live = len(self.data.means), self.live
        w = point[:, :-count].reshape(len(point), count, -1) / self.natural[:, :, None]
        b = point[:, -count:] / self.data.sizes
        if not self.free.all():
            w = torch.where(self.free[:, :, None], w, 0.0)
        if not self.bias:
            return w, 0 * b
        return w, b if live.all() else torch.where(live, b, SATURATED_BIAS)

    @property
    def free(self) -> Tensor:
        """Units (T, K) with weights to learn: a constant one that is tied keeps its w.

        Those are its readout.
        """
        return self.live | (self.tied and self.bias)

    def join(self, w: Tensor, b: Tensor) -> Tensor:
        """The point that `split` turns into `w` and `b`."""
        scaled = (w * self.natural[:, :, None]).flatten(1)
        return torch.cat([scaled, b * self.data.sizes], 1)

    def gradient_norm(self, c: Tensor, u: Tensor, w: Tensor, b: Tensor) -> Tensor:
        r"""Norm (T,) of the gradient in $(c, \hat u)$ and in points of `split`.

        Tied readouts are not free and do not count.
        """
        norms = []
        for rows in self.parts():
            part = self.part(rows)
            free = [c[rows], part.join(w[rows], b[rows]), u[rows]]
            free = [y.detach().requires_grad_() for y in free]
            weights, bias = part.split(free[1])
            readout = part.ratio[:, None, None] * weights if part.tied else free[2]
            total = part.value(free[0], readout, weights, bias).sum()
            grads = torch.autograd.grad(total, free[:2] if part.tied else free)
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


def hermite_modes(phi: str, mean: Tensor, std: Tensor, nodes: int) -> Tensor:
    r"""$E\,\varphi(h)\,\mathrm{He}_n(g)/\sqrt{n!}$ of fields $h = m + \text{std}\,g$.

    From means $m$ (T, K, S) and spreads (T, K): (T, K, S, orders), three orders for
    four nodes. Two units whose normals correlate by $\rho$ have
    $E\varphi_j\varphi_k = \sum_n \rho^n a_n b_n$ of these (Mehler's formula).
    """
    g = torch.linspace(-REACH, REACH, nodes, dtype=mean.dtype, device=mean.device)
    basis = [torch.softmax(-g * g / 2, 0)]
    basis.append(g * basis[0])
    for n in range(2, 3 * nodes // 4):
        basis.append((g * basis[-1] - (n - 1) ** 0.5 * basis[-2]) / n**0.5)
    field = mean[..., None] + std[:, :, None, None] * g
    return activation(phi, field) @ torch.stack(basis, 1)


START_FIELD = 4.0
"""Largest field where a descent begins, so that tanh is not flat there."""

START_NOISE = 0.03
"""Random part of the starting weights, relative to their part along the mean."""


def starts(loss: NetworkLoss, seed: int) -> tuple[NetworkLoss, Tensor]:
    """The loss once for each choice of units that may live, and where to start."""
    steps, count = loss.live.shape
    either = (True, False) if loss.may_be_constant else (True,)
    choices = list(product(either, repeat=count))
    live = torch.tensor(choices, device=loss.live.device).repeat_interleave(steps, 0)
    times = torch.arange(steps, device=live.device).repeat(len(choices))
    begin = _at_each_mean if loss.data.numbered else _along_the_labels
    point = loss.join(*begin(loss, seed)).repeat(len(choices), 1)
    return replace(loss.part(times), live=live), point


def lowest_choice(
    loss: NetworkLoss, point: Tensor, steps: int
) -> tuple[NetworkLoss, Tensor]:
    """At each time the choice of `starts` whose minimum is the lowest."""
    value = loss.reduced(point)[0].reshape(-1, steps)
    best = value.argmin(0) * steps + torch.arange(steps, device=value.device)
    return loss.part(best), point[best]


def _along_the_labels(loss: NetworkLoss, seed: int) -> tuple[Tensor, Tensor]:
    """One unit with w along the labelled mean, b the log-odds; `seed` has no part.

    For a population this is the exact denoiser. For samples the field is at most a
    few units, so that none of them starts with a vanishing gradient.
    """
    data = loss.data
    mean = (data.weights * data.labels) @ data.x1 / data.weights.sum()
    spread = loss.alpha**2 + data.sigma**2 * loss.beta**2
    signal = data.d * loss.beta**2 / spread
    shrink = (START_FIELD / signal.clamp(min=1e-300)).clamp(max=1.0)
    if not data.samples:
        shrink = torch.ones_like(shrink)
    w = (shrink * loss.beta / spread)[:, None] * mean
    plus = float(data.weights[data.labels > 0].sum())
    minus = float(data.weights[data.labels < 0].sum())
    odds = math.log((plus + 1e-9) / (minus + 1e-9)) / 2
    b = torch.full_like(loss.beta, max(-2.0, min(2.0, odds)) * loss.bias)
    return w[:, None], b[:, None]


def _at_each_mean(loss: NetworkLoss, seed: int) -> tuple[Tensor, Tensor]:
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
    return w, b
