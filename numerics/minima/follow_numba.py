"""Every minimum of one row, followed in time, compiled with the printed system.

The minima at s = 1 are found on a grid of the landscape and followed downwards, from
rung to rung of a ladder of times. At each rung the lowest is taken. Where that is not
what the lowest one before has become, or the closed branch, another one has taken
over in between: the crossing is where both have the same objective, and one that
cannot be found so is no crossing. Rows whose noise is large are searched at every
rung, for there several minima compete; the others at s = 1 and where they end.

The lowest objective is continuous and, at minima of the network, does not fall with
decreasing s: by the equation of `omega`, s dJ/ds = -2 r dJ/dr, and where dJ/dr < 0 a
`w` with a random part would be better. Both are checked on each piece.
"""

from math import log, sqrt

from numpy import empty, zeros

from ..codegen.elementary import exp
from ..codegen.stubs import (
    NAMES,
    STATES,
    compiled,
    fields,
    objective,
)
from .newton_numba import (
    ESCAPED,
    FOUND,
    HIGHER,
    LAST_STEP,
    LOST,
    ROUGH_STEP,
    check,
    extrapolated,
    interpolated,
    on_branch,
    point,
    put,
    record,
    rival,
    saturate,
    settle_well,
    smallest_eigenvalue,
)

AGAIN = 3  # a row with more pieces than there is room for
CROSSED, SAME, GONE, BROKEN = 0, 1, 2, 3
ALIKE = 1e-12  # objectives this close belong to branches that have merged
BESIDE = 1e-3  # relative; minima this close are one
VALLEY = 0.3  # how far apart points of a flat valley may be
RATIO = 0.6  # of neighbouring rungs
MANY = 8  # minima that are followed at one time
PARTS = 40  # pieces that these are cut into, at most
SLOW = 0.35  # a piece is cut where the minimum moves more between rungs
PIECES = 6  # branches that may be the lowest, one after another
RUNGS = 120
BRIEF = 1e-3  # times before last too short for a flat minimum to matter
NOISY = 0.2  # share of the noise in |w|^2 from which on rows are searched everywhere
CONTINUOUS = 1e-6  # relative; the lowest objective has no larger jumps
FAST = 0.7  # a minimum that moves more between rungs is looked at in between
CLOSE = 0.97  # ratio of rungs that are not divided further
SHARP = 1e-9  # relative; how well a crossing is known
STEEP = 1.0  # a field wider than this needs more nodes than a rough rule has
REACH = 5.0  # widths of the field between a bias and where the unit is a constant
EDGE = 0.2  # half the share of a grid that lies between two classes far apart


@compiled
def alike(x, y):
    """Whether two points are one minimum."""
    for i in range(STATES):
        size = abs(x[i]) + abs(y[i]) + (1.0 if i == STATES - 1 else 1e-4)
        if not abs(x[i] - y[i]) <= BESIDE * size:
            return False
    return True


@compiled
def moved(x, y):
    """Return by how much two points differ: logarithms, and the bias as it is."""
    far = abs(x[STATES - 1] - y[STATES - 1])
    if x[0] > 0.0 and y[0] > 0.0:
        far = max(far, abs(log(x[0] / y[0])))
    return far


@compiled
def same(at, x, y, given, level):
    """Whether two points are one minimum, which may be a flat valley's."""
    if alike(x, y):
        return True
    if not moved(x, y) <= VALLEY:
        return False
    out = empty(1 + STATES + STATES * STATES)
    point(at, x, given, level, out)
    height = out[0]
    point(at, y, given, level, out)
    return abs(out[0] - height) <= ALIKE * (1.0 + abs(height))


@compiled
def added(x, height, seen, heights, count):
    """Keep a minimum that is new; return how many there are."""
    for k in range(count):
        if alike(x, seen[k]):
            return count
    if count == MANY:
        return count
    put(x, seen[count])
    heights[count] = height
    return count + 1


@compiled
def lowest(heights, count):
    """Return the index of the lowest minimum."""
    best = 0
    for k in range(1, count):
        if heights[k] < heights[best]:
            best = k
    return best


# ------------------------------------------------------------------ the landscape


