"""Networks with one unit a feature trained on n samples of a product mixture.

The judges are the loss written from its definition (a plane quadrature over the noise
that the units see, and draws of the noise), finite differences, the limit's minimiser,
and least squares on the signs where the units saturate.
"""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from dilaton.numerics.codegen.snapshot import limit_of
from dilaton.numerics.minima.continuation import minimise_classes
from dilaton.theory.models.model import Autoencoder, Data, Model, product, two_modes
from dilaton.theory.models.spec import parse_spec
from dilaton.torchcheck.networks.lbfgs import only_new_rows
from dilaton.torchcheck.networks.sample import _one_mode, sample_features
from dilaton.torchcheck.networks.step_grid import dilated_grid
from dilaton.torchcheck.networks.train import make_loss, train
from dilaton.torchcheck.networks.training_set import draw_training_set, in_span
from dilaton.torchcheck.study.compare import compare
from dilaton.torchcheck.study.converge import converge, limit_curves, train_cells
from dilaton.torchcheck.study.figures import _farthest, _title
from dilaton.torchcheck.study.plan import Plan
from dilaton.torchcheck.study.series import error_unit
from scipy import optimize

from ...networks import network_of, random_point as wide_point, uncorrelated

COUNTS = {"++": 7, "+-": 4, "-+": 3, "--": 2}
SIGNS = {"pp": (1, 1), "pm": (1, -1), "mp": (-1, 1), "mm": (-1, -1)}
SIGMAS = 5.0  # a Monte Carlo check fails by chance once in two million
ROUNDING = 1e-12
PLANE = 1e-9  # 60 x 60 Gauss nodes for fields of width two
DIFFERENCE = 1e-5  # forward differences of step 1e-6 err by the order of their step
KAPPA = 2.0


TWO = ((0.7, 1.0), (0.6, 0.8))
THREE = (*TWO, (0.5, 0.9))


def spec_of(
    counts=COUNTS,
    draws='"inf"',
    activation="tanh",
    ridges=(0.1, 0.1),
    more="",
    weights=TWO,
):
    """Features of full norm (`weights`: p and rho), `counts` of each sign pattern."""
    features = "".join(
        f"[[target.features]]\np = {p}\nscale = {rho}\nexponent = 0\n"
        for p, rho in weights
    )
    table = ", ".join(f'"{k}" = {v}' for k, v in counts.items())
    return parse_spec(
        f'[target]\nkind = "product"\nsigma = 1.0\n{features}'
        '[interpolant]\nalpha = "1 - tau"\nbeta = "tau"\n'
        f"[dilation]\nkappa = {KAPPA}\n"
        f"[data]\nn = {sum(counts.values())}\ncounts = {{{table}}}\n"
        f"noise_draws = {draws}\nridge_u = {ridges[0]}\nridge_w = {ridges[1]}\n"
        f'[network]\nactivation = "{activation}"\n{more}'
    )


TIED = "tied = true\n"
FEW = {"++": 2, "+-": 1, "-+": 1, "--": 0}
SPEC = spec_of()
SAMPLES = Data(samples=True)


def drawn(spec, d, seed, **options):
    return draw_training_set(spec.model, spec.values, d, seed, **options)


def random_point(loss, seed):
    """Parameters whose fields are smaller, for samples have noise of their own."""
    return wide_point(loss, seed, own=0.4, along=0.3)


def loss_of(spec, times=(0.1, 0.4), d=40, embedding="full"):
    data = drawn(spec, d, 3, embedding=embedding, times=len(times))
    return make_loss(spec.model, spec.values, np.array(times), data)


# ------------------------------------------------------------------------- the samples


@pytest.mark.parametrize("embedding", ["span", "full"])
def test_samples_have_the_signs_asked_for(embedding):
    data = drawn(spec_of(FEW), 3000, 1, embedding=embedding)
    assert data.signs.tolist() == [[1, 1], [1, 1], [1, -1], [-1, 1]]
    assert data.rows == 4
    gram = data.means @ data.means.T / 3000
    assert torch.allclose(gram, torch.diag(torch.tensor([1.0, 0.8])).double())
    inner = torch.cat([data.axes, data.z]) @ data.z.T
    assert torch.all(torch.abs(inner[:2]) < SIGMAS)
    noise = inner[2:] / 3000
    # chance overlaps of noises are of size d^(-1/2)
    assert torch.all(torch.abs(noise - torch.eye(4)) < SIGMAS * (2 / 3000) ** 0.5)


