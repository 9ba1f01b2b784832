"""Training at finite d: the exact loss, its minimum, the two ways to it."""

from operator import mul

import numpy as np
import pytest
import torch
from dilaton.errors import ModelError, ShapeError
from dilaton.theory.models.model import (
    VARIANCE_EXPLODING,
    VARIANCE_PRESERVING,
    Autoencoder,
    Data,
    Model,
    product,
    two_modes,
)
from dilaton.torchcheck.networks.lbfgs import minimise_rows
from dilaton.torchcheck.networks.network import Network
from dilaton.torchcheck.networks.step_grid import (
    dilated_grid,
    phase_times,
    uniform_grid,
)
from dilaton.torchcheck.networks.train import make_loss, train
from dilaton.torchcheck.networks.training_set import (
    draw_training_set,
    generator,
    in_span,
)
from scipy import integrate, optimize, stats

POPULATION = Model(two_modes())
SAMPLES = Model(two_modes(), data=Data(samples=True))
FROZEN = Model(two_modes(), data=Data(samples=True, frozen_noise=True))
VALUES = {
    "sigma": 1.0,
    "n": 16,
    "n_plus": 13,
    "ridge_u": 0.1,
    "ridge_w": 0.1,
    "kappa": 2.0,
}
# the limit at kappa s = 1.5 for VALUES, from an independent saddle-point solver
LIMIT = {
    "omega": 1.11736,
    "zeta_plus": 0.04298,
    "zeta_minus": -0.18623,
    "b": 0.69352,
    "m": 1.02368,
    "a_plus": 0.06807,
    "a_minus": -0.04624,
    "r": 1.37655,
}
QUADRATURE = 1e-9  # both rules are exact to this for fields of width two
TRAINED = 1e-5  # of parameters, at a gradient norm of 1e-8
SIGMAS = 5.0  # a Monte Carlo check fails by chance once in two million


def random_point(loss, seed):
    g = torch.Generator().manual_seed(seed)
    steps, width = len(loss.alpha), loss.data.mu.shape[0]
    c, b = torch.randn(2, steps, generator=g, dtype=torch.float64)
    u, w = torch.randn(2, steps, 1, width, generator=g, dtype=torch.float64)
    mean = loss.data.mu / loss.data.d**0.5
    return c, u / width**0.5 + mean, w / width**0.5 + mean, b[:, None]


def monte_carlo(loss, point, draws, seed):
    """The loss without ridge from the definition, and its standard error."""
    data, root = loss.data, loss.data.d**0.5
    c, u, w, b = point
    network = Network(data.d, c, root * u, root * w, b, loss.phi)
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    totals = []
    for _ in range(draws):
        x1 = data.x1
        if not data.samples:
            plus = torch.rand(400, generator=g, dtype=torch.float64) < data.weights[0]
            x1 = torch.where(plus[:, None], data.mu, -data.mu)
            x1 = x1 + data.sigma * normal(400, data.d)
        x0 = normal(len(c), len(x1), data.d)
        x = loss.alpha[:, None, None] * x0 + loss.beta[:, None, None] * x1
        totals.append(((x1 - network(x)) ** 2).mean((1, 2)))
    total = torch.stack(totals)
    return total.mean(0).numpy(), (total.std(0) / draws**0.5).numpy()


@pytest.mark.parametrize("phi", ["tanh", "erf"])
@pytest.mark.parametrize("population", [True, False])
def test_the_averaged_loss_is_the_mean_of_the_sampled_one(population, phi):
    model = Model(
        two_modes(), VARIANCE_PRESERVING, Autoencoder(phi), Data(not population)
    )
    values = {**VALUES, "sigma": 1.3, "p": 0.7}
    data = draw_training_set(model, values, 60, 4, embedding="full")
    loss = make_loss(model, values, np.array([0.2, 0.7]), data)
    point = random_point(loss, 5)
    mean, error = monte_carlo(loss, point, 400, 6)
    squares = ((x**2).sum((1, 2)) for x in point[1:3])
    ridge = sum(map(mul, (loss.ridge_u, loss.ridge_w), squares))
    want = (loss.value(*point) - ridge / data.rows).numpy()
    assert np.all(np.abs(mean - want) < SIGMAS * error)
    # teeth: the integration by parts matters at this size
    shifted = point[0] + 0.2, *point[1:]
    assert np.any(np.abs(mean - loss.value(*shifted).numpy()) > SIGMAS * error)