@compiled
def bias_between(z, low, high, wide):
    """Return the bias at z in [-1, 1] for fields of means low <= high and a width.

    Even steps from where the unit is a constant to where it is the other one; where
    the classes are far apart most of them lie beside the one and the other.
    """
    span = REACH * wide
    if high - low <= 2.0 * span:
        return -high - span + 0.5 * (z + 1.0) * (high - low + 2.0 * span)
    half = 0.5 * (1.0 - EDGE)
    if z < -EDGE:
        return -high + span * ((z + 1.0 - half) / half)
    if z > EDGE:
        return -low + span * ((z - 1.0 + half) / half)
    first, last = span - high, -low - span
    return first + (z + EDGE) / (2.0 * EDGE) * (last - first)


@compiled
def surveyed(at, shape, given, rough, level, tol, seen, heights, count):
    """Add the minima below the dips of a grid of the landscape; return their number.

    `shape` holds the sizes of the fields and the places of the bias; `rough` is a
    short rule. Dips on the edge of the grid are not looked into.
    """
    params, none = given[0], given[0][:0]
    sizes, places = shape
    x, found = zeros(STATES), zeros(16)
    x[0] = 1.0
    fields(at, x, none, params, rough[0], rough[1], found)
    low, high, wide = 1e300, -1e300, 0.0
    for k in range(0, 16, 2):
        if found[k + 1] != 0.0:
            low, high = min(low, found[k]), max(high, found[k])
            wide = max(wide, abs(found[k + 1]))
    unit = max(max(-low, high), wide)
    if not 0.0 < unit < 1e300:
        return count, level
    table, biases = empty((sizes.size, places.size)), empty((sizes.size, places.size))
    out = empty(1 + STATES + STATES * STATES)
    first, last = given[3][0], given[3][1]
    for i in range(sizes.size):
        x[0] = sizes[i] / unit
        nodes, weights = rough
        if wide * x[0] > STEEP:
            nodes, weights = given[1][first:last], given[2][first:last]
        for j in range(places.size):
            x[1] = bias_between(places[j], low * x[0], high * x[0], 1.0 + wide * x[0])
            objective(at, x, none, params, nodes, weights, out)
            table[i, j], biases[i, j] = out[0], x[1]
    for i in range(1, sizes.size - 1):
        for j in range(1, places.size - 1):
            if dips(table, i, j):
                x[0], x[1] = sizes[i] / unit, biases[i, j]
                code, _fine = settle_well(at, x, ROUGH_STEP, given, level, tol, out)
                if code == FOUND:
                    count = added(x, out[0], seen, heights, count)
    return count, level


@compiled
def dips(table, i, j):
    """Whether no neighbour in a table is lower."""
    for di in range(-1, 2):
        for dj in range(-1, 2):
            if table[i + di, j + dj] < table[i, j]:
                return False
    return True


@compiled
def guessed(guesses, given, level, tol, seen, heights, count):
    """Add the minima at s = 1 that are found from every guess; return their number."""
    x, out = empty(STATES), empty(1 + STATES + STATES * STATES)
    for g in range(guesses.shape[0]):
        put(guesses[g], x)
        code, _fine = settle_well(1.0, x, ROUGH_STEP, given, level, tol, out)
        if code == FOUND:
            count = added(x, out[0], seen, heights, count)
    return count


@compiled
def at_the_end(guesses, closed, shapes, given, rough, noisy, tol, seen, heights):
    """Find the minima at s = 1; return their number and the level of their rule.

    From the grid; where nothing on it lies below the closed branch, from guesses, and
    with finer rules, which a flat objective (large `kappa` and `n`) needs.
    """
    level, top = given[3][0], rival(1.0, closed, given)  # 0, as no literal
    count = level
    if shapes[0].size:
        shape = (shapes[0], shapes[1]) if noisy else (shapes[2], shapes[3])
        count, level = surveyed(
            1.0, shape, given, rough, level, tol, seen, heights, count
        )
    for first in range(0, min(3, given[3].size - 1), 2):
        if count > 0 and heights[lowest(heights, count)] < top:
            break
        count = guessed(guesses, given, first, tol, seen, heights, count)
        level = first
    return count, level


@compiled
def noise_share(given, r_index):
    """Return the share of |w|^2 that lies along the noise of the samples."""
    if r_index < 0:
        return 0.0
    x, values = zeros(STATES), zeros(NAMES)
    x[0] = 1.0
    record(1.0, x, given, given[3][0], values)
    return values[r_index] - 1.0


