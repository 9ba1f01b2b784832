"""Sums of a share that machine code takes however few rows there are."""

from math import erf, sqrt

from numpy import empty

from ..codegen.stubs import called

REACH = 6.5  # standard deviations; a normal leaves 8e-11 outside


@called
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


@called
def normal(x):
    """Return the standard normal distribution function."""
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))


@called
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


@called
def tabulated(matrix, level, inputs, starts, stages, table):
    """Fill `table` with the inputs at the stages of a level; return its steps."""
    first, rows = starts[level], starts[level + 1] - starts[level]
    for piece in range(table.shape[0]):
        for i in range(rows):
            for j in range(table.shape[2]):
                total = 0.0
                for k in range(inputs.shape[1]):
                    total += matrix[first + i, k] * inputs[piece, k, j]
                table[piece, i, j] = total
    return rows // stages
