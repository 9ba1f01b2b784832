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

from ...errors import ModelError, ShapeError
from ...theory.models.model import Model
from ...theory.windows.search import find_windows, window_names
from .network import activation
from .step_grid import Grid, VelocityCoefficients, coefficients
from .train import Trained
from .training_set import TrainingSet, generator

_CHUNK = 2**23  # coordinates of paths held at once: 64 MiB in float64


@dataclass(frozen=True)
class Samples:
    r"""The statistics of a batch of N generated samples.

    `nu` is $\hat\mu\cdot X$ (two modes: $\mu\cdot X/\sqrt d$) at every edge of the
    grid, (steps + 1, N), and `norm` is $|\mu|$, its size at the end. `share_plus` is
    the share of paths with $\nu > 0$ at the edge `decided`, where the phase that
    decides it ends, with its binomial standard error; `final_share_plus` is that at the
    end. `mode_mean` is the mean of $\nu/|\mu|$ at the end over the paths of the mode
    whose signs are all + (minus that of the opposite mode when there are none), with
    its standard error, and `bulk_variance` the variance of a coordinate orthogonal to
    the mean and the samples.
    """

    nu: np.ndarray
    share_plus: float
    share_plus_error: float
    final_share_plus: float
    mode_mean: float
    mode_mean_error: float
    bulk_variance: float
    decided: int
    norm: float

    @property
    def decided_nu(self) -> np.ndarray:
        r"""$\nu$ at the end of the phase that decides the mode, shape (N,)."""
        return self.nu[self.decided]