@compiled
def carried(at, first, closed, given, level, tol, old, count, seen, heights):
    """Fill what the minima of another time have become, the `first` one first.

    Return whether that one is still there, their number and the level.
    """
    x, out = empty(STATES), empty(1 + STATES + STATES * STATES)
    number, kept = given[3][0], False
    for k in range(count):
        pick = first if k == 0 else (0 if k == first else k)
        put(old[pick], x)
        code, new = settle_well(at, x, ROUGH_STEP, given, level, tol, out)
        if k == 0:
            level = new
            kept = code == FOUND
        if code == FOUND:
            number = added(x, out[0], seen, heights, number)
    return kept, number, level


# ----------------------------------------------------------------------- crossings


@compiled
def crossing(span, above, below, shut, closed, given, level, tol):
    """Find where one branch takes over from another; return a code.

    `span` holds the two times, the later first, and is narrowed; `above` is the
    minimum at the later one, `below` that at the other, unless it is the closed branch
    (`shut`). A branch that ends is no crossing: at one both objectives are equal.
    """
    size = 1 + STATES + STATES * STATES
    x, y, out, other = empty(STATES), empty(STATES), empty(size), empty(size)
    level_y = level
    point(span[0], above, given, level, out)
    high, low, following = 0.0, 0.0, sqrt(span[0] * span[1])  # gaps; 0 is not known
    if shut:
        high = min(out[0] - rival(span[0], closed, given), -1e-300)
    before, gap_before = span[0], high
    for _step in range(120):
        put(above, x)
        code, level = settle_well(following, x, ROUGH_STEP, given, level, tol, out)
        code_y, there = FOUND, 0.0
        if shut:
            there = rival(following, closed, given)
        else:
            put(below, y)
            code_y, level_y = settle_well(
                following, y, ROUGH_STEP, given, level_y, tol, other
            )
            there = other[0]
        moves_low = code != FOUND
        gap = 0.0
        if code != FOUND and code_y != FOUND:
            return GONE
        if code == FOUND and code_y == FOUND:
            if not shut and same(
                following, x, y, given, level
            ):  # one has fallen to the other
                put(x, y)
                back, level_y = settle_well(
                    span[0], y, ROUGH_STEP, given, level_y, tol, other
                )
                moves_low = not (
                    back == FOUND and same(span[0], y, above, given, level)
                )
                put(x, y)
            else:
                gap = out[0] - there
                moves_low = not gap < (-ALIKE if shut else 0.0)
                if shut and moves_low and gap <= ALIKE:
                    gap = 0.0  # merged with the closed branch
        last = following
        if moves_low:
            span[1], low = following, gap
            if not shut and code_y == FOUND:
                put(y, below)
        else:
            before, gap_before = span[0], high
            span[0], high = following, gap
            put(x, above)
        if span[0] - span[1] <= SHARP * span[0] or -1e-14 < high < 0.0:
            break
        following = sqrt(span[0] * span[1])
        from_s, from_gap = (span[1], low) if low != 0.0 else (before, gap_before)
        if high != 0.0 and from_gap != 0.0 and from_gap != high:
            rate = (log(from_s) - log(span[0])) / (from_gap - high)
            guess = exp(log(span[0]) - high * rate)
            if span[1] < guess < span[0] and _step % 4 != 3:
                following = guess
        if abs(following - last) <= SHARP * span[0]:  # on one side: step over it
            following = last * (1.0 + SHARP if moves_low else 1.0 - SHARP)
            if not span[1] < following < span[0]:
                following = sqrt(span[0] * span[1])
    return met(span, above, below, shut, closed, given, level, tol)


@compiled
def met(span, above, below, shut, closed, given, level, tol):
    """Tell whether two branches meet where a crossing was looked for."""
    size = 1 + STATES + STATES * STATES
    x, out, other = empty(STATES), empty(size), empty(size)
    put(above, x)
    settle_well(span[0], x, ROUGH_STEP, given, level, tol, out)
    if shut:
        there = rival(span[0], closed, given)
    else:
        put(below, x)
        settle_well(span[1], x, ROUGH_STEP, given, level, tol, other)
        there = other[0]
        put(below, x)
        code, level = settle_well(span[0], x, ROUGH_STEP, given, level, tol, other)
        if code == FOUND and same(span[0], x, above, given, level):
            return SAME
    if abs(out[0] - there) <= CONTINUOUS * (1.0 + abs(there)):
        return CROSSED
    return BROKEN