def test_moments_agree_with_scipy_quadrature():
    data = draw_training_set(SAMPLES, VALUES, 200, 0)
    loss = make_loss(SAMPLES, VALUES, np.array([0.1]), data)
    _, _, w, b = random_point(loss, 1)
    moments = loss.moments(w, b)
    centres = (data.x1 / 200**0.5).numpy()
    width = 0.9 * float(w.norm())
    total = 0.0
    for y in centres:
        mean = 0.1 * 200**0.5 * w.numpy()[0, 0] @ y + b.item()
        total += integrate.quad(
            lambda g, mean=mean: np.tanh(mean + width * g) ** 2 * stats.norm.pdf(g),
            -9,
            9,
            epsabs=1e-12,
            epsrel=1e-12,
        )[0]
    assert abs(total - moments[2].item()) < QUADRATURE


def test_the_solved_skip_and_readout_are_stationary():
    values = {**VALUES, "noise_draws": 2}
    for model in (
        SAMPLES,
        FROZEN,
        Model(two_modes(), autoencoder=Autoencoder(tied=True)),
    ):
        data = draw_training_set(model, {**values, "p": 0.6}, 90, 3, times=2)
        loss = make_loss(model, values, np.array([0.1, 0.6]), data)
        _, _, w, b = random_point(loss, 2)
        c, u, total = loss.best(w, b)
        c.requires_grad_()
        if not loss.tied:
            u = u.detach().requires_grad_()
        again = loss.value(c, u, w, b)
        assert torch.allclose(again, total, rtol=1e-12)
        again.sum().backward()
        assert c.grad.abs().max() < 1e-12
        assert loss.tied or u.grad.abs().max() < 1e-12


@pytest.mark.parametrize("model", [SAMPLES, FROZEN, POPULATION])
def test_gradients_agree_with_finite_differences(model):
    values = {**VALUES, "p": 0.6, "noise_draws": 2}
    data = draw_training_set(model, values, 90, 3)
    loss = make_loss(model, values, np.array([0.1]), data)
    x = torch.randn(1, len(data.mu) + 1, generator=generator(0, "init")).double()
    _, gradient = loss.reduced(x)
    differences = optimize.approx_fprime(
        x[0].numpy(),
        lambda y: loss.reduced(torch.from_numpy(y)[None])[0].item(),
        1e-6,
    )
    # a forward difference of step 1e-6 has an error of the order of its step
    assert np.abs(gradient[0].numpy() - differences).max() < 1e-5


def test_the_minimum_is_scipys():
    data = in_span(draw_training_set(SAMPLES, VALUES, 500, 1, embedding="full"))
    times = np.array([0.06, 0.4])
    found = train(SAMPLES, VALUES, times, 500, 1, data=data)
    loss = make_loss(SAMPLES, VALUES, times, data)
    for t in range(2):
        part = loss.part(slice(t, t + 1))

        def value(y, part=part):
            f, g = part.reduced(torch.from_numpy(y)[None])
            return f.item(), g[0].numpy()

        start = np.zeros(18)
        start[0] = 0.3
        best = optimize.minimize(value, start, jac=True, tol=1e-12)
        # both stop at a gradient near 1e-8, so values agree to its square
        assert found.loss[t] <= best.fun + 1e-10
    assert found.gradient_norm.max() < 2e-8


def test_the_span_and_all_coordinates_find_the_same_minimum():
    full = draw_training_set(SAMPLES, VALUES, 300, 0, embedding="full")
    times = np.array([0.06, 0.3])
    a = train(SAMPLES, VALUES, times, 300, 0, data=full)
    b = train(SAMPLES, VALUES, times, 300, 0, data=in_span(full))
    for name, x in a.network.overlaps(full).items():
        # gradient norms of 1e-8 over curvatures of 0.006 at least
        assert np.abs(x - b.network.overlaps(b.data)[name]).max() < 1e-5, name


def test_draws_in_the_span_have_the_law_of_full_draws():
    d, draws = 40, 400
    grams = {"span": [], "full": []}
    for embedding, kept in grams.items():
        for seed in range(draws):
            x = draw_training_set(
                FROZEN,
                {**VALUES, "n": 3, "n_plus": 2, "noise_draws": 1, "sigma": 0.7},
                d,
                seed,
                embedding=embedding,
            )
            rows = torch.cat([x.mu[None], x.x1, x.x0[0, :, 0]])
            kept.append((rows @ rows.T).numpy()[np.triu_indices(7)])
    a, b = np.array(grams["span"]), np.array(grams["full"])
    for i in range(1, a.shape[1]):
        # 27 entries: a level of 1e-4 for each is below 3e-3 for all
        assert stats.ks_2samp(a[:, i], b[:, i]).pvalue > 1e-4, i
    assert stats.ks_2samp(a[:, 8], 0.8 * b[:, 8]).pvalue < 1e-4


