r"""The Taylor method for `march`: steps from the last coefficients, no trial stages.

The text of this file goes into the loops of `tiers`, which call the printed `jets` of a
flow. With the coefficients $y_k$ of a state up to the order $N$, a step is the
smallest $h$ of

$$
|y_{N-k}|\, h^{N-k} = 2^{a + b k}\, (\mathrm{atol} + \mathrm{rtol}\, |y|),
\qquad k = 0, 1, 2,
\tag{J2}
$$

over the states: three terms, since one or two may vanish by accident (after A. Jorba
and M. Zou, *Experimental Mathematics* 14, 2005, who take two). The first term that is
left out is smaller than the last one by the ratio of $h$ to the radius of convergence,
about $2^{-b}$. No step is refused.
"""

from ..codegen.stubs import (
    LANES,
    ORDER,
    STATES,
    call_jets,
    inlined,
    optimised,
    rough_exp2,
    rough_log2,
)
from .march import GOOD, PROPOSAL, ROW, H, T

SIZE, FALL = -4.0, 2.9
"""The exponents a and b of (J2). Over 20,000 rows of the sampling flow the largest
global error is then 15 to 80 times rtol, for rtol from 1e-4 to 1e-13."""


@inlined
def place(k, i, lane):
    """Return where the coefficient of a power, a state and a lane is kept.

    (One axis: with more the compiler does not see that they do not overlap.)
    """
    return (k * STATES + i) * LANES + lane


@inlined
def prepare(changed, clock, record, y, work, rule, bounds):
    """Fill the coefficients where the lanes are, and propose steps.

    The proposal is 0 where a coefficient is not finite.
    """
    call_jets(rule[4], clock[T], y, rule[1], work)
    proposal = clock[PROPOSAL]
    rtol, atol, longest = bounds
    for lane in range(LANES):
        last, second, third = 1e-290, 1e-290, 1e-290
        for i in range(STATES):
            inverse = 1.0 / (atol + rtol * abs(y[i, lane]))
            last = larger(last, abs(work[place(ORDER, i, lane)]) * inverse)
            second = larger(second, abs(work[place(ORDER - 1, i, lane)]) * inverse)
            third = larger(third, abs(work[place(ORDER - 2, i, lane)]) * inverse)
        step = smaller(stride(last, second, third), longest)
        proposal[lane] = step if last + second + third < 1e300 else 0.0


@inlined
def stride(last, second, third):
    """Return the step of (J2) for the last coefficients in units of the tolerance."""
    first = (SIZE - rough_log2(last)) * (1.0 / ORDER)
    next = (SIZE + FALL - rough_log2(second)) * (1.0 / (ORDER - 1))
    power = (SIZE + 2.0 * FALL - rough_log2(third)) * (1.0 / (ORDER - 2))
    return rough_exp2(smaller(smaller(first, next), power))


@inlined
def larger(x, y):
    """Return the larger one; NaN if `y` is."""
    return x if y <= x else y


@inlined
def smaller(x, y):
    """Return the smaller one."""
    return x if x < y else y


@inlined
def advance(clock, record, y, tried, work, rule, bounds):
    """Sum the series."""
    h, good, row = clock[H], record[GOOD], record[ROW]
    for i in range(STATES):
        for lane in range(LANES):
            total = work[place(ORDER, i, lane)]
            for k in range(ORDER - 1, -1, -1):
                total = total * h[lane] + work[place(k, i, lane)]
            tried[i, lane] = total
    for lane in range(LANES):
        moved = 1 if h[lane] > 0.0 else -1
        good[lane] = moved if row[lane] >= 0 else -2


@inlined
def dense(clock, y, tried, work, rule):
    """Make the coefficients those of powers of the fraction of the step."""
    h = clock[H]
    for i in range(STATES):
        for lane in range(LANES):
            power = 1.0
            for k in range(1, ORDER + 1):
                power *= h[lane]
                work[place(k, i, lane)] *= power


@optimised
def interpolate(work, y, i, lane, x):
    """Return the state at the fraction x of the step."""
    value = 0.0
    for k in range(ORDER, 0, -1):
        value = (value + work[place(k, i, lane)]) * x
    return y[i, lane] + value