@compiled
def goes_back(s, x, t, before, given, level, tol):
    """Whether a minimum at s, followed to t, is the one that was there before."""
    y, out = x.copy(), empty(1 + STATES + STATES * STATES)
    code, level = settle_well(t, y, ROUGH_STEP, given, level, tol, out)
    return code == FOUND and same(t, y, before, given, level)


@compiled
def climbed(floor, closed, noisy, shapes, given, rough, level, tol, start, plan):
    """Go down the ladder; fill edges and ends of the pieces; return code, their number.

    `start` is (minima, objectives, number) at s = 1; `plan` is (edges, tops, bottoms,
    rungs, states, pieces of rungs): the times between pieces from 1 down, the minima
    at the ends of each, and those met on the way.
    """
    old, heights, count = start
    edges, tops, bottoms, rungs, met_there, whose = plan
    seen, new = empty((MANY, STATES)), empty(MANY)
    span, x, y, end = empty(2), empty(STATES), empty(STATES), empty(STATES)
    wide = (shapes[0], shapes[1])
    narrow = (shapes[2], shapes[3])
    best, piece, t, number = lowest(heights, count), 0, 1.0, 0
    put(old[best], x)
    put(x, tops[0])
    edges[0] = 1.0
    following, tries = max(RATIO, floor), 0
    for _rung in range(RUNGS):
        if number == 0 or rungs[number - 1] != t:
            rungs[number], whose[number] = t, piece
            put(x, met_there[number])
            number += 1
        if t <= floor:
            break
        kept, many, level = carried(
            following, best, closed, given, level, tol, old, count, seen, new
        )
        if following < CLOSE * t and not (kept and moved(x, seen[0]) <= FAST):
            following = sqrt(t * following)
            continue
        if shapes[0].size and (noisy or tries > 0):
            many, level = surveyed(
                following, wide, given, rough, level, tol, seen, new, many
            )
        top = rival(following, closed, given)
        shut = many == 0 or new[lowest(new, many)] >= top - ALIKE
        if shut and shapes[0].size and not noisy and tries == 0:
            many, level = surveyed(
                following, narrow, given, rough, level, tol, seen, new, many
            )
            shut = many == 0 or new[lowest(new, many)] >= top - ALIKE
        if shut and not closed:
            return LOST, piece, number, level
        pick = 0 if many == 0 else lowest(new, many)
        stays = kept and pick == 0 and not shut
        if stays and noisy:
            stays = goes_back(following, seen[0], t, x, given, level, tol)
        if not stays:
            span[0], span[1] = t, following
            put(x, end)
            if not shut:
                put(seen[pick], y)
            code = crossing(span, end, y, shut, closed, given, level, tol)
            if code > SAME:
                tries += 1
                if tries > 24 or not shapes[0].size:
                    return LOST, piece, number, level
                # a third branch is the lowest there, or both have to be followed closer
                following = span[1] if code == BROKEN else sqrt(t * following)
                continue
            if code == CROSSED:
                put(end, bottoms[piece])
                edges[piece + 1] = span[0]
                piece += 1
                if shut:
                    return ESCAPED, piece, number, level
                if piece == PIECES:
                    return LOST, piece, number, level
                put(y, tops[piece])
        tries = 0
        t = following
        count, best = many, pick
        for k in range(many):
            put(seen[k], old[k])
            heights[k] = new[k]
        put(old[best], x)
        following = max(RATIO * t, floor)
    if t > floor:
        return LOST, piece, number, level
    put(x, bottoms[piece])
    edges[piece + 1] = t
    return FOUND, piece + 1, number, level


# --------------------------------------------------------------------------- pieces


@compiled
def divided(plan, pieces, number, finer):
    """Fill the ends of more pieces, cut where a minimum moves fast; return how many.

    `plan` is that of `climbed`, `finer` (edges, tops, bottoms) with room for `PARTS`.
    """
    edges, tops, bottoms, rungs, met_there, whose = plan
    cut, high, low = finer
    count = 0
    cut[0] = edges[0]
    for piece in range(pieces):
        put(tops[piece], high[count])
        for k in range(1, number - 1):
            inside = edges[piece + 1] < rungs[k] < cut[count]
            if whose[k] != piece or not inside or count > PARTS - PIECES:
                continue
            before = moved(met_there[k - 1], met_there[k])
            after = moved(met_there[k], met_there[k + 1])
            if before > SLOW or after > SLOW:
                put(met_there[k], low[count])
                count += 1
                cut[count] = rungs[k]
                put(met_there[k], high[count])
        put(bottoms[piece], low[count])
        count += 1
        cut[count] = edges[piece + 1]
    return count


