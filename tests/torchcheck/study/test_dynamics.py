"""Training dynamics: descent at finite d against the flows of its overlaps."""

import dilaton
import numpy as np
import pytest
from dilaton.numerics.learn import learn
from dilaton.theory.models.model import Autoencoder, Data, Model, two_modes
from scipy import integrate

from ...descent import descend, descend_tied

POPULATION = Model(two_modes())
SAMPLES = Model(two_modes(), data=Data(samples=True))
VALUES = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
START = {"m": 0.3, "q": 0.5, "omega": 0.2, "r": 0.4, "b": 0.0}
# the limiting flow at kappa s = 1.5 from START, from an independent integration
LIMIT = {
    5: {"m": 1.07540, "q": 1.15845, "omega": 0.79883, "r": 0.65746, "b": 0.34785},
    20: {"m": 1.05969, "q": 1.12294, "omega": 1.00971, "r": 1.01954, "b": 0.47143},
}
STEP = 0.02  # Euler's error at this step is below 2e-3 for these smooth flows
EULER = 2e-3


def window_run(d, times=(5.0, 20.0), **more):
    return descend(POPULATION, VALUES, 1.5 / d**0.5, d, START, times, step=STEP, **more)


def test_overlaps_follow_the_training_flow_at_the_rate_of_the_limit():
    runs = {d: window_run(d).overlaps for d in (10_000, 1_000_000)}
    for k, time in enumerate(LIMIT):
        for name, want in LIMIT[time].items():
            near, far = (runs[d][name][k] - want for d in (1_000_000, 10_000))
            assert abs(near) < EULER + 4e-3, name
            assert abs(far) < EULER + 4e-2, name
    # at the smaller size the deviation is that of d^(-1/2), ten times larger
    assert abs(runs[10_000]["r"][1] - LIMIT[20]["r"]) > 5 * abs(
        runs[1_000_000]["r"][1] - LIMIT[20]["r"]
    )


def test_descent_in_few_coordinates_is_descent_in_all():
    few = window_run(300, (2.0,)).overlaps
    many = descend(
        POPULATION,
        VALUES,
        1.5 / 300**0.5,
        300,
        START,
        (2.0,),
        step=STEP,
        method="sampled",
        batch=1000,
    ).overlaps
    for name in ("m", "omega", "b"):
        # gradient noise of 1000 samples at 100 steps
        assert abs(few[name][0] - many[name][0]) < 0.08, name


def test_without_dilation_the_bias_and_the_weights_stay():
    run = descend(POPULATION, VALUES, 0.5, 10_000, START, (5.0, 20.0), step=STEP)
    assert np.all(np.abs(run.overlaps["b"]) < 1e-6)
    assert np.all(np.abs(run.overlaps["omega"] - START["omega"]) < 1e-6)
    # while the readout and the skip are learned: m = alpha^2/Delta, c = beta/Delta
    assert abs(run.overlaps["m"][1] - 0.5) < EULER
    assert abs(run.overlaps["c"][1] - 1.0) < EULER


def tied_flow(p, sigma, d, tau, init, times):
    """The tied training flow written out, with quadrature: an independent judge."""
    data, noise = tau, 1 - tau
    power = data**2 * sigma**2 + noise**2
    size = data**2 * d
    g, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / weight.sum()

    def loss(c, m, q, b):
        width = np.sqrt(size * power * (m**2 + q))
        plus, minus = (np.tanh(s * size * m + width * g + b) for s in (1, -1))
        h = (p * plus - (1 - p) * minus) @ weight
        k = (p * plus**2 + (1 - p) * minus**2) @ weight
        bracket = (m**2 + q) * (k + 2 * (1 + c * power) * (1 - k)) + 2 * c * m * h
        first = (1 + noise**2 * c) ** 2
        return first + data**2 * noise**2 * (c**2 * (1 + sigma**2) + bracket)

    def rate(_, x):
        grad = [(loss(*(x + e)) - loss(*(x - e))) / 2e-6 for e in 1e-6 * np.eye(len(x))]
        scale = np.array([1, 1 / size, 4 * x[2] / size, 1])
        return -scale * np.array(grad)

    start = [init[name] for name in "cmqb"]
    found = integrate.solve_ivp(rate, (0, times[-1]), start, t_eval=times, rtol=1e-8)
    return dict(zip("cmqb", found.y, strict=True))


OTHER = pytest.param(0.8, 1.0, 0.1, marks=pytest.mark.slow)


@pytest.mark.parametrize(("p", "sigma", "tau"), [OTHER, (0.3, 1.5, 0.2)])
def test_the_tied_network_follows_its_exact_flow(p, sigma, tau):
    init, times = {"c": -1.0, "m": 0.1, "q": 0.1, "b": 0.0}, [2.0, 20.0]
    values = {"p": p, "sigma": sigma}
    run = descend_tied(POPULATION, values, tau, 256, init, times, step=0.02)
    want = tied_flow(p, sigma, 256, tau, init, times)
    for name, x in want.items():
        assert np.abs(run.overlaps[name] - x).max() < EULER, name
    # teeth: another sigma is seen
    other = tied_flow(p, 1.2 * sigma, 256, tau, init, times)
    assert np.abs(run.overlaps["c"] - other["c"]).max() > 5e-3


def test_samples_follow_their_flow():
    spec = dilaton.default_spec().replace(n=16, n_plus=13, ridge_u=0.1, ridge_w=0.1)
    extra = {"a_plus": 0.05, "a_minus": 0.0, "zeta_plus": 0.0, "zeta_minus": -0.02}
    start = START | extra
    want = learn(spec, "weights", 0.75, start, [2.0, 5.0])
    d = 10**8
    run = descend(spec.model, spec.values, 1.5e-4, d, start, [2.0, 5.0], step=0.05)
    for name in (*START, *extra):
        assert np.abs(run.overlaps[name] - want[name]).max() < 5e-3, name


def test_p_is_learned_only_in_the_window():
    spec = dilaton.default_spec().replace(n="inf")
    times, odds = [0.0, 5.0, 20.0, 60.0], 0.5 * np.log(4)
    limit = learn(spec, "weights", 0.75, START, times)

    def run(tau, d):
        return descend(spec.model, spec.values, tau, d, START, times, step=0.1).overlaps

    for d in (1000, 100_000):
        inside = run(1.5 / d**0.5, d)
        assert inside["b"][-1] > 0.75 * odds
    for name in ("m", "omega", "b"):
        assert np.abs(inside[name] - limit[name]).max() < 0.02
    assert abs(run(0.3, 100_000)["b"][-1]) < 1e-6


def test_no_bias_stays_none():
    model = Model(two_modes(), autoencoder=Autoencoder(bias=False))
    run = descend(model, VALUES, 0.05, 900, START, (1.0,), step=0.1)
    assert run.overlaps["b"][0] == 0
