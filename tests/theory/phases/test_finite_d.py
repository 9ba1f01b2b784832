"""The leading finite-d correction, against finite d worked out by other means."""

from functools import cache

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from dilaton import Model, derive, two_modes
from dilaton.errors import DerivationError
from dilaton.numerics.codegen.parameters import closed_values
from dilaton.numerics.codegen.snapshot import printed_phase
from dilaton.numerics.corrections import correction_of
from dilaton.numerics.minima.minimise import minimise
from dilaton.theory.models.model import (
    LINEAR,
    TAU,
    TRIGONOMETRIC,
    VARIANCE_EXPLODING,
    VARIANCE_PRESERVING,
    Autoencoder,
    D,
    Data,
    Interpolant,
    product,
)
from dilaton.theory.phases.loss import Loss, window_loss
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.windows.search import S_PHASE
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import approx_fprime, minimize

from ...oracles import value

TANH = Autoencoder()
POINT = {"p": 0.8, "sigma": 1.3, "kappa": 2.0, "n": 16.0, "n_plus": 12.0}
POINT |= {"ridge_u": 0.2, "ridge_w": 0.1}
S = 0.6
NODES, WEIGHTS = hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@cache
def phase(samples, path=LINEAR, auto=TANH):
    model = Model(two_modes(), path, auto, Data(samples=samples))
    return derive(model).phase("weights")


@cache
def sample_shifts():
    """Overlaps and their corrections at `POINT`, from the derived systems."""
    here = phase(True)
    found = minimise(here.learned, [S], POINT)
    limits = {name: float(found[name][0, 0]) for name in found.names}
    values = closed_values(here.correction, np.array([S]), POINT | limits)
    return limits, {k.removesuffix("_shift"): float(v[0]) for k, v in values.items()}


def by_hand(delta):
    """The n-sample minimum with alpha = 1 - kappa s delta, by BFGS on the plain loss.

    The loss of the window, with fields of variance alpha^2 r; all five unknowns and
    the three overlaps of u are searched directly.
    """
    n, up, sigma = POINT["n"], POINT["n_plus"], POINT["sigma"]
    rate = POINT["kappa"] * S
    alpha = 1 - rate * delta
    sizes = np.array([up, n - up])
    labels = np.array([1.0, -1.0])

    def loss(x):
        omega, zp, zm, b, m, ap, am = x
        zeta, a = np.array([zp, zm]), np.array([ap, am])
        r = omega**2 + sizes @ zeta**2
        q = m**2 + sizes @ a**2
        mean = rate * (labels * omega + sigma * zeta) + b
        phi = np.tanh(mean[:, None] + alpha * np.sqrt(r) * NODES)
        first, second = phi @ WEIGHTS, phi**2 @ WEIGHTS
        fit = -2 * (labels * m + sigma * a) * first + q * second
        ridges = POINT["ridge_u"] * q + POINT["ridge_w"] * r
        return (sizes @ fit + ridges) / n

    start = [1.0, 0.04, -0.15, 0.6, 1.0, 0.06, -0.04]
    x = minimize(loss, start, method="BFGS", options={"gtol": 1e-9}).x
    for _ in range(3):  # Newton, with differences of the gradient
        slope = approx_fprime(x, loss, 1e-6)
        hess = np.array(
            [
                (approx_fprime(x + h, loss, 1e-6) - approx_fprime(x - h, loss, 1e-6))
                / 2e-3
                for h in 1e-3 * np.eye(7)
            ]
        )
        x = x - np.linalg.solve(hess, slope)
    names = ("omega", "zeta_plus", "zeta_minus", "b", "m", "a_plus", "a_minus")
    found = dict(zip(names, x, strict=True))
    found["r"] = x[0] ** 2 + sizes @ x[1:3] ** 2
    found["q"] = x[4] ** 2 + sizes @ x[5:] ** 2
    return found


@cache
def slopes_by_hand(delta=0.01):
    up, down = by_hand(delta), by_hand(-delta)
    return {name: (up[name] - down[name]) / (2 * delta) for name in up}


# Central differences at delta = .01 miss delta^2/6 of third derivatives of some tens,
# and the search resolves 1e-7 of an overlap.
DIFFERENCE = 5e-3


def agree(shifts):
    hand = slopes_by_hand()
    return all(abs(shifts[k] - hand[k]) < DIFFERENCE for k in hand)


def test_sample_correction_is_the_response_of_the_plain_loss():
    assert agree(sample_shifts()[1])


@pytest.mark.parametrize("name", ["omega", "b", "m", "r", "q", "zeta_minus"])
def test_a_wrong_correction_is_rejected(name):
    shifts = sample_shifts()[1]
    assert not agree(shifts | {name: -shifts[name]})
    assert not agree(shifts | {name: 2 * shifts[name]})