@compiled
def descend(ends, grid, known, closed, given, level, tol, out, states, smooth):
    """Follow a piece at Chebyshev points; return a code, the level and its flatness.

    `ends` is (upper time, lower time, minimum there, minimum here). Between the points
    the minimum is extrapolated, and, with `known` minima of the row, the lower of what
    is found from there and from the nearest of these. It has to be below the closed
    branch, not to fall, and to end where the piece does.
    """
    high, low, top, bottom = ends
    rungs, met_there, number = known
    x, y, other = empty(STATES), empty(STATES), empty(out.size)
    depth, before, flat = log(low / high), -1e300, 0.0
    put(top, x)
    for k in range(grid.size):
        at = high * exp(0.5 * (1.0 - grid[k]) * depth)
        extrapolated(k, grid, states, x)
        code, level = settle_well(at, x, LAST_STEP, given, level, tol, out)
        if code != FOUND and k > 0:
            put(states[k - 1], x)
            code, level = settle_well(at, x, LAST_STEP, given, level, tol, out)
        if number > 0:
            put(met_there[nearest(at, rungs, number)], y)
            code_y, level = settle_well(at, y, LAST_STEP, given, level, tol, other)
            if code_y == FOUND and (code != FOUND or other[0] < out[0]):
                put(y, x)
                put(other, out)
                code = FOUND
        closed_at = rival(at, closed, given)
        slack = HIGHER * (1.0 + abs(out[0]))
        if code != FOUND or out[0] > closed_at + slack:
            return LOST, level, flat
        if number == 0 and out[0] < before - slack:
            return LOST, level, flat
        before = out[0]
        put(x, states[k])
        record(at, x, given, level, smooth[k])
        if k % 8 == 0 and at > BRIEF:
            flat = max(flat, at * steepness(at, x, given, level, other))
    if number == 0 and not alike(x, bottom):
        point(low, bottom, given, level, other)
        if abs(other[0] - before) > HIGHER * (1.0 + abs(before)):
            return LOST, level, flat
    return FOUND, level, flat


@compiled
def nearest(at, rungs, number):
    """Return the rung that is nearest to a time, by their ratio."""
    best, away = 0, 1e300
    for k in range(number):
        off = abs(log(rungs[k] / at))
        if off < away:
            best, away = k, off
    return best


@compiled
def steepness(at, x, given, level, out):
    """Return how far the minimum may be from `x`, by slope over curvature."""
    point(at, x, given, level, out)
    slope = 0.0
    for i in range(STATES):
        slope = max(slope, abs(out[1 + i]))
    curve = smallest_eigenvalue(out)
    return slope / curve if curve > 0.0 else 1e300


@compiled
def report(times, edges, pieces, closed, grid, states, given, level, tol, results):
    """Settle at the times of the pieces, from between the Chebyshev points.

    A time at which Newton's method fails keeps what is interpolated there, and its
    residual: whether a row is found does not depend on the times that are asked for.
    A unit without bias is silent at s = 0, where all its fields are noise; other minima
    are there what they are at the floor.
    """
    values, facts, codes = results
    x, y = empty(STATES), empty(STATES)
    out = empty(1 + STATES + STATES * STATES)
    last = edges[pieces]
    for j in range(times.size):
        if times[j] < last and codes[j] == ESCAPED:
            continue
        at, piece = max(times[j], last), 0
        if times[j] < last:  # too early to tell anything: the theory decides
            if closed == 2:
                saturate(times[j], closed, given, values[j], facts[j], codes[j : j + 1])
                continue
            put(states[pieces - 1, grid.size - 1], x)
            codes[j] = FOUND
            check(times[j], x, given, level, out, facts[j])
            record(times[j], x, given, level, values[j])
            continue
        while piece < pieces - 1 and at < edges[piece + 1]:
            piece += 1
        depth = log(edges[piece + 1] / edges[piece])
        z = 1.0 if depth == 0.0 else 1.0 - 2.0 * log(at / edges[piece]) / depth
        interpolated(z, grid, states[piece], x)
        put(x, y)
        code, level = settle_well(times[j], x, LAST_STEP, given, level, tol, out)
        if code != FOUND:
            put(y, x)
        codes[j] = FOUND
        check(times[j], x, given, level, out, facts[j])
        record(times[j], x, given, level, values[j])
    return FOUND


