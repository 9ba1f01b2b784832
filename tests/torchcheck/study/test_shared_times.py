"""SGD of a network for all times against the flow of its overlaps with noise."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")
from dilaton.errors import ModelError
from dilaton.numerics.times.table import shared_flow
from dilaton.theory.models.spec import parse_spec
from dilaton.torchcheck.study.shared_times import (
    compare_with_flow,
    converge_in_rate,
    train_networks,
)

from ...cases import TWO_MODES

FAR = 3.5  # standard errors: nine comparisons of one run with fixed seeds
WITHIN = 3.0  # standard errors, of fixed seeds
FINE = 0.008  # the largest standard error of a run of seconds
START = {"m": 0.3, "q": 1.0, "b": 0.0}


@pytest.fixture(scope="module")
def spec():
    return parse_spec(TWO_MODES).replace(p=0.7, sigma=0.8, kappa=2.5)


@pytest.fixture(scope="module")
def nets(spec):
    run = {"rate": 4.0, "batch": 8, "networks": 24, "seed": 3}
    return train_networks(spec, [256], "dilated", "data", START, (2, 5, 9), **run)


def test_sgd_follows_the_flow_with_its_noise(nets):
    study = compare_with_flow(nets)
    assert study.verdict == "consistent"
    for row in study.rows:
        assert row["z"] < FAR, row
        assert row["stderr"] < FINE


@pytest.mark.parametrize(
    "told",
    [{"loss": "noise"}, {"density": "uniform"}, {"batch": 4}, {"batch": 16}],
    ids=str,
)
def test_a_wrong_theory_is_found_out(nets, told):
    assert compare_with_flow(nets, **told).verdict == "inconsistent"


@pytest.fixture(scope="module")
def rates(spec):
    """Networks of two rates and dimensions, with seeds of their own."""
    times = (2, 5, 9)
    return [
        train_networks(
            spec, [128, 256], "dilated", "data", START, times, rate=rate, **run
        )
        for rate, run in (
            (3.0, {"batch": 8, "networks": 24, "seed": 11}),
            (6.0, {"batch": 8, "networks": 24, "seed": 12}),
        )
    ]


def test_the_flow_is_the_limit_in_d_and_in_the_rate(rates):
    study = converge_in_rate(rates)
    assert study.verdict == "consistent"
    (noise,) = (row for row in study.fits if row["term"] == "noise")
    assert abs(noise["value"] - 1) < FAR * noise["stderr"] < 0.2


@pytest.mark.parametrize("told", [{"loss": "noise"}, {"batch": 4}], ids=str)
def test_a_wrong_limit_or_noise_is_found_out(rates, told):
    assert converge_in_rate(rates, **told).verdict == "inconsistent"


@pytest.mark.slow
@pytest.mark.parametrize("told", [{"density": "uniform"}, {"batch": 16}], ids=str)
def test_a_wrong_density_or_half_the_noise_is_found_out(rates, told):
    assert converge_in_rate(rates, **told).verdict == "inconsistent"


def test_a_fit_needs_two_rates_and_two_dimensions(rates):
    with pytest.raises(ModelError, match="needs two rates and two dimensions"):
        converge_in_rate(rates[:1])
    common = replace(rates[1].run, common_rate=True)
    with pytest.raises(ModelError, match="one common rate or repeated pairs"):
        converge_in_rate([rates[0], replace(rates[1], run=common)])


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_one_common_rate(spec, momentum):
    """The bias is slaved, and as noisy as predicted: 200 networks, eta/B = 1/8."""
    run = {"rate": 1 - momentum, "momentum": momentum, "batch": 8}
    sgd = run | {"common_rate": True}
    run = sgd | {"networks": 200, "seed": 5}
    start = {"m": 0.6, "q": 0.4, "b": 0.0}
    nets = train_networks(spec, [128], "dilated", "data", start, (2, 4, 6), **run)
    for row in compare_with_flow(nets).rows:  # momentum adds to what is of order 1/d
        assert row["excess" if momentum else "z"] < FAR, row
    flow = shared_flow(spec, 128, "dilated", "data", start, (2, 4, 6), **sgd)
    measured = nets.measured[128][:, 2].var(axis=1, ddof=1)
    error = measured * (2 / 199) ** 0.5
    assert (abs(measured - flow["b_var"]) < FAR * error).all()


def test_few_networks_decide_nothing(spec):
    run = {"rate": 4.0, "batch": 4, "networks": 2, "seed": 1}
    few = train_networks(spec, [64], "uniform", "velocity", START, (1,), **run)
    assert compare_with_flow(few).verdict == "undecided"


def test_stratified_times_change_nothing(spec):
    run = {"rate": 4.0, "batch": 8, "networks": 24, "seed": 4, "stratified": True}
    args = (spec, [128], "dilated", "data", START, (5, 9))
    assert compare_with_flow(train_networks(*args, **run)).verdict == "consistent"


def test_momentum_is_a_larger_rate(spec):
    """Heavy ball with rate eta and momentum 0.8 is the flow with eta/(1 - 0.8)."""
    run = {"rate": 0.8, "batch": 8, "networks": 24, "seed": 6, "momentum": 0.8}
    nets = train_networks(spec, [128], "dilated", "data", START, (5, 9), **run)
    assert compare_with_flow(nets).verdict == "consistent"
    assert compare_with_flow(nets, momentum=0.0).verdict == "inconsistent"


PAIR = """
[target]
kind = "product"
sigma = 0.8
features = [
  { p = 0.8, scale = 1.0, exponent = 0 },
  { p = 0.7, scale = 1.5, exponent = 0 },
]
[interpolant]
alpha = "1 - tau"
beta = "tau"
[dilation]
kappa = 2.5
[data]
n = "inf"
"""
TWO = {
    "m_1": 0.4, "m_1_2": 0.2, "m_2_1": 0.0, "m_2": 0.4, "r_1": 0.9, "r_1_2": 0.1,
    "r_2": 0.9, "b_1": 0.0, "b_2": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def two_units():
    run = {"rate": 4.0, "batch": 8, "networks": 32, "seed": 21}
    args = (parse_spec(PAIR), [192], "dilated", "data", TWO, (1, 3))
    return train_networks(*args, **run)


def test_two_units_follow_the_coupled_flow(two_units):
    """Cross overlaps and the noise in all three products of vectors."""
    study = compare_with_flow(two_units)
    assert study.verdict == "consistent", study.rows
    crossed = [row for row in study.rows if row["quantity"] == "m_1_2"]
    assert all(row["predicted"] > 10 * row["stderr"] for row in crossed)
    assert compare_with_flow(two_units, batch=4).verdict == "inconsistent"


@pytest.mark.slow
def test_two_units_at_six_times():
    run = {"rate": 2.0, "batch": 8, "networks": 64, "seed": 22}
    times = (1, 2, 4, 6, 9, 12)
    args = (parse_spec(PAIR), [256], "shift:6", "velocity", TWO, times)
    nets = train_networks(*args, **run)
    study = compare_with_flow(nets)
    assert study.verdict == "consistent", study.rows
    assert max(row["stderr"] for row in study.rows) < 0.005
    for told in ({"loss": "data"}, {"density": "uniform"}, {"batch": 16}):
        assert compare_with_flow(nets, **told).verdict == "inconsistent"


@pytest.mark.slow
def test_three_units_follow_the_coupled_flow():
    """Along the means and in the biases, which SGD's noise leaves alone."""
    third = "  { p = 0.35, scale = 0.8, exponent = 0 },\n]"
    spec = parse_spec(PAIR.replace("]\n[interp", f"{third}\n[interp"))
    start = {f"{x}_{j}": y for j in (1, 2, 3) for x, y in (("m", 0.4), ("r", 0.9))}
    start |= {f"r_{j}_{k}": 0.1 for j, k in ((1, 2), (1, 3), (2, 3))}
    start |= {f"m_{j}_{k}": 0.0 for j in (1, 2, 3) for k in (1, 2, 3) if j != k}
    start |= {"b_1": 0.0, "b_2": 0.0, "b_3": 0.0, "m_1_3": 0.2}
    run = {"rate": 2.0, "batch": 32, "networks": 32, "seed": 23}
    nets = train_networks(spec, [192], "dilated", "data", start, (2, 5), **run)
    still = {"rate": None, "batch": None}
    rows = compare_with_flow(nets, **still).rows
    kept = [row for row in rows if row["quantity"][0] in "mb"]
    assert len(kept) == 24
    for row in kept:
        assert row["excess"] < FAR, row
        assert row["stderr"] < 0.005
    assert sum(abs(row["predicted"]) > 5 * row["stderr"] for row in kept) > 18
    rows = compare_with_flow(nets, density="uniform", **still).rows
    assert max(row["excess"] for row in rows if row["quantity"][0] in "mb") > 10