def test_the_span_and_all_coordinates_find_the_same_minimum():
    spec = spec_of(FEW)
    full = drawn(spec, 200, 0, embedding="full")
    found = [
        train(spec.model, spec.values, [0.1, 0.3], 200, 0, data=x)
        for x in (full, in_span(full))
    ]
    a, b = (x.network.overlaps(x.data) for x in found)
    assert set(a) == set(b)
    for name, x in a.items():
        # gradient norms of 1e-8 over curvatures of 0.005 at least
        assert np.abs(x - b[name]).max() < 1e-5, name


# ---------------------------------------------------------------------------- the loss


def by_plane(loss, point):
    """The loss from its definition: noise in the plane of both w, and beside it."""
    data, root = loss.data, loss.data.d**0.5
    c, u, w, b = point
    g, weight = np.polynomial.hermite_e.hermegauss(60)
    weight = torch.from_numpy(np.outer(weight, weight).ravel() / weight.sum() ** 2)
    g = torch.from_numpy(np.stack(np.meshgrid(g, g, indexing="ij"), -1).reshape(-1, 2))
    totals = []
    for t in range(len(c)):
        plane = torch.linalg.qr(w[t].T)[0]
        x0 = g @ plane.T
        total = c[t] ** 2 * loss.alpha[t] ** 2 * (data.d - 2) * len(data.x1)
        for x1 in data.x1:
            x = loss.alpha[t] * x0 + loss.beta[t] * x1
            phi = torch.tanh(x @ w[t].T + b[t])
            error = x1 - c[t] * x - phi @ (root * u[t])
            total = total + weight @ (error**2).sum(1)
        total = total + data.d * loss.ridge_u * (u[t] ** 2).sum()
        total = total + data.d * loss.ridge_w[t] * (w[t] ** 2).sum()
        totals.append(total / data.d / len(data.x1))
    return torch.stack(totals)


def test_value_and_gradient_are_those_of_the_definition():
    loss = loss_of(spec_of(FEW))
    c, u, w, b = random_point(loss, 5)
    point = [x.requires_grad_() for x in (c, u, w, b)]
    found, want = loss.value(*point), by_plane(loss, point)
    assert torch.all(torch.abs(found - want) < PLANE)
    gradients = [torch.autograd.grad(x.sum(), point) for x in (found, want)]
    for name, x, y in zip("cuwb", *gradients, strict=True):
        assert torch.abs(x - y).max() < PLANE * (1 + torch.abs(y).max()), name
        assert torch.abs(y).max() > 1e-3, name


def monte_carlo(loss, point, draws, seed):
    """The loss on drawn noise, ridges left out, and its standard error."""
    data, network = loss.data, network_of(loss, point)
    random = np.random.default_rng(seed)
    totals = []
    for _ in range(draws):
        x0 = torch.from_numpy(random.normal(size=(len(loss.alpha), *data.x1.shape)))
        x = loss.alpha[:, None, None] * x0 + loss.beta[:, None, None] * data.x1
        totals.append(((data.x1 - network(x)) ** 2).mean((1, 2)).numpy())
    totals = np.array(totals)
    return totals.mean(0), totals.std(0) / draws**0.5


def with_ridges(loss, point):
    _, u, w, _ = point
    pairs = (loss.ridge_u, u), (loss.ridge_w, w)
    return sum(k * (x**2).sum((1, 2)) for k, x in pairs).numpy() / loss.data.rows


BROKEN = {
    "uncorrelated units": uncorrelated,
    "spread averaged too": lambda x: replace(x, data=replace(x.data, samples=False)),
    "ridges exchanged": lambda x: replace(
        x, ridge_u=float(x.ridge_w[0]), ridge_w=x.ridge_u + 0 * x.ridge_w
    ),
    "ridges a row": lambda x: replace(x, ridge_u=4 * x.ridge_u),
    "erf": lambda x: replace(x, phi="erf"),
}


