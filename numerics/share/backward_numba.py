"""The share of the + mode for one row, compiled with the reduced sampling flow.

The text of this file is compiled together with `rhs` of the reduced flow: states Y
and F, inputs the learned overlaps. The field is followed backwards, from a value y of
Y at s = 1 to the Y(0) it came from: backwards trajectories approach one another, so
the result is smooth in y where the flow itself tears the modes apart.
"""

from math import erf, log, sqrt

from numpy import empty, zeros

from ..codegen.elementary import exp
from ..codegen.stubs import INPUTS, STATES, called, compiled, optimised, rhs

REACH = 6.5  # standard deviations; a normal leaves 8e-11 outside
FINEST = 1e-9  # what no bound resolves: the minima and their interpolant
NARROW = 1e-9  # a spread below it is none
WIDE = 1e-3  # the spread that its error is told with
SAFE = 10.0  # how much worse than predicted an interpolation may be
FIRST = 16  # of the intervals between end points at first, which are halved
LAST = 8  # steps below the switch, where the inputs are constant


@optimised
def stage_sum(k, weights, upto, x, h, y):
    """Fill y = x + h sum of weights[i] k[i]."""
    for i in range(STATES):
        total = 0.0
        for j in range(upto):
            total += weights[j] * k[j, i]
        y[i] = x[i] + h * total


@optimised
def shoot(end, field, x):
    """Follow Y = `end`, F = 0 at s = 1 back to s = 0 and leave the state in `x`.

    On each piece between two edges equal steps in log s, with the inputs of each stage
    in `table`; from the last edge on equal steps in s with the inputs `below`.
    """
    edges, table, below, steps, params, (a, b, c), (nodes, weights) = field
    stages = b.size
    k, y = empty((stages, STATES)), empty(STATES)
    x[:] = 0.0
    x[0] = end
    pieces = edges.size - 1
    for piece in range(pieces):
        depth = log(edges[piece + 1] / edges[piece])
        for i in range(steps):
            for j in range(stages):
                stage_sum(k, a[j], j, x, 1.0 / steps, y)
                s = edges[piece] * exp(depth * (i + c[j]) / steps)
                given = table[piece, i * stages + j]
                rhs(s, y, given, params, nodes, weights, k[j])
                for q in range(STATES):
                    k[j, q] *= s * depth
            stage_sum(k, b, stages, x, 1.0 / steps, x)
    switch = edges[pieces]
    for i in range(LAST):
        for j in range(stages):
            stage_sum(k, a[j], j, x, -switch / LAST, y)
            s = switch * (1.0 - (i + c[j]) / LAST)
            rhs(s, y, below, params, nodes, weights, k[j])
        stage_sum(k, b, stages, x, -switch / LAST, x)


@optimised
def landing(end, gamma, field, x):
    """Return the mean of nu(1) given Y(0), divided by the free-flow factor."""
    shoot(end, field, x)
    return x[0] / gamma - x[1]


@compiled
def centre(gamma, field, x):
    """Return the y whose landing is 0, by the secant rule (the landing increases)."""
    y0, y1 = 0.0, 0.5
    f0 = landing(y0, gamma, field, x)
    for _step in range(40):
        f1 = landing(y1, gamma, field, x)
        if abs(y1 - y0) <= 1e-12 * (1.0 + abs(y1)) or f1 == f0:
            break
        y0, y1, f0 = y1, y1 - f1 * (y1 - y0) / (f1 - f0), f1
    return y1


@optimised
def between(y, grid, low, high, stride, table, out):
    """Barycentric interpolation in every `stride`-th Chebyshev point of a range."""
    z = (2.0 * y - low - high) / (high - low)
    count = (grid.size - 1) // stride
    bottom = out[0] = out[1] = 0.0
    for k in range(count + 1):
        if z == grid[k * stride]:
            out[0], out[1] = table[k * stride, 0], table[k * stride, 1]
            return
        weight = -1.0 if k % 2 else 1.0
        if k == 0 or k == count:
            weight *= 0.5
        weight /= z - grid[k * stride]
        bottom += weight
        out[0] += weight * table[k * stride, 0]
        out[1] += weight * table[k * stride, 1]
    out[0] /= bottom
    out[1] /= bottom


@optimised
def normal(x):
    """Return the standard normal distribution function."""
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))


@optimised
def averaged(gamma, spread, ends, grid, stride, table, rule):
    """Return P(nu(1) > 0) by a rule over what Y(0) leaves open of nu(0), and its error.

    The error is told by every second node: steps of the integrand need finer rules.
    """
    (low, high), (nodes, weights) = ends, rule
    out = empty(2)
    total, mass, half, rest = 0.0, 0.0, 0.0, 0.0
    y = low
    for i in range(nodes.size):
        if weights[i] == 0.0 or abs(nodes[i]) > REACH:
            continue
        target = spread * nodes[i]
        step = 1e-3 * (high - low)
        between(y, grid, low, high, stride, table, out)
        f0, y0 = out[0] - target, y
        y = min(y + step, high)
        for _step in range(40):
            between(y, grid, low, high, stride, table, out)
            f1 = out[0] - target
            if abs(y - y0) <= 1e-13 * (high - low) or f1 == f0:
                break
            move = -f1 * (y - y0) / (f1 - f0)
            y0, f0 = y, f1
            y = min(max(y + move, low), high)
        total += weights[i] * normal(-out[1] / sqrt(gamma))
        mass += weights[i]
        if i % 2 == 0:
            half += weights[i] * normal(-out[1] / sqrt(gamma))
            rest += weights[i]
    off = abs(total / mass - half / rest)
    return total / mass, min(off, 1000.0 * off * off)


