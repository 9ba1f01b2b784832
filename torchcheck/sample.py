r"""Generate samples: integrate the learned velocity from noise on a grid of times.

The noise is N(0, alpha(0)^2 I), that is N(0, I) unless the schedule explodes.
$\dot X = \gamma X + \zeta f(X)$ with the network of each cell. In span coordinates
the rest of X, the bulk, is one common factor, so that nothing of size d is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError, ShapeError
from .draws import generator
from .grid import Coefficients, Grid, coefficients
from .network import activation
from .train import Trained

_CHUNK = 2**23  # coordinates of paths held at once: 64 MiB in float64


@dataclass(frozen=True)
class Samples:
    r"""What a batch of N generated samples looks like.

    Attributes
    ----------
    nu
        $\mu\cdot X/\sqrt d$ at every edge of the grid, shape (steps + 1, N).
    share_plus, share_plus_error
        Share of paths with $\nu > 0$ at the end of the first phase that decides it,
        and its binomial standard error.
    final_share_plus
        The same at the end.
    mode_mean, mode_mean_error
        Mean of $\mu\cdot X/d$ at the end over the paths of the + mode (minus the
        mean of the others when there are none), and its standard error.
    bulk_variance
        Variance of a coordinate orthogonal to the mean and the samples, at the end.
    decided
        Index of the edge at which `share_plus` was read.
    """

    nu: np.ndarray
    share_plus: float
    share_plus_error: float
    final_share_plus: float
    mode_mean: float
    mode_mean_error: float
    bulk_variance: float
    decided: int

    @property
    def decided_nu(self) -> np.ndarray:
        r"""$\nu$ at the end of the phase that decides the mode, shape (N,)."""
        return self.nu[self.decided]


def sample(trained: Trained, grid: Grid, paths: int, seed: int) -> Samples:
    r"""Integrate `paths` samples through the velocity of `trained` on `grid`.

    Rule ``"left"`` is Euler's; ``"midpoint"`` takes both of its stages with the
    network of the cell's middle, and is of second order.

    Parameters
    ----------
    trained
        Networks at exactly ``grid.times``.
    grid
        From `dilated_grid` or `uniform_grid`.
    paths
        Number of samples; memory stays bounded.
    seed
        Of the starting points alone.
    """
    _check(trained, grid, paths)
    at = coefficients(trained.model.interpolant, grid.times, trained.network.d)
    first = _first_alpha(trained)
    width = trained.network.u.shape[1]
    random = generator(seed, "sampling", trained.network.u.device.type)
    directions = None
    if trained.data.full and width > len(trained.data.x1) + 1:
        directions = _frame(trained)
    size = max(1, _CHUNK // width)
    nus, bulks = [], []
    for start in range(0, paths, size):
        x = torch.randn(
            min(size, paths - start),
            width,
            generator=random,
            dtype=trained.network.u.dtype,
            device=trained.network.u.device,
        )
        x *= first
        nu, x = _integrate(trained, grid, at, x)
        nus.append(nu)
        if directions is not None:
            rest = (x * x).sum(1) - ((x @ directions) ** 2).sum(1)
            bulks.append(rest / (width - directions.shape[1]))
    if bulks:
        bulk = float(torch.cat(bulks).mean())
    else:
        bulk = (first * _bulk_factor(trained, grid, at)) ** 2
    return _summary(torch.cat(nus, 1).cpu().numpy(), grid, trained.network.d, bulk)


def _check(trained: Trained, grid: Grid, paths: int) -> None:
    if trained.times.shape != grid.times.shape or np.any(trained.times != grid.times):
        raise ShapeError(
            "Sampling needs a network at every time of the grid, but the networks have "
            f"{len(trained.times)} times and the grid {len(grid.times)}, or they "
            "differ. Train at `grid.times`."
        )
    if paths < 1:
        raise ModelError(f"`paths` must be positive, but is {paths}. Raise it.")
    if trained.data.x0 is not None and not trained.data.full:
        raise ModelError(
            "With frozen noise every time has a span of its own, so its coordinates "
            'cannot be followed through time. Train with `embedding="full"`.'
        )


def _first_alpha(trained: Trained) -> float:
    """Standard deviation of a coordinate of the base, alpha at tau = 0."""
    start = coefficients(trained.model.interpolant, np.zeros(1), trained.network.d)
    return float(start.alpha[0])


def _frame(trained: Trained) -> Tensor:
    """Orthonormal columns spanning everything the network knows, or nearly all."""
    data = trained.data
    known = torch.cat([data.mu[None], data.x1]) if data.samples else data.mu[None]
    return torch.linalg.qr(known.T)[0]


def _integrate(
    trained: Trained, grid: Grid, at: Coefficients, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Return nu at all edges, shape (steps + 1, paths), and the final points.

    A step needs X only through its field: with `pull` the linear rate, both stages
    add a multiple of X and a multiple of u.
    """
    d, mu = trained.network.d, trained.data.mu
    nu = [x @ mu / d**0.5]
    for i, step in enumerate(np.diff(grid.edges)):
        network = trained.network.at(i)
        pull = float(at.gamma[i] + at.zeta[i] * network.c[0])
        push = float(at.zeta[i])
        raw = x @ network.w[0] / d**0.5
        phi = activation(network.activation, raw + network.b)
        keep, add = 1 + step * pull, step * push * phi
        if grid.rule == "midpoint":
            self_field = float(network.u[0] @ network.w[0]) / d**0.5
            raw = raw + step / 2 * (pull * raw + push * self_field * phi)
            later = activation(network.activation, raw + network.b)
            keep += (step * pull) ** 2 / 2
            add = step * push * (later + step * pull / 2 * phi)
        x = torch.addmm(x, add[:, None], network.u, beta=keep)
        nu.append(x @ mu / d**0.5)
    return torch.stack(nu), x


def _bulk_factor(trained: Trained, grid: Grid, at: Coefficients) -> float:
    """What a coordinate that no network sees is multiplied by."""
    rates = at.gamma + at.zeta * trained.network.c.cpu().numpy()
    moves = np.diff(grid.edges) * rates
    if grid.rule == "midpoint":
        return float(np.prod(1 + moves + moves**2 / 2))
    return float(np.prod(1 + moves))


def _summary(nu: np.ndarray, grid: Grid, d: int, bulk: float) -> Samples:
    names = grid.phases
    first = [i for i, name in enumerate(names) if name.startswith("weights")]
    decided = grid.bounds[first[-1]] if first else grid.bounds[-1]
    share = float(np.mean(nu[decided] > 0))
    plus = nu[-1] > 0
    final = np.abs(nu[-1][plus] if plus.any() else nu[-1]) / d**0.5
    spread = float(final.std(ddof=1)) if len(final) > 1 else float("nan")
    return Samples(
        nu=nu,
        share_plus=share,
        share_plus_error=float(np.sqrt(share * (1 - share) / nu.shape[1])),
        final_share_plus=float(np.mean(plus)),
        mode_mean=float(final.mean()),
        mode_mean_error=spread / len(final) ** 0.5,
        bulk_variance=bulk,
        decided=decided,
    )
