"""The minima of one row at one time, compiled with the printed system.

They are found on a grid of the landscape, from guesses, or from what those of another
time have become; points that differ by less than the width of a flat valley are one.
"""

from math import log

from numpy import empty, zeros

from ..codegen.stubs import NAMES, STATES, call, compiled
from .newton_numba import (
    ALIKE,
    FIELDS,
    FOUND,
    OBJECTIVE,
    ROUGH_STEP,
    point,
    put,
    record,
    rival,
    settle_well,
)

BESIDE = 1e-3  # relative; minima this close are one
VALLEY = 0.3  # how far apart points of a flat valley may be
MANY = 8  # minima that are followed at one time
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
def field_widths(at, given, rough):
    """Return the lowest and highest mean of the fields at size 1, and their width."""
    x, found = zeros(STATES), zeros(16)
    x[0] = 1.0
    params, functions = given[0], given[4]
    nodes, weights = rough
    call(functions[FIELDS], at, x, params, nodes, weights, 0, nodes.size, found)
    low, high, wide = 1e300, -1e300, 0.0
    for k in range(0, 16, 2):
        if found[k + 1] != 0.0:
            low, high = min(low, found[k]), max(high, found[k])
            wide = max(wide, abs(found[k + 1]))
    return low, high, wide


@compiled
def surveyed(at, shape, given, rough, level, seen, heights, count):
    """Add the minima below the dips of a grid of the landscape; return their number.

    `shape` holds the sizes of the fields and the places of the bias; `rough` is a
    short rule. Dips on the edge of the grid are not looked into.
    """
    params, function = given[0], given[4][OBJECTIVE]
    sizes, places = shape
    low, high, wide = field_widths(at, given, rough)
    unit = max(max(-low, high), wide)
    if not 0.0 < unit < 1e300:
        return count
    x = zeros(STATES)
    table, biases = empty((sizes.size, places.size)), empty((sizes.size, places.size))
    out = empty(1 + STATES + STATES * STATES)
    first, last = given[3][0], given[3][1]
    for i in range(sizes.size):
        x[0] = sizes[i] / unit
        nodes, weights = rough
        a, b = 0, nodes.size
        if wide * x[0] > STEEP:
            nodes, weights = given[1], given[2]
            a, b = first, last
        for j in range(places.size):
            x[1] = bias_between(places[j], low * x[0], high * x[0], 1.0 + wide * x[0])
            call(function, at, x, params, nodes, weights, a, b, out)
            table[i, j], biases[i, j] = out[0], x[1]
    for i in range(1, sizes.size - 1):
        for j in range(1, places.size - 1):
            if dips(table, i, j):
                x[0], x[1] = sizes[i] / unit, biases[i, j]
                code, _fine = settle_well(at, x, ROUGH_STEP, given, level, out)
                if code == FOUND:
                    count = added(x, out[0], seen, heights, count)
    return count


@compiled
def dips(table, i, j):
    """Whether no neighbour in a table is lower."""
    for di in range(-1, 2):
        for dj in range(-1, 2):
            if table[i + di, j + dj] < table[i, j]:
                return False
    return True


@compiled
def guessed(guesses, given, level, seen, heights, count):
    """Add the minima at s = 1 that are found from every guess; return their number."""
    x, out = empty(STATES), empty(1 + STATES + STATES * STATES)
    for g in range(guesses.shape[0]):
        put(guesses[g], x)
        code, _fine = settle_well(1.0, x, ROUGH_STEP, given, level, out)
        if code == FOUND:
            count = added(x, out[0], seen, heights, count)
    return count


@compiled
def at_the_end(guesses, given, chart, noisy, seen, heights):
    """Find the minima at s = 1; return their number and the level of their rule.

    From the grid; where nothing on it lies below the closed branch, from guesses, and
    with finer rules, which a flat objective (large `kappa` and `n`) needs.
    """
    level, top = given[3][0], rival(1.0, given)  # 0, as no literal
    count, (shapes, rough) = level, chart
    if shapes[0].size:
        shape = (shapes[0], shapes[1]) if noisy else (shapes[2], shapes[3])
        count = surveyed(1.0, shape, given, rough, level, seen, heights, count)
    for first in range(0, min(3, given[3].size - 1), 2):
        if count > 0 and heights[lowest(heights, count)] < top:
            break
        count = guessed(guesses, given, first, seen, heights, count)
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
def carried(at, first, given, level, old, count, seen, heights):
    """Fill what the minima of another time have become, the `first` one first.

    Return whether that one is still there, their number and the level.
    """
    x, out = empty(STATES), empty(1 + STATES + STATES * STATES)
    number, kept = given[3][0], False
    for k in range(count):
        pick = first if k == 0 else (0 if k == first else k)
        put(old[pick], x)
        code, new = settle_well(at, x, ROUGH_STEP, given, level, out)
        if k == 0:
            level = new
            kept = code == FOUND
        if code == FOUND:
            number = added(x, out[0], seen, heights, number)
    return kept, number, level
