r"""The share of a mode, by where the boundary between the modes lies along the mean.

Counting N paths leaves an error $N^{-1/2}/2$. Here the starting point's coordinate
along the mean is averaged over exactly: for every value of the others the boundary is
found, and the normal law beyond it added up. What the other coordinates do is smooth
and small, so that a thousand quasi-random points of them leave an error below 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .sample import check_samplable, decided_edges, first_alpha, take_cell
from .step_grid import Grid, coefficients
from .train import Trained

Reached = Callable[[Tensor, Tensor], Tensor]
"""From first coordinates (N,) and the others (N, k - 1) to where a path ends, (N,)."""

_REPLICATES, _POINTS = 8, 128  # of the quasi-random points, each scrambled anew
_NODES = 13  # from -6 to 6: where a change of sign is looked for
_HALVINGS = 10  # of an interval of one; then a straight line


def boundary_shares(trained: Trained, grid: Grid, seed: int) -> tuple[float, ...]:
    r"""Share of samples with $\nu_j > 0$ at the end of the phase that decides it.

    One for each feature, by networks at exactly ``grid.times``. `seed` is that of the
    quasi-random points of the other coordinates. A boundary that is crossed twice
    between two nodes is not seen there.
    """
    check_samplable(trained, grid)
    ends = decided_edges(trained.model, grid)
    return tuple(_share(trained, grid, j, end, seed) for j, end in enumerate(ends))


def _share(trained: Trained, grid: Grid, j: int, end: int, seed: int) -> float:
    small = _reduced(trained, j, end)
    at = coefficients(trained.model.interpolant, grid.times, trained.network.d)
    scale, axis = first_alpha(trained), small.data.axes[j]

    def reached(along: Tensor, others: Tensor) -> Tensor:
        x = scale * torch.cat([along[:, None], others], 1)
        for i in range(end):
            x = take_cell(small, grid, at, i, x)
        return x @ axis

    return float(_beyond(reached, _normals(small.network.width - 1, seed, axis)).mean())


def _reduced(trained: Trained, j: int, end: int) -> Trained:
    r"""The networks up to an edge in the span of all that they use of X.

    The first coordinate is that along $\mu_j$, the next ones are those that the last
    networks see.
    """
    network, axes = trained.network, trained.data.axes
    others = [k for k in range(len(axes)) if k != j]
    used = [x.flip(0).flatten(0, -2) for x in (network.w[:end], network.u[:end])]
    vectors = torch.cat([axes[[j, *others]], *used])
    basis = torch.linalg.qr(vectors.T)[0]
    small = replace(network, u=network.u @ basis, w=network.w @ basis)
    data = replace(
        trained.data, means=trained.data.means @ basis, x1=trained.data.x1 @ basis
    )
    return replace(trained, network=small, data=data)


def _normals(count: int, seed: int, like: Tensor) -> Tensor:
    """Quasi-random normal points, (_REPLICATES * _POINTS, count)."""
    if not count:
        return like.new_zeros(1, 0)
    engines = (
        torch.quasirandom.SobolEngine(count, scramble=True, seed=_REPLICATES * seed + i)
        for i in range(_REPLICATES)
    )
    tiny = 2.0**-40
    uniform = torch.cat([x.draw(_POINTS, dtype=torch.float64) for x in engines])
    return torch.special.ndtri(uniform.clamp(tiny, 1 - tiny)).to(like)


def _beyond(reached: Reached, others: Tensor) -> Tensor:
    """Chance (N,) that a normal first coordinate beside each point ends above 0."""
    reach = (_NODES - 1) // 2
    nodes = torch.linspace(-reach, reach, _NODES).to(others)
    count = len(others)
    ends = reached(nodes.repeat_interleave(count), others.repeat(_NODES, 1))
    above = ends.reshape(_NODES, count) > 0
    node, row = (above[1:] != above[:-1]).nonzero(as_tuple=True)
    found = above[0].to(others)
    if len(row):
        root = _root(reached, nodes[node], nodes[node + 1], others[row])
        sign = torch.where(above[node + 1, row], 1.0, -1.0).to(others)
        found = found.index_add(0, row, sign * torch.special.ndtr(-root))
    return found


def _root(reached: Reached, low: Tensor, high: Tensor, others: Tensor) -> Tensor:
    """Where each row changes its sign between `low` and `high`, by halving."""
    left, right = reached(low, others), reached(high, others)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        value = reached(middle, others)
        same = (value > 0) == (left > 0)
        low, left = torch.where(same, middle, low), torch.where(same, value, left)
        high, right = torch.where(same, high, middle), torch.where(same, right, value)
    return low + (high - low) * left / (left - right)
