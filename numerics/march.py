"""The driver of the explicit methods: rows marched side by side, each with its steps.

The text of this file goes into generated modules, after the printed `rhs` and the
printed method of `tableau`. A lane carries one row; when the row is done the lane
takes the next one. Only arithmetic is shared, so a row's numbers do not depend on
its neighbours. Times increase. Nothing here allocates inside the loop.
"""

from .generated import (
    BETA,
    CAUTION,
    FSAL,
    GROWTH,
    INPUTS,
    LANES,
    PARAMETERS,
    POWER,
    STAGES,
    STATES,
    TERMS,
    attempt,
    compiled,
    exp,
    extra,
    float64,
    inlined,
    int64,
    interpolant,
    interpolate,
    rhs,
    zeros,
)

OK, STEP_TOO_SMALL, TOO_MANY_STEPS, NOT_FINITE = 0, 1, 2, 3

FIRST_ERROR = -13.3  # log2 of the error that the first step is compared with

# Rows of `clock`, real numbers lane by lane: time, step, the proposed one, the end of
# the piece, the next output, the time after the step; the error, log2 of the one
# before, the factor of the next step; what the averages may be wrong by.
T, H, PROPOSAL, BOUND, TARGET, AT, ERR, BEFORE, FACTOR, DOUBT = range(10)
CLOCK = 10

# Rows of `record`, whole numbers lane by lane: the row it carries (-1: none) and its
# piece, the next output, whether its slope is missing, what became of the step (1, 0:
# refused, -1: not finite, -2: no row), whether it passed an output, whether it needs
# a look, steps so far.
ROW, PIECE, OUTPUT, FRESH, GOOD, DENSE, LOOK, TAKEN, REFUSED = range(9)
RECORD = 9


@compiled
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