def sample_features(
    trained: Trained, grid: Grid, paths: int, seed: int
) -> tuple[Samples, ...]:
    """Integrate `paths` samples through the velocity of `trained`, for each feature.

    Rule ``"left"`` is Euler's; ``"midpoint"`` takes both of its stages with the network
    of the cell's middle, and is of second order. The networks are those at exactly
    ``grid.times``; `seed` is that of the starting points alone. Memory stays bounded.
    """
    check_samplable(trained, grid)
    if paths < 1:
        raise ModelError(f"`paths` must be positive, but is {paths}. Raise it.")
    at = coefficients(trained.model.interpolant, grid.times, trained.network.d)
    width = trained.network.width
    random = generator(seed, "sampling", trained.network.c.device.type)
    nus, bulks = [], []
    size = max(1, _CHUNK // width)
    frame = _frame(trained.data)
    like = {"dtype": trained.network.c.dtype, "device": trained.network.c.device}
    for start in range(0, paths, size):
        count = min(size, paths - start)
        x = torch.randn(count, width, generator=random, **like)
        nu, x = _integrate(trained, grid, at, x * first_alpha(trained))
        nus.append(nu)
        if frame is not None:
            rest = (x * x).sum(1) - ((x @ frame) ** 2).sum(1)
            bulks.append(rest / (width - frame.shape[1]))
    bulk = float(torch.cat(bulks).mean() if bulks else bulk_curve(trained, grid)[-1])
    every = torch.cat(nus, 1).cpu().numpy()
    norms = trained.data.norms.cpu().numpy()
    ends, mode = decided_edges(trained.model, grid), _one_mode(every[-1])
    return tuple(
        _summary(every[:, :, j], float(norms[j]), bulk, ends[j], mode)
        for j in range(len(norms))
    )


def check_samplable(trained: Trained, grid: Grid) -> None:
    """Raise unless there is a network at each time of the grid, in one span."""
    if trained.times.shape != grid.times.shape or np.any(trained.times != grid.times):
        raise ShapeError(
            "Sampling needs a network at every time of the grid, but the networks have "
            f"{len(trained.times)} times and the grid {len(grid.times)}, or they "
            "differ. Train at `grid.times`."
        )
    if trained.data.x0 is not None and not trained.data.full:
        raise ModelError(
            "With frozen noise every time has a span of its own, so its coordinates "
            'cannot be followed through time. Train with `embedding="full"`.'
        )


def first_alpha(trained: Trained) -> float:
    """Standard deviation of a coordinate of the base, alpha at tau = 0."""
    start = coefficients(trained.model.interpolant, np.zeros(1), trained.network.d)
    return float(start.alpha[0])


def _frame(data: TrainingSet) -> Tensor | None:
    """Orthonormal columns spanning what the network knows, or nearly all.

    `None` in span coordinates, which have no bulk beside.
    """
    known = data.known
    if not data.full or data.axes.shape[1] <= len(known):
        return None
    return torch.linalg.qr(known.T)[0]


def _integrate(
    trained: Trained, grid: Grid, at: VelocityCoefficients, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Return nu at all edges, (steps + 1, paths, features), and the final points."""
    axes = trained.data.axes
    nu = [x @ axes.T]
    for i in range(len(grid.times)):
        x = take_cell(trained, grid, at, i, x)
        nu.append(x @ axes.T)
    return torch.stack(nu), x


def take_cell(
    trained: Trained, grid: Grid, at: VelocityCoefficients, i: int, x: Tensor
) -> Tensor:
    """Take the points `x` (N, k) through cell `i` of the grid.

    A step needs X only through its fields: with `pull` the linear rate, both stages
    add a multiple of X and multiples of the rows of u.
    """
    net, step = trained.network, float(grid.edges[i + 1] - grid.edges[i])
    root, u, w, b = net.d**0.5, net.u[i], net.w[i], net.b[i]
    pull = float(at.gamma[i] + at.zeta[i] * net.c[i])
    push = float(at.zeta[i])
    raw = x @ w.T / root
    phi = activation(net.activation, raw + b)
    keep, add = 1 + step * pull, step * push * phi
    if grid.rule == "midpoint":
        own = phi @ (u @ w.T / root)
        raw = raw + step / 2 * (pull * raw + push * own)
        later = activation(net.activation, raw + b)
        keep += (step * pull) ** 2 / 2
        add = step * push * (later + step * pull / 2 * phi)
    return torch.addmm(x, add, u, beta=keep)


def bulk_curve(trained: Trained, grid: Grid) -> np.ndarray:
    """Variance of a coordinate that no network sees, at every edge, (steps + 1,)."""
    at = coefficients(trained.model.interpolant, grid.times, trained.network.d)
    rates = at.gamma + at.zeta * trained.network.c.cpu().numpy()
    moves = np.diff(grid.edges) * rates
    second = moves**2 / 2 if grid.rule == "midpoint" else 0.0
    grown = np.concatenate([np.ones(1), np.cumprod(1 + moves + second)])
    return (first_alpha(trained) * grown) ** 2


def decided_edges(model: Model, grid: Grid) -> list[int]:
    """Index of the edge where each feature's window ends."""
    windows = find_windows(model)
    names = window_names(windows)
    count = len(model.target.features)
    if grid.phases != names:
        return [grid.bounds[-1]] * count
    ends = dict.fromkeys(range(1, count + 1), grid.bounds[-1])
    for window, bound in zip(windows, grid.bounds, strict=True):
        ends |= dict.fromkeys(window.features, bound)
    return [ends[j] for j in sorted(ends)]


def _one_mode(nu: np.ndarray) -> np.ndarray:
    """Paths of `nu` (N, K) whose signs are all +, or all - when there are none."""
    plus, minus = np.all(nu > 0, axis=1), np.all(nu <= 0, axis=1)
    if plus.any():
        return plus
    return minus if minus.any() else np.ones_like(plus)


def _summary(
    nu: np.ndarray, norm: float, bulk: float, decided: int, mode: np.ndarray
) -> Samples:
    share, means = float(np.mean(nu[decided] > 0)), np.abs(nu[-1][mode]) / norm
    spread = float(means.std(ddof=1)) if len(means) > 1 else float("nan")
    return Samples(
        nu=nu,
        share_plus=share,
        share_plus_error=float(np.sqrt(share * (1 - share) / nu.shape[1])),
        final_share_plus=float(np.mean(nu[-1] > 0)),
        mode_mean=float(means.mean()),
        mode_mean_error=spread / len(means) ** 0.5,
        bulk_variance=bulk,
        decided=decided,
        norm=norm,
    )
