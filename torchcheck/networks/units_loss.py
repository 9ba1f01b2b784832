r"""The loss of several hidden units with its averages taken exactly.

Given a sample, or the signs of a mode, the fields are jointly Gaussian, so every
average is an integral over one normal, or a series of such for two units, at any
dimension. With
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
Status: exact at every d.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .loss import REACH, RowsLoss, unit_averages
from .network import activation

SATURATED_BIAS = 20.0
"""Of a unit that is the constant 1: tanh(20) = 1 in float64."""

Moments = tuple[Tensor, Tensor, Tensor]
"""$B^y, B^x$ (T, K, k) and Q (T, K, K)."""

_MOST_ALIKE = 0.9  # 48 orders leave 0.9^48 = 6e-3 of a unit's smallest part
_STEEPEST = 2.0  # the minimum has 1 + sqrt(Lambda) at most
_CHUNK = 2**20  # field values held at once, 8 MiB in float64


@dataclass(frozen=True)
class UnitsLoss(RowsLoss):
    r"""The loss of K units at T times, per row and coordinate (N4).

    `live` (T, K) says which units are not constant: the others are 1 (0 without a
    bias), which is where the minimum over w and b has gone when they see too little.
    """

    live: Tensor

    most_nodes = 256

    @property
    def longest(self) -> float:
        """Longest step of a descent: a few units of the smallest feature's field."""
        return float(self.data.sizes.min())

    @property
    def natural(self) -> Tensor:
        r"""Natural unit of $\hat w_k$, inverted: shape (T, K).

        The field that a unit weight makes, times the size of the unit's feature, so
        that a small feature is learned as precisely as a large one.
        """
        field = self.noise[:, None] + (self.beta[:, None] * self.data.reach) ** 2
        return field.sqrt() * self.data.sizes

    def part(self, rows: slice | Tensor) -> UnitsLoss:
        """The same loss at some of the times."""
        return replace(super().part(rows), live=self.live[rows])

    def parts(self) -> list[slice]:
        """Slices of the times that keep the field values in a small memory."""
        return self.slices(_CHUNK // len(self.data.means))

    def moments(self, w: Tensor, b: Tensor) -> Moments:
        r"""$B^y, B^x$ (T, K, k) and $Q$ (T, K, K) at $\hat w$ (T, K, k), b (T, K)."""
        return self._fresh(w, b) if self.data.x0 is None else self._frozen(w, b)

    def _fresh(self, w: Tensor, b: Tensor) -> Moments:
        data, root = self.data, self.data.d**0.5
        centres = data.x1 / root
        beta, noise = self.beta[:, None, None], self.noise[:, None, None]
        mean = beta * root * (w @ centres.T) + b[:, :, None]  # (T, K, S)
        cov = noise * (w @ w.transpose(1, 2))
        variance = torch.diagonal(cov, dim1=1, dim2=2)
        shape = mean.shape
        first, slope, second = (
            x.reshape(shape)
            for x in unit_averages(
                self.phi, mean.flatten(0, 1), variance.flatten(), self.nodes
            )
        )
        on_centres = (data.weights * first) @ centres
        stein = (slope @ data.weights / root)[:, :, None] * w
        return (
            on_centres + data.spread**2 * beta * stein,
            beta * on_centres + noise * stein,
            self._products(mean, cov, second @ data.weights),
        )

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
        rows = [list(row.unbind(1)) for row in torch.diag_embed(squares).unbind(1)]
        for k in range(count):
            for j in range(k):
                rho = cov[:, j, k] / (std[:, j] * std[:, k])
                powers = rho[:, None] ** torch.arange(modes.shape[-1]).to(rho)
                both = (modes[:, j] * modes[:, k]).transpose(1, 2) @ self.data.weights
                rows[j][k] = rows[k][j] = (powers * both).sum(1)
        return torch.stack([torch.stack(row, 1) for row in rows], 1)

    def value(self, c: Tensor, u: Tensor, w: Tensor, b: Tensor) -> Tensor:
        r"""The loss (T,) at $(c, \hat u, \hat w, b)$; differentiable."""
        return self._total(c, u, w, self.moments(w, b))

    def _total(self, c: Tensor, u: Tensor, w: Tensor, seen: Moments) -> Tensor:
        yy, yx, xx = self.constants()
        y, x, products = seen
        cross = (u * (y - c[:, None, None] * x)).sum((1, 2))
        square = (u * (self._ridged(products) @ u)).sum((1, 2))
        square = square + self.ridge_w * (w * w).sum((1, 2))
        return (yy - 2 * c * yx + c**2 * xx - 2 * cross + square) / self.data.rows

    def _ridged(self, products: Tensor) -> Tensor:
        return products + self.ridge_u * torch.eye(products.shape[1]).to(products)

    def best(self, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""The optimal $c$ and $\hat u$ at $(\hat w, b)$ and the loss there."""
        _, yx, xx = self.constants()
        seen = self.moments(w, b)
        y, x, products = seen
        if self.tied:
            u = self.ratio[:, None, None] * w
            c = (yx - (u * x).sum((1, 2))) / xx
        else:
            both = torch.linalg.solve(self._ridged(products), torch.cat([y, x], 2))
            from_y, from_x = both.chunk(2, 2)
            c = (yx - (x * from_y).sum((1, 2))) / (xx - (x * from_x).sum((1, 2)))
            u = from_y - c[:, None, None] * from_x
        return c, u, self._total(c, u, w, seen)

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

    def near(self, w: Tensor) -> Tensor:
        r"""Rows (T,) in the region that the descent does not leave.

        No field is far steeper than the data's own, $\sqrt{\Lambda_k}$: a unit that
        sees no signal could otherwise turn into a step between two nodes, which would
        not notice. No two units are much alike: their series has to converge.
        """
        if self.data.x0 is not None:  # nothing is integrated
            return torch.ones_like(self.alpha, dtype=torch.bool)
        norms = w.detach().norm(dim=2)
        own = self.beta[:, None] * self.data.reach / self.noise.sqrt()[:, None]
        steep = self.noise.sqrt()[:, None] * norms > _STEEPEST * (1 + own)
        cosines = (w @ w.transpose(1, 2)).detach() / (
            norms[:, None] * norms[:, :, None]
        )
        alike = torch.triu(cosines.abs(), 1).flatten(1) > _MOST_ALIKE
        return ~(steep.any(1) | alike.any(1))

    def split(self, point: Tensor) -> tuple[Tensor, Tensor]:
        r"""Turn points into $\hat w$ (T, K, k) and b (T, K) (zero without a bias)."""
        count, live = len(self.data.means), self.live
        w = point[:, :-count].reshape(len(point), count, -1)
        # a constant unit that is tied keeps w, which is its readout
        kept = live | (self.tied and self.bias)
        w = torch.where(kept[:, :, None], w / self.natural[:, :, None], 0.0)
        b = point[:, -count:] / self.data.sizes
        return w, torch.where(live, b, SATURATED_BIAS) if self.bias else 0 * b

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