@pytest.mark.parametrize("activation", ["tanh", "erf"])
def test_the_loss_is_the_mean_of_the_drawn_one(activation):
    loss = loss_of(spec_of(FEW, activation=activation, ridges=(2.0, 4.0)), d=10)
    point = random_point(loss, 5)
    mean, error = monte_carlo(loss, point, 4000, 6)
    mean = mean + with_ridges(loss, point)
    assert np.all(np.abs(mean - loss.value(*point).numpy()) < SIGMAS * error)
    for name, broken in BROKEN.items():
        if name != activation:
            wrong = broken(loss).value(*point).numpy()
            assert np.any(np.abs(mean - wrong) > SIGMAS * error), name


def test_frozen_noise_is_summed_over():
    loss = loss_of(spec_of(FEW, draws=3))
    point = random_point(loss, 5)
    data, network = loss.data, network_of(loss, point)
    x1 = data.x1.repeat_interleave(3, 0)
    x0 = data.x0.flatten(1, 2)
    x = loss.alpha[:, None, None] * x0 + loss.beta[:, None, None] * x1
    want = ((x1 - network(x)) ** 2).mean((1, 2)).numpy() + with_ridges(loss, point)
    assert loss.data.rows == 12
    assert np.abs(loss.value(*point).numpy() - want).max() < ROUNDING
    fresh = replace(loss, data=replace(data, x0=None)).value(*point).numpy()
    assert np.abs(fresh - want).min() > 1e-3


KINDS = [('"inf"', ""), (2, ""), ('"inf"', TIED)]


@pytest.mark.parametrize(("draws", "more"), KINDS)
def test_gradients_agree_with_finite_differences(draws, more):
    spec = spec_of(FEW, draws=draws, more=more)
    loss = loss_of(spec, times=(0.15,), embedding="span")
    _, _, w, b = random_point(loss, 1)
    point = loss.join(w, b)
    _, gradient = loss.reduced(point)

    def value(x):
        return loss.reduced(torch.from_numpy(x)[None])[0].item()

    differences = optimize.approx_fprime(point[0].numpy(), value, 1e-6)
    assert loss.near(w).all()
    assert np.abs(gradient[0].numpy() - differences).max() < DIFFERENCE
    assert np.abs(differences).max() > 100 * DIFFERENCE


@pytest.mark.parametrize(("draws", "more"), KINDS)
def test_the_solved_skip_and_readouts_are_stationary(draws, more):
    loss = loss_of(spec_of(FEW, draws=draws, more=more))
    _, _, w, b = random_point(loss, 4)
    c, u, total = loss.best(w, b)
    c, u = c.requires_grad_(), u.detach().requires_grad_()
    again = loss.value(c, u, w, b)
    again.sum().backward()
    assert torch.allclose(again, total, rtol=ROUNDING)
    assert c.grad.abs().max() < ROUNDING
    if more:  # a tied readout is not free
        assert torch.equal(u, loss.ratio[:, None, None] * w)
    else:
        assert u.grad.abs().max() < ROUNDING


def test_a_saturated_unit_is_the_constant_one():
    loss = loss_of(spec_of(FEW), times=(0.1,))
    c, u, w, b = random_point(loss, 2)
    dead = replace(loss, live=torch.tensor([[True, False]]))
    w, b = dead.split(dead.join(w, b))
    assert torch.all(w[:, 1] == 0)
    x = torch.randn(1, 3, 40, dtype=torch.float64)
    output = network_of(loss, (c, u, w, b))(x)
    alone = torch.tanh(x @ w[0, 0] + b[0, 0])[:, :, None]
    want = c * x + 40**0.5 * (alone * u[:, :1] + u[:, 1:])
    assert torch.allclose(output, want, rtol=ROUNDING)
    assert torch.isfinite(dead.reduced(dead.join(w, b))[1]).all()


# ------------------------------------------------------------------------ the overlaps


