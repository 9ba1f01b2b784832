r"""Softmax autoencoders at finite d, trained on sampled noise, one set a time.

$f(x) = c\,x + \sum_k u_k\,\mathrm{softmax}_k(w_k\cdot x/\sqrt d + b_k)$. The loss of
the population is symmetric around the span of the means, so `u` and `w` are coordinates
along the directions $e_j$; the average over all other coordinates is exact, that over
the coordinates in the span is over sampled noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...errors import DerivationError
from ...numerics.modes.normal_averages import as_normals, scrambled
from ...theory.models.model import Model, Modes
from .lbfgs import minimise_rows, only_new_rows
from .step_grid import coefficients

START, SPREAD = 0.5, 0.3  # of the Bayes slope; of a random part


@dataclass(frozen=True)
class Draws:
    r"""The training data of networks at T times: `y`, `target`, weights of the modes.

    `y` is $e_j\cdot x$ for sampled noise, shape (T, K, draws, J); `target` is the mean
    of $e_j\cdot x_1$ given `y` and the mode; `p` has shape (K,).
    """

    d: int
    alpha: Tensor
    beta: Tensor
    sigma: float
    p: Tensor
    means: Tensor
    y: Tensor
    target: Tensor

    def part(self, rows: Tensor) -> Draws:
        """The same at some of the times."""
        names = ("alpha", "beta", "y", "target")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


@dataclass(frozen=True)
class SoftmaxNetworks:
    """Networks at T times in coordinates along the directions.

    `c` (T,), `u` (T, K, J), `slope` (T, K, J), which is ``w/sqrt(d)``, and `b` (T, K);
    `gradient_norm` (T,) is that of the loss per dimension in `slope` and `b`.
    """

    d: int
    c: Tensor
    u: Tensor
    slope: Tensor
    b: Tensor
    gradient_norm: np.ndarray

    def denoised(self, time: int, y: Tensor) -> Tensor:
        """The part of f(x) along the directions without the skip, (paths, J)."""
        field = y @ self.slope[time].T + self.b[time]
        return torch.softmax(field, -1) @ self.u[time]

    def matched(self, means: np.ndarray) -> SoftmaxNetworks:
        """The same networks with units in the order of the modes."""
        order = []
        for u in self.u.numpy():
            far = ((u[:, None] - means[None]) ** 2).sum(-1)
            order.append(linear_sum_assignment(far.T)[1])
        rows = torch.arange(len(order))[:, None], torch.tensor(np.array(order))
        return replace(self, u=self.u[rows], slope=self.slope[rows], b=self.b[rows])


def modes_of(model: Model) -> Modes:
    """Return the modes of a model whose networks can be trained here."""
    target = model.target
    if not isinstance(target, Modes) or model.data.samples or len(target.levels) != 1:
        raise DerivationError(
            "Softmax networks are trained on the population of modes that part in one "
            "window, but the model has another target, n samples or several windows. "
            'Take directions of one exponent and n = "inf".'
        )
    (level,) = target.levels
    if len(level.groups) != len(target.loadings):
        raise DerivationError(
            "Softmax networks have one unit for each mode, so no two may be equal, but "
            f"the groups are {level.groups}. Leave one of equal modes out."
        )
    return target


def draw(
    model: Model,
    values: Mapping[str, float],
    d: int,
    taus: np.ndarray,
    seed: int,
    draws: int,
) -> Draws:
    """Draw the noise in the span of the means by a scrambled Sobol sequence.

    `draws`, a power of two, are the same for every mode.
    """
    target = modes_of(model)
    size, width = np.shape(target.loadings)
    exponents = np.array([float(e) for e in target.exponents])
    means = torch.tensor(np.array(target.loadings, float) * d ** (0.5 - exponents))
    noise = torch.tensor(as_normals(scrambled(draws, width, seed)))
    noise = noise.expand(size, draws, width)
    found = coefficients(model.interpolant, taus, d)
    alpha, beta = (torch.tensor(x) for x in (found.alpha, found.beta))
    sigma = float(values["sigma"])
    spread = (alpha**2 + sigma**2 * beta**2).sqrt()[:, None, None, None]
    pull = (sigma**2 * beta)[:, None, None, None] / spread
    y = beta[:, None, None, None] * means[:, None] + spread * noise
    p = torch.tensor([float(values[f"p_{k}"]) for k in range(1, size + 1)])
    goal = means[:, None] + pull * noise
    return Draws(d, alpha, beta, sigma, p.double(), means, y, goal)


def readout(data: Draws, slope: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""The best skip and readout for given fields, and the loss per dimension. (N5)

    Both enter linearly: `u` by least squares on the softmax, then `c`, with the bulk of
    $d - J$ coordinates averaged exactly.
    """
    fields = torch.einsum("tkmj,tlj->tkml", data.y, slope) + b[:, None, None]
    post = torch.softmax(fields, -1)
    weight = (data.p / data.y.shape[2])[None, :, None, None]
    gram = torch.einsum("tkml,tkmn->tln", weight * post, post)
    gram = gram + 1e-14 * torch.eye(gram.shape[-1], dtype=gram.dtype)
    both = torch.cat([data.target, data.y], -1)
    known = torch.linalg.solve(
        gram, torch.einsum("tkml,tkmj->tlj", weight * post, both)
    )
    left = both - torch.einsum("tkml,tlj->tkmj", post, known)
    width = data.y.shape[-1]
    goal, lean = left[..., :width], left[..., width:]
    share = 1 - width / data.d
    bulk = data.sigma**2 * share
    mixed = (weight * goal * lean).sum((1, 2, 3)) / data.d + data.beta * bulk
    square = (weight * lean * lean).sum((1, 2, 3)) / data.d
    square = square + data.beta**2 * bulk + data.alpha**2 * share
    c = mixed / square
    loss = (weight * goal * goal).sum((1, 2, 3)) / data.d + bulk - c * mixed
    u = known[..., :width] - c[:, None, None] * known[..., width:]
    return c, u, loss


