"""Where one minimum of a row takes over from another, compiled with the printed system.

Both have the same objective there. A branch that ends, falls to the other or jumps in
between is told apart: then nothing crosses.
"""

from math import log, sqrt

from numpy import empty

from ..codegen.elementary import exp
from ..codegen.stubs import STATES, compiled
from .newton_numba import ALIKE, FOUND, ROUGH_STEP, point, put, rival, settle_well
from .survey_numba import same

CROSSED, SAME, GONE, BROKEN = 0, 1, 2, 3
CONTINUOUS = 1e-6  # relative; the lowest objective has no larger jumps
SHARP = 1e-9  # relative; how well a crossing is known


@compiled
def both(at, x, y, shut, given, levels, out, other):
    """Settle two branches; return their codes, the height of the second, the levels."""
    code, level = settle_well(at, x, ROUGH_STEP, given, levels[0], out)
    if shut:
        return code, FOUND, rival(at, given), (level, levels[1])
    code_y, level_y = settle_well(at, y, ROUGH_STEP, given, levels[1], other)
    return code, code_y, other[0], (level, level_y)


@compiled
def left(at, x, above, given, levels):
    """Whether `x`, followed to a time, is not the minimum there; return the levels."""
    y, out = x.copy(), empty(1 + STATES + STATES * STATES)
    code, level = settle_well(at, y, ROUGH_STEP, given, levels[1], out)
    stays = code == FOUND and same(at, y, above, given, levels[0])
    return not stays, (levels[0], level)


@compiled
def secant(span, high, one, step):
    """Return a time of a span where a gap may vanish: the secant's, or the middle.

    `high` is the gap at its later end; `one` is another time and the gap there.
    """
    from_s, from_gap = one
    if high != 0.0 and from_gap != 0.0 and from_gap != high:
        rate = (log(from_s) - log(span[0])) / (from_gap - high)
        guess = exp(log(span[0]) - high * rate)
        if span[1] < guess < span[0] and step % 4 != 3:
            return guess
    return sqrt(span[0] * span[1])


@compiled
def crossing(span, above, below, shut, given, level):
    """Find where one branch takes over from another; return a code.

    `span` holds the two times, the later first, and is narrowed; `above` is the
    minimum at the later one, `below` that at the other, unless it is the closed branch
    (`shut`). A branch that ends is no crossing: at one both objectives are equal.
    """
    size = 1 + STATES + STATES * STATES
    x, y, out, other = empty(STATES), empty(STATES), empty(size), empty(size)
    levels = (level, level)
    point(span[0], above, given, level, out)
    high, low, following = 0.0, 0.0, sqrt(span[0] * span[1])  # gaps; 0 is not known
    if shut:
        high = min(out[0] - rival(span[0], given), -1e-300)
    before, gap_before = span[0], high
    for step in range(120):
        put(above, x)
        put(below, y)
        code, code_y, there, levels = both(
            following, x, y, shut, given, levels, out, other
        )
        if code != FOUND and code_y != FOUND:
            return GONE
        moves_low, gap = code != FOUND, 0.0
        if code == FOUND and code_y == FOUND:
            gap = out[0] - there
            moves_low = not gap < (-ALIKE if shut else 0.0)
            if shut and moves_low and gap <= ALIKE:
                gap = 0.0  # merged with the closed branch
            if not shut and same(following, x, y, given, levels[0]):
                gap = 0.0  # one has fallen to the other
                moves_low, levels = left(span[0], x, above, given, levels)
                put(x, y)
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
        one = (span[1], low) if low != 0.0 else (before, gap_before)
        following = secant(span, high, one, step)
        if abs(following - last) <= SHARP * span[0]:  # on one side: step over it
            following = last * (1.0 + SHARP if moves_low else 1.0 - SHARP)
            if not span[1] < following < span[0]:
                following = sqrt(span[0] * span[1])
    return met(span, above, below, shut, given, levels[0])


@compiled
def met(span, above, below, shut, given, level):
    """Tell whether two branches meet where a crossing was looked for."""
    size = 1 + STATES + STATES * STATES
    x, out, other = empty(STATES), empty(size), empty(size)
    put(above, x)
    settle_well(span[0], x, ROUGH_STEP, given, level, out)
    if shut:
        there = rival(span[0], given)
    else:
        put(below, x)
        settle_well(span[1], x, ROUGH_STEP, given, level, other)
        there = other[0]
        put(below, x)
        code, level = settle_well(span[0], x, ROUGH_STEP, given, level, other)
        if code == FOUND and same(span[0], x, above, given, level):
            return SAME
    if abs(out[0] - there) <= CONTINUOUS * (1.0 + abs(there)):
        return CROSSED
    return BROKEN


@compiled
def goes_back(s, x, t, before, given, level):
    """Whether a minimum at s, followed to t, is the one that was there before."""
    y, out = x.copy(), empty(1 + STATES + STATES * STATES)
    code, level = settle_well(t, y, ROUGH_STEP, given, level, out)
    return code == FOUND and same(t, y, before, given, level)