def test_overlaps_are_measured_by_their_definitions():
    spec = spec_of({"++": 2, "+-": 1, "-+": 1, "--": 2}, draws=2)
    loss = loss_of(spec, d=60)
    c, u, w, b = random_point(loss, 5)
    w = 0.05 * w + 0.2 * loss.data.means / 60**0.5  # unit j along feature j
    network = network_of(loss, (c, u, w, b))
    got = network.overlaps(loss.data)
    u, w = network.u.numpy(), network.w.numpy()
    mu, z, x0 = (x.numpy() for x in (loss.data.means, loss.data.z, loss.data.x0))
    size = np.linalg.norm(mu, axis=1)
    want = {"c": c.numpy()}
    for j in (0, 1):
        want[f"b_{j + 1}"] = b[:, j].numpy()
        want[f"v_{j + 1}"] = (u[:, j] * w[:, j]).sum(1) / (60**0.5 * size[j])
        for k in (0, 1):
            name = f"{j + 1}" if j == k else f"{j + 1}_{k + 1}"
            want[f"m_{name}"] = u[:, j] @ mu[k] / (size[j] * size[k])
            want[f"omega_{name}"] = w[:, j] @ mu[k] / (60**0.5 * size[k])
            if j <= k:
                want[f"q_{name}"] = (u[:, j] * u[:, k]).sum(1) / (size[j] * size[k])
                want[f"r_{name}"] = (w[:, j] * w[:, k]).sum(1) / 60
        for mark, pattern in SIGNS.items():
            mine = np.all(loss.data.signs.numpy() == pattern, axis=1)
            want[f"a_{j + 1}_{mark}"] = (u[:, j] @ z[mine].T / 60).mean(1)
            want[f"zeta_{j + 1}_{mark}"] = (w[:, j] @ z[mine].T / 60).mean(1)
            draws = np.einsum("tk,tnrk->tnr", u[:, j], x0[:, mine]) / 60
            want[f"e_{j + 1}_{mark}"] = draws.mean((1, 2))
    assert set(got) == set(want)
    for name, x in want.items():
        assert np.allclose(got[name], x, rtol=ROUNDING), name


# What the limit's minimiser gives for `SPEC` at these times, see the slow test.
TIMES = np.array([0.25, 0.5, 1.0])
LIMIT = """
omega_1 0.5201342 0.8985990 1.2135980
omega_1_2 -0.0069316 0.0128163 0.0127353
omega_2_1 -0.0157756 0.0101631 0.0125722
omega_2 0.4955974 0.8114626 1.1750161
zeta_1_pp 0.0223839 0.0400545 0.0539766
zeta_1_pm 0.0258450 0.0422296 0.0572406
zeta_1_mp -0.0535207 -0.0910722 -0.1235724
zeta_1_mm -0.0497525 -0.0880414 -0.1180409
zeta_2_pp 0.0262801 0.0445551 0.0644898
zeta_2_pm -0.0479622 -0.0767010 -0.1112857
zeta_2_mp 0.0310288 0.0472452 0.0684750
zeta_2_mm -0.0425993 -0.0734086 -0.1058556
b_1 0.4657924 0.4005032 0.3214249
b_2 0.3167477 0.2607974 0.2165503
m_1 0.9297819 1.0178450 1.0236515
m_1_2 0.0197946 0.0029791 -0.0014561
m_2_1 0.0125910 0.0016683 -0.0014629
m_2 0.8902532 1.0204681 1.0312432
a_1_pp 0.0750686 0.0638864 0.0576319
a_1_pm 0.1075637 0.0864248 0.0749301
a_1_mp -0.0078569 -0.0538527 -0.0709732
a_1_mm 0.0247619 -0.0316915 -0.0537941
a_2_pp 0.0658638 0.0624070 0.0580384
a_2_pm -0.0325906 -0.0618398 -0.0721202
a_2_mp 0.1030445 0.0873762 0.0759317
a_2_mm 0.0051445 -0.0370655 -0.0543494
q_1 0.9520246 1.1051735 1.1144719
q_1_2 0.0499163 -0.0011161 -0.0125268
q_2 0.8758622 1.1266212 1.1479510
r_1 0.2903108 0.8663932 1.5801603
r_1_2 -0.0132245 0.0190866 0.0287138
r_2 0.2664194 0.7134772 1.4959487
v_1 0.5051540 0.9674777 1.3202253
v_2 0.4717797 0.8909924 1.3071987
c_hat 0.4916636 0.8917262 1.7232637
"""


@pytest.fixture(scope="module")
def limit():
    rows = [line.split() for line in LIMIT.strip().splitlines()]
    return {name: np.array([float(x) for x in row]) for name, *row in rows}


