"""Damped Newton and continuation for one row, compiled with the printed system.

The text of this file is compiled together with the functions of a stationary
`System`. `newton` fills objective, gradient and Hessian at one point. A row is
followed from s = 1 downwards, where the basin is wide, until the closed branch takes
over at the switch: there every unit saturates, its bias, the last unknown, being
infinite; without a bias w = 0.

Facts of a point are (objective, residual, smallest eigenvalue, quadrature bound).
`given` is (params, nodes, weights, starts): a row's parameters, and nested quadrature
rules one after another, rule k from starts[k] on.
"""

from math import log, sqrt

from numpy import empty, zeros

from ..codegen.elementary import exp
from ..codegen.stubs import EVEN, NAMES, STATES, branch, compiled, newton, observables

FOUND, ESCAPED, LOST = 0, 1, 2
ALIKE = 1e-12  # objectives this close belong to branches that have merged
HIGHER = 1e-9  # relative; an objective this much above another is not the lowest
FAR = 15.0  # a bias beyond it saturates every unit: 1 - tanh(15) = 2e-13
LAST_STEP = 1e-6  # relative; the quadratic convergence leaves its square
ROUNDING = 1e-15  # relative, of an objective
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
def point(at, x, given, level, out):
    """Fill objective, gradient and Hessian at `x` with the rule `level`."""
    params, nodes, weights, starts = given
    a, b = starts[level], starts[level + 1]
    return newton(at, x, params[:0], params, nodes[a:b], weights[a:b], out)


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
def settle(at, x, goal, given, level, out):
    """Move `x` to the minimum below it; return a code and the averages' bound.

    Damped Newton steps until one, undamped, is below `goal`, or promises no more than
    rounding; that one is taken too, while `out` belongs to the point before it. A
    search that fails returns the largest bound on its way.
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
        flat = -slope <= ROUNDING * (1.0 + abs(out[0]))
        if not slope <= 0.0:  # the Hessian is not finite
            break
        if firm and (length <= goal or flat):
            for i in range(STATES):
                x[i] += step[i]
            return FOUND, bound(off)
        share, better = 1.0, False
        for _halving in range(40):
            for i in range(STATES):
                trial[i] = x[i] + share * step[i]
            off = point(at, trial, given, level, other)
            if fallen(out, other, step, share, slope):
                better = True
                break
            share *= 0.5
        worst = max(worst, off)
        if not better:
            break
        for i in range(STATES):
            x[i] = trial[i]
            if not abs(x[i]) <= FAR:
                return ESCAPED, bound(worst)
        put(other, out)
    return LOST, bound(worst)


@compiled
def settle_well(at, x, goal, given, level, tol, out):
    """Settle with a rule whose error bound meets `tol`; return code and level.

    A rule too coarse can lose a minimum, or send the search away from it: a search
    that fails is repeated from its start with a finer one.
    """
    top, first = given[3].size - 2, x.copy()
    while True:
        code, off = settle(at, x, goal, given, level, out)
        if off <= tol or level == top:
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
    fact[0], fact[1] = out[0], 0.0
    for i in range(STATES):
        fact[1] = max(fact[1], abs(out[1 + i]))
    fact[2] = smallest_eigenvalue(out)


@compiled
def on_branch(at, given, values):
    """Fill unknowns and observables of the closed branch; return its objective."""
    params, nodes, weights, starts = given
    a, b = starts[0], starts[1]
    none, out = params[:0], empty(NAMES + 1)
    branch(at, none, none, params, nodes[a:b], weights[a:b], out)
    put(out[:NAMES], values)
    return out[NAMES]


@compiled
def rival(at, closed, given):
    """Return the objective of the closed branch, infinite where there is none."""
    if not closed:
        return 1e300
    return on_branch(at, given, empty(NAMES))


@compiled
def best_start(guesses, closed, given, tol, x, out, others):
    """Settle at s = 1 from every guess and keep the lowest minimum in `x`.

    A flat objective (large `kappa` and `n`) shows its minimum to a fine rule only, so
    the search is repeated with finer ones until it ends below the closed branch.
    `others` is filled with the number of minima and the second lowest objective.
    """
    code, level = ESCAPED, 0
    for first in range(0, min(3, given[3].size - 1), 2):
        found = search(guesses, given, first, x, others)
        if found > 0:
            code, level = settle_well(1.0, x, LAST_STEP, given, first, tol, out)
            if code == FOUND and out[0] < rival(1.0, closed, given):
                break
    return code, level


@compiled
def search(guesses, given, level, x, others):
    """Settle from every guess with one rule; return how many minima there are."""
    trial, out = empty(STATES), empty(1 + STATES + STATES * STATES)
    seen = empty((guesses.shape[0], STATES))
    count, lowest = 0, 1e300
    others[1] = 1e300
    for g in range(guesses.shape[0]):
        put(guesses[g], trial)
        code, _off = settle(1.0, trial, ROUGH_STEP, given, level, out)
        upright(trial)
        known = code != FOUND
        for k in range(count):
            apart = 0.0
            for i in range(STATES):
                apart = max(apart, abs(seen[k, i] - trial[i]))
            known = known or apart < 1e-3
        if known:
            continue
        put(trial, seen[count])
        count += 1
        if out[0] < lowest:
            others[1], lowest = lowest, out[0]
            put(trial, x)
        else:
            others[1] = min(others[1], out[0])
    others[0] = count
    return count


@compiled
def find_switch(floor, closed, x, given, level, tol, out):
    """Return the time at which the closed branch takes over, and `x` there.

    Steps down in log s until the closed branch is lower or the minimum is gone, then
    the secant rule on the gap of the objectives, within the bracket.
    """
    point(1.0, x, given, level, out)
    high = 1.0
    gap_high = out[0] - rival(1.0, closed, given)
    before, gap_before = 1.0, gap_high
    low, x_high = 0.0, x.copy()
    following = RATIO
    for _step in range(200):
        put(x_high, x)
        code, level = settle_well(following, x, ROUGH_STEP, given, level, tol, out)
        gap = 0.0
        if code == FOUND:
            gap = out[0] - rival(following, closed, given)
        if code == FOUND and gap < -ALIKE:
            before, gap_before = high, gap_high
            high, gap_high = following, gap
            put(x, x_high)
            if high <= floor:
                break
        else:
            low = following
            if code == FOUND and gap > ALIKE:  # not merged with the closed branch
                before, gap_before = following, gap
        if low == 0.0:
            following = max(RATIO * high, floor)
            continue
        last = following
        following = sqrt(low * high)
        if gap_before != gap_high:
            rate = (log(before) - log(high)) / (gap_before - gap_high)
            guess = exp(log(high) - gap_high * rate)
            if low < guess < high:
                following = guess
        if high - low <= 1e-9 * high or gap_high > -1e-14:
            break
        if abs(following - last) <= 1e-9 * high:  # the secant rule stays on one side
            following = high * (1.0 - 1e-9)
            if following <= low:
                break
    put(x_high, x)
    return high


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
    params, nodes, weights, starts = given
    a, b = starts[level], starts[level + 1]
    put(x, values[:STATES])
    observables(at, x, params[:0], params, nodes[a:b], weights[a:b], values[STATES:])


@compiled
def saturate(at, closed, given, values, facts, codes):
    """Fill the closed branch at a time, with code 1; nan if there is none."""
    on_branch(at, given, values)
    if closed == 1:
        values[STATES - 1] = 1e300 * 1e300
    facts[0] = rival(at, closed, given)
    facts[1:] = 0.0
    codes[0] = ESCAPED if closed else LOST


@compiled
def descend(switch, grid, x, closed, given, level, tol, out, states, smooth):
    """Follow `x` from s = 1 to the switch, at Chebyshev points; return code, level.

    A minimum above the closed branch is no longer the lowest: another one, which took
    over and was met at the switch, is not found from here.
    """
    depth = log(switch)
    for k in range(grid.size):
        at = exp(0.5 * (1.0 - grid[k]) * depth)
        extrapolated(k, grid, states, x)
        code, level = settle_well(at, x, LAST_STEP, given, level, tol, out)
        if code != FOUND and k > 0:
            put(states[k - 1], x)
            code, level = settle_well(at, x, LAST_STEP, given, level, tol, out)
        closed_at = rival(at, closed, given)
        if code != FOUND or out[0] > closed_at + HIGHER * (1.0 + abs(closed_at)):
            return LOST, level
        put(x, states[k])
        record(at, x, given, level, smooth[k])
    return FOUND, level


@compiled
def report(times, switch, floor, grid, states, x, given, level, tol, out, results):
    """Settle at the times above the switch, from between the points; return a code."""
    values, facts, codes = results
    depth, fate = log(switch), FOUND
    for j in range(times.size):
        if times[j] < switch and switch > floor:
            continue
        at = max(times[j], switch)
        z = 1.0 if depth == 0.0 else 1.0 - 2.0 * log(at) / depth
        interpolated(z, grid, states, x)
        codes[j], level = settle_well(times[j], x, LAST_STEP, given, level, tol, out)
        if codes[j] == FOUND:
            check(times[j], x, given, level, out, facts[j])
            record(times[j], x, given, level, values[j])
        else:
            fate = LOST
    return fate


@compiled
def follow_row(times, grid, floor, closed, guesses, given, tol, results):
    """Follow one row: at Chebyshev points down to the switch, then at `times`.

    `grid` runs from 1 to -1; its point z is s = exp((1 - z)/2 log(switch)). Fills
    `results`: `values`, `facts`, `codes` at `times` (code 1: the closed branch),
    `smooth` at the grid, `below` right below the switch and `summary` (switch, number
    of minima, second objective, status).
    """
    values, facts, codes, smooth, below, summary = results
    x, out = empty(STATES), empty(1 + STATES + STATES * STATES)
    states = empty((grid.size, STATES))
    code, level = best_start(guesses, closed, given, tol, x, out, summary[1:3])
    summary[0], summary[3] = 1.0, FOUND
    codes[:] = ESCAPED
    on_branch(1.0, given, below)
    if code != FOUND or out[0] >= rival(1.0, closed, given):
        summary[3] = ESCAPED if closed else LOST
        for j in range(times.size):
            saturate(times[j], closed, given, values[j], facts[j], codes[j : j + 1])
        return
    start = x.copy()
    switch = find_switch(floor, closed, x, given, level, tol, out)
    summary[0] = switch
    if switch <= floor:
        record(floor, x, given, level, below)
    put(start, x)
    code, level = descend(
        switch, grid, x, closed, given, level, tol, out, states, smooth
    )
    if code != FOUND:
        summary[3] = LOST
        return
    for j in range(times.size):
        if times[j] < switch and switch > floor:
            saturate(times[j], closed, given, values[j], facts[j], codes[j : j + 1])
    summary[3] = report(
        times, switch, floor, grid, states, x, given, level, tol, out, results[:3]
    )


@compiled
def follow(times, grid, floor, closed, guesses, columns, rules, tol, results):
    """Follow every row of a batch; see `follow_row`."""
    values, facts, codes, smooth, below, summary = results
    nodes, weights, starts = rules
    for row in range(columns.shape[0]):
        given = (columns[row], nodes, weights, starts)
        own = (
            values[row],
            facts[row],
            codes[row],
            smooth[row],
            below[row],
            summary[row],
        )
        follow_row(times, grid, floor, closed, guesses, given, tol, own)
