"""What grids keep: the known answers, and shares at finite d whose powers agree."""

import numpy as np
import pytest
import sympy as sp
from dilaton import (
    TRIGONOMETRIC,
    VARIANCE_EXPLODING,
    Model,
    derive,
    product,
    two_modes,
)
from dilaton.errors import DerivationError, ModelError
from dilaton.numerics.codegen.parameters import complete
from dilaton.numerics.times.time_grid import make_grid
from dilaton.theory.grids.asymptotics import leading
from dilaton.theory.grids.kept_windows import judge_grid, size_text
from dilaton.theory.models.model import D
from dilaton.theory.models.spec import parse_spec

from ...cases import THREE_MODES

LINEAR = derive(Model(two_modes()))
EXPLODING = derive(Model(two_modes(), VARIANCE_EXPLODING))
TWO = derive(Model(product(0, "1/4"), TRIGONOMETRIC))
NAMES = {"linear": LINEAR, "exploding": EXPLODING, "two": TWO}

KNOWN = [
    ("linear", "uniform", "d**(-1/2)", "1"),
    ("linear", "shift:3", "d**(-1/2)", "1"),
    ("linear", "shift:sqrt(d)", "1", "d**(-1/2)"),
    ("linear", "shift:d**(1/4)", "d**(-1/4)", "d**(-1/4)"),
    ("linear", "shift:d**(1/3)", "d**(-1/6)", "d**(-1/3)"),
    ("linear", "shift:sqrt(d)*log(d)", "1/log(d)", "1/(sqrt(d)*log(d))"),
    ("linear", "log-snr", "1/log(d)", "1/log(d)"),
    ("linear", "log-snr:0.01:49", "0", "1"),
    ("linear", "dilated", "1", "1"),
    ("linear", "dilated:1:3", "1", "1"),
    ("linear", "cosine", "d**(-1/2)", "1"),
    ("linear", "mode:1", "d**(-1/2)", "1"),
    ("linear", "mode:1+shift:sqrt(d)", "1", "d**(-1/2)"),
    ("linear", "edm:7", "0", "1"),
    ("linear", "flux:4096", "d**(-1/2)", "1"),
    ("linear", "logit-normal:0:1", "exp(-log(d)**2/8)", "1"),
    ("linear", "logit-normal:0:1+shift:sqrt(d)", "1", "exp(-log(d)**2/8)"),
    ("linear", "entropic", "d**(-1)", "1"),
    ("linear", "mse-decrements", "1", "1"),
    ("linear", "mse-log-snr", "1/log(d)", "1/log(d)"),
    ("linear", "lipschitz", "1", "1"),
    ("exploding", "uniform", "1", "d**(-1/2)"),
    ("exploding", "shift:1/sqrt(d)", "d**(-1/2)", "1"),
    ("exploding", "dilated", "1", "1"),
    ("exploding", "lipschitz", "1/log(d)", "1/log(d)"),
    ("two", "uniform", "d**(-1/2)", "d**(-1/4)", "1"),
    ("two", "shift:sqrt(d)", "1", "d**(-1/4)", "d**(-1/2)"),
    ("two", "shift:d**(1/4)", "d**(-1/4)", "1", "d**(-1/4)"),
    ("two", "dilated", "1", "1", "1"),
    ("two", "entropic", "d**(-1)", "d**(-1/2)", "1"),
    ("two", "mse-decrements", "1", "d**(-1/2)", "1"),
]


@pytest.mark.parametrize(("name", "text", "shares"), [(n, t, s) for n, t, *s in KNOWN])
def test_what_a_grid_keeps(name, text, shares):
    found = judge_grid(NAMES[name], text)
    assert [size_text(v.share) for v in found] == shares
    assert [v.kept for v in found] == [s == "1" for s in shares]
    for verdict, share in zip(found, shares, strict=True):
        if share == "0":
            assert size_text(verdict.steps) == "infinite"
        else:
            assert sp.simplify(verdict.steps * sp.sympify(share, {"d": D}) - 1) == 0


POINT = {"p": 0.8, "sigma": 1.4, "kappa": 3.0, "p_1": 0.8, "p_2": 0.3}
POINT |= {"rho_1": 1.0, "rho_2": 2.0, "kappa_1": 3.0, "kappa_2": 3.0}
EXPONENTS = 0.03  # logarithms and the next power, between d = 1e10 and 1e14


def window(phase, d):
    """Where beta/alpha is within a factor 3 of the window's scale, on tau."""
    size = d ** -float(phase.window.exponent)
    if phase.window.end == "interior":
        return 0.25, 0.75
    return (size / 3, 3 * size) if phase.window.end == "0" else (1 - 3 * size, 1)


def exponent(power):
    return float(sp.sympify(power.removeprefix("d**")))