@optimised
def tabulated(matrix, level, inputs, starts, stages, table):
    """Fill `table` with the inputs at the stages of a level; return its steps."""
    first, rows = starts[level], starts[level + 1] - starts[level]
    for piece in range(table.shape[0]):
        for i in range(rows):
            for j in range(INPUTS):
                total = 0.0
                for k in range(inputs.shape[1]):
                    total += matrix[first + i, k] * inputs[piece, k, j]
                table[piece, i, j] = total
    return rows // stages


@compiled
def probed(gamma, field, before, x):
    """Return how far three landings are from those `before`, and keep the new ones."""
    off = 0.0
    for i in range(3):
        now = landing(1.5 * (i - 1), gamma, field, x)
        off = max(off, abs(now - before[i]))
        before[i] = now
    return off


@compiled
def crossed(inputs, below, edges, gamma, params, tables, scheme, rule, tol, table, x):
    """Find steps that are fine enough, and leave the inputs of their stages.

    Return their number, their level and what the landings may be wrong by.
    """
    matrices, _sparse, starts = tables
    stages, before = scheme[1].size, zeros(3)
    off, steps, level = 0.0, 0, 0
    for level in range(starts.size - 1):
        steps = tabulated(matrices, level, inputs, starts, stages, table)
        field = (edges, table, below, steps, params, scheme, rule)
        off = probed(gamma, field, before, x)
        if edges.size == 1:
            return steps, level, 0.0
        if level > 0 and off <= tol:
            break
    return steps, level, off


@compiled
def reach(y, side, gamma, spread, field, x):
    """Return how far from `y` a side of the landings is beyond every noise."""
    far = REACH * spread * gamma
    for _try in range(40):
        if side * landing(y + side * far, gamma, field, x) >= REACH * spread:
            break
        far *= 1.3
    return far


@optimised
def land(ends, first, stride, gamma, field, grid, found, x):
    """Fill `found` with landings at every `stride`-th point, the new ones or all."""
    low, high = ends
    for k in range(0, grid.size, stride):
        if first or k % (2 * stride) != 0:
            end = 0.5 * (low + high + (high - low) * grid[k])
            found[k, 0] = landing(end, gamma, field, x)
            found[k, 1] = x[0]


@compiled
def share_between(ends, gamma, spread, field, grid, rule, tol, found, x):
    """Return the share by landings at Chebyshev points, and the last change of it."""
    stride = (grid.size - 1) // FIRST
    share, first = 0.0, True
    while True:
        land(ends, first, stride, gamma, field, grid, found, x)
        previous = share
        share, doubt = averaged(gamma, spread, ends, grid, stride, found, rule)
        apart = abs(share - previous)
        apart = min(apart, 1000.0 * apart * apart)
        if (not first and apart <= tol) or stride == 1:
            return share, apart + doubt
        first = False
        stride //= 2


@compiled
def interpolation(ends, gamma, spread, field, tables, level, inputs, grid, found, x):
    """Return what the share may be wrong by because the inputs are interpolated.

    From every fourth, every second and all of their points: r and r' are the changes
    of the share, here from nine ends, and the error of the last is below r' r'/r
    whether they converge like a power or faster.
    """
    _edges, table, _below, _steps, _params, scheme, rule = field
    _matrices, sparse, starts = tables
    stride = (grid.size - 1) // 8
    fine, _doubt = averaged(gamma, spread, ends, grid, stride, found, rule)
    shares = empty(2)
    for k in range(2):
        tabulated(sparse[k], level, inputs, starts, scheme[1].size, table)
        land(ends, True, stride, gamma, field, grid, found, x)
        shares[k], _doubt = averaged(gamma, spread, ends, grid, stride, found, rule)
    first, last = abs(shares[0] - shares[1]), abs(shares[1] - fine)
    return last * min(1.0, SAFE * last / (first + 1e-300))


@compiled
def share_row(
    inputs, below, edges, gamma, params, tables, scheme, rule, grid, tol, out
):
    """Fill out = (share, error bound, Y(0) of the separatrix) of one row.

    `tables` interpolate the inputs at the stages of 2^k times the fewest steps, from
    all points and, sparse, from every fourth and every second one; block k starts at
    the k-th of its starts.
    """
    x, table = empty(STATES), empty((edges.size - 1, tables[2][-1], INPUTS))
    steps, level, off = crossed(
        inputs, below, edges, gamma, params, tables, scheme, rule, tol, table, x
    )
    field = (edges, table, below, steps, params, scheme, rule)
    y = centre(gamma, field, x)
    out[2] = x[0]
    spread = sqrt(max(1.0 - 1.0 / gamma, 0.0))
    width = spread if spread > NARROW else WIDE
    low = y - reach(y, -1.0, gamma, width, field, x)
    high = y + reach(y, 1.0, gamma, width, field, x)
    ends, found = (low, high), empty((grid.size, 2))
    if spread <= NARROW:
        out[0] = normal(-out[2] / sqrt(gamma))
        apart = 0.4 * spread
        land(ends, True, (grid.size - 1) // 8, gamma, field, grid, found, x)
    else:
        out[0], apart = share_between(
            ends, gamma, spread, field, grid, rule, tol, found, x
        )
    out[1] = 4.0 * off + apart + FINEST
    if edges.size > 1:
        out[1] += interpolation(
            ends, gamma, width, field, tables, level, inputs, grid, found, x
        )


@called
def share_rows(
    inputs, below, edges, pieces, gamma, params, tables, scheme, rule, grid, tol, out
):
    """Fill `out` for every row of a batch; see `share_row`."""
    for row in range(params.shape[0]):
        share_row(
            inputs[row],
            below[row],
            edges[row, : pieces[row] + 1],
            gamma[row],
            params[row],
            tables,
            scheme,
            rule,
            grid,
            tol,
            out[row],
        )
