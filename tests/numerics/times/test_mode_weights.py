"""One softmax network for all times: how the weights of modes are learned."""

import numpy as np
import pytest
import torch
from dilaton.errors import DerivationError, ModelError
from dilaton.numerics.times.mode_weights import BiasFlow
from dilaton.numerics.times.nodes import TimeNodes
from dilaton.numerics.times.table import learning_times, shared_flow, time_exponents
from dilaton.theory.models.spec import parse_spec

from ...cases import THREE_MODES, TWO_MODES

THREE = parse_spec(THREE_MODES)
OBLIQUE = parse_spec(
    THREE_MODES.replace(
        "[[1, 0, 0], [0, 1, 0], [0, 0, 1]]", "[[1, 0], [0.4, 0.9], [-0.7, 0.3]]"
    ).replace("exponents = [0, 0, 0]", 'exponents = [0, "1/4"]')
)
PLUS_MINUS = TWO_MODES.replace(
    'kind = "two-modes"\np = 0.8',
    'kind = "modes"\nweights = [0.8, 0.2]\nloadings = [[1], [-1]]\nexponents = [0]',
)
SAME = 3e-5  # the mean of two rules, each off by 2e-5 at the steepest; steps of 1e-6


@pytest.mark.parametrize("density", ["uniform", "dilated", "logit-normal:0:1"])
def test_two_modes_take_twice_the_time_of_the_tanh_unit(density):
    """Each of two logits moves by half of what their difference does."""
    asked = ([256], [density], ["data", "noise"])
    one = learning_times(parse_spec(TWO_MODES), *asked, within=0.02)
    two = learning_times(parse_spec(PLUS_MINUS), *asked, within=0.02)
    for alone, pair in zip(one, zip(two[::2], two[1::2], strict=True), strict=True):
        for row in pair:
            assert row["time"] == pytest.approx(2 * alone["time"], rel=SAME)
            assert abs(row["time"] - 2 * alone["time"]) <= row["error"]


def sampled_speed(spec, bias, d, tau, weights, count=2**18, seed=0):
    """Half the slope of the loss per dimension, by samples: mean and standard error."""
    g = torch.Generator().manual_seed(seed)
    target = spec.model.target
    exponents = torch.tensor([float(x) for x in target.exponents])
    loadings = torch.tensor(np.array(target.loadings, float))
    means = loadings * d ** (0.5 - exponents)
    alpha, beta, sigma = 1 - tau, tau, spec.values["sigma"]
    delta = alpha**2 + sigma**2 * beta**2
    mode = torch.multinomial(torch.tensor(weights), count, True, generator=g)
    noise = torch.randn((count, means.shape[1]), generator=g, dtype=torch.float64)
    x = beta * means[mode] + delta**0.5 * noise
    b = torch.tensor(bias, requires_grad=True)
    field = b + beta / delta * x @ means.T - beta**2 / (2 * delta) * (means**2).sum(1)
    # of x1 - (beta sigma^2/Delta) x only its mean given x and the mode depends on b
    rest = alpha**2 / delta * (torch.softmax(field, 1) @ means - means[mode])
    losses = (rest**2).sum(1) / d
    slopes = [
        -torch.autograd.grad(part.mean(), b, retain_graph=True)[0].numpy() / 2
        for part in losses.chunk(32)
    ]
    return np.mean(slopes, 0), np.std(slopes, 0, ddof=1) / len(slopes) ** 0.5


@pytest.mark.parametrize("spec", [THREE, OBLIQUE], ids=["orthogonal", "oblique"])
def test_the_flow_is_the_slope_of_the_loss(spec):
    """At one time and dimension, by samples; with two weights exchanged it is not."""
    d, tau, bias = 50, 0.15, [0.2, -0.5, 0.1]
    nodes = TimeNodes(np.array([tau]), np.array([1.0]))
    point = {k: float(x) for k, x in spec.values.items()} | {"d": float(d)}
    found = BiasFlow(spec.model, "data", nodes, point).speed(0)(bias)
    p = [point[f"p_{k}"] for k in (1, 2, 3)]
    mean, error = sampled_speed(spec, bias, d, tau, p)
    assert np.abs((found - mean) / error).max() < 4
    wrong, error = sampled_speed(spec, bias, d, tau, [p[1], p[0], p[2]])
    assert np.abs((found - wrong) / error).max() > 20


def test_the_weights_are_learned_and_a_common_shift_is_kept():
    init = {"b_1": 0.3, "b_2": 0.3, "b_3": 0.3}
    found = shared_flow(THREE, 256, "dilated", "data", init, [0, 20, 2000])
    total = sum(np.array(found[f"b_{k}"]) for k in (1, 2, 3))
    assert np.abs(total - 0.9).max() < 1e-6
    last = [found[f"p_{k}"][-1] for k in (1, 2, 3)]
    assert np.abs(np.subtract(last, [0.5, 0.3, 0.2])).max() < 1e-4
    assert found["p_1"][0] == pytest.approx(1 / 3)


def test_what_is_not_derived_for_modes_is_refused():
    init = {"b_1": 0.0, "b_2": 0.0, "b_3": 0.0}
    with pytest.raises(DerivationError, match="but `rate` was given"):
        shared_flow(THREE, 64, "uniform", "data", init, [1], rate=1, batch=4)
    with pytest.raises(ModelError, match="b_1, b_2, b_3, but `b_3` is missing"):
        shared_flow(THREE, 64, "uniform", "data", {"b_1": 0.0, "b_2": 0.0}, [1])
    with pytest.raises(DerivationError, match="derived for tanh units"):
        time_exponents(THREE, ["uniform"], ["data"], within=0.02)
    samples = THREE_MODES.replace(
        'n = "inf"',
        'n = 12\ncounts = [6, 4, 2]\nnoise_draws = "inf"\nridge_u = 0.1\nridge_w = 0.1',
    )
    with pytest.raises(DerivationError, match="derived on the population"):
        learning_times(parse_spec(samples), [64], ["uniform"], ["data"], within=0.1)