@pytest.mark.parametrize(("name", "text", "shares"), [(n, t, s) for n, t, *s in KNOWN])
def test_shares_at_finite_d_follow(name, text, shares):
    """Numbers of the grid itself, which know nothing of limits."""
    limit = NAMES[name]
    made = {d: make_grid(text, limit, POINT | {"d": d}) for d in (1e10, 1e14)}
    for phase, share in zip(limit.phases, shares, strict=True):
        if phase.window.end == "1":  # 1 - tau has too few digits at 1e14
            continue
        few, many = (made[d].share(*window(phase, d)) for d in made)
        if share == "0":
            assert few == many == 0
        elif "exp" in share:
            if few > 0:  # near t = 1 the share is below rounding
                law = -(np.log(1e14) ** 2 - np.log(1e10) ** 2) / 8
                assert np.log(many / few) == pytest.approx(law, rel=0.2)
        else:
            # log(d) has a constant beside it, log(980**2) for the default ends
            power, _, log = share.partition("/") if "log" in share else (share, "", "")
            power = 0.0 if power == "1" else exponent(share)
            power -= 0.5 if "sqrt(d)*" in log else 0.0
            slack = 0.1 if "log" in share else EXPONENTS
            assert np.log10(many / few) / 4 == pytest.approx(power, abs=slack)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("entropic+shift:3", "a map without a formula is composed"),
        ("table:x.txt", "one dimension alone"),
        ("shift:3+mode:1", "`mode:1` has no formula back"),
        ("flux:d", "digits tell from 0"),
        ("shift:exp(sqrt(log(d)))", "not resolved"),
    ],
)
def test_what_cannot_be_resolved_is_said(text, words):
    found = judge_grid(LINEAR, text)
    reasons = [v.reason for v in found if v.share is None]
    assert reasons
    assert all(words in reason for reason in reasons)
    assert all(v.kept is None and v.steps is None for v in found if v.reason)


def test_what_is_no_grid_raises():
    with pytest.raises(ModelError, match="did you mean `shift`"):
        judge_grid(LINEAR, "shft:3")
    with pytest.raises(ModelError, match="largest SNR that does not depend"):
        judge_grid(LINEAR, "entropic:d")


@pytest.mark.parametrize(
    ("expr", "answer"),
    [
        (3 / (D**2 + D), D**-2),
        (sp.log(1 + 1 / D ** sp.Rational(1, 3)), D ** sp.Rational(-1, 3)),
        (7 / (sp.log(D) + 5), 1 / sp.log(D)),
        (sp.erfc(sp.log(D)) / 2, sp.exp(-(sp.log(D) ** 2))),
        (sp.S.Zero, sp.S.Zero),
    ],
)
def test_leading_behaviour(expr, answer):
    assert sp.simplify(leading(expr, "x") / answer) == 1 or expr == answer == 0


def test_what_has_no_leading_behaviour_is_refused():
    with pytest.raises(DerivationError, match="not resolved"):
        leading(sp.exp(-sp.sqrt(sp.log(D))), "x")
    with pytest.raises(DerivationError, match="not a real number"):
        leading(sp.sqrt(1 - D), "x")


def as_modes(text):
    """The spec of three modes as one of the two modes +-mu."""
    changes = {
        "[0.5, 0.3, 0.2]": "[0.8, 0.2]",
        "[[1, 0, 0], [0, 1, 0], [0, 0, 1]]": "[[1], [-1]]",
        "[0, 0, 0]": "[0]",
    }
    for old, new in changes.items():
        text = text.replace(old, new)
    return parse_spec(text)


OWN_GRIDS = ("entropic", "mse-decrements", "mse-log-snr", "lipschitz")
"""Grids that are known as numbers, and the distance of two ways to them in time:
knots a tenth of a unit apart in log SNR; for the last, Sobol points."""
APART = (5e-4, 5e-4, 5e-4, 0.01)


@pytest.mark.parametrize(("text", "apart"), list(zip(OWN_GRIDS, APART, strict=True)))
def test_grids_of_modes_are_those_of_signs_where_both_exist(text, apart):
    other = as_modes(THREE_MODES)
    limit, t = derive(other.model), np.linspace(0, 1, 21)
    point = complete(limit, other.values) | {"d": 1e4, "p": 0.8}
    of_modes = make_grid(text, limit, point).curve(t)
    of_signs = make_grid(text, LINEAR, point).curve(t)
    np.testing.assert_allclose(of_modes, of_signs, atol=apart)
    for one, two in zip(judge_grid(limit, text), judge_grid(LINEAR, text), strict=True):
        assert (one.kept, one.share) == (two.kept, two.share)
    far = make_grid(text, LINEAR, point | {"sigma": 2.0}).curve(t)
    assert abs(far - of_modes).max() > 4 * apart


def test_more_modes_have_grids_and_verdicts():
    limit = derive(parse_spec(THREE_MODES).model)
    for text in ("dilated", *OWN_GRIDS):
        judged = judge_grid(limit, text)
        assert all(v.kept is not None for v in judged)
        lost = [str(v.share) for v in judged if not v.kept]
        assert lost == {"entropic": ["1/d"], "mse-log-snr": ["1/log(d)"] * 2}.get(
            text, []
        )
    line = THREE_MODES.replace("[[1, 0, 0], [0, 1, 0], [0, 0, 1]]", "[[1], [0], [-1]]")
    spec = parse_spec(line.replace("exponents = [0, 0, 0]", "exponents = [0]"))
    limit = derive(spec.model)
    point = complete(limit, spec.values) | {"d": 1e4}
    curve = make_grid("mse-decrements", limit, point).curve(np.linspace(0, 1, 9))
    assert np.all(np.diff(curve) > 0)