@pytest.mark.parametrize("path", [LINEAR, TRIGONOMETRIC, VARIANCE_PRESERVING])
def test_population_correction_is_that_of_the_bayes_denoiser(path):
    """sqrt(d) (exact - limit) at d = 10^12: the coefficients of (D1), 30 digits."""
    here = phase(False, path)
    d, kappa, sigma = sp.Integer(10) ** 12, sp.Integer(2), sp.Rational(13, 10)
    tau = kappa * sp.Rational(6, 10) / sp.sqrt(d)
    alpha, beta = (
        sp.N(e.subs(sp.Symbol("tau", positive=True), tau), 40)
        for e in (path.alpha, path.beta)
    )
    delta = alpha**2 + sigma**2 * beta**2
    omega = sp.sqrt(d) * beta / delta
    exact = {
        "omega": omega,
        "r": omega**2,
        "m": alpha**2 / delta,
        "c_hat": sp.sqrt(d) * sigma**2 * beta / delta,
    }
    point = {"kappa": kappa, "sigma": sigma, "s": sp.Rational(6, 10)}

    def value(system, name):
        expr = system[name]
        return sp.N(expr.subs({x: point[str(x)] for x in expr.free_symbols}), 40)

    for name, number in exact.items():
        slope = sp.sqrt(d) * (number - value(here.learned, name))
        # the next order leaves O(10^2/sqrt d)
        assert abs(slope - value(here.correction, f"{name}_shift")) < 1e-3


def test_linear_population_by_hand():
    here = phase(False).correction
    kappa, s = (sp.Symbol(x, positive=True) for x in ("kappa", "s"))
    assert here["omega_shift"] == 2 * kappa**2 * s**2
    assert here["r_shift"] == 4 * kappa**3 * s**3
    assert here["m_shift"] == 0
    assert here["b_shift"] == 0


@pytest.mark.parametrize("path", [TRIGONOMETRIC, VARIANCE_PRESERVING])
def test_schedules_flat_at_the_start_have_no_correction_of_this_order(path):
    values = [eq.rhs for eq in phase(False, path).correction.equations]
    assert values == [0] * len(values)


@pytest.mark.parametrize("samples", [False, True])
def test_nothing_but_the_schedule_enters_at_first_order(samples):
    r"""The exact loss (L1) less its limit with alpha kept is O(1/d), not O(d^-1/2)."""
    model = Model(two_modes(), LINEAR, Autoencoder(), Data(samples=samples))
    window = derive(model).phase("weights").window
    values = {"m": 0.9, "omega": 1.1, "b": 0.5, "q": 1.2, "r": 1.5, "v": 0.8}
    values |= {"zeta_plus": 0.05, "zeta_minus": -0.1, "a_plus": 0.04, "a_minus": -0.03}
    gaps = [
        abs(_exact(model, d, values) - _limit(window, model, d, values))
        for d in (1e4, 1e6)
    ]
    assert gaps[1] < 3e-2 * gaps[0]  # O(d^-1/2) would give a tenth
    assert gaps[0] < 1e-2


def _exact(model, d, values):
    loss = Loss(model, (1,))
    tau = POINT["kappa"] * S / np.sqrt(d)
    point = POINT | values | {"alpha": 1 - tau, "beta": tau, "c": 0.7 / np.sqrt(d)}
    return 1 + _number(sp.Add(*loss.unit_terms()).subs(D, d), point)


def _limit(window, model, d, values):
    """The window's loss with alpha = 1 - kappa s/sqrt(d) in place of 1, no ridges."""
    from dataclasses import replace

    kept = replace(window, alpha=1 - window.beta / sp.sqrt(D))
    flat = dict.fromkeys(("ridge_u", "ridge_w"), 0.0)
    point = POINT | values | flat | {"s": S}
    less = POINT["sigma"] ** 2 if model.data.samples else 0.0
    held = window_loss(Loss(model, (1,)), replace(window, alpha=sp.Symbol("kept")))
    return _number(held.subs("kept", kept.alpha).subs(D, d), point) - less


def _number(expr, point):
    from dilaton.theory.symbols.gaussian import Average, G, to_averages

    flat = to_averages(expr)
    flat = flat.subs({x: point[str(x)] for x in flat.free_symbols if str(x) in point})
    nodes = {
        e: float(sp.lambdify(G, e.integrand, "numpy")(NODES) @ WEIGHTS)
        for e in flat.atoms(Average)
    }
    return float(flat.xreplace(nodes))


def test_no_expansion_no_system():
    variance = derive(Model(two_modes())).phase("variance")
    assert variance.correction is None
    assert phase(True, LINEAR, Autoencoder(tied=True)).correction is None


def test_a_schedule_with_a_slower_term_has_no_correction_of_this_order():
    """alpha = 1 - sqrt(tau): omega is off by d^(-1/4), which no d^(-1/2) mends."""
    here = phase(False, Interpolant(1 - sp.sqrt(TAU), TAU))
    with pytest.raises(DerivationError, match="its next term is larger"):
        here.correction
    assert correction_of(printed_phase(here)) is None
    assert correction_of(printed_phase(phase(False))).rate == 0.5
    x = POINT["kappa"] * S
    limit = value(here.learned["omega"], kappa=POINT["kappa"], s=S)
    assert limit == pytest.approx(x)
    off = []
    for d in (1e8, 1e12):
        tau = x / np.sqrt(d)
        alpha = 1 - np.sqrt(tau)
        exact = np.sqrt(d) * tau / (alpha**2 + POINT["sigma"] ** 2 * tau**2)
        off.append(np.sqrt(d) * (exact - limit))
    assert off[1] / off[0] == pytest.approx(10, rel=0.03)  # (10^4)^(1/4)


