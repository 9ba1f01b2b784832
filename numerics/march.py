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
def rough_power(x, power):
    """Return x**power within a percent, for 1e-12 < x < 1e12, without branches."""
    bits = float64(x).view(int64)
    m = int64((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).view(float64)
    log2 = float64((bits >> 52) - 1023) + (m - 1.0) * (4.0 / 3.0 - (m - 1.0) / 3.0)
    return exp(0.6931471805599453 * power * log2)


@compiled
def load(lane, row, start, y0, p_rows, t, y, params):
    """Put a row into a lane."""
    t[lane] = start
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
    if not finite:
        return span, False
    h = (0.01 / rate) ** POWER if rate > 0.0 else span
    return (h if h < span else span), True


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
    t, h, proposal = zeros(LANES), zeros(LANES), zeros(LANES)
    at, err, err_old = zeros(LANES), zeros(LANES), zeros(LANES)
    bound, target, factor = zeros(LANES), zeros(LANES), zeros(LANES)
    y, tried, z = zeros((STATES, LANES)), zeros((STATES, LANES)), zeros((STATES, LANES))
    k = zeros((STAGES, STATES, LANES))
    k0, k_last = k[0], k[STAGES - 4 if not FSAL else STAGES - 1]
    poly = zeros((TERMS, STATES, LANES))
    params, u = zeros((PARAMETERS, LANES)), zeros((INPUTS, LANES))
    degree = coefficients.shape[3]
    pieces = (zeros(LANES), zeros(LANES), zeros((INPUTS, degree, LANES)))
    row, piece = zeros(LANES, int64), zeros(LANES, int64)
    output, fresh = zeros(LANES, int64), zeros(LANES, int64)
    dense, good = zeros(LANES, int64), zeros(LANES, int64)
    start, end = times[0], times[times.size - 1]
    n_pieces = coefficients.shape[2]

    waiting, active = first, 0
    for lane in range(lanes):
        fresh[lane] = 1
        row[lane] = -1
        load(lane, first, start, y0, p_rows, t, y, params)
        enter(lane, first, 0, breaks, coefficients, pieces)

    refill = True
    while refill or active > 0:
        # lanes that are free take the next rows; all lanes get the slope where they are
        changed = refill
        while refill:
            refill = False
            for lane in range(lanes):
                if fresh[lane] == 1 and row[lane] < 0 and waiting < last:
                    r = waiting
                    waiting += 1
                    active += 1
                    row[lane], piece[lane] = r, 0
                    load(lane, r, start, y0, p_rows, t, y, params)
                    while (
                        piece[lane] < n_pieces - 1
                        and breaks[r, piece[lane] + 1] <= start
                    ):
                        piece[lane] += 1
                    enter(lane, r, piece[lane], breaks, coefficients, pieces)
                    for i in range(STATES):
                        y_out[r, 0, i] = y0[r, i]
                    output[lane] = 1
                    target[lane] = times[1]
                    err_old[lane] = 1e-4
        if changed or not FSAL:
            given(t, pieces, u)
            off = rhs(t, y, u, params, nodes, weights, tried)
            for i in range(STATES):
                for lane in range(lanes):
                    new = fresh[lane] == 1 or not FSAL
                    k0[i, lane] = tried[i, lane] if new else k0[i, lane]
            for lane in range(lanes):
                if row[lane] >= 0 and off > worst[row[lane]]:
                    worst[row[lane]] = off
        if changed:
            for lane in range(lanes):
                if fresh[lane] == 1 and row[lane] >= 0:
                    r = row[lane]
                    fresh[lane] = 0
                    edge = breaks[r, piece[lane] + 1]
                    bound[lane] = (
                        edge if piece[lane] < n_pieces - 1 and edge < end else end
                    )
                    step, finite = first_step(lane, end - start, y, k0, rtol, atol)
                    if proposal[lane] > 0.0:
                        step = proposal[lane]
                    proposal[lane] = step
                    if not finite:
                        status[r] = NOT_FINITE
                        reached[r] = t[lane]
                        row[lane], fresh[lane], h[lane] = -1, 1, 0.0
                        proposal[lane] = 0.0
                        active -= 1
                        refill = waiting < last
            if refill:
                continue

        # the step: to the bound if it is near, half way if it is not far
        for lane in range(lanes):
            left = bound[lane] - t[lane]
            step = proposal[lane] if proposal[lane] < max_step else max_step
            half = 0.5 * left if 2.0 * step > left else step
            step = left if step * 1.0000001 > left else half
            h[lane] = step if row[lane] >= 0 else 0.0
        off = attempt(
            t, h, y, k, z, at, u, pieces, params, nodes, weights, tried, err, rtol, atol
        )

        # accept or reject, and propose
        events = False
        for lane in range(lanes):
            e = err[lane]
            accept = e <= 1.0
            e = e if e < 1e10 else 1e10
            e = e if e > 1e-10 else 1e-10
            f = (
                CAUTION
                * rough_power(e, 0.75 * BETA - POWER)
                * rough_power(err_old[lane], BETA)
            )
            f = f if f > 0.2 else 0.2
            f = f if f < GROWTH else GROWTH
            f = f if accept else (f if f < 1.0 else 1.0)
            good[lane] = 1 if accept else (0 if err[lane] < 1e300 else -1)
            factor[lane] = f
            err_old[lane] = e if accept else err_old[lane]
        wanted = False
        for lane in range(lanes):
            r = row[lane]
            dense[lane] = 0
            if r < 0:
                good[lane] = 0
                continue
            if off > worst[r]:
                worst[r] = off
            ended = t[lane] + h[lane] >= bound[lane] or h[lane] == bound[lane] - t[lane]
            at[lane] = bound[lane] if ended else t[lane] + h[lane]
            new = factor[lane] * h[lane]
            clamped = h[lane] < proposal[lane] and good[lane] == 1
            if good[lane] == 1:
                steps[r] += 1
                dense[lane] = target[lane] < at[lane]
                wanted = wanted or dense[lane] == 1
                events = events or ended or target[lane] <= at[lane]
            else:
                rejected[r] += 1
            kept = proposal[lane]
            proposal[lane] = kept if clamped and kept > new else new
            small = proposal[lane] <= 1e-14 * (end - start)
            if small or steps[r] + rejected[r] >= max_steps:
                events = True

        if wanted:
            if not FSAL:
                given(at, pieces, u)
                rhs(at, tried, u, params, nodes, weights, k_last)
            extra(t, h, y, k, z, err, u, pieces, params, nodes, weights)
            interpolant(h, y, tried, k, poly)
            for lane in range(lanes):
                while dense[lane] == 1 and target[lane] < (
                    bound[lane]
                    if h[lane] == bound[lane] - t[lane]
                    else t[lane] + h[lane]
                ):
                    x = (target[lane] - t[lane]) / h[lane]
                    for i in range(STATES):
                        y_out[row[lane], output[lane], i] = interpolate(
                            poly, y, i, lane, x
                        )
                    output[lane] += 1
                    target[lane] = times[output[lane]]

        # move on
        for lane in range(lanes):
            moved = good[lane] == 1
            edge = h[lane] == bound[lane] - t[lane]
            now = bound[lane] if edge else t[lane] + h[lane]
            t[lane] = now if moved else t[lane]
        for i in range(STATES):
            for lane in range(lanes):
                moved = good[lane] == 1
                y[i, lane] = tried[i, lane] if moved else y[i, lane]
                if FSAL:
                    k0[i, lane] = k_last[i, lane] if moved else k0[i, lane]
        if not events:
            continue
        for lane in range(lanes):
            r = row[lane]
            if r < 0:
                continue
            if good[lane] == 1 and target[lane] <= t[lane]:
                for i in range(STATES):
                    y_out[r, output[lane], i] = y[i, lane]
                output[lane] += 1
                if output[lane] < times.size:
                    target[lane] = times[output[lane]]
            code = -1
            if output[lane] == times.size:
                code = OK
            elif steps[r] + rejected[r] >= max_steps:
                code = TOO_MANY_STEPS
            elif proposal[lane] <= 1e-14 * (end - start):
                code = STEP_TOO_SMALL if good[lane] >= 0 else NOT_FINITE
            elif good[lane] == 1 and t[lane] >= bound[lane]:
                piece[lane] += 1
                enter(lane, r, piece[lane], breaks, coefficients, pieces)
                fresh[lane], refill = 1, True
            if code >= 0:
                status[r] = code
                reached[r] = t[lane]
                row[lane], fresh[lane], h[lane], proposal[lane] = -1, 1, 0.0, 0.0
                active -= 1
                refill = refill or waiting < last
