"""Details that a mutation run found unguarded; docs/mutants.md lists the run."""

import json
import math

import numpy as np
import pytest
from dilaton import Data, Model, default_spec, derive, two_modes
from dilaton.errors import ModelError
from dilaton.numerics.codegen.parameters import complete
from dilaton.numerics.codegen.quadrature import average
from dilaton.numerics.sweep.axes import check_axes, parse_axis
from dilaton.numerics.sweep.store import Store, digest
from dilaton.theory.models.model import TAU, VARIANCE_EXPLODING, product
from dilaton.theory.models.schedule import (
    canonical,
    check_schedule,
    check_schedule_text,
    parse_schedule,
)
from dilaton.theory.phases.loss import ALPHA, Loss
from dilaton.theory.symbols.notation import symbol
from dilaton.theory.windows.search import find_windows


def test_a_manifest_has_its_three_keys(tmp_path):
    store = Store(tmp_path, {"axes": ["p"]}).open()
    content = json.loads((store.folder / "manifest.json").read_text())
    assert content == {"format": 2, "key": store.key, "recipe": {"axes": ["p"]}}


def test_what_json_does_not_know_enters_the_digest_as_its_text():
    assert digest({"a": 1 + 2j}) != digest({"a": 1 + 3j})


def test_averages_in_two_dimensions_keep_leading_axes_and_their_bound():
    scale = np.array([0.5, 1.0, 1.5])[:, None, None]
    value, bound = average(lambda x, y: np.cos(scale * x) * np.cos(y), dim=2)
    wanted = np.exp(-(scale[:, 0, 0] ** 2) / 2 - 0.5)
    np.testing.assert_allclose(value, wanted, atol=1e-13)
    assert bound < 1e-13


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        ("-tau + 1", "+tau"),  # signs in front
        ("-(-sqrt(1 - tau))", "sin(pi*tau/2)"),
        ("sqrt(d*(1 - tau))", "tau"),  # d inside a call
        ("sqrt(d)*cos(pi*tau/2)", "tau**2"),
    ],
)
def test_signs_and_d_are_understood_where_schedules_are_checked(alpha, beta):
    check_schedule_text(alpha, beta)
    check_schedule(parse_schedule(alpha), parse_schedule(beta))


def test_a_dilation_is_written_segment_by_segment():
    dilation = derive(Model(two_modes())).dilation
    lines = [line.split("   ") for line in str(dilation).splitlines()]
    assert [line[2] for line in lines] == ["(weights)", "(variance)"]
    assert [line[1] for line in lines] == ["for 0 <= t <= 1/2", "for 1/2 <= t <= 1"]
    at = {"kappa": 2.0, "d": 400.0, "t": 0.75, "sqrt": math.sqrt}
    values = [eval(line[0].removeprefix("tau = "), at) for line in lines]
    assert values == pytest.approx([0.15, 0.55])


def test_overlaps_of_w_absorb_the_size_of_the_noise_in_a_window():
    """Where alpha is of order sqrt(d), `v, omega` are of its inverse, `r` of 1/d."""
    loss = Loss(Model(two_modes(), VARIANCE_EXPLODING), (1,))
    (window, _) = find_windows(loss.model)
    for name, power in (("v", 1), ("omega", 1), ("r", 2)):
        held = loss.within([ALPHA**power * symbol(name)], window)
        assert held == window.alpha**power * symbol(name)


MESSAGES = [  # (call, the whole beginning or a whole sentence of the message)
    (
        lambda: parse_schedule(3, "alpha"),
        '`alpha` must be text, but is 3. Put the formula in quotes, as in `"1 - tau"`.',
    ),
    (lambda: canonical("tau +", "beta"), "`beta` must be one formula in tau"),
    (lambda: canonical("1e999", "beta"), "`beta` must have real numbers below 1e+12"),
    (lambda: canonical("tau // 2", "beta"), "`beta` must be a formula in tau"),
    (lambda: parse_schedule("tau + )"), "(unmatched ')')"),
    (lambda: parse_schedule("x"), "`schedule` may use the names tau, d, pi, but"),
    (lambda: parse_schedule("f(tau)"), "`schedule` may use the functions sqrt, sin"),
    (lambda: check_schedule(1 - TAU, TAU * parse_schedule("tau").func("y")), "names"),
    (
        lambda: check_schedule_text("1 - tau/2", "tau"),
        "but '1 - tau/2' is 0.5 there. Rescale it; the linear schedule has "
        '`"1 - tau"`.',
    ),
    (
        lambda: check_schedule_text("1 - tau", "tau/2"),
        "but 'tau/2' is 0.5 there. Rescale it; the linear schedule has `\"tau\"`.",
    ),
    (
        lambda: check_schedule_text("1 - tau", "1 - tau"),
        "but '1 - tau' is 1 there. Rescale it; the linear schedule has `\"tau\"`.",
    ),
    (lambda: check_schedule_text("1/tau", "tau"), "but '1/tau' is not defined at"),
    (
        lambda: check_schedule_text("2 - 2*tau", "tau"),
        "but '2 - 2*tau' is 2 at d = 100. Divide it by its value at tau = 0.",
    ),
    (
        lambda: check_schedule_text("1 - tau", "tau*(4 - 3*tau)"),
        'Choose a monotone one, as in `"1 - tau"` and `"tau"`.',
    ),
]


@pytest.mark.parametrize(("call", "words"), MESSAGES)
def test_messages_name_the_key_the_text_and_the_remedy(call, words):
    with pytest.raises(ModelError) as caught:
        call()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("target", "weights", "wrong"),
    [
        (two_modes(), {"p": 1.5}, "p"),
        (two_modes(), {"p": 0.0}, "p"),
        (product(0, 0), {"p_1": 0.8, "p_2": 1.0}, "p_2"),
    ],
)
def test_every_weight_is_a_share(target, weights, wrong):
    scales = {"rho_1": 1.0, "rho_2": 1.0} if len(weights) == 2 else {}
    point = {**weights, **scales, "sigma": 1.0, "kappa": 2.0}
    with pytest.raises(ModelError, match=f"`{wrong}` must be strictly between 0 and 1"):
        complete(derive(Model(target)), point)


def test_an_unknown_axis_is_told_the_known_ones():
    spec = default_spec()
    with pytest.raises(ModelError) as error:
        check_axes(spec, [parse_axis("kapa=1,2")])
    assert f"({', '.join(sorted(spec.values))})" in str(error.value)


@pytest.mark.parametrize("n_plus", [16.0, 17.0])
def test_both_modes_need_a_sample(n_plus):
    limit = derive(Model(two_modes(), data=Data(samples=True)))
    point = {"sigma": 1.0, "kappa": 2.0, "n": 16.0, "n_plus": n_plus}
    point |= {"p": 0.8, "ridge_u": 0.25, "ridge_w": 0.25}
    with pytest.raises(ModelError, match="`n_plus` must be below `n`"):
        complete(limit, point)