def by_minimiser(spec):
    found = minimise_classes(limit_of(spec).phases[0], "tanh", TIMES, spec.values)
    return {name: found[name][0] for name in found.names if name != "c"}


def distances(limit, d, spec=SPEC):
    r"""$\sqrt d$ times the distance of every trained overlap from the limit."""
    trained = train(spec.model, spec.values, KAPPA * TIMES / d**0.5, d, 0)
    assert trained.gradient_norm.max() < 1e-8
    got = trained.network.overlaps(trained.data)
    got["c_hat"] = d**0.5 * got.pop("c")
    return {name: d**0.5 * (got[name] - x) for name, x in limit.items()}


def test_trained_overlaps_approach_the_limit_as_one_over_root_d(limit):
    """One seed draws aligned noise at every d, so that the prefactor is seen twice."""
    near, far = distances(limit, 10_000), distances(limit, 1_000_000)
    for name, x in near.items():
        assert np.abs(x).max() < 8, name  # r moves most; chance overlaps are O(1)
        # the next term has a prefactor below 30
        assert np.abs(x - far[name]).max() < 30 / 10_000**0.5, name


@pytest.mark.parametrize("name", ["omega_1", "omega_1_2", "zeta_2_pm", "a_1_mm", "b_2"])
def test_a_limit_off_by_a_thousandth_is_not_approached(limit, name):
    wrong = limit | {name: limit[name] + 1e-3}
    near, far = distances(wrong, 10_000), distances(wrong, 1_000_000)
    assert np.abs(near[name] - far[name]).min() > 60 / 10_000**0.5


@pytest.mark.parametrize(("draws", "tied"), [(0, False), (2, False), (0, True)])
def test_one_feature_is_learned_as_two_modes_are(draws, tied):
    """Either start, natural unit and region of a descent leads to the same minimum."""
    data, auto = Data(samples=True, frozen_noise=draws > 0), Autoencoder(tied=tied)
    one, two = (
        Model(x, autoencoder=auto, data=data) for x in (product(0), two_modes())
    )
    values = {"sigma": 1.0, "ridge_u": 0.1, "ridge_w": 0.3, "n": 8, "n_plus": 5}
    values |= {"rho_1": 1.0, "n_p": 5, "n_m": 3, "noise_draws": draws}
    # where a tied unit saturates its bias is flat
    times = np.array([0.05, 0.08 if tied else 0.4])
    rows = draw_training_set(two, values, 1000, 0, times=2)
    numbered = replace(rows, numbered=True)
    got = train(one, values, times, 1000, 0, data=numbered)
    want = train(two, values, times, 1000, 0, data=rows)
    assert np.abs(got.loss - want.loss).max() < ROUNDING
    found, known = (x.network.overlaps(x.data) for x in (got, want))
    for name in ("m_1", "omega_1", "q_1", "r_1", "v_1", "b_1"):
        # gradient norms of 1e-8 over curvatures of 1e-3
        assert np.abs(found[name] - known[name[:-2]]).max() < 1e-5, name
    assert np.allclose(found["zeta_1_m"], known["zeta_minus"], atol=1e-5)
    assert np.allclose(found["a_1_p"], known["a_plus"], atol=1e-5)


def test_a_unit_without_bias_is_silent_where_it_sees_too_little():
    model = Model(product(0, 0), autoencoder=Autoencoder(bias=False), data=SAMPLES)
    values = SPEC.values | {"ridge_u": 3.0, "ridge_w": 3.0}
    trained = train(model, values, np.array([0.1, 2.0]) / 1e3, 10**6, 0)
    assert trained.gradient_norm.max() < 1e-8
    got = trained.network.overlaps(trained.data)
    for j in (1, 2):
        assert np.all(got[f"b_{j}"] == 0)
        assert got[f"omega_{j}"][0] == pytest.approx(0, abs=1e-6)
        assert got[f"omega_{j}"][1] > 0.5


