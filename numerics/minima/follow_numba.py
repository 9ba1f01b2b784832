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
from ..codegen.stubs import STATES, called, compiled
from .crossing_numba import BROKEN, CROSSED, SAME, crossing, goes_back
from .newton_numba import (
    ALIKE,
    BLUR,
    CLOSED,
    ESCAPED,
    FOUND,
    HIGHER,
    LAST_STEP,
    LOST,
    RATIO,
    REMOTE,
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
    steepest,
)
from .survey_numba import (
    MANY,
    alike,
    at_the_end,
    carried,
    lowest,
    moved,
    noise_share,
    surveyed,
)

AGAIN = 3  # a row with more pieces than there is room for
PARTS = 40  # pieces that these are cut into, at most
SLOW = 0.35  # a piece is cut where the minimum moves more between rungs
PIECES = 6  # branches that may be the lowest, one after another
RUNGS = 120
EVERY = 8  # every so many points of a piece it is told how flat it is
EARLY, BRIEF = 1e-3, 3e-3
"""Times before which a unit that falls silent is not told to be flat, and before which
others count as if they lasted as long: rounding that moves them loses them there."""
NOISY = 0.2  # share of the noise in |w|^2 from which on rows are searched everywhere
FAST = 0.7  # a minimum that moves more between rungs is looked at in between
CLOSE = 0.97  # ratio of rungs that are not divided further
TRIES = 24  # times that a crossing is looked for again, closer


@compiled
def competing(at, wide, given, chart, level, found):
    """Add what a survey finds to the minima at a time, `found`; a close one if `wide`.

    Otherwise a thin one, where none lies below the closed branch. Return how many there
    are, and whether the closed branch is the lowest.
    """
    seen, new, many = found
    shapes, rough = chart
    if shapes[0].size and wide:
        close = (shapes[0], shapes[1])
        many = surveyed(at, close, given, rough, level, seen, new, many)
    top = rival(at, given)
    shut = many == 0 or new[lowest(new, many)] >= top - ALIKE
    if shut and shapes[0].size and not wide:
        thin = (shapes[2], shapes[3])
        many = surveyed(at, thin, given, rough, level, seen, new, many)
        shut = many == 0 or new[lowest(new, many)] >= top - ALIKE
    return many, shut


@compiled
def noted(t, x, piece, number, known):
    """Keep the minimum of a rung that is new; return how many are known."""
    rungs, met_there, whose = known
    if number > 0 and rungs[number - 1] == t:
        return number
    rungs[number], whose[number] = t, piece
    put(x, met_there[number])
    return number + 1


