"""The share of the + mode for one row: loops around the reduced sampling flow.

The text of this file goes into the loops of `tiers`; `shoot` follows one trajectory.
The flow is followed backwards, from a value y of Y at s = 1 to the Y(0) it came from:
backwards trajectories approach one another, so the result is smooth in y where the flow
itself tears the modes apart.
"""

from math import sqrt

from numpy import empty, zeros

from ..codegen.stubs import INPUTS, STATES, call_path, called, compiled
from .averages_numba import REACH, averaged, normal, tabulated

FINEST = 1e-9  # what no bound resolves: the minima and their interpolant
NARROW = 1e-9  # a spread below it is none
WIDE = 1e-3  # the spread that its error is told with
SAFE = 10.0  # how much worse than predicted an interpolation may be
FIRST = 16  # of the intervals between end points at first, which are halved


@compiled
def landing(end, gamma, path, x):
    """Return the mean of nu(1) given Y(0), divided by the free-flow factor."""
    shoot, field = path
    call_path(shoot, end, field, x)
    return x[0] / gamma - x[1]


@compiled
def centre(gamma, path, x):
    """Return the y whose landing is 0, by the secant rule (the landing increases)."""
    y0, y1 = 0.0, 0.5
    f0 = landing(y0, gamma, path, x)
    for _step in range(40):
        f1 = landing(y1, gamma, path, x)
        if abs(y1 - y0) <= 1e-12 * (1.0 + abs(y1)) or f1 == f0:
            break
        y0, y1, f0 = y1, y1 - f1 * (y1 - y0) / (f1 - f0), f1
    return y1


@compiled
def probed(gamma, path, before, x):
    """Return how far three landings are from those `before`, and keep the new ones."""
    off = 0.0
    for i in range(3):
        now = landing(1.5 * (i - 1), gamma, path, x)
        off = max(off, abs(now - before[i]))
        before[i] = now
    return off


@compiled
def crossed(row, how, shoot, table, x):
    """Find steps that are fine enough, and leave the inputs of their stages.

    Return the path that takes them, their level and what the landings may be wrong by.
    """
    inputs, below, edges, gamma, params = row
    (matrices, _sparse, starts), scheme, rule, _grid, tol = how
    off, steps, level, before = 0.0, 0, 0, zeros(3)
    path = (shoot, (edges, table, below, steps, params, scheme, rule))
    for level in range(starts.size - 1):
        steps = tabulated(matrices, level, inputs, starts, scheme[1].size, table)
        path = (shoot, (edges, table, below, steps, params, scheme, rule))
        off = probed(gamma, path, before, x)
        if edges.size == 1:
            return path, level, 0.0
        if level > 0 and off <= tol:
            break
    return path, level, off


@compiled
def reach(y, side, gamma, spread, path, x):
    """Return how far from `y` a side of the landings is beyond every noise."""
    far = REACH * spread * gamma
    for _try in range(40):
        if side * landing(y + side * far, gamma, path, x) >= REACH * spread:
            break
        far *= 1.3
    return far


@compiled
def land(ends, first, stride, gamma, path, grid, found, x):
    """Fill `found` with landings at every `stride`-th point, the new ones or all."""
    low, high = ends
    for k in range(0, grid.size, stride):
        if first or k % (2 * stride) != 0:
            end = 0.5 * (low + high + (high - low) * grid[k])
            found[k, 0] = landing(end, gamma, path, x)
            found[k, 1] = x[0]


@compiled
def share_between(ends, gamma, spread, path, grid, rule, tol, found, x):
    """Return the share by landings at Chebyshev points, and the last change of it."""
    stride = (grid.size - 1) // FIRST
    share, first = 0.0, True
    while True:
        land(ends, first, stride, gamma, path, grid, found, x)
        previous = share
        share, doubt = averaged(gamma, spread, ends, grid, stride, found, rule)
        apart = abs(share - previous)
        apart = min(apart, 1000.0 * apart * apart)
        if (not first and apart <= tol) or stride == 1:
            return share, apart + doubt
        first = False
        stride //= 2


@compiled
def interpolation(ends, gamma, spread, path, tables, level, inputs, grid, found, x):
    """Return what the share may be wrong by because the inputs are interpolated.

    From every fourth, every second and all of their points: r and r' are the changes
    of the share, here from nine ends, and the error of the last is below r' r'/r
    whether they converge like a power or faster.
    """
    _shoot, (_edges, table, _below, _steps, _params, scheme, rule) = path
    _matrices, sparse, starts = tables
    stride = (grid.size - 1) // 8
    fine, _doubt = averaged(gamma, spread, ends, grid, stride, found, rule)
    shares = empty(2)
    for k in range(2):
        tabulated(sparse[k], level, inputs, starts, scheme[1].size, table)
        land(ends, True, stride, gamma, path, grid, found, x)
        shares[k], _doubt = averaged(gamma, spread, ends, grid, stride, found, rule)
    first, last = abs(shares[0] - shares[1]), abs(shares[1] - fine)
    return last * min(1.0, SAFE * last / (first + 1e-300))


@compiled
def share_row(row, how, shoot, out):
    """Fill out = (share, error bound, Y(0) of the separatrix) of one row.

    `row` is (inputs, below, edges, gamma, params), `how` (tables, scheme, rule, grid,
    tol), where `tables` interpolate the inputs at the stages of 2^k times the fewest
    steps, from all points and, sparse, from every fourth and every second one; block k
    starts at the k-th of its starts.
    """
    inputs, _below, edges, gamma, _params = row
    tables, _scheme, rule, grid, tol = how
    x, table = empty(STATES), empty((edges.size - 1, tables[2][-1], INPUTS))
    path, level, off = crossed(row, how, shoot, table, x)
    y = centre(gamma, path, x)
    out[2] = x[0]
    spread = sqrt(max(1.0 - 1.0 / gamma, 0.0))
    width = spread if spread > NARROW else WIDE
    low = y - reach(y, -1.0, gamma, width, path, x)
    high = y + reach(y, 1.0, gamma, width, path, x)
    ends, found = (low, high), empty((grid.size, 2))
    if spread <= NARROW:
        out[0], apart = normal(-out[2] / sqrt(gamma)), 0.4 * spread
        land(ends, True, (grid.size - 1) // 8, gamma, path, grid, found, x)
    else:
        out[0], apart = share_between(
            ends, gamma, spread, path, grid, rule, tol, found, x
        )
    out[1] = 4.0 * off + apart + FINEST
    if edges.size > 1:
        out[1] += interpolation(
            ends, gamma, width, path, tables, level, inputs, grid, found, x
        )


@called
def share_rows(rows, how, shoot, out):
    """Fill `out` for every row of a batch; see `share_row`."""
    inputs, below, edges, pieces, gamma, params = rows
    for k in range(params.shape[0]):
        known = edges[k, : pieces[k] + 1]
        row = (inputs[k], below[k], known, gamma[k], params[k])
        share_row(row, how, shoot, out[k])
