"""The leading behaviour in `d` of an expression: a power, a logarithm, or less.

A candidate is read off values at enormous dimensions, with hundreds of digits, and is
then confirmed by sympy's limit where sympy can take it. A candidate that the
values do not single out, or that the limit contradicts, is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import sympy as sp

from ...errors import DerivationError
from ..models.model import D

LOGS = (100, 200, 400)
"""Logarithms of the dimensions at which an expression is tried."""

DIGITS = (300, 600, 2400)  # tried in turn until two agree: what cancels needs more
AGREE = 1e-6  # of the logarithm of a value at two numbers of digits
FINEST = 60  # largest denominator of a power of d
FAR = 30  # of erfc: its series is good to exp(-FAR**2)
NEAR = 0.02  # of an exponent, where corrections are of relative size 1/log(d)
SHORT = 60  # operations of an expression whose limit sympy takes within a second


class Tail(sp.Function):
    """erfc, left as it is written: sympy turns the sign of its argument at will."""


HARD = (Tail, sp.erf, sp.erfc, sp.erfinv, sp.erfcinv, sp.Piecewise, sp.Min, sp.Max)


def leading(expr: sp.Expr, what: str) -> sp.Expr:
    """Return the leading behaviour of a nonnegative `expr` as `d` grows.

    Constants are dropped: the answer is 0, 1, a power of `d`, a power of its
    logarithm times that, or ``exp(-c*log(d)**2)``.

    Raises `DerivationError` where none of these fits.
    """
    if expr.is_zero:
        return sp.S.Zero
    found = candidate(expr, what)
    _confirm(expr, found, what)
    return found


def candidate(expr: sp.Expr, what: str) -> sp.Expr:
    """Return the behaviour that values at enormous dimensions single out."""
    logs = [log_value(expr, size, what) for size in LOGS]
    if not all(map(mpmath.isfinite, logs)):
        raise _unresolved(what, f"it is below what {DIGITS[-1]} digits tell from 0")
    slopes = [(b - a) / s for a, b, s in zip(logs, logs[1:], LOGS, strict=False)]
    bend = (slopes[1] - slopes[0]) / LOGS[0]  # twice the curvature, times 3/2
    if abs(bend) > NEAR:
        return _gaussian(logs, what)
    return _power(logs, slopes, what)


def _power(logs: list, slopes: list, what: str) -> sp.Expr:
    """Return ``d**x * log(d)**y`` from three logarithms of values."""
    # halving what the logarithm adds: y log 2 / L goes as 1/L
    exponent = 2 * slopes[1] - slopes[0]
    exact = Fraction(float(exponent)).limit_denominator(FINEST)
    rest = [g - float(exact) * size for g, size in zip(logs, LOGS, strict=True)]
    log_power = (rest[2] - rest[1]) / mpmath.log(2)
    whole = int(mpmath.nint(log_power))
    if abs(exponent - float(exact)) > NEAR / 10 or abs(log_power - whole) > 5 * NEAR:
        raise _unresolved(what, f"it goes as d**{float(exponent):.4g} times a rest")
    return D ** sp.Rational(exact) * sp.log(D) ** whole


def _gaussian(logs: list, what: str) -> sp.Expr:
    """Return ``exp(-c*log(d)**2)`` from three logarithms of values."""
    # g = -c L^2 + a L + ...: second differences over L = 100, 200, 400
    one, two, four = logs
    curve = ((four - two) / 200 - (two - one) / 100) / 300
    if abs(curve) > FINEST:
        raise _unresolved(what, "it falls faster than exp(-log(d)**2)")
    exact = Fraction(float(curve)).limit_denominator(1000)
    if abs(curve - float(exact)) > 1e-4 or exact >= 0:
        raise _unresolved(what, "it falls faster than any power of d")
    return sp.exp(sp.Rational(exact) * sp.log(D) ** 2)


def log_value(expr: sp.Expr, size: int, what: str) -> mpmath.mpf:
    """Return the logarithm of `expr` at ``d = exp(size)``, minus infinity for 0."""
    function = numeric(expr)
    before = None
    for digits in DIGITS:
        with mpmath.workdps(digits):
            now = _log(function, size, what)
        if before is not None and (now == before or abs(now - before) < AGREE):
            return now
        before = now
    raise _unresolved(what, f"{DIGITS[-1]} digits are too few at d = exp({size})")


def numeric(expr: sp.Expr) -> Callable[..., Any]:
    """Return `expr` as a function of `d` in mpmath's numbers."""
    return sp.lambdify(D, expr, modules=[{"Tail": _erfc}, "mpmath"])


def _erfc(x: mpmath.mpf) -> mpmath.mpf:
    """Return erfc, which mpmath rounds to 0 far out, by its asymptotic series there."""
    if x < FAR:
        return mpmath.erfc(x)
    total = term = mpmath.mpf(1)
    for k in range(1, int(FAR) ** 2):
        term *= -(2 * k - 1) / (2 * x * x)
        total += term
    return total * mpmath.exp(-x * x) / (x * mpmath.sqrt(mpmath.pi))


def _log(function: Callable[..., Any], size: int, what: str) -> mpmath.mpf:
    try:
        value = mpmath.mpmathify(function(mpmath.exp(size)))
    except (ValueError, TypeError, ArithmeticError, NameError) as error:
        raise _unresolved(what, f"it cannot be evaluated ({error})") from error
    if mpmath.im(value) != 0 or not mpmath.isfinite(value):
        raise _unresolved(what, "it is not a real number")
    return mpmath.log(value) if value > 0 else -mpmath.inf


def _confirm(expr: sp.Expr, found: sp.Expr, what: str) -> None:
    """Raise `DerivationError` if sympy's limit contradicts a candidate."""
    if found == 0 or expr.has(*HARD) or sp.count_ops(expr) > SHORT:
        return
    try:
        value = sp.limit(sp.simplify(expr / found), D, sp.oo)
    except (NotImplementedError, ValueError, TypeError, RecursionError):
        return
    if value.is_number and not (value.is_finite and value.is_positive):
        raise _unresolved(what, f"{found} times {value} is what sympy's limit gives")


def _unresolved(what: str, fact: str) -> DerivationError:
    return DerivationError(
        f"A share must have a leading power of d or of log(d), but that of `{what}` "
        f"is not resolved: {fact}. Judge it by numbers, with `dilaton steps`."
    )