def test_weight_decay_is_the_ridge_of_the_flow(spec):
    run = {"rate": 4.0, "batch": 8, "networks": 24, "seed": 7, "ridge_w": 0.2}
    nets = train_networks(spec, [128], "dilated", "data", START, (4, 9), **run)
    assert compare_with_flow(nets, ridge_w=0.2).verdict == "consistent"
    assert compare_with_flow(nets).verdict == "inconsistent"


def test_pairs_used_at_several_times_are_noisier(spec):
    """E a^2 becomes E a^2 + (k - 1) E[a_tau a_tau'] for a batch of as many losses."""
    run = {"rate": 4.0, "batch": 8, "networks": 24, "seed": 8, "repeats": 4}
    start = START | {"m": 0.9, "q": 0.1}
    nets = train_networks(spec, [256], "dilated", "data", start, (4, 9), **run)
    assert compare_with_flow(nets).verdict == "consistent"
    assert compare_with_flow(nets, repeats=1).verdict == "inconsistent"


def test_repeats_divide_the_batch(spec):
    run = {"rate": 1.0, "batch": 4, "networks": 2, "seed": 1, "repeats": 3}
    with pytest.raises(ModelError, match="`batch` must be a multiple of `repeats`"):
        train_networks(spec, [16], "uniform", "data", START, (1,), **run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "rate", "batch", "networks"), [(256, 2.0, 4, 64), (1024, 4.0, 8, 24)]
)
def test_six_times_within_three_standard_errors(spec, d, rate, batch, networks):
    run = {"rate": rate, "batch": batch, "networks": networks, "seed": 3}
    times = (2, 4, 6, 8, 10, 12)
    nets = train_networks(spec, [d], "dilated", "data", START, times, **run)
    study = compare_with_flow(nets)
    assert study.verdict == "consistent", study.rows
    for row in study.rows:
        assert row["z"] < WITHIN, row
        assert row["stderr"] < 0.005
    wrong = ({"loss": "noise"}, {"density": "uniform"}, {"batch": 2 * batch})
    for told in wrong:
        assert compare_with_flow(nets, **told).verdict == "inconsistent"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "loss", "density", "rate", "batch", "times"),
    [
        ({"sigma": 6.0}, "data", "dilated", 4.0, 4, (10, 20)),
        ({}, "data", "dilated", 1.0, 1, (8, 12)),
        ({}, "data", "dilated", 2.0, 4, (8, 12)),
        ({}, "data", "dilated", 8.0, 32, (8, 12)),
        ({}, "noise", "uniform", 4.0, 2, (10, 16)),
    ],
)
def test_plateaus_of_the_noise(spec, values, loss, density, rate, batch, times):
    """Also where alpha^2/Delta is far from 1, and for noise prediction."""
    run = {"rate": rate, "batch": batch, "networks": 32, "seed": 8}
    start = START | {"m": 0.9, "q": 0.1}
    args = (spec.replace(**values), [256], density, loss, start, times)
    nets = train_networks(*args, **run)
    study = compare_with_flow(nets)
    assert study.verdict == "consistent", study.rows
    for factor in (0.5, 2):
        wrong = compare_with_flow(nets, batch=batch * factor)
        assert wrong.verdict == "inconsistent"
