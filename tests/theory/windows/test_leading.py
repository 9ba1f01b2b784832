"""Leading power laws: judged by thirty digits close to the end, and by the clock."""

import time

import mpmath
import pytest
import sympy as sp
from dilaton.theory.models.model import TAU
from dilaton.theory.models.schedule import parse_schedule
from dilaton.theory.windows.leading import LONG, NoSeries, leading_term, simplified
from dilaton.theory.windows.search import power_law

CLOSE = sp.Rational(1, 10**40)  # where the law is compared
AGREE = 1e-9  # the next term is smaller by a power of CLOSE of at least 1/4
SECONDS = 10.0  # of processor; `simplify` took minutes on the last three

SCHEDULES = (
    "1 - tau",
    "tau**0.3*(1 + tau)",
    "cos(pi*tau/2)",
    "cos(pi*tau/2)**0.25",
    "sqrt(1 - tau**2)",
    "sqrt(1 - sin(pi*tau/2)**2)",
    "sqrt(1 - sin(sin(pi*tau/2)*pi/2)**2)",
    "acos(tau)*2/pi",
    "1 - asin(tau)*2/pi",
    "acos(1 - tau)",
    "asin(-1 + tau) + pi/2",
    "acos(tau - 1) - pi",
    "sin(tau) - tau",
    "1 - tanh(3*tau)/tanh(3)",
    "exp(tau) - 1 - tau - tau**2/2",
    "tan(pi*(1 - tau)/4)**1.5/(1 + sin(tau)*cos(tau)*sinh(tau))",
    "log(2 - tau)/log(2)*cosh(1 - tau)/cosh(1)*sqrt(1 - atan(tau)*4/pi)",
    "sqrt(1 - sin(pi*tau/2)**2*tanh(tau)/tanh(1))",
)


def ratio(expr, end, factor, order):
    """The formula over the law, with 300 digits, at CLOSE from the end."""
    x = CLOSE if end == "0" else 1 - CLOSE
    with mpmath.workdps(300):
        there = sp.lambdify(TAU, expr, "mpmath")(mpmath.mpf(x.p) / x.q)
        law = sp.N(factor, 300)._to_mpmath(1000) * mpmath.mpf(10) ** (
            -40 * mpmath.mpf(order.p) / order.q
        )
        return float(mpmath.re(there / law))


@pytest.mark.parametrize("end", ["0", "1"])
@pytest.mark.parametrize("text", SCHEDULES)
def test_a_law_is_what_the_formula_is_close_to_its_end(text, end):
    expr, x = parse_schedule(text), sp.Symbol("x", positive=True)
    start = time.process_time()
    factor, order = leading_term(expr.subs(TAU, x if end == "0" else 1 - x), x)
    assert time.process_time() - start < SECONDS
    assert abs(ratio(expr, end, factor, order) - 1) < AGREE
    assert abs(ratio(expr, end, 2 * factor, order) - 1) > AGREE  # and tells a wrong one


@pytest.mark.parametrize("text", ["exp(-1/tau)", "log(tau)", "tau*log(tau)"])
def test_what_is_no_power_has_no_series(text):
    x = sp.Symbol("x", positive=True)
    with pytest.raises(NoSeries):
        leading_term(parse_schedule(text).subs(TAU, x), x)


def test_a_long_schedule_is_searched_in_seconds_and_not_simplified():
    alpha = parse_schedule(SCHEDULES[-2])
    assert sp.count_ops(alpha) > LONG
    start = time.process_time()
    law = power_law(alpha, "1", "alpha")
    assert law.order == sp.Rational(3, 2)
    assert time.process_time() - start < SECONDS
    same = sp.sin(TAU) ** 2 + sp.cos(TAU) ** 2
    assert simplified(same, same, alpha) == same
    assert simplified(same, same) == 1