@inlined
def rough_log2(x):
    """Return log2(x) within a hundredth, for 1e-300 < x < 1e300, without branches."""
    bits = float64(x).view(int64)
    m = int64((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).view(float64) - 1.0
    # the exponent as the last bits of a number of 2**52 and more
    e = int64(((bits >> 52) & 0x7FF) | 0x4330000000000000).view(float64)
    return (e - 4503599627371519.0) + m * (4.0 / 3.0 - m / 3.0)


@compiled
def load(lane, row, start, y0, p_rows, clock, y, params):
    """Put a row into a lane."""
    clock[T, lane] = start
    for i in range(STATES):
        y[i, lane] = y0[row, i]
    for i in range(PARAMETERS):
        params[i, lane] = p_rows[row, i]


@compiled
def enter(lane, row, piece, breaks, coefficients, pieces):
    """Let a lane see the given functions of one piece of its row."""
    middle, width, c = pieces
    left, right = breaks[row, piece], breaks[row, piece + 1]
    middle[lane], width[lane] = 0.5 * (left + right), right - left
    for i in range(INPUTS):
        for j in range(c.shape[1]):
            c[i, j, lane] = coefficients[row, i, piece, j]


@compiled
def first_step(lane, span, y, k0, rtol, atol):
    """Return a first trial step, and whether state and slope are finite."""
    rate, finite = 0.0, True
    for i in range(STATES):
        slope = abs(k0[i, lane]) / (atol + rtol * abs(y[i, lane]))
        finite = finite and slope < 1e300
        rate = slope if slope > rate else rate
    if not finite or rate == 0.0:
        return span, finite
    h = exp(-0.6931471805599453 * POWER * rough_log2(100.0 * rate))
    return (h if h < span else span), True


@compiled
def take_row(lane, row, rows, clock, record, y, params, pieces):
    """Let a lane carry a row, if there is one."""
    last, times, y0, p_rows, breaks, coefficients, y_out = rows
    if row >= last:
        return 0
    start, piece = times[0], 0
    while piece < coefficients.shape[2] - 1 and breaks[row, piece + 1] <= start:
        piece += 1
    load(lane, row, start, y0, p_rows, clock, y, params)
    enter(lane, row, piece, breaks, coefficients, pieces)
    for i in range(STATES):
        y_out[row, 0, i] = y0[row, i]
    clock[TARGET, lane], clock[BEFORE, lane] = times[1], FIRST_ERROR
    clock[DOUBT, lane] = clock[PROPOSAL, lane] = 0.0
    record[TAKEN, lane] = record[REFUSED, lane] = 0
    record[ROW, lane], record[PIECE, lane] = row, piece
    record[OUTPUT, lane] = record[FRESH, lane] = 1
    return 1


@compiled
def slopes(clock, record, y, u, k0, tried, pieces, params, nodes, weights):
    """Fill the slopes where the lanes are: of all, or of the fresh ones alone."""
    t, doubt, fresh = clock[T], clock[DOUBT], record[FRESH]
    given(t, pieces, u)
    off = rhs(t, y, u, params, nodes, weights, tried)
    for i in range(STATES):
        for lane in range(LANES):
            new = fresh[lane] == 1 or not FSAL
            k0[i, lane] = tried[i, lane] if new else k0[i, lane]
    for lane in range(LANES):
        doubt[lane] = off if off > doubt[lane] else doubt[lane]


@compiled
def begin(lanes, rows, clock, record, y, k0, rtol, atol, results):
    """Give the fresh lanes a bound and a trial step; return how many rows are lost."""
    _, times, _, _, breaks, _, _ = rows
    start, end = times[0], times[times.size - 1]
    inner, lost = breaks.shape[1] - 2, 0
    for lane in range(lanes):
        if record[FRESH, lane] == 0:
            continue
        row, piece = record[ROW, lane], record[PIECE, lane]
        record[FRESH, lane] = 0
        edge = breaks[row, piece + 1]
        clock[BOUND, lane] = edge if piece < inner and edge < end else end
        step, finite = first_step(lane, end - start, y, k0, rtol, atol)
        if clock[PROPOSAL, lane] <= 0.0:
            clock[PROPOSAL, lane] = step
        if not finite:
            leave(lane, NOT_FINITE, clock, record, results)
            lost += 1
    return lost


@compiled
def leave(lane, code, clock, record, results):
    """Write down how a lane's row ended, and free the lane."""
    status, steps, rejected, reached, worst = results
    row = record[ROW, lane]
    status[row], reached[row] = code, clock[T, lane]
    steps[row], rejected[row] = record[TAKEN, lane], record[REFUSED, lane]
    worst[row] = clock[DOUBT, lane]
    record[ROW, lane], record[FRESH, lane] = -1, 0
    clock[H, lane] = clock[PROPOSAL, lane] = 0.0


@compiled
def choose(clock, record, max_step):
    """Set each step: to the bound if it is near, half way if it is not far."""
    t, h, proposal, bound = clock[T], clock[H], clock[PROPOSAL], clock[BOUND]
    row = record[ROW]
    for lane in range(LANES):
        left = bound[lane] - t[lane]
        step = proposal[lane] if proposal[lane] < max_step else max_step
        half = 0.5 * left if 2.0 * step > left else step
        step = left if step * 1.0000001 > left else half
        h[lane] = step if row[lane] >= 0 else 0.0


@compiled
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


@compiled
def propose(clock, record, off):
    """Propose the next steps; one that a bound cut short says little of them."""
    h, proposal, factor, doubt = clock[H], clock[PROPOSAL], clock[FACTOR], clock[DOUBT]
    good = record[GOOD]
    for lane in range(LANES):
        new, kept = factor[lane] * h[lane], proposal[lane]
        clamped = h[lane] < kept and good[lane] == 1
        proposal[lane] = kept if clamped and kept > new else new
    for lane in range(LANES):
        doubt[lane] = off if off > doubt[lane] else doubt[lane]


@compiled
def judge(clock, record, smallest, max_steps):
    """Count the steps; return how many pass an output, and how many need a look."""
    t, h, bound, target = clock[T], clock[H], clock[BOUND], clock[TARGET]
    at, proposal = clock[AT], clock[PROPOSAL]
    good, dense, look = record[GOOD], record[DENSE], record[LOOK]
    taken, refused = record[TAKEN], record[REFUSED]
    wanted, events = 0, 0
    for lane in range(LANES):
        moved, busy = good[lane] == 1, good[lane] > -2
        ended = h[lane] == bound[lane] - t[lane] or t[lane] + h[lane] >= bound[lane]
        now = bound[lane] if ended else t[lane] + h[lane]
        at[lane] = now if moved else t[lane]
        taken[lane] += 1 if moved else 0
        refused[lane] += 1 if busy and not moved else 0
        passed = moved and target[lane] < now
        stuck = proposal[lane] <= smallest or taken[lane] + refused[lane] >= max_steps
        arrived = moved and (ended or target[lane] <= now)
        dense[lane] = 1 if passed else 0
        look[lane] = 1 if arrived or (busy and stuck) else 0
        wanted += dense[lane]
        events += look[lane]
    return wanted, events


@compiled
def write_passed(times, y_out, clock, record, y, poly):
    """Write the outputs that the steps have passed, by their polynomials."""
    for lane in range(LANES):
        if record[DENSE, lane] == 0:
            continue
        row, output = record[ROW, lane], record[OUTPUT, lane]
        while times[output] < clock[AT, lane]:
            x = (times[output] - clock[T, lane]) / clock[H, lane]
            for i in range(STATES):
                y_out[row, output, i] = interpolate(poly, y, i, lane, x)
            output += 1
        record[OUTPUT, lane], clock[TARGET, lane] = output, times[output]


@compiled
def move(clock, record, y, tried, k0, k_last):
    """Go on from where the accepted steps lead."""
    t, at, good = clock[T], clock[AT], record[GOOD]
    for lane in range(LANES):
        t[lane] = at[lane]
    for i in range(STATES):
        for lane in range(LANES):
            moved = good[lane] == 1
            y[i, lane] = tried[i, lane] if moved else y[i, lane]
            if FSAL:
                k0[i, lane] = k_last[i, lane] if moved else k0[i, lane]


@compiled
def settle(lanes, rows, limits, clock, record, y, pieces, results):
    """See to the lanes that need a look; return how many rows have ended."""
    _, times, _, _, breaks, coefficients, y_out = rows
    ended = 0
    for lane in range(lanes):
        if record[LOOK, lane] == 0:
            continue
        row, output = record[ROW, lane], record[OUTPUT, lane]
        moved = record[GOOD, lane] == 1
        if moved and clock[TARGET, lane] <= clock[T, lane]:
            for i in range(STATES):
                y_out[row, output, i] = y[i, lane]
            record[OUTPUT, lane] = output + 1
            clock[TARGET, lane] = times[min(output + 1, times.size - 1)]
        code = outcome(lane, times.size, limits, clock, record)
        if code >= 0:
            leave(lane, code, clock, record, results)
            ended += 1
        elif moved and clock[T, lane] >= clock[BOUND, lane]:
            record[PIECE, lane] += 1
            enter(lane, row, record[PIECE, lane], breaks, coefficients, pieces)
            record[FRESH, lane] = 1
    return ended


@compiled
def outcome(lane, outputs, limits, clock, record):
    """Return how a lane's row has ended, or -1 if it goes on."""
    smallest, max_steps = limits
    if record[OUTPUT, lane] == outputs:
        return OK
    if record[TAKEN, lane] + record[REFUSED, lane] >= max_steps:
        return TOO_MANY_STEPS
    if clock[PROPOSAL, lane] <= smallest:
        return STEP_TOO_SMALL if record[GOOD, lane] >= 0 else NOT_FINITE
    return -1


@compiled
def march(
    first,
    last,
    times,
    y0,
    p_rows,
    breaks,
    coefficients,
    nodes,
    weights,
    rtol,
    atol,
    max_step,
    max_steps,
    y_out,
    status,
    steps,
    rejected,
    reached,
    worst,
):
    """Integrate the rows first, ..., last - 1 over `times`; fill the last six."""
    # a length unknown to the compiler keeps it from unrolling the loops on events
    lanes = LANES if max_steps > 0 else 0
    clock, record = zeros((CLOCK, LANES)), zeros((RECORD, LANES), int64)
    t, h, at, err = clock[T], clock[H], clock[AT], clock[ERR]
    y, tried, z = zeros((STATES, LANES)), zeros((STATES, LANES)), zeros((STATES, LANES))
    k, poly = zeros((STAGES, STATES, LANES)), zeros((TERMS, STATES, LANES))
    k0, k_last = k[0], k[STAGES - 4 if not FSAL else STAGES - 1]
    params, u = zeros((PARAMETERS, LANES)), zeros((INPUTS, LANES))
    degree = coefficients.shape[3]
    pieces = (zeros(LANES), zeros(LANES), zeros((INPUTS, degree, LANES)))
    rule = (pieces, params, nodes, weights)
    rows = (last, times, y0, p_rows, breaks, coefficients, y_out)
    results = (status, steps, rejected, reached, worst)
    limits = (1e-14 * (times[times.size - 1] - times[0]), max_steps)
    for lane in range(lanes):
        record[ROW, lane] = -1
        load(lane, first, times[0], y0, p_rows, clock, y, params)
        enter(lane, first, 0, breaks, coefficients, pieces)

    waiting, done, changed = first, first, True
    while done < last:
        if changed:
            for lane in range(lanes):
                if record[ROW, lane] < 0:
                    waiting += take_row(
                        lane, waiting, rows, clock, record, y, params, pieces
                    )
        if changed or not FSAL:
            slopes(clock, record, y, u, k0, tried, *rule)
        if changed:
            lost = begin(lanes, rows, clock, record, y, k0, rtol, atol, results)
            done += lost
            changed = lost > 0
            if changed:
                continue
        choose(clock, record, max_step)
        off = attempt(t, h, y, k, z, at, u, *rule, tried, err, rtol, atol)
        control(clock, record)
        propose(clock, record, off)
        wanted, events = judge(clock, record, *limits)
        if wanted > 0:
            if not FSAL:
                given(at, pieces, u)
                rhs(at, tried, u, params, nodes, weights, k_last)
            extra(t, h, y, k, z, err, u, *rule)
            interpolant(h, y, tried, k, poly)
            write_passed(times, y_out, clock, record, y, poly)
        move(clock, record, y, tried, k0, k_last)
        if events > 0:
            done += settle(lanes, rows, limits, clock, record, y, pieces, results)
            changed = True