def test_units_saturate_where_they_see_too_little():
    """One constant unit is lower than two that see the data, near the minimum."""
    spec = spec_of({"++": 5, "+-": 1, "-+": 1, "--": 3})
    times = KAPPA * np.array([0.05, 1.0]) / 1e3
    trained = train(spec.model, spec.values, times, 10**6, 0)
    assert trained.branch == ("saturated", "finite")
    got = trained.network.overlaps(trained.data)
    assert got["r_2"][0] == 0
    assert got["omega_1"][0] > 0.1
    alone = make_loss(spec.model, spec.values, times, trained.data)
    w, b = trained.network.w / 1e3, trained.network.b
    random = torch.Generator().manual_seed(0)
    for size in (0.03, 0.3):
        moved = w + size * torch.randn(w.shape, generator=random, dtype=w.dtype)
        bias = torch.where(b > 10, 1.0, b)
        assert np.all(alone.best(moved, bias)[2].numpy() > trained.loss)


# ------------------------------------------------------------------ the variance phase


def regression(spec, tau):
    """Skip and readouts on saturated units: least squares, noises orthogonal."""
    at, n0 = spec.values, spec.values.get("noise_draws")
    signs = np.array(
        [s for k, s in SIGNS.items() for _ in range(int(at.get(f"n_{k}", 0)))], float
    )
    n, rho = len(signs), np.array([at["rho_1"], at["rho_2"]])
    x1 = np.hstack([signs * np.sqrt(rho), at["sigma"] * np.eye(n)])
    rows = np.repeat(np.arange(n), n0 or 1)
    total = len(rows)
    target = np.hstack([x1[rows], np.zeros((total, total))])
    noise = np.hstack([np.zeros((total, 2 + n)), np.eye(total)])
    inputs = tau * target + ((1 - tau) * noise if n0 else 0)
    s = signs[rows]
    pinned = np.linalg.inv(s.T @ s + at["ridge_u"] * np.eye(2)) @ s.T
    off = np.eye(total) - s @ pinned
    fresh = 0 if n0 else total * (1 - tau) ** 2
    c = np.sum(inputs * (off @ target)) / (np.sum(inputs * (off @ inputs)) + fresh)
    u = pinned @ (target - c * inputs)
    found = {"c": c, "a_1_mm": u[0, 1 + n], "a_2_pm": u[1, 2 + at["n_pp"]]}
    found |= {"m_1": u[0, 0], "m_2": u[1, 1] / rho[1] ** 0.5}
    found |= {"m_1_2": u[0, 1], "q_1": u[0] @ u[0]}
    return found | ({"e_2_pp": u[1, 2 + n]} if n0 else {})


@pytest.mark.parametrize("draws", ['"inf"', 1, 3])
def test_saturated_units_regress_on_their_signs(draws):
    spec = spec_of({"++": 3, "+-": 2, "-+": 2, "--": 1}, draws=draws, ridges=(0.5, 0.5))
    want = regression(spec, 0.4)
    far = {}
    for d in (3000, 300_000):
        trained = train(spec.model, spec.values, [0.4], d, 0)
        assert trained.gradient_norm.max() < 1e-8
        got = trained.network.overlaps(trained.data)
        far[d] = {name: abs(got[name][0] - x) for name, x in want.items()}
    for name in want:
        # chance overlaps of noises, and the distance from the sign: 1/sqrt(d), logs
        assert far[300_000][name] < 5 / 300_000**0.5, name
    total = [np.linalg.norm(list(x.values())) for x in far.values()]
    assert total[1] < 0.2 * total[0]


# ------------------------------------------------------------------- generated samples


def test_generated_samples_have_the_limits_shares_means_and_bulk():
    """Shares of the limit's reduced flow; A of (L3) and 1 - ridge/n by hand."""
    d, paths = 10**6, 10_000
    grid = dilated_grid(SPEC.model, SPEC.values, d, 24, "midpoint", grading=2.0)
    trained = train(SPEC.model, SPEC.values, grid.times, d, 0, steps=60)
    got = sample_features(trained, grid, paths, 1)
    signs = np.array(
        [s for k, s in SIGNS.items() for _ in range(SPEC.values[f"n_{k}"])]
    )
    inverse = np.linalg.inv(signs.T @ signs + 0.1 * np.eye(2))
    for j, (x, share) in enumerate(zip(got, (0.68912, 0.62361), strict=True)):
        error = SIGMAS * (share * (1 - share) / paths) ** 0.5
        # a seed at d = 10^6 and 12 midpoint steps a window leave some 1e-3
        assert abs(x.share_plus - share) < error + 3e-3
        assert abs(x.share_plus - (1 - share)) > error + 3e-3
        mean = np.sum(inverse @ signs.T @ signs * np.sqrt([1.0, 0.8]), axis=0)
        assert abs(x.mode_mean - mean[j] / np.sqrt([1.0, 0.8])[j]) < 0.01
    # the signs explain (n + ...)/(n + ridge) of the means, two of 16 noises
    x1 = np.hstack([signs * np.sqrt([1.0, 0.8]), np.eye(16)])
    left = x1 - signs @ inverse @ signs.T @ x1
    assert abs(got[0].bulk_variance - np.sum(x1 * left) / 16) < 4e-3
    assert abs(got[0].bulk_variance - 1) > 0.1


