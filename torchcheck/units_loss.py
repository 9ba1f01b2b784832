r"""The loss of several hidden units with its averages taken exactly.

Given the signs $s$ of a mode the fields are jointly Gaussian, so every average is an
integral over one normal, or a series of such for two units, at any dimension. With
$\hat u = u/\sqrt d$, $\hat w = w/\sqrt d$,

$$
\mathcal L/d = S_{yy} - 2cS_{yx} + c^2S_{xx}
  - 2\sum_k\hat u_k\cdot(B^y_k - cB^x_k) + \sum_{kl} Q_{kl}\,\hat u_k\cdot\hat u_l,
  \tag{N4}
$$

with $B^y_k = E[\varphi_k\,x_1]/\sqrt d$, $B^x_k = E[\varphi_k\,x_\tau]/\sqrt d$ and
$Q_{kl} = E[\varphi_k\varphi_l]$, whose fields correlate by
$(\alpha^2 + \sigma^2\beta^2)\,\hat w_k\cdot\hat w_l$. Status: exact at every d.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .loss import REACH, unit_averages
from .network import activation
from .units import Population

_ORDERS = 48  # of the Hermite series; what is left is below 0.7^48 = 4e-8 of it
_MOST_ALIKE = 0.7
_STEEPEST = 2.0  # the minimum has 1 + sqrt(Lambda) at most
_CHUNK = 2**20  # field values held at once, 8 MiB in float64


@dataclass(frozen=True)
class UnitsLoss:
    r"""The loss of one population at T times, per coordinate (N4).

    `nodes` equally spaced abscissae integrate over each normal.
    """

    data: Population
    alpha: Tensor
    beta: Tensor
    phi: str
    bias: bool
    nodes: int

    most_nodes = 256

    @property
    def longest(self) -> float:
        """Longest step of a descent: a few units of the smallest feature's field."""
        return float(self.data.sizes.min())

    @property
    def noise(self) -> Tensor:
        r"""Variance of a coordinate of $x_\tau$ given the signs, shape (T,)."""
        return self.alpha**2 + self.data.sigma**2 * self.beta**2

    @property
    def natural(self) -> Tensor:
        r"""Natural unit of $\hat w_k$, inverted: shape (T, K).

        The field that a unit weight makes, times the size of the unit's feature, so
        that a small feature is learned as precisely as a large one.
        """
        field = self.noise[:, None] + (self.beta[:, None] * self.data.norms) ** 2
        return field.sqrt() * self.data.sizes

    def part(self, rows: slice) -> UnitsLoss:
        """The same loss at some of the times."""
        return replace(self, alpha=self.alpha[rows], beta=self.beta[rows])

    def parts(self) -> list[slice]:
        """Slices of the times that keep the field values in a small memory."""
        count = len(self.data.means)
        each = len(self.data.weights) * count * self.nodes
        size = max(1, _CHUNK // each)
        return [slice(i, i + size) for i in range(0, len(self.alpha), size)]

    def moments(self, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""$B^y, B^x$ (T, K, k) and $Q$ (T, K, K) at $\hat w$ (T, K, k), b (T, K)."""
        data, root = self.data, self.data.d**0.5
        along = self.beta[:, None, None] * (w @ data.means.T)
        mean = along @ data.signs.T + b[:, :, None]  # (T, K, S)
        cov = self.noise[:, None, None] * (w @ w.transpose(1, 2))
        variance = torch.diagonal(cov, dim1=1, dim2=2)
        shape = mean.shape
        first, slope, second = (
            x.reshape(shape)
            for x in unit_averages(
                self.phi, mean.flatten(0, 1), variance.flatten(), self.nodes
            )
        )
        on_modes = (data.weights * first) @ (data.signs @ data.means / root)
        stein = (slope @ data.weights / root)[:, :, None] * w
        beta, noise = self.beta[:, None, None], self.noise[:, None, None]
        return (
            on_modes + data.sigma**2 * beta * stein,
            beta * on_modes + noise * stein,
            self._products(mean, cov, second @ data.weights),
        )

    def _products(self, mean: Tensor, cov: Tensor, squares: Tensor) -> Tensor:
        """The matrix Q from the fields' means (T, K, S) and covariances (T, K, K)."""
        count = mean.shape[1]
        std = torch.diagonal(cov, dim1=1, dim2=2).sqrt()
        modes = hermite_modes(self.phi, mean, std, self.nodes)
        rows = [list(row.unbind(1)) for row in torch.diag_embed(squares).unbind(1)]
        for k in range(count):
            for j in range(k):
                rho = cov[:, j, k] / (std[:, j] * std[:, k])
                powers = rho[:, None] ** torch.arange(_ORDERS).to(rho)
                both = (modes[:, j] * modes[:, k]).transpose(1, 2) @ self.data.weights
                rows[j][k] = rows[k][j] = (powers * both).sum(1)
        return torch.stack([torch.stack(row, 1) for row in rows], 1)

    def constants(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""$S_{yy}, S_{yx}, S_{xx}$, shape (T,)."""
        power = (self.data.sizes**2).sum() + self.data.sigma**2
        total = power.expand_as(self.alpha)
        return total, self.beta * total, self.beta**2 * total + self.alpha**2

    def value(self, c: Tensor, u: Tensor, w: Tensor, b: Tensor) -> Tensor:
        r"""The loss (T,) at $(c, \hat u, \hat w, b)$; differentiable."""
        yy, yx, xx = self.constants()
        y, x, products = self.moments(w, b)
        cross = (u * (y - c[:, None, None] * x)).sum((1, 2))
        square = (u * (products @ u)).sum((1, 2))
        return yy - 2 * c * yx + c**2 * xx - 2 * cross + square

    def best(self, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""The optimal $c$ and $\hat u$ at $(\hat w, b)$ and the loss there."""
        yy, yx, xx = self.constants()
        y, x, products = self.moments(w, b)
        from_y, from_x = torch.linalg.solve(products, torch.cat([y, x], 2)).chunk(2, 2)
        c = (yx - (x * from_y).sum((1, 2))) / (xx - (x * from_x).sum((1, 2)))
        skip = c[:, None, None]
        u = from_y - skip * from_x
        used = (u * (y - skip * x)).sum((1, 2))
        return c, u, yy - 2 * c * yx + c**2 * xx - used

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
        norms = w.detach().norm(dim=2)
        own = self.beta[:, None] * self.data.norms / self.noise.sqrt()[:, None]
        steep = self.noise.sqrt()[:, None] * norms > _STEEPEST * (1 + own)
        cosines = (w @ w.transpose(1, 2)).detach() / (
            norms[:, None] * norms[:, :, None]
        )
        alike = torch.triu(cosines.abs(), 1).flatten(1) > _MOST_ALIKE
        return ~(steep.any(1) | alike.any(1))

    def split(self, point: Tensor) -> tuple[Tensor, Tensor]:
        r"""Turn points into $\hat w$ (T, K, k) and b (T, K) (zero without a bias)."""
        count = len(self.data.means)
        w = point[:, :-count].reshape(len(point), count, -1)
        b = point[:, -count:] / self.data.sizes
        return w / self.natural[:, :, None], b if self.bias else 0 * b

    def join(self, w: Tensor, b: Tensor) -> Tensor:
        """The point that `split` turns into `w` and `b`."""
        scaled = (w * self.natural[:, :, None]).flatten(1)
        return torch.cat([scaled, b * self.data.sizes], 1)

    def gradient_norm(self, c: Tensor, u: Tensor, w: Tensor, b: Tensor) -> Tensor:
        r"""Norm (T,) of the gradient in $(c, \hat u)$ and in points of `split`."""
        norms = []
        for rows in self.parts():
            part = self.part(rows)
            free = [c[rows], u[rows], part.join(w[rows], b[rows])]
            free = [y.detach().requires_grad_() for y in free]
            total = part.value(free[0], free[1], *part.split(free[2])).sum()
            grads = torch.autograd.grad(total, free)
            norms.append(sum((g.reshape(len(g), -1) ** 2).sum(1) for g in grads).sqrt())
        return torch.cat(norms)


def hermite_modes(phi: str, mean: Tensor, std: Tensor, nodes: int) -> Tensor:
    r"""$E\,\varphi(h)\,\mathrm{He}_n(g)/\sqrt{n!}$ of fields $h = m + \text{std}\,g$.

    From means $m$ (T, K, S) and spreads (T, K): (T, K, S, orders). Two units whose
    normals correlate by $\rho$ have $E\varphi_j\varphi_k = \sum_n \rho^n a_n b_n$ of
    these (Mehler's formula).
    """
    g = torch.linspace(-REACH, REACH, nodes, dtype=mean.dtype, device=mean.device)
    basis = [torch.softmax(-g * g / 2, 0)]
    basis.append(g * basis[0])
    for n in range(2, _ORDERS):
        basis.append((g * basis[-1] - (n - 1) ** 0.5 * basis[-2]) / n**0.5)
    field = mean[..., None] + std[:, :, None, None] * g
    return activation(phi, field) @ torch.stack(basis, 1)