def overlaps(d, seeds):
    rows = []
    for seed in range(seeds):
        trained = train(SAMPLES, VALUES, [1.5 / d**0.5], d, seed)
        got = trained.network.overlaps(trained.data)
        rows.append([got[name][0] for name in LIMIT])
    return np.mean(rows, 0), np.std(rows, 0, ddof=1) / seeds**0.5


def test_overlaps_approach_the_limit_as_one_over_root_d():
    want = np.array(list(LIMIT.values()))
    small, small_error = overlaps(10_000, 32)
    large, large_error = overlaps(1_000_000, 32)
    # the d^(-1/2) term is removed by Richardson: what stays is noise and 1/d
    intercept = (10 * large - small) / 9
    error = np.hypot(10 * large_error, small_error) / 9
    assert np.all(np.abs(intercept - want) < SIGMAS * error + 1e-4)
    assert np.all(np.abs(large - want) < 5e-3)
    # teeth: a limit wrong by two percent is seen
    assert not np.all(np.abs(intercept - 1.02 * want) < SIGMAS * error + 1e-4)


def test_a_population_learns_the_exact_denoiser_at_every_size():
    values = {"sigma": 1.3, "p": 0.8}
    times = np.array([0.02, 0.1, 0.3])
    for d in (200, 10_000):
        trained = train(POPULATION, values, times, d, 0)
        got = trained.network.overlaps(trained.data)
        power = (1 - times) ** 2 + 1.69 * times**2
        want = {
            "m": (1 - times) ** 2 / power,
            "b": np.log(4) / 2,
            "c": 1.69 * times / power,
            "omega": d**0.5 * times / power,
        }
        for name, x in want.items():
            assert np.allclose(got[name], x, rtol=1e-4), name


@pytest.mark.parametrize("draws", [1, 3])
def test_frozen_noise_gives_the_skip_of_its_own_closed_form(draws):
    values = {
        **VALUES,
        "sigma": 1.5,
        "n": 10,
        "n_plus": 8,
        "ridge_u": 0.5,
        "ridge_w": 0.5,
        "noise_draws": draws,
    }
    d, rows, s2 = 20_000, 10 * draws, 2.25
    got = []
    for seed in range(6):
        trained = train(FROZEN, values, [0.4], d, seed)
        overlap = trained.network.overlaps(trained.data)
        got.append([overlap[x][0] for x in ("c", "m", "e")])
    a = (0.5 * (1 + s2) + draws * s2 * 9) / (rows + 0.5)
    b = (rows - 0.5) / (rows + 0.5)
    c = 0.4 * a / (0.36 * b + 0.16 * a)
    m = (1 - 0.4 * c) * rows / (rows + 0.5)
    e = -0.6 * c / (rows + 0.5)
    mean, error = np.mean(got, 0), np.std(got, 0, ddof=1) / 6**0.5
    # tanh saturates only logarithmically in d, so the limit is met to a percent
    assert np.all(np.abs(mean - [c, m, e]) < SIGMAS * error + 0.01)
    fresh = 0.4 * ((0.5 * (1 + s2) + s2 * 9) / 10.5)
    fresh = fresh / (0.36 + 0.4 * fresh)
    assert abs(mean[0] - fresh) > 5 * abs(mean[0] - c)


def test_frozen_noise_learns_no_share_in_the_weights_phase():
    spreads = []
    for d in (300, 30_000):
        trained = train(FROZEN, {**VALUES, "noise_draws": 1}, [1.5 / d**0.5], d, 0)
        got = trained.network.overlaps(trained.data)
        spreads.append(got["r"][0] ** 0.5)
    # the field of a fresh input dies as d grows
    assert spreads[1] < 0.5 * spreads[0] < 0.5


def test_the_saturated_branch_is_found_and_named():
    trained = train(SAMPLES, VALUES, [1e-5], 10_000, 0)
    assert trained.branch == ("saturated",)
    y = trained.data.x1.sum(0)
    flat = 16 * 2.0 - float(y @ y) / 10_000 / 16.1
    # the skip still helps by O(tau^2), the noise by nothing
    assert (
        abs(16 * trained.loss[0] - (trained.data.x1**2).sum() / 1e4 - flat + 32) < 1e-3
    )
    finite = train(SAMPLES, VALUES, [0.01], 10_000, 0)
    assert finite.branch == ("finite",)


