"""Printed Runge-Kutta steps, run as plain Python and judged by SciPy's solvers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from dilaton.numerics.ode.tableau import DOUBT, TABLEAUX, print_steps
from scipy.integrate import DOP853, RK45

JUDGES = {"dopri5": RK45, "dop853": DOP853}
ORDERS = {"dopri5": 5, "dop853": 8}
T0, SIZES = np.array([0.2, 1.1]), np.array([0.25, 0.4])
Y0 = np.array([[0.7, -0.4], [0.3, 1.2]])  # states, lanes
RTOL, ATOL = 1e-6, 1e-9
ROUNDING = 1e-14


def slope(t, y):
    """A system whose error has terms of every kind: nonlinear, coupled, driven."""
    return np.array([np.sin(3 * t) * y[1] - y[0] ** 2, np.cos(y[0] * y[1]) + t])


def rhs(at, z, u, params, nodes, weights, out):
    """What the printed steps call for a slope; the averages are off by the time."""
    for lane, t in enumerate(at):
        out[:, lane] = slope(t, z[:, lane])
    return float(at.max())


def plain(function):
    return function


def printed(table, slopes=rhs):
    """The printed text as a namespace of Python functions."""
    tools = {"compiled": plain, "optimised": plain, "sqrt": np.sqrt}
    tools["call_lanes"] = lambda place, *given: slopes(*given)
    tools |= {"LANES": 2, "STATES": 2, "given": lambda at, pieces, u: None}
    exec(print_steps(table), tools)
    return SimpleNamespace(**tools)


@pytest.fixture(params=TABLEAUX)
def taken(request):
    """A printed step of both lanes, and the same steps by SciPy."""
    code = printed(TABLEAUX[request.param]())
    k, tried = np.full((code.STAGES, 2, 2), np.nan), np.empty((2, 2))
    z, at, err = np.empty((2, 2)), np.empty(2), np.empty(2)
    rhs(T0, Y0, None, None, None, None, k[0])
    clock = (T0, SIZES, Y0, k, z, at, *(None,) * 6)
    off = code.attempt(*clock, tried, err, RTOL, ATOL)
    judges = []
    for lane, h in enumerate(SIZES):
        loose = {"first_step": h, "rtol": 1e3, "atol": 1e3}
        judge = JUDGES[request.param](slope, T0[lane], Y0[:, lane], 9.0, **loose)
        judge.step()
        judges.append(judge)
    return SimpleNamespace(
        **{"name": request.param, "code": code, "clock": clock, "k": k, "err": err},
        **{"tried": tried, "off": off, "judges": judges},
    )


def test_a_step_is_that_of_scipy(taken):
    for lane, judge in enumerate(taken.judges):
        np.testing.assert_allclose(taken.tried[:, lane], judge.y, rtol=ROUNDING)
    stages = len(taken.judges[0].C)
    for lane, judge in enumerate(taken.judges):
        for j in range(stages):
            np.testing.assert_allclose(taken.k[j, :, lane], judge.K[j], rtol=1e-12)
    assert taken.off == np.max(T0 + SIZES)  # the worst of what the stages said


@pytest.mark.parametrize("part", ["a", "b", "c"])
def test_a_coefficient_that_is_off_is_seen(taken, part):
    table = TABLEAUX[taken.name]()
    off = getattr(table, part).copy()
    off[(3, 2) if part == "a" else 5] += 1e-9
    tried = np.empty((2, 2))
    code = printed(replace(table, **{part: off}))
    code.attempt(*taken.clock, tried, np.empty(2), RTOL, ATOL)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(tried, taken.tried, rtol=1e2 * ROUNDING)


def test_an_error_is_that_of_the_pair(taken):
    scale = ATOL + RTOL * np.maximum(np.abs(Y0), np.abs(taken.tried))
    for lane, (h, judge) in enumerate(zip(SIZES, taken.judges, strict=True)):
        if taken.name == "dopri5":
            size = np.abs(h * judge.K.T @ judge.E) / scale[:, lane]
        else:
            e5 = judge.K.T @ judge.E5 / scale[:, lane]
            e3 = judge.K.T @ judge.E3 / scale[:, lane]
            size = h * e5**2 / np.hypot(e5, 0.1 * e3)
            size = np.maximum(size, DOUBT * (h * e3) ** 2 * RTOL)
        np.testing.assert_allclose(taken.err[lane], size.max(), rtol=1e-9)


def test_a_state_at_rest_has_no_error(taken):
    k = np.zeros_like(taken.k)
    still = printed(TABLEAUX[taken.name](), lambda *_: 0.0)
    clock = (*taken.clock[:3], k, *taken.clock[4:])
    tried, err = np.empty((2, 2)), np.full(2, np.nan)
    assert still.attempt(*clock, tried, err, RTOL, ATOL) == 0
    np.testing.assert_array_equal(err, 0)
    np.testing.assert_array_equal(tried, Y0)


def test_the_states_inside_a_step_are_those_of_scipy(taken):
    code, clock = taken.code, taken.clock
    if not code.FSAL:
        rhs(T0 + SIZES, taken.tried, *clock[6:10], taken.k[code.STAGES - 4])
    off = code.extra(*clock)
    assert off == (0 if code.FSAL else pytest.approx(np.max(T0 + 7 / 9 * SIZES)))
    poly = np.full((code.TERMS, 2, 2), np.nan)
    code.interpolant(SIZES, Y0, taken.tried, taken.k, poly)
    for lane, judge in enumerate(taken.judges):
        dense = judge.dense_output()
        for x in (0.0, 0.1, 0.5, 0.83, 1.0):
            exact = dense(T0[lane] + x * SIZES[lane])
            for i in range(2):
                found = code.interpolate((None, None, None, poly), Y0, i, lane, x)
                assert found == pytest.approx(exact[i], rel=1e-13)


@pytest.mark.parametrize("method", TABLEAUX)
def test_the_step_control_is_that_of_the_order(method):
    table, order = TABLEAUX[method](), ORDERS[method]
    code = printed(table)
    assert table.name == method
    assert table.order == order
    assert pytest.approx(1 / order) == code.POWER
    assert 0 < code.BETA < code.POWER
    assert 0.5 < code.CAUTION < 1 < code.GROWTH < 10
    assert (method == "dopri5") == code.FSAL == table.fsal
    np.testing.assert_allclose(table.a.sum(1), table.c, atol=ROUNDING)
    np.testing.assert_allclose(table.b.sum(), 1)
