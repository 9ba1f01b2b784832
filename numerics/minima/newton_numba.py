"""Damped Newton steps to a minimum of one row, compiled with the printed system.

The text of this file goes into the loops of `tiers`, which `call` the functions of a
stationary `System`: `NEWTON` fills objective, gradient and Hessian at one point. On the
closed branch every unit saturates, its bias, the last unknown, being infinite; without
a bias w = 0.

Facts of a point are (objective, residual, smallest eigenvalue, quadrature bound).
`given` is (params, nodes, weights, starts, functions, closed, tol): a row's parameters,
nested quadrature rules one after another, rule k from starts[k] on, what the system
prints, which branch is closed, and the largest bound on the error of averages.
"""

from math import sqrt

from numpy import empty, zeros

from ..codegen.stubs import EVEN, NAMES, STATES, call, compiled

NEWTON, BRANCH, OBSERVABLES, OBJECTIVE, FIELDS = 0, 1, 2, 3, 4
CLOSED, TOL = 5, 6
FOUND, ESCAPED, LOST = 0, 1, 2
ALIKE = 1e-12  # objectives this close belong to branches that have merged
HIGHER = 1e-9  # relative; an objective this much above another is not the lowest
FAR = 15.0  # a bias beyond it saturates every unit: 1 - tanh(15) = 2e-13
REMOTE = 5.0  # a bias beyond it hardly moves a unit: 1 - tanh(5) = 1e-4
LAST_STEP = 1e-6  # relative; the quadratic convergence leaves its square
ROUNDING = 1e-15  # relative, of an objective
BLUR = 4e-15  # relative to 1 + objective; a slope cannot be told from 0 below it
ROUGH_STEP = 1e-4  # where only the objective matters, which is flat at a minimum
MOST = 200  # Newton steps; a curved valley takes dozens
RATIO = 0.6  # of neighbouring times while looking for the switch


@compiled
def put(source, target):
    """Copy an array into another; an assignment of slices takes seconds to compile."""
    for i in range(source.size):
        target[i] = source[i]


@compiled
def bound(doubt):
    """Return the bound that an estimated error gives, rounding included."""
    return doubt + 2e-16


