"""Any grid and any rule: published numbers, samplers written apart, orders."""

from itertools import pairwise

import numpy as np
import pytest
from dilaton.numerics.codegen.parameters import complete
from dilaton.numerics.share.euler import TRIED, smallest_steps, steps
from dilaton.numerics.share.rules import RULES, ExactFlow
from dilaton.numerics.times.time_grid import make_grid
from dilaton.theory.derive import derive
from dilaton.theory.models.spec import parse_spec
from scipy.stats import norm

from ...cases import POPULATION

SPEC = parse_spec(POPULATION).replace(kappa=3.0)
ROUND = 1e-7  # bisections against sections, sums in another order
DIGITS = 6e-4  # tables of three digits
FIRST = 0.25  # of an order: a first or last step of order 1 is still felt
COLLAPSE = 6e-5  # numbers of four digits

GRIDS = ["uniform", "shift:sqrt(d)", "shift:d**(1/4)", "dilated", "log-snr"]
SHARES = {
    (1e4, 20): [0.999, 0.807, 0.833, 0.817, 0.8206],
    (1e6, 20): [1.000, 0.807, 0.913, 0.817, 0.825],
    (1e6, 200): [0.999, 0.801, 0.809, 0.802, 0.802],
    (1e8, 20): [1.000, 0.807, 0.999, 0.817, 0.830],
}
SPREADS = {
    (1e4, 20): [0.938, 0.186, 0.796, 0.884, 0.852],
    (1e6, 20): [0.938, 0.019, 0.494, 0.879, 0.826],
    (1e6, 200): [0.994, 0.194, 0.937, 0.987, 0.983],
    (1e8, 20): [0.938, 0.002, 0.186, 0.879, 0.800],
}


def by_hand(text, d, count):
    """The times of the grids of the table, written out."""
    t = np.linspace(0, 1, count + 1)
    if text.startswith("shift"):
        a = d**0.5 if "sqrt" in text else d**0.25
        return t / (t + a * (1 - t))
    if text == "dilated":
        return np.interp(t, [0, 0.5, 1], [0, 3 / np.sqrt(d), 1])
    if text == "log-snr":
        ratio = np.geomspace(0.05 / np.sqrt(d), 49, count - 1)
        return np.concatenate([[0], ratio / (1 + ratio), [1]])
    return t


def denoiser(x, tau, size, p=0.8):
    """E[x1|x] along the mean of norm `size`, sigma = 1, linear schedule."""
    delta = (1 - tau) ** 2 + tau**2
    mean = size * np.tanh(tau * size * x / delta + np.log(p / (1 - p)) / 2)
    return tau / delta * (x - tau * mean) + mean