@compiled
def climbed(floor, noisy, given, chart, level, start, plan):
    """Go down the ladder; fill edges and ends of the pieces; return code, their number.

    `start` is (minima, objectives, number) at s = 1; `plan` is (edges, tops, bottoms,
    rungs, states, pieces of rungs): the times between pieces from 1 down, the minima
    at the ends of each, and those met on the way.
    """
    old, heights, count = start
    edges, tops, bottoms, rungs, met_there, whose = plan
    seen, new = empty((MANY, STATES)), empty(MANY)
    span, x, y = empty(2), empty(STATES), empty(STATES)
    best, piece, t, number = lowest(heights, count), 0, 1.0, 0
    put(old[best], x)
    put(x, tops[0])
    edges[0] = 1.0
    following, tries = max(RATIO, floor), 0
    for _rung in range(RUNGS):
        number = noted(t, x, piece, number, (rungs, met_there, whose))
        if t <= floor:
            break
        kept, many, level = carried(
            following, best, given, level, old, count, seen, new
        )
        if following < CLOSE * t and not (kept and moved(x, seen[0]) <= FAST):
            following = sqrt(t * following)
            continue
        wide, found = noisy or tries > 0, (seen, new, many)
        many, shut = competing(following, wide, given, chart, level, found)
        if shut and not given[CLOSED]:
            return LOST, piece, number, level
        pick = 0 if many == 0 else lowest(new, many)
        stays = kept and pick == 0 and not shut
        if stays and noisy:
            stays = goes_back(following, seen[0], t, x, given, level)
        if not stays:
            span[0], span[1] = t, following
            put(seen[pick], y)
            put(x, bottoms[piece])
            code = crossing(span, bottoms[piece], y, shut, given, level)
            if code > SAME:
                tries += 1
                if tries > TRIES or not chart[0][0].size:
                    return LOST, piece, number, level
                # a third branch is the lowest there, or both have to be followed closer
                following = span[1] if code == BROKEN else sqrt(t * following)
                continue
            if code == CROSSED:
                edges[piece + 1] = span[0]
                piece += 1
                if shut or piece == PIECES:
                    return ESCAPED if shut else LOST, piece, number, level
                put(y, tops[piece])
        tries, t, count, best = 0, following, many, pick
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
def descend(ends, grid, known, given, level, out, states, smooth):
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
        code, level = settle_well(at, x, LAST_STEP, given, level, out)
        if code != FOUND and k > 0:
            put(states[k - 1], x)
            code, level = settle_well(at, x, LAST_STEP, given, level, out)
        if number > 0:
            put(met_there[nearest(at, rungs, number)], y)
            code_y, level = settle_well(at, y, LAST_STEP, given, level, other)
            if code_y == FOUND and (code != FOUND or other[0] < out[0]):
                put(y, x)
                put(other, out)
                code = FOUND
        closed_at = rival(at, given)
        slack = HIGHER * (1.0 + abs(out[0]))
        if code != FOUND or out[0] > closed_at + slack:
            return LOST, level, flat
        if number == 0 and out[0] < before - slack:
            return LOST, level, flat
        before = out[0]
        put(x, states[k])
        record(at, x, given, level, smooth[k])
        if k % EVERY == 0:
            lasting = (
                max(at, BRIEF) if given[CLOSED] != 2 else at if at > EARLY else 0.0
            )
            flat = max(flat, lasting * steepness(at, x, given, level, other))
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
    """Return how far the minimum may be from `x`, by slope over curvature.

    The slope is at least what rounding leaves of it, and not what it happens to leave.
    A bias on its way to infinity does not count: it moves nothing else.
    """
    point(at, x, given, level, out)
    if given[CLOSED] == 1 and abs(x[STATES - 1]) > REMOTE:
        out[STATES + STATES * STATES] += 1.0
    slope = max(steepest(out), BLUR * (1.0 + abs(out[0])))
    curve = smallest_eigenvalue(out)
    return slope / curve if curve > 0.0 else 1e300


@compiled
def report(times, edges, pieces, grid, states, given, level, results):
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
        early = times[j] < last  # too early to tell anything: the theory decides
        if early and given[CLOSED] == 2:
            saturate(times[j], given, values[j], facts[j], codes[j : j + 1])
            continue
        while piece < pieces - 1 and at < edges[piece + 1]:
            piece += 1
        depth = log(edges[piece + 1] / edges[piece])
        z = 1.0 if depth == 0.0 else 1.0 - 2.0 * log(at / edges[piece]) / depth
        interpolated(z, grid, states[piece], x)
        put(x, y)
        code = LOST
        if not early:
            code, level = settle_well(times[j], x, LAST_STEP, given, level, out)
        if code != FOUND:
            put(y, x)
        codes[j] = FOUND
        check(times[j], x, given, level, out, facts[j])
        record(times[j], x, given, level, values[j])
    return FOUND


@compiled
def saturated(times, edge, given, results):
    """Fill the closed branch at the times before an edge."""
    values, facts, codes = results[:3]
    for j in range(times.size):
        if times[j] < edge:
            saturate(times[j], given, values[j], facts[j], codes[j : j + 1])


@compiled
def descended(ends, grid, known, given, level, states, smooth):
    """Follow a piece; once more, with the `known` minima of the row, if it is lost."""
    rungs, met_there, number = known
    out = empty(1 + STATES + STATES * STATES)
    fate, flat = LOST, 0.0
    for attempt in range(2):
        if fate == LOST:
            before = (rungs, met_there, number if attempt == 1 else 0)
            fate, level, flat = descend(
                ends, grid, before, given, level, out, states, smooth
            )
    return fate, level, flat