# -------------------------------------------------------------------------- the study

PLAN = Plan((1000, 3000, 10_000), 3, tolerance=1e-7, times=tuple(TIMES), paths=0)


@pytest.fixture(scope="module")
def curves(limit):
    """The limit at the plan's times: its minimiser, and least squares."""
    rows = [regression(SPEC, tau) for tau in (0.25, 0.5)]
    variance = {name: np.array([x[name] for x in rows]) for name in rows[0]}
    return {"weights": limit, "variance": variance}


@pytest.fixture(scope="module")
def cells():
    return train_cells(SPEC, PLAN)


def test_the_true_limit_of_samples_is_consistent(cells, curves):
    study = compare(PLAN, SPEC, curves, cells)
    assert "inconsistent" not in {fit["verdict"] for fit in study.fits}
    assert sum(fit["verdict"] == "consistent" for fit in study.fits) > 35
    names = {(fit["phase"], fit["quantity"]) for fit in study.fits}
    assert {x for phase, x in names if phase == "weights"} == set(curves["weights"])
    assert {x for phase, x in names if phase == "variance"} == set(curves["variance"])
    assert study.gradient_norm <= 10 * PLAN.tolerance
    slopes = {x["quantity"]: x for x in study.fits if x["phase"] == "weights"}
    for name in ("omega_1", "zeta_1_pm", "a_2_mp", "b_1", "r_2"):
        assert slopes[name]["slope_low"] < -0.5 < slopes[name]["slope_high"], name
        assert slopes[name]["slope"] == pytest.approx(-0.5, abs=0.05)


@pytest.mark.parametrize(
    ("phase", "name", "factor"),
    [
        ("weights", "omega_1", 1.01),
        ("weights", "zeta_2_pm", 1.02),
        ("weights", "a_1_mm", 1.03),
        ("weights", "b_2", 0.98),
        ("weights", "q_1_2", 1.1),
        ("variance", "c", 1.01),
        ("variance", "a_1_mm", 1.3),
        ("variance", "m_1", 0.9),
    ],
)
def test_a_broken_theory_of_samples_is_inconsistent(cells, curves, phase, name, factor):
    wrong = curves[phase] | {name: factor * curves[phase][name]}
    again = compare(PLAN, SPEC, curves | {phase: wrong}, cells)
    assert again.verdict == "inconsistent"
    guilty = {fit["quantity"] for fit in again.fits if fit["verdict"] == "inconsistent"}
    assert guilty == {name}


def test_errors_between_features_are_in_units_of_their_kind():
    limits = {"q_1": 0.8, "q_2": -0.9, "q_1_2": 1e-4, "m_1": 2.0, "m_1_2": np.nan}
    limits = {x: np.array([y]) for x, y in limits.items()}
    found = {x: error_unit(x, limits) for x in limits}
    assert found == {"q_1": 0, "q_2": 0, "q_1_2": 0.9, "m_1": 0, "m_1_2": 2.0}
    assert error_unit("zeta_1_pm", limits) == 0


def test_cut_short_samples_are_not_converged(curves):
    rule = {"times": PLAN.times, "paths": 0, "max_iterations": 2}
    short = converge(SPEC, (300, 500, 800), 3, curves=curves, **rule)
    assert short.verdict == "not converged"


def test_symbols_carry_features_and_signs():
    assert _title("zeta_1_pm") == r"$\zeta_{1,+-}$"
    assert _title("m_1_2") == "$m_{12}$"
    assert _title("a_plus") == "$a_+$"
    assert _title("share_plus_2") == "share plus 2"