@pytest.mark.slow
def test_networks_have_the_predicted_correction():
    """16 networks at d = 4000: limit + correction/sqrt(d), within standard errors.

    The limit alone is off by many of them in omega and r.
    """
    from dilaton.torchcheck.networks.train import train

    d, seeds = 4000, 16
    limits, shifts = sample_shifts()
    tau = POINT["kappa"] * S / np.sqrt(d)
    here = phase(True)
    rows = []
    for seed in range(seeds):
        trained = train(here.model, POINT, np.array([tau]), d, seed)
        rows.append(trained.network.overlaps(trained.data))
    for name in ("omega", "r"):
        values = np.array([row[name][0] for row in rows])
        error = values.std(ddof=1) / np.sqrt(seeds)
        off = values.mean() - limits[name]
        assert abs(off) > 4 * error
        second = 20 / d  # O(1/d), with a prefactor of some tens
        assert abs(off - shifts[name] / np.sqrt(d)) < 3 * error + second


# ------------------------------------------------------------------- a later window

LATER = {"p_2": 0.3, "rho_2": 1.7, "sigma": 1.3, "kappa_1": 0.9, "kappa_2": 1.4}


def finite_omega(path, d):
    """`omega_2` of the Bayes denoiser at d, where the second of three phases is at S.

    Half the log-odds of a sign have the slope beta |mu|/(alpha^2 + sigma^2 beta^2).
    """
    thin, wide = LATER["kappa_1"] / mp.sqrt(d), LATER["kappa_2"] / mp.root(d, 4)
    tau, unit = thin * (1 - S) + wide * S, 1
    if path is VARIANCE_EXPLODING:  # the input is of size d^(1/4) there
        thin, wide = LATER["kappa_2"] / mp.sqrt(d), LATER["kappa_1"] / mp.root(d, 4)
        tau, unit = 1 - wide * (1 - S) - thin * S, mp.root(d, 4)
    alpha, beta = sp.lambdify((TAU, D), (path.alpha, path.beta), "mpmath")(tau, d)
    size = mp.sqrt(LATER["rho_2"]) * mp.root(d, 4)
    return unit * size * beta / (alpha**2 + LATER["sigma"] ** 2 * beta**2)


@pytest.mark.parametrize("path", [LINEAR, TRIGONOMETRIC, VARIANCE_EXPLODING])
def test_a_later_window_begins_where_another_ends(path):
    """What is left after the correction is of order d^(-1/2): 1e-15 at 1e30."""
    here = derive(Model(product(0, "1/4"), path)).phase("weights-2")
    known = {x: LATER[str(x)] for x in here.correction.parameters} | {S_PHASE: S}
    limit = float(here.learned["omega_2"].subs(known))
    shift = float(here.correction["omega_2_shift"].subs(known))
    with mp.workdps(40):
        found = (finite_omega(path, mp.mpf(10) ** 40) - limit) * mp.mpf(10) ** 10
    assert float(found) == pytest.approx(shift, rel=1e-5)
    assert abs(shift) > 0.1  # without the start of the phase it would be another
    moved = known | {symbol("kappa_1"): 0.8}
    other = float(here.correction["omega_2_shift"].subs(moved))
    assert abs(other - shift) > 1e-2


@pytest.mark.parametrize("exponents", [(0,), (0, "1/4")])
def test_a_phase_in_the_bulk_ends_where_the_layer_begins(exponents):
    """Its time is s (1 - kappa/d^a): `omega` moves by -kappa s d(omega)/ds."""
    found = derive(Model(product(*exponents), VARIANCE_EXPLODING)).phases[0]
    (kappa,) = (k for k in found.correction.parameters if "kappa" in str(k))
    known = {symbol(k): v for k, v in LATER.items()} | {
        symbol("p_1"): 0.8,
        symbol("rho_1"): 1.2,
        symbol("kappa"): 1.1,
        S_PHASE: S,
    }
    d, rate = mp.mpf(10) ** 40, mp.mpf(1) / (2 if len(exponents) == 1 else 4)
    with mp.workdps(40):
        tau = S * (1 - float(kappa.subs(known)) / d**rate)
        # half the log-odds have the slope beta |mu|/alpha^2, in units of alpha/sqrt(d)
        exact = mp.sqrt(1.2) * tau / (1 - tau) ** 2
        limit = mp.sqrt(1.2) * S / (1 - mp.mpf(S)) ** 2
        wanted = float((exact - limit) * d**rate)
    shift = float(found.correction["omega_1_shift"].subs(known))
    assert shift == pytest.approx(wanted, rel=1e-6)
    assert abs(shift) > 0.1