def test_sampled_training_goes_to_the_same_minimum():
    values = {**VALUES, "n": 8, "n_plus": 6}
    data = draw_training_set(SAMPLES, values, 100, 0, embedding="full")
    times = np.array([0.1, 0.2])
    best = train(SAMPLES, values, times, 100, 0, data=data)
    noisy = train(
        SAMPLES,
        values,
        times,
        100,
        0,
        method="sampled",
        data=data,
        steps=1500,
        rate=0.05,
    )
    # the optimum plus what Adam's last steps leave of the flat directions
    assert np.all(noisy.loss >= best.loss)
    assert np.all(noisy.loss - best.loss < 2e-2)
    short = train(
        SAMPLES, values, times, 100, 0, method="sampled", data=data, steps=50, rate=0.03
    )
    assert np.all(short.loss - best.loss > 5 * (noisy.loss - best.loss))
    assert np.all(short.gradient_norm > noisy.gradient_norm)


def test_sampled_training_of_a_population():
    values = {"sigma": 1.0, "p": 0.8}
    trained = train(
        POPULATION,
        values,
        [0.15],
        100,
        0,
        method="sampled",
        batch=64,
        steps=800,
        rate=0.05,
    )
    got = trained.network.overlaps(trained.data)
    sign = np.sign(got["omega"][0])
    assert abs(got["m"][0] * sign - 1) < 0.1
    # the last steps leave some 0.2 of noise; with p = 1/2 it would be 0
    assert abs(got["b"][0] * sign - np.log(4) / 2) < 0.35


def test_seeds_repeat_and_purposes_are_independent():
    first, again = (train(SAMPLES, VALUES, [0.01], 1000, 3) for _ in range(2))
    other = train(SAMPLES, VALUES, [0.01], 1000, 4)
    assert torch.equal(first.network.w, again.network.w)
    assert not torch.equal(first.data.x1, other.data.x1)
    draws = {
        p: torch.randn(3, generator=generator(0, p)).tolist()
        for p in ("data", "noise", "init", "sampling")
    }
    assert len({tuple(x) for x in draws.values()}) == 4


def test_chunks_over_times_change_nothing(monkeypatch):
    times = np.linspace(0.01, 0.5, 7)
    whole = train(SAMPLES, VALUES, times, 400, 0)
    monkeypatch.setattr("dilaton.torchcheck.networks.network_loss._CHUNK", 1)
    parts = train(SAMPLES, VALUES, times, 400, 0)
    assert np.allclose(whole.loss, parts.loss, rtol=1e-13)


def test_without_bias_and_tied():
    free = train(SAMPLES, VALUES, [0.05], 400, 0)
    no_bias = Model(two_modes(), autoencoder=Autoencoder(bias=False), data=SAMPLES.data)
    tied = Model(two_modes(), autoencoder=Autoencoder(tied=True), data=SAMPLES.data)
    a, b = (train(m, VALUES, [0.05], 400, 0) for m in (no_bias, tied))
    assert a.network.b.item() == 0
    ratio = 0.95**2 / (0.05 * 400**0.5)
    assert torch.allclose(b.network.u, ratio * b.network.w)
    assert min(a.loss[0], b.loss[0]) > free.loss[0]
    assert max(a.gradient_norm[0], b.gradient_norm[0]) < 2e-8


def test_cut_short_the_gradient_norm_says_so():
    trained = train(SAMPLES, VALUES, [0.05], 400, 0, steps=3)
    assert trained.gradient_norm[0] > 1e-4


def test_float32_is_allowed_and_said():
    trained = train(
        SAMPLES, VALUES, [0.05], 400, 0, dtype=torch.float32, tolerance=1e-4
    )
    assert trained.settings["dtype"] == "float32"
    exact = train(SAMPLES, VALUES, [0.05], 400, 0)
    assert abs(trained.loss[0] - exact.loss[0]) < 1e-5