def test_the_figure_shows_the_farthest_of_many_overlaps():
    sizes = {f"a_{i}": float(i) for i in range(1, 21)}
    fits = [{"phase": "weights", "quantity": name} for name in sizes]
    errors = [
        {**fit, "d": d, "error": sizes[fit["quantity"]] * (1 if d == 100 else -1)}
        for fit in fits
        for d in (10, 100)
    ]
    shown = [fit["quantity"] for fit in _farthest(fits, errors)]
    assert shown == [f"a_{i}" for i in range(9, 21)]


def test_means_are_those_of_the_mode_of_all_plus():
    ends = np.array([[1.0, 2.0], [1.0, -2.0], [-1.0, -3.0]])
    assert _one_mode(ends).tolist() == [True, False, False]
    assert _one_mode(ends[1:]).tolist() == [False, True]
    assert _one_mode(ends[1:2]).tolist() == [True]


def test_rows_with_known_points_are_not_computed_again():
    asked = []

    def part(rows):
        asked.append(rows.tolist())
        return lambda x: ((x**2).sum(1) + rows, 2 * x)

    objective = only_new_rows(part)
    x = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    for step in (0.0, 1.0, 0.0):
        x = x + torch.tensor([[0.0], [step], [0.0]])
        value, grad = objective(x)
        assert torch.equal(value, (x**2).sum(1) + torch.arange(3))
        assert torch.equal(grad, 2 * x)
    assert asked == [[0, 1, 2], [1]]


def three_features():
    """A third feature, and counts of eight sign patterns."""
    patterns = map("".join, itertools.product("+-", repeat=3))
    return spec_of(dict(zip(patterns, EIGHT, strict=True)), weights=THREE)


EIGHT = (6, 3, 3, 2, 3, 2, 2, 1)
OTHERS = {
    "no bias": lambda: spec_of(more="bias = false\n"),
    "tied": lambda: spec_of(more=TIED),
    "three features": three_features,
}


@pytest.mark.slow
def test_the_table_of_the_limit_is_its_minimisers(limit):
    known = by_minimiser(SPEC)
    assert set(known) == set(limit)
    assert all(np.abs(x - limit[name]).max() < 1e-6 for name, x in known.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_approach_their_limit_as_one_over_root_d(name):
    spec = OTHERS[name]()
    limit = by_minimiser(spec)
    # the next term's prefactor grows with that of the first, which tied units raise
    near, far = (distances(limit, d, spec) for d in (10_000, 1_000_000))
    bound = {x: 0.3 * (1 + np.abs(y).max() / 10) for x, y in near.items()}
    for x, value in near.items():
        assert np.abs(value - far[x]).max() < bound[x], x
    wrong = {x: y + 1e-2 for x, y in limit.items()}
    near, far = (distances(wrong, d, spec) for d in (10_000, 1_000_000))
    for x, value in near.items():
        assert np.abs(value - far[x]).min() > 2 * bound[x], x


@pytest.mark.slow
@pytest.mark.parametrize("draws", ['"inf"', 2])
def test_the_derived_limit_of_samples_is_consistent(draws, tmp_path):
    spec, dims = spec_of(draws=draws), (10_000, 50_000, 250_000)
    rule = {"output": tmp_path / "out", "paths": 8000, "cells": 12}
    study = converge(spec, dims, 12, **rule)
    assert study.verdict == "consistent"
    answer = json.loads((tmp_path / "out" / "converge.json").read_text())
    names = {(x["phase"], x["quantity"]) for x in answer["fits"]}
    assert {("variance", "a_2_pm"), ("variance", "bulk_variance")} <= names
    assert bool(study.notes) == (draws == 2)
    if draws == 2:
        return
    assert {("weights", "law_2"), ("variance", "mode_mean_1")} <= names
    wanted = dict(limit_curves(spec, study.plan))
    wanted["sample"] = {name: 1.1 * x for name, x in wanted["sample"].items()}
    wrong = converge(spec, dims, 12, curves=wanted, **rule)
    guilty = {x["quantity"] for x in wrong.fits if x["verdict"] == "inconsistent"}
    assert {"mode_mean_1", "bulk_variance"} <= guilty