def train_softmax(
    data: Draws, seed: int, *, tolerance: float, max_iterations: int
) -> SoftmaxNetworks:
    """Minimise over the fields by L-BFGS from half the Bayes slope and noise.

    Slopes are in units of the spread of `y`, so that fields are O(1).
    """
    size, width = data.means.shape
    times = len(data.alpha)
    generator = torch.Generator().manual_seed(seed)
    spread = (data.alpha**2 + data.sigma**2 * data.beta**2).sqrt()
    bayes = (data.beta / spread)[:, None, None] * data.means
    noise = torch.randn((times, size, width), generator=generator, dtype=torch.float64)
    shift = torch.randn((times, size), generator=generator, dtype=torch.float64)
    start = torch.cat([(START * bayes + SPREAD * noise).flatten(1), SPREAD * shift], 1)
    norm2 = (data.means**2).sum(1).max() / data.d

    def part(rows: Tensor):
        here, scale = data.part(rows), spread[rows][:, None, None]

        def objective(x: Tensor) -> tuple[Tensor, Tensor]:
            point = x.clone().requires_grad_()
            slope = point[:, : size * width].reshape(-1, size, width) / scale
            *_, loss = readout(here, slope, point[:, size * width :])
            (grad,) = torch.autograd.grad(loss.sum() / norm2, point)
            return loss.detach() / norm2, grad

        return objective

    found = minimise_rows(
        only_new_rows(part), start, tolerance=tolerance, max_iterations=max_iterations
    )
    slope = found.point[:, : size * width].reshape(-1, size, width)
    slope, b = slope / spread[:, None, None], found.point[:, size * width :]
    c, u, _ = readout(data, slope, b)
    norms = found.gradient_norm.numpy()
    networks = SoftmaxNetworks(data.d, c, u, slope, b, norms)
    return networks.matched(data.means.numpy())