@compiled
def follow_row(times, grid, floor, guesses, how, given, chart, results):
    """Follow one row: every minimum, then the lowest at Chebyshev points and `times`.

    A piece from s_0 down to s_1 is known at points z from 1 to -1 of
    s = s_0 (s_1/s_0)^((1 - z)/2). Fills `results`: `values`, `facts`, `codes` at
    `times` (code 1: the closed branch), `smooth` on the pieces, their `edges`, `below`
    the last one, and `summary` (pieces, number of minima, flatness, status).
    """
    codes, smooth, edges, below, summary = results[2:]
    seen, heights = empty((MANY, STATES)), empty(MANY)
    r_index, cuts = how
    noisy = noise_share(given, r_index) > NOISY
    count, level = at_the_end(guesses, given, chart, noisy, seen, heights)
    top = rival(1.0, given)
    summary[0], summary[1], summary[2] = 0.0, count, 0.0
    edges[0] = 1.0
    codes[:] = ESCAPED
    on_branch(1.0, given, below)
    if count == 0 or heights[lowest(heights, count)] >= top:
        summary[3] = ESCAPED if given[CLOSED] else LOST
        saturated(times, 1e300, given, results)
        return
    rungs, met_there, whose = empty(RUNGS), empty((RUNGS, STATES)), zeros(RUNGS)
    tops, bottoms = empty((PIECES, STATES)), empty((PIECES, STATES))
    plan = (edges, tops, bottoms, rungs, met_there, whose)
    start = seen, heights, count
    code, pieces, number, level = climbed(
        floor, noisy, given, chart, level, start, plan
    )
    if cuts and code != LOST:
        finer = (empty(PARTS + 1), empty((PARTS, STATES)), empty((PARTS, STATES)))
        pieces = divided(plan, pieces, number, finer)
        put(finer[0][: pieces + 1], edges)
        tops, bottoms = finer[1], finer[2]
    summary[0], summary[3] = pieces, code
    if code == LOST:
        codes[:] = LOST
    elif pieces > smooth.shape[0]:
        summary[3] = AGAIN
    else:
        known = (rungs, met_there, number)
        ends = code, pieces, tops, bottoms, known
        on_pieces(times, grid, floor, ends, given, level, results)


@compiled
def on_pieces(times, grid, floor, found, given, level, results):
    """Fill the results of a row from the pieces that were `found`."""
    code, pieces, tops, bottoms, known = found
    codes, smooth, edges, below, summary = results[2:]
    if code == FOUND:
        record(floor, bottoms[pieces - 1], given, level, below)
    states = empty((pieces, grid.size, STATES))
    for k in range(pieces):
        ends = (edges[k], edges[k + 1], tops[k], bottoms[k])
        fate, level, flat = descended(
            ends, grid, known, given, level, states[k], smooth[k]
        )
        summary[2] = max(summary[2], flat)
        if fate != FOUND:
            summary[3] = LOST
            codes[:] = LOST
            return
    if code == ESCAPED:
        saturated(times, edges[pieces], given, results)
    if code == FOUND:
        codes[:] = LOST
    summary[3] = FOUND
    report(times, edges, pieces, grid, states, given, level, results[:3])


@called
def follow(
    times, grid, floor, closed, guesses, shapes, how, columns, rules, tol, results
):
    """Follow every row of a batch; see `follow_row`."""
    values, facts, codes, smooth, edges, below, summary = results
    nodes, weights, starts, functions, short, share = rules
    chart = (shapes, (short, share))
    for row in range(columns.shape[0]):
        given = (columns[row], nodes, weights, starts, functions, closed, tol)
        points = (values[row], facts[row], codes[row])
        own = (*points, smooth[row], edges[row], below[row], summary[row])
        follow_row(times, grid, floor, guesses, how, given, chart, own)
