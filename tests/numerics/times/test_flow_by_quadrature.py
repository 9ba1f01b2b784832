"""The flow under any schedule, density and loss weight, judged by plain quadrature.

The judge has the loss of one network for all times as it is written down, with slopes
taken by hand under the average over the normal; nothing of the engine.
"""

import numpy as np
import pytest
from dilaton.numerics.times.table import shared_flow
from dilaton.theory.models.spec import parse_spec
from scipy.integrate import solve_ivp

from ...cases import TWO_MODES

SAME = 2e-6  # two integrations of relative tolerance 1e-8 and a rule of 1e-7
KINK = 5e-5  # a kink of the weight inside a panel
TIMES = (1.0, 3.0, 8.0)
START = {"m": 0.3, "q": 0.8, "b": 0.1}
G = np.linspace(-8.0, 8.0, 641)
PHI = np.exp(-G * G / 2) / np.sqrt(2 * np.pi) * (G[1] - G[0])


def trigonometric(t):
    return np.cos(np.pi * t / 2), np.sin(np.pi * t / 2)


def preserving(t):
    return np.sqrt(1 - t * t), t


def linear(t):
    return 1 - t, t


TEXTS = {
    trigonometric: ("cos(pi*tau/2)", "sin(pi*tau/2)"),
    preserving: ("sqrt(1 - tau**2)", "tau"),
    linear: ("1 - tau", "tau"),
}


def p2(k, power):
    return lambda a, b: (b / a) ** 2 / (k + (b / a) ** 2) ** power


def sigmoid(bias):
    return lambda a, b: b * b / (a * a + b * b * np.exp(-bias))


CASES = {
    "P2, trigonometric": (
        {"p": 0.3, "sigma": 1.4, "d": 60},
        (trigonometric, "formula:2*(1 - tau)", "p2:0.5:1.5"),
        (lambda t: 2 * (1 - t), p2(0.5, 1.5)),
    ),
    "sigmoid, trigonometric": (
        {"p": 0.8, "sigma": 0.7, "d": 40},
        (trigonometric, "shift:2", "sigmoid:1"),
        (lambda t: 2 / (1 + t) ** 2, sigmoid(1.0)),
    ),
    "P2, variance preserving": (
        {"p": 0.7, "sigma": 0.8, "d": 50},
        (preserving, "shift:4", "p2:1:0.5"),
        (lambda t: 4 / (1 + 3 * t) ** 2, p2(1.0, 0.5)),
    ),
    "sigmoid, variance preserving": (
        {"p": 0.65, "sigma": 1.1, "d": 80},
        (preserving, "uniform", "sigmoid:-0.7"),
        (lambda t: 1.0 + 0 * t, sigmoid(-0.7)),
    ),
    "velocity, variance preserving": (
        {"p": 0.6, "sigma": 0.9, "d": 60},
        (preserving, "formula:2*(1 - tau)", "velocity"),
        (lambda t: 2 * (1 - t), lambda a, b: 1 / a**4),  # b' - a'b/a = 1/a^2 here
    ),
    "min-SNR, linear": (
        {"p": 0.75, "sigma": 1.2, "d": 60},
        (linear, "shift:3", "min-snr:2"),
        (lambda t: 3 / (1 + 2 * t) ** 2, lambda a, b: np.minimum((b / a) ** 2, 2.0)),
    ),
}


def judge(values, schedule, rho, weight, sgd=None, rtol=1e-8):
    """Overlaps at `TIMES`, by Gauss-Legendre panels in time and sums over a normal."""
    p, sigma, d = values["p"], values["sigma"], values["d"]
    x, w = np.polynomial.legendre.leggauss(12)
    kink = {linear: [np.sqrt(2) / (1 + np.sqrt(2))]}.get(schedule, [])
    edges = np.sort([0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, *kink, 0.7, 0.85, 0.95, 1])
    half = np.diff(edges)[:, None] / 2
    tau = (edges[:-1, None] + half * (x + 1)).ravel()
    alpha, beta = schedule(tau)
    delta = alpha**2 + sigma**2 * beta**2
    loss, kept, snr = weight(alpha, beta), alpha**2 / delta, beta**2 * d / delta
    mass = (half * w).ravel() * rho(tau)

    def rhs(_, state):
        m, q, b = state
        norm2, moved = m * m + q, np.zeros((3, tau.size))
        noise = np.zeros(tau.size)
        for s, share in ((1, p), (-1, 1 - p)):
            root = np.sqrt(snr)[:, None]
            h = s * snr[:, None] * m + root * np.sqrt(norm2) * G + b
            t = np.tanh(h)
            slope = 1 - t * t
            pull = slope * (norm2 * t - s * m)  # half of the loss's slope in H
            in_m = s * snr[:, None] + root * m / np.sqrt(norm2) * G
            in_q = root / (2 * np.sqrt(norm2)) * G
            moved[0] -= share * ((m * t * t - s * t + pull * in_m) @ PHI)
            moved[1] -= 2 * q * share * ((t * t + 2 * pull * in_q) @ PHI)
            moved[2] -= share * (pull @ PHI)
            noise += share * kept**4 * snr * (pull**2 @ PHI)
            noise += share * kept**3 * sigma**2 / d * (t * t @ PHI)
        total = moved @ (mass * loss * kept**2)
        if sgd:
            total[1] += sgd[0] / sgd[1] * noise @ (mass * loss**2)
        return total

    span, start = (0, TIMES[-1]), list(START.values())
    return solve_ivp(rhs, span, start, t_eval=TIMES, rtol=rtol, atol=rtol / 100).y


SLOW = {"sigmoid, trigonometric", "P2, variance preserving"}


@pytest.mark.parametrize(
    "case",
    [pytest.param(x, marks=[pytest.mark.slow] * (x in SLOW)) for x in CASES],
)
def test_against_plain_quadrature(case):
    values, (schedule, density, loss), (rho, weight) = CASES[case]
    alpha, beta = TEXTS[schedule]
    text = TWO_MODES.replace('"1 - tau"', f'"{alpha}"').replace('"tau"', f'"{beta}"')
    spec = parse_spec(text).replace(p=values["p"], sigma=values["sigma"])
    sgd = None if "sigmoid" in case else (2.0, 4)
    noise = {} if sgd is None else {"rate": sgd[0], "batch": sgd[1]}
    flow = shared_flow(spec, values["d"], density, loss, START, TIMES, **noise)
    wanted = judge(values, schedule, rho, weight, sgd)
    for name, row in zip(START, wanted, strict=True):
        close = KINK if "min-SNR" in case else SAME
        np.testing.assert_allclose(flow[name], row, atol=close)
    args = (values, schedule, rho, lambda a, b: weight(a, b) * a**0.1, sgd)
    wrong = judge(*args, rtol=1e-4)  # a weight that is a little other
    assert np.max(np.abs(wrong[0] - flow["m"])) > 20 * close
