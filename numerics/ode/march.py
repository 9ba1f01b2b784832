"""The driver of the explicit methods: rows marched side by side, each with its steps.

The text of this file goes into generated modules, after that of a method
(`rungekutta` or `taylor`), which gives four functions: `prepare` what it knows at the
start of a step, `advance` the trial step and its verdict, `dense` and `interpolate` the
states inside the step. A lane carries one row; when the row is done the lane takes the
next one. Only arithmetic is shared, so a row's numbers do not depend on its neighbours.
Times increase. Nothing here allocates inside the loop, and every sum is rounded as it
is written, so that Python finds the same numbers.
"""

from ..codegen.stubs import (
    INPUTS,
    LANES,
    STATES,
    advance,
    called,
    dense,
    inlined,
    interpolate,
    optimised,
    prepare,
)

OK, STEP_TOO_SMALL, TOO_MANY_STEPS, NOT_FINITE = 0, 1, 2, 3

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


@inlined
def load(lane, row, start, y0, p_rows, clock, y, params):
    """Put a row into a lane."""
    clock[T, lane] = start
    for i in range(STATES):
        y[i, lane] = y0[row, i]
    for i in range(p_rows.shape[0]):
        params[i, lane] = p_rows[i, row]


@inlined
def enter(lane, row, piece, end, breaks, coefficients, clock, pieces):
    """Load one piece's Chebyshev inputs and its end time into a lane."""
    middle, width, c = pieces
    held = row if breaks.shape[0] > 1 else 0
    left, right = breaks[held, piece], breaks[held, piece + 1]
    inner = piece < breaks.shape[1] - 2 and right < end
    clock[BOUND, lane] = right if inner else end
    middle[lane], width[lane] = 0.5 * (left + right), right - left
    for i in range(INPUTS):
        for j in range(c.shape[1]):
            c[i, j, lane] = coefficients[held, i, piece, j]


@inlined
def take_row(lane, row, rows, clock, record, y, params, pieces):
    """Let a lane carry a row."""
    times, y0, p_rows, breaks, coefficients, y_out = rows
    start, end, piece = times[0], times[times.size - 1], 0
    held = row if breaks.shape[0] > 1 else 0
    while piece < coefficients.shape[2] - 1 and breaks[held, piece + 1] <= start:
        piece += 1
    load(lane, row, start, y0, p_rows, clock, y, params)
    enter(lane, row, piece, end, breaks, coefficients, clock, pieces)
    for i in range(STATES):
        y_out[row, 0, i] = y0[row, i]
    clock[TARGET, lane] = times[1]
    clock[DOUBT, lane] = clock[PROPOSAL, lane] = 0.0
    record[TAKEN, lane] = record[REFUSED, lane] = 0
    record[ROW, lane], record[PIECE, lane] = row, piece
    record[OUTPUT, lane] = record[FRESH, lane] = 1


@inlined
def leave(lane, code, clock, record, results):
    """Write down how a lane's row ended, and free the lane."""
    status, steps, rejected, reached, worst = results
    row = record[ROW, lane]
    status[row], reached[row] = code, clock[T, lane]
    steps[row], rejected[row] = record[TAKEN, lane], record[REFUSED, lane]
    worst[row] = clock[DOUBT, lane]
    record[ROW, lane], record[FRESH, lane] = -1, 0
    clock[H, lane] = clock[PROPOSAL, lane] = 0.0


@optimised
def choose(clock, record, longest):
    """Set each step: to the bound if it is near, half way if it is not far."""
    t, h, proposal, bound = clock[T], clock[H], clock[PROPOSAL], clock[BOUND]
    row = record[ROW]
    for lane in range(LANES):
        left = bound[lane] - t[lane]
        step = proposal[lane] if proposal[lane] < longest else longest
        half = 0.5 * left if 2.0 * step > left else step
        step = left if step * 1.0000001 > left else half
        h[lane] = step if row[lane] >= 0 else 0.0


@optimised
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


@optimised
def write_passed(times, y_out, clock, record, y, work):
    """Write the outputs that the steps have passed, by their polynomials."""
    for lane in range(LANES):
        if record[DENSE, lane] == 0:
            continue
        row, output = record[ROW, lane], record[OUTPUT, lane]
        while times[output] < clock[AT, lane]:
            x = (times[output] - clock[T, lane]) / clock[H, lane]
            for i in range(STATES):
                y_out[row, output, i] = interpolate(work, y, i, lane, x)
            output += 1
        record[OUTPUT, lane], clock[TARGET, lane] = output, times[output]


@optimised
def move(clock, record, y, tried):
    """Go on from where the accepted steps lead."""
    t, at, good = clock[T], clock[AT], record[GOOD]
    for lane in range(LANES):
        t[lane] = at[lane]
    for i in range(STATES):
        for lane in range(LANES):
            y[i, lane] = tried[i, lane] if good[lane] == 1 else y[i, lane]


@inlined
def retire_rows(lanes, rows, limits, clock, record, y, pieces, results):
    """Write outputs and retire finished rows in flagged lanes; return how many."""
    times, _, _, breaks, coefficients, y_out = rows
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
            piece, end = record[PIECE, lane], times[times.size - 1]
            enter(lane, row, piece, end, breaks, coefficients, clock, pieces)
            record[FRESH, lane] = 1
    return ended


@inlined
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


@called
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
    slopes,
    space,
    work,
):
    """Integrate the rows first, ..., last - 1 over `times`; fill `y_out` to `worst`.

    `slopes` is where the machine code lies that the method calls; `space` are the
    arrays of a march and `work` those of its method.
    """
    # a length unknown to the compiler keeps it from unrolling the loops on events
    lanes = LANES if max_steps > 0 else 0
    clock, record, y, tried, params, pieces = space
    rule = (pieces, params, nodes, weights, slopes)
    rows = (times, y0, p_rows, breaks, coefficients, y_out)
    results = (status, steps, rejected, reached, worst)
    end = times[times.size - 1]
    span = end - times[0]
    limits = (1e-14 * span, max_steps)
    bounds = (rtol, atol, max_step if max_step < span else span)
    for lane in range(lanes):
        record[ROW, lane] = -1
        load(lane, first, times[0], y0, p_rows, clock, y, params)
        enter(lane, first, 0, end, breaks, coefficients, clock, pieces)

    waiting, done, changed = first, first, True
    while done < last:
        if changed:
            for lane in range(lanes):
                if record[ROW, lane] < 0 and waiting < last:
                    take_row(lane, waiting, rows, clock, record, y, params, pieces)
                    waiting += 1
        prepare(changed, clock, record, y, work, rule, bounds)
        choose(clock, record, bounds[2])
        advance(clock, record, y, tried, work, rule, bounds)
        wanted, events = judge(clock, record, *limits)
        if wanted > 0:
            dense(clock, y, tried, work, rule)
            write_passed(times, y_out, clock, record, y, work)
        move(clock, record, y, tried)
        changed = events > 0
        if changed:
            done += retire_rows(lanes, rows, limits, clock, record, y, pieces, results)