def test_batched_descent_solves_each_row_on_its_own():
    centres = torch.tensor([[1.0, 2.0], [-3.0, 0.5], [0.0, 0.0]]).double()
    widths = torch.tensor([1.0, 100.0, 1e-2]).double()

    def bowls(x):
        y = x - centres
        stretch = torch.stack([widths, torch.ones(3).double()], 1)
        return (stretch * y**2 + y**4).sum(1), 2 * stretch * y + 4 * y**3

    found = minimise_rows(
        bowls, torch.ones(3, 2).double(), tolerance=1e-10, max_iterations=200
    )
    assert (found.point - centres).abs().max() < 1e-7
    assert found.gradient_norm.max() < 1e-10


def test_grids_spend_half_their_cells_in_the_window():
    grid = dilated_grid(SAMPLES, VALUES, 400, 8, "midpoint")
    assert np.allclose(grid.edges[:5], [0, 0.025, 0.05, 0.075, 0.1])
    assert grid.bounds == (4, 8)
    assert grid.phases == ("weights", "variance")
    assert np.allclose(grid.times[0], 0.0125)
    assert np.allclose(uniform_grid(4, "left").times, [0, 0.25, 0.5, 0.75])
    assert np.allclose(phase_times(SAMPLES, VALUES, 400, "weights", [0.5]), 0.05)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"values": {}}, ModelError, "Training needs `sigma`"),
        ({"values": {**VALUES, "n_plus": 17}}, ModelError, "`n_plus` must lie between"),
        ({"values": {**VALUES, "sigma": 0.0}}, ModelError, "`sigma` must be positive"),
        ({"d": 1}, ModelError, "`d` must be at least 2, but is 1"),
        ({"d": 10}, ModelError, "needs d > 16, but d is 10"),
        ({"times": [1.0]}, ModelError, r"`times` must lie in \[0, 1\)"),
        ({"times": [[0.1]]}, ShapeError, "`times` must be a list of times"),
        ({"method": "magic"}, ModelError, "`method` must be `averaged` or `sampled`"),
        (
            {"model": Model(product(0, "1/4")), "method": "sampled"},
            ModelError,
            "two-modes target, but",
        ),
        (
            {"model": Model(two_modes(), autoencoder=Autoencoder("sign"))},
            ModelError,
            "has no gradient",
        ),
        (
            {"method": "sampled", "embedding": "span"},
            ModelError,
            "given in its span",
        ),
        (
            {
                "method": "sampled",
                "model": POPULATION,
                "values": {"sigma": 1, "p": 0.5},
            },
            ModelError,
            "needs `batch`",
        ),
        (
            {
                "model": Model(two_modes(), autoencoder=Autoencoder(tied=True)),
                "values": {"sigma": 1, "p": 0.5},
                "times": [0.0],
            },
            ModelError,
            "tied network needs beta > 0",
        ),
    ],
)
def test_messages(change, error, message):
    given = {"model": SAMPLES, "values": VALUES, "times": [0.1], "d": 100, "seed": 0}
    with pytest.raises(error, match=message):
        train(**{**given, **change})


def test_grid_messages():
    with pytest.raises(
        ModelError, match="multiple of the number of phases, 2, but is 7"
    ):
        dilated_grid(SAMPLES, VALUES, 400, 7, "left")
    with pytest.raises(ModelError, match="`rule` must be `left` or `midpoint`"):
        uniform_grid(4, "right")
    with pytest.raises(ModelError, match="phases of this model are weights, variance"):
        phase_times(SAMPLES, VALUES, 400, "weight", [0.5])


def test_an_exploding_schedule_teaches_what_a_linear_one_does():
    """In units of its noise the input is the same; a linear ridge is put in them."""
    model, d, ratio = (
        Model(two_modes(), VARIANCE_EXPLODING, data=Data(samples=True)),
        200,
        0.12,
    )
    tau = ratio * d**0.5 / (1 + ratio * d**0.5), ratio / (1 + ratio)
    noise = d**0.5 * (1 - tau[0]), 1 - tau[1]
    values = VALUES | {"ridge_w": VALUES["ridge_w"] * noise[1] ** 2}
    one = train(model, VALUES, np.array(tau[:1]), d, 0).network
    two = train(SAMPLES, values, np.array(tau[1:]), d, 0).network
    torch.testing.assert_close(one.u, two.u, rtol=TRAINED, atol=TRAINED)
    torch.testing.assert_close(one.b, two.b, rtol=TRAINED, atol=TRAINED)
    rows = noise[0] * one.w, noise[1] * two.w
    torch.testing.assert_close(*rows, rtol=TRAINED, atol=TRAINED)
    other = train(SAMPLES, VALUES, np.array(tau[1:]), d, 0).network
    assert (other.w - two.w).abs().max() > 100 * TRAINED
