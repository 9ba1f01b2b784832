"""Explicit Runge-Kutta pairs as a method of `march`: slopes, stages, step control.

The text of this file goes into generated modules, after the printed `rhs` and the
printed step of `tableau`.
"""

from ..codegen.stubs import (
    BETA,
    CAUTION,
    FSAL,
    GROWTH,
    INPUTS,
    LANES,
    POWER,
    STAGES,
    STATES,
    attempt,
    call_lanes,
    exp,
    extra,
    inlined,
    interpolant,
    optimised,
    rough_log2,
)
from .march import AT, BEFORE, DOUBT, ERR, FACTOR, FRESH, GOOD, PROPOSAL, ROW, H, T

FIRST_ERROR = -13.3  # log2 of the error that the first step is compared with


@optimised
def given(at, pieces, u):
    """Fill `u` with the inputs at the times `at`: Chebyshev sums by Clenshaw."""
    middle, width, c = pieces
    for i in range(INPUTS):
        for lane in range(LANES):
            x = 2.0 * (at[lane] - middle[lane]) / width[lane]
            one, two = 0.0, 0.0
            for j in range(c.shape[1] - 1, 0, -1):
                one, two = 2.0 * x * one - two + c[i, j, lane], one
            u[i, lane] = x * one - two + c[i, 0, lane]


@optimised
def first_step(lane, y, k0, bounds):
    """Return a first trial step; 0 where state or slope are not finite."""
    rtol, atol, longest = bounds
    rate, finite = 0.0, True
    for i in range(STATES):
        slope = abs(k0[i, lane]) / (atol + rtol * abs(y[i, lane]))
        finite = finite and slope < 1e300
        rate = slope if slope > rate else rate
    if not finite:
        return 0.0
    h = exp(-0.6931471805599453 * POWER * rough_log2(100.0 * rate + 1e-300))
    return h if h < longest else longest


@inlined
def prepare(changed, clock, record, y, work, rule, bounds):
    """Fill the slopes where the lanes are, and give fresh lanes a trial step."""
    k, z, u, _ = work
    if changed or not FSAL:
        pieces, params, nodes, weights, slopes = rule
        given(clock[T], pieces, u)
        off = call_lanes(slopes, clock[T], y, u, params, nodes, weights, z)
        doubted(clock, off)
    k0, k_last, fresh, good = k[0], k[STAGES - 1], record[FRESH], record[GOOD]
    for i in range(STATES):
        for lane in range(LANES):
            kept = k_last[i, lane] if good[lane] == 1 else k0[i, lane]
            new = fresh[lane] == 1 or not FSAL
            k0[i, lane] = z[i, lane] if new else kept
    if changed:
        begin(clock, record, y, k0, bounds)


@optimised
def doubted(clock, off):
    """Remember the worst of what the averages may be wrong by."""
    doubt = clock[DOUBT]
    for lane in range(LANES):
        doubt[lane] = off if off > doubt[lane] else doubt[lane]


@optimised
def begin(clock, record, y, k0, bounds):
    """Give rows that have just been taken a trial step; 0 if they are not finite."""
    for lane in range(LANES):
        if record[FRESH, lane] == 1 and clock[PROPOSAL, lane] <= 0.0:
            clock[PROPOSAL, lane] = first_step(lane, y, k0, bounds)
            clock[BEFORE, lane] = FIRST_ERROR
        record[FRESH, lane] = 0


@inlined
def advance(clock, record, y, tried, work, rule, bounds):
    """Take a trial step, judge it, and propose the next one."""
    k, z, u, _ = work
    rtol, atol, _ = bounds
    t, h, at, err = clock[T], clock[H], clock[AT], clock[ERR]
    off = attempt(t, h, y, k, z, at, u, *rule, tried, err, rtol, atol)
    doubted(clock, off)
    control(clock, record)
    propose(clock, record)


@optimised
def control(clock, record):
    """Accept or reject the steps, and find the factors for the next ones."""
    err, before, factor = clock[ERR], clock[BEFORE], clock[FACTOR]
    row, good = record[ROW], record[GOOD]
    for lane in range(LANES):
        e = err[lane] if err[lane] < 1e10 else 1e10
        size = rough_log2(e if e > 1e-10 else 1e-10)
        power = (0.75 * BETA - POWER) * size + BETA * before[lane]
        f = CAUTION * exp(0.6931471805599453 * power)
        f = f if f > 0.2 else 0.2
        f = f if f < GROWTH else GROWTH
        once = f if f < 1.0 else 1.0
        factor[lane] = f if err[lane] <= 1.0 else once
        before[lane] = size if err[lane] <= 1.0 else before[lane]
    for lane in range(LANES):
        verdict = 1 if err[lane] <= 1.0 else (0 if err[lane] < 1e300 else -1)
        good[lane] = verdict if row[lane] >= 0 else -2


@optimised
def propose(clock, record):
    """Propose the next steps; one that a bound cut short says little of them."""
    h, proposal, factor, good = clock[H], clock[PROPOSAL], clock[FACTOR], record[GOOD]
    for lane in range(LANES):
        new, kept = factor[lane] * h[lane], proposal[lane]
        clamped = h[lane] < kept and good[lane] == 1
        proposal[lane] = kept if clamped and kept > new else new


@inlined
def dense(clock, y, tried, work, rule):
    """Take the stages that outputs inside the steps need; fill their polynomials."""
    k, z, u, poly = work
    t, h, at, spare = clock[T], clock[H], clock[AT], clock[ERR]
    if not FSAL:
        pieces, params, nodes, weights, slopes = rule
        given(at, pieces, u)
        last = k[STAGES - 4]
        call_lanes(slopes, at, tried, u, params, nodes, weights, last)
    extra(t, h, y, k, z, spare, u, *rule)
    interpolant(h, y, tried, k, poly)