def share_above_zero(run, low=-6.0, high=6.0):
    """P(the end of a path is positive), by bisection of its only zero."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if run(middle) > 0 else (middle, high)
    return norm.sf(high)


def velocity(x, tau, size):
    return (denoiser(x, tau, size) - x) / (1 - tau)


def run_left(x, tau, size):
    for a, b in pairwise(tau):
        x = x + (b - a) * velocity(x, a, size)
    return x


def run_heun(x, tau, size):
    for a, b in pairwise(tau):
        k = velocity(x, a, size)
        end = x + (b - a) * k
        if b < 1:
            end = x + (b - a) / 2 * (k + velocity(end, b, size))
        x = end
    return x


def run_dpm(x, tau, size):
    """DPM-Solver++(2M) as diffusers and k-diffusion write it, in lambda and e^-h."""
    old, lam = None, lambda t: np.log(t / (1 - t)) if 0 < t < 1 else np.inf * (t - 0.5)
    for i, (a, b) in enumerate(pairwise(tau)):
        h = lam(b) - lam(a)
        now = denoiser(x, a, size)
        used = now
        if i > 1 and b < 1:
            r = (lam(a) - lam(tau[i - 1])) / h
            used = (1 + 1 / (2 * r)) * now - 1 / (2 * r) * old
        x = (1 - b) / (1 - a) * x - b * np.expm1(-h) * used
        old = now
    return x


RUNS = {"left": run_left, "heun": run_heun, "dpm++2m": run_dpm, "exponential": run_left}
# holding the denoiser on the linear path is Euler's step: (1-b)/(1-a) x + ... the same


@pytest.mark.parametrize(("d", "count"), SHARES)
def test_the_table_of_grids(d, count):
    rows = steps(SPEC, d, [count], GRIDS, "left")
    assert [row["grid"] for row in rows] == GRIDS
    shares, spreads = ([row[k] for row in rows] for k in ("share_plus", "bulk_std"))
    np.testing.assert_allclose(shares, SHARES[d, count], atol=DIGITS)
    np.testing.assert_allclose(spreads, SPREADS[d, count], atol=DIGITS)


@pytest.mark.parametrize("rule", RUNS)
@pytest.mark.parametrize("text", GRIDS)
def test_rules_agree_with_samplers_written_apart(rule, text):
    d, count = 1e4, 20
    (row,) = steps(SPEC, d, [count], text, rule)
    tau = by_hand(text, d, count)
    share = share_above_zero(lambda x: RUNS[rule](x, tau, np.sqrt(d)))
    assert row["share_plus"] == pytest.approx(share, abs=ROUND)
    # a bulk coordinate is a projection on a direction without a mean
    assert row["bulk_std"] == pytest.approx(RUNS[rule](1.0, tau, 1e-9), rel=ROUND)
    if text == "dilated":  # the judge sees another grid
        other = share_above_zero(lambda x: RUNS[rule](x, tau**1.1, np.sqrt(d)))
        assert abs(row["share_plus"] - other) > 100 * ROUND


def test_the_last_step_is_of_first_order_where_alpha_is_no_exact_zero():
    """cos(pi/2) is 6e-17 in floating point: log(beta/alpha) is finite at tau = 1."""
    text = POPULATION.replace('"1 - tau"', '"cos(pi*tau/2)"')
    spec = parse_spec(text.replace('"tau"', '"sin(pi*tau/2)"')).replace(kappa=3.0)
    (row,) = steps(spec, 1e4, [40], "dilated", "dpm++2m")
    tau = by_hand("dilated", 1e4, 40)
    x, old, lam = 1.0, None, np.log(np.tan(np.pi * tau[1:-1] / 2))
    noise, data = np.cos(np.pi * tau / 2), np.sin(np.pi * tau / 2)
    for i in range(40):
        now = used = data[i] * x  # alpha**2 + beta**2 = 1
        if 1 < i < 39:
            h, before = lam[i] - lam[i - 1], lam[i - 1] - lam[i - 2]
            used = now + h / before * (now - old) / 2
        gain = data[i + 1] - noise[i + 1] * data[i] / noise[i]
        x, old = noise[i + 1] / noise[i] * x + gain * used, now
    assert row["bulk_std"] == pytest.approx(x, rel=ROUND)
    assert abs(x - 1) < 0.01  # 1.3 if the last step is extrapolated


@pytest.mark.parametrize(
    ("rule", "order"),
    [("left", 1), ("exponential", 1), ("midpoint", 1), ("heun", 2), ("dpm++2m", 2)],
)
def test_orders_of_the_rules(rule, order):
    """Halving the steps divides the bulk's error by 2, or by 4; its end is sigma."""
    limit = derive(SPEC.model)
    point = complete(limit, SPEC.values) | {"d": 1e4}
    flow, made = ExactFlow(limit, point), make_grid("dilated", limit, point)
    errors = [
        abs(RULES[rule](flow, np.ones((2, 1)), made.times(count, rule))[-1, 0] - 1.0)
        for count in (160, 320)
    ]
    assert abs(np.log2(errors[0] / errors[1]) - order) < FIRST


def test_errors_depend_on_steps_over_the_fourth_root_of_d():
    """With the best single shift; N = 2 d^(1/4), limit .819 with d^(-1/4) to go."""
    spreads = []
    for d in (1e4, 1e6, 1e8):
        root = d**0.25
        counts = [round(c * root) for c in (2, 4, 8)]
        rows = steps(SPEC, d, counts, "shift:d**(1/4)", "left")
        spreads.append([row["bulk_std"] for row in rows])
        shares = [row["share_plus"] for row in rows]
        np.testing.assert_allclose(shares, [0.8296, 0.8142, 0.8070], atol=0.005)
    first = [row[0] for row in spreads]
    np.testing.assert_allclose(first, [0.7963, 0.8115, 0.8170], atol=COLLAPSE)
    # the gaps to the limit shrink as d^(-1/4), by 10^(-1/2)
    gap = (first[1] - first[0]) / (first[2] - first[1])
    assert gap == pytest.approx(np.sqrt(10), rel=0.15)


SMALLEST = {
    1e2: {"dilated": 24, "log-snr": 24, "uniform": 48},
    1e4: {"dilated": 24, "log-snr": 32, "uniform": 384, "shift:d**(1/4)": 48},
    1e6: {"dilated": 32, "log-snr": 48, "uniform": None, "shift:d**(1/4)": 128},
    1e8: {"dilated": 32, "log-snr": 48, "shift:d**(1/4)": 384},
}


@pytest.mark.parametrize("d", SMALLEST)
def test_the_fewest_steps(d):
    rows = smallest_steps(SPEC, d, list(SMALLEST[d]), "left")
    assert {row["grid"]: row["smallest"] for row in rows} == SMALLEST[d]
    assert tuple(sorted(TRIED)) == TRIED


def test_the_best_constant_of_a_shift_matters_at_a_small_dimension():
    fewest = {
        row["grid"]: row["smallest"]
        for row in smallest_steps(SPEC, 1e2, ["shift:2.5", "shift:d**(1/4)"], "left")
    }
    assert fewest == {"shift:2.5": 16, "shift:d**(1/4)": 24}