@compiled
def follow_row(
    times, grid, floor, closed, guesses, shapes, how, given, rough, tol, results
):
    """Follow one row: every minimum, then the lowest at Chebyshev points and `times`.

    A piece from s_0 down to s_1 is known at points z from 1 to -1 of
    s = s_0 (s_1/s_0)^((1 - z)/2). Fills `results`: `values`, `facts`, `codes` at
    `times` (code 1: the closed branch), `smooth` on the pieces, their `edges`, `below`
    the last one, and `summary` (pieces, number of minima, second objective, status,
    flatness).
    """
    values, facts, codes, smooth, edges, below, summary = results
    size = 1 + STATES + STATES * STATES
    out, seen, heights = empty(size), empty((MANY, STATES)), empty(MANY)
    r_index, cuts = how
    noisy = noise_share(given, r_index) > NOISY
    count, level = at_the_end(
        guesses, closed, shapes, given, rough, noisy, tol, seen, heights
    )
    top = rival(1.0, closed, given)
    summary[0], summary[1], summary[2] = 0.0, count, second(heights, count)
    summary[4] = 0.0
    edges[0] = 1.0
    codes[:] = ESCAPED
    on_branch(1.0, given, below)
    if count == 0 or heights[lowest(heights, count)] >= top:
        summary[3] = ESCAPED if closed else LOST
        for j in range(times.size):
            saturate(times[j], closed, given, values[j], facts[j], codes[j : j + 1])
        return
    tops, bottoms = empty((PIECES, STATES)), empty((PIECES, STATES))
    rungs, met_there, whose = empty(RUNGS), empty((RUNGS, STATES)), zeros(RUNGS)
    plan = (edges, tops, bottoms, rungs, met_there, whose)
    start = (seen, heights, count)
    code, pieces, number, level = climbed(
        floor, closed, noisy, shapes, given, rough, level, tol, start, plan
    )
    if cuts and code != LOST:
        finer = (empty(PARTS + 1), empty((PARTS, STATES)), empty((PARTS, STATES)))
        pieces = divided(plan, pieces, number, finer)
        put(finer[0][: pieces + 1], edges)
        tops, bottoms = finer[1], finer[2]
    summary[0] = pieces
    if code == LOST:
        summary[3] = LOST
        codes[:] = LOST
        return
    if pieces > smooth.shape[0]:
        summary[3] = AGAIN
        return
    if code == FOUND:
        record(floor, bottoms[pieces - 1], given, level, below)
    states = empty((pieces, grid.size, STATES))
    for k in range(pieces):
        ends = (edges[k], edges[k + 1], tops[k], bottoms[k])
        fate = LOST
        for attempt in range(2):
            if fate == LOST:
                met_before = number if attempt == 1 else 0
                fate, level, flat = descend(
                    ends,
                    grid,
                    (rungs, met_there, met_before),
                    closed,
                    given,
                    level,
                    tol,
                    out,
                    states[k],
                    smooth[k],
                )
        summary[4] = max(summary[4], flat)
        if fate != FOUND:
            summary[3] = LOST
            codes[:] = LOST
            return
    for j in range(times.size):
        if times[j] < edges[pieces] and code == ESCAPED:
            saturate(times[j], closed, given, values[j], facts[j], codes[j : j + 1])
    if code == FOUND:
        codes[:] = LOST
    summary[3] = FOUND
    report(
        times,
        edges,
        pieces,
        closed,
        grid,
        states,
        given,
        level,
        tol,
        results[:3],
    )


@compiled
def second(heights, count):
    """Return the second lowest objective; 1e300 if there is none."""
    best, found = lowest(heights, count), 1e300
    for k in range(count):
        if k != best:
            found = min(found, heights[k])
    return found


@compiled
def follow(
    times, grid, floor, closed, guesses, shapes, how, columns, rules, tol, results
):
    """Follow every row of a batch; see `follow_row`."""
    values, facts, codes, smooth, edges, below, summary = results
    nodes, weights, starts, short, share = rules
    rough = (short, share)
    for row in range(columns.shape[0]):
        given = (columns[row], nodes, weights, starts)
        own = (
            values[row],
            facts[row],
            codes[row],
            smooth[row],
            edges[row],
            below[row],
            summary[row],
        )
        follow_row(
            times,
            grid,
            floor,
            closed,
            guesses,
            shapes,
            how,
            given,
            rough,
            tol,
            own,
        )