@compiled
def factorised(out, low):
    """Write the Cholesky factor of the Hessian into `low`; whether it exists."""
    for i in range(STATES):
        for j in range(i + 1):
            total = out[1 + STATES + i * STATES + j]
            for k in range(j):
                total -= low[i, k] * low[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                low[i, i] = sqrt(total)
            else:
                low[i, j] = total / low[j, j]
    return True


@compiled
def direction(out, step, low):
    """Fill the Newton step, at most 1 long; return whether the Hessian is positive.

    Where it is not, the step goes downhill along each of its eigenvectors, as far as
    the size of the eigenvalue says.
    """
    firm = factorised(out, low)
    if firm:
        solved(out, step, low)
    else:
        bent(out, step)
    length = 0.0
    for i in range(STATES):
        length += step[i] * step[i]
    if length > 1.0:
        for i in range(STATES):
            step[i] /= sqrt(length)
    return firm


@compiled
def solved(out, step, low):
    """Fill the Newton step from the Cholesky factor of the Hessian."""
    for i in range(STATES):
        total = -out[1 + i]
        for k in range(i):
            total -= low[i, k] * step[k]
        step[i] = total / low[i, i]
    for i in range(STATES - 1, -1, -1):
        total = step[i]
        for k in range(i + 1, STATES):
            total -= low[k, i] * step[k]
        step[i] = total / low[i, i]


@compiled
def bent(out, step):
    """Fill the step along the eigenvectors; nan where the Hessian is not finite."""
    a, v = empty((STATES, STATES)), empty((STATES, STATES))
    diagonalised(out, a, v)
    scale = 1e-300
    for i in range(STATES):
        scale += 1e-15 * abs(a[i, i])
    step[:] = 0.0
    for k in range(STATES):
        along = 0.0
        for i in range(STATES):
            along -= v[i, k] * out[1 + i]
        along /= abs(a[k, k]) + scale
        for i in range(STATES):
            step[i] += along * v[i, k]


@compiled
def diagonalised(out, a, v):
    """Fill `a` with the diagonalised Hessian and `v` with its vectors, by Jacobi."""
    for i in range(STATES):
        for j in range(STATES):
            a[i, j] = out[1 + STATES + i * STATES + j]
            v[i, j] = 1.0 if i == j else 0.0
    for _sweep in range(12):
        for p in range(STATES):
            for q in range(p + 1, STATES):
                if a[p, q] != 0.0:
                    rotated(a, v, p, q)


@compiled
def rotated(a, v, p, q):
    """Turn the axes p and q until `a` has no element between them."""
    theta = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
    t = 1.0 / (abs(theta) + sqrt(theta * theta + 1.0))
    t = -t if theta < 0.0 else t
    c = 1.0 / sqrt(t * t + 1.0)
    s = t * c
    for k in range(STATES):
        x, y = a[k, p], a[k, q]
        a[k, p], a[k, q] = c * x - s * y, s * x + c * y
    for k in range(STATES):
        x, y = a[p, k], a[q, k]
        a[p, k], a[q, k] = c * x - s * y, s * x + c * y
        x, y = v[k, p], v[k, q]
        v[k, p], v[k, q] = c * x - s * y, s * x + c * y


@compiled
def smallest_eigenvalue(out):
    """Return the smallest eigenvalue of the Hessian in `out`."""
    a, v = empty((STATES, STATES)), empty((STATES, STATES))
    diagonalised(out, a, v)
    least = a[0, 0]
    for i in range(1, STATES):
        least = min(least, a[i, i])
    return least


@compiled
def system(function, at, x, given, level, out):
    """Fill what a function of the system gives at `x`, with the rule `level`."""
    params, nodes, weights, starts = given[:4]
    a, b = starts[level], starts[level + 1]
    return call(function, at, x, params, nodes, weights, a, b, out)


@compiled
def point(at, x, given, level, out):
    """Fill objective, gradient and Hessian at `x` with the rule `level`."""
    return system(given[4][NEWTON], at, x, given, level, out)


@compiled
def fallen(out, other, step, share, slope):
    """Whether a share of the step went downhill enough; `other` is where it ends.

    Within the rounding of the objective its slopes decide: the step may not end
    where the objective rises faster than it fell at the start.
    """
    if other[0] <= out[0] + 1e-4 * share * slope:
        return True
    rise = 0.0
    for i in range(STATES):
        rise += step[i] * other[1 + i]
    return other[0] <= out[0] + 1e-14 * (1.0 + abs(out[0])) and rise <= -slope


@compiled
def steepest(out):
    """Return the largest slope, without its sign."""
    largest = 0.0
    for i in range(STATES):
        largest = max(largest, abs(out[1 + i]))
    return largest


@compiled
def settle(at, x, goal, given, level, out):
    """Move `x` to the minimum below it; return a code and the averages' bound.

    Damped Newton steps until one, undamped, is below `goal`, or promises no more than
    rounding from slopes that are rounding; that one is taken too, while `out` belongs
    to the point before it. A search that fails returns the largest bound on its way.
    """
    step, trial = zeros(STATES), empty(STATES)
    low, other = zeros((STATES, STATES)), empty(out.size)
    off = point(at, x, given, level, out)
    worst = off
    for _iteration in range(MOST):
        firm = direction(out, step, low)
        slope, length = 0.0, 0.0
        for i in range(STATES):
            slope += step[i] * out[1 + i]
            length = max(length, abs(step[i]) / (1.0 + abs(x[i])))
        flat = firm and -slope <= ROUNDING * (1.0 + abs(out[0]))
        if not slope <= 0.0:  # the Hessian is not finite
            break
        still = flat and steepest(out) <= ROUNDING * (1.0 + abs(out[0]))
        if still or (firm and length <= goal):
            for i in range(STATES):
                x[i] += step[i]
            return FOUND, bound(off)
        share, better = 1.0, False
        for _halving in range(8 if flat else 40):
            for i in range(STATES):
                trial[i] = x[i] + share * step[i]
            off = point(at, trial, given, level, other)
            if fallen(out, other, step, share, slope):
                better = True
                break
            share *= 0.5
        worst = max(worst, off)
        if not better:
            if flat:
                return FOUND, bound(off)
            break
        for i in range(STATES):
            x[i] = trial[i]
            if not abs(x[i]) <= FAR:
                return ESCAPED, bound(worst)
        put(other, out)
    return LOST, bound(worst)


@compiled
def settle_well(at, x, goal, given, level, out):
    """Settle with a rule whose error bound meets `tol`; return code and level.

    A rule too coarse can lose a minimum, or send the search away from it: a search
    that fails is repeated from its start with a finer one.
    """
    top, first = given[3].size - 2, x.copy()
    while True:
        code, off = settle(at, x, goal, given, level, out)
        if off <= given[TOL] or level == top:
            break
        level += 1
        if code != FOUND:
            put(first, x)
    upright(x)
    return code, level


@compiled
def upright(x):
    """Choose omega >= 0 where the loss is even."""
    if EVEN and x[0] < 0.0:
        for i in range(STATES):
            x[i] = -x[i]


@compiled
def check(at, x, given, level, out, fact):
    """Fill the facts of the point `x`."""
    fact[3] = bound(point(at, x, given, level, out))
    fact[0], fact[1] = out[0], steepest(out)
    fact[2] = smallest_eigenvalue(out)


@compiled
def on_branch(at, given, values):
    """Fill unknowns and observables of the closed branch; return its objective."""
    out = empty(NAMES + 1)
    system(given[4][BRANCH], at, out[:0], given, 0, out)
    put(out[:NAMES], values)
    return out[NAMES]


@compiled
def rival(at, given):
    """Return the objective of the closed branch, infinite where there is none."""
    if not given[CLOSED]:
        return 1e300
    return on_branch(at, given, empty(NAMES))


@compiled
def interpolated(z, grid, table, x):
    """Barycentric interpolation in Chebyshev points of the second kind."""
    bottom = 0.0
    x[:] = 0.0
    for k in range(grid.size):
        if z == grid[k]:
            put(table[k, :STATES], x)
            return
        weight = -1.0 if k % 2 else 1.0
        if k == 0 or k == grid.size - 1:
            weight *= 0.5
        weight /= z - grid[k]
        bottom += weight
        for i in range(STATES):
            x[i] += weight * table[k, i]
    for i in range(STATES):
        x[i] /= bottom


@compiled
def extrapolated(k, grid, states, x):
    """Fill `x` from the polynomial through at most four points before point `k`."""
    first = max(k - 4, 0)
    if k == 0:
        return
    x[:] = 0.0
    for i in range(first, k):
        share = 1.0
        for j in range(first, k):
            if j != i:
                share *= (grid[k] - grid[j]) / (grid[i] - grid[j])
        for q in range(STATES):
            x[q] += share * states[i, q]


@compiled
def record(at, x, given, level, values):
    """Fill the unknowns, then the observables, of a point."""
    put(x, values[:STATES])
    system(given[4][OBSERVABLES], at, x, given, level, values[STATES:])


@compiled
def saturate(at, given, values, facts, codes):
    """Fill the closed branch at a time, with code 1; nan if there is none."""
    on_branch(at, given, values)
    if given[CLOSED] == 1:
        values[STATES - 1] = 1e300 * 1e300
    facts[0] = rival(at, given)
    facts[1:] = 0.0
    codes[0] = ESCAPED if given[CLOSED] else LOST
