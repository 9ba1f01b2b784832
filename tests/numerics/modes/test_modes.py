"""Modes through `solve`, `mse` and steps: special cases and published numbers."""

import json

import numpy as np
import pytest
from dilaton import (
    TRIGONOMETRIC,
    VARIANCE_EXPLODING,
    Data,
    Model,
    derive,
    modes,
    modes_of_gram,
    product,
    solve,
    two_modes,
)
from dilaton.errors import DerivationError, ModelError
from dilaton.numerics.codegen.indexed import indexed_functions
from dilaton.numerics.codegen.parameters import complete
from dilaton.numerics.codegen.snapshot import printed
from dilaton.numerics.learn import mse
from dilaton.numerics.share.euler import follow_samples
from dilaton.numerics.share.rules import ModesFlow
from dilaton.theory.models.spec import parse_spec
from scipy.stats import norm

from ...cases import THREE_MODES

SAME = 1e-10  # asked of the special case
PRINTED = 6e-6  # half a unit of the last digit printed in the theory
ONES = {"sigma": 1, "kappa": 1}
LEVEL = 5.0  # standard errors
TREE = [[1, 1], [1, -1], [-1, 1], [-1, -1]]
CHILDREN = (0.45, 0.05, 0.30, 0.20)


def weights(values):
    return {f"p_{k}": p for k, p in enumerate(values, 1)}


def solved(target, p, s=(0.5, 1.0), data=None, **more):
    limit = derive(Model(target, data=data or Data()))
    return solve(limit, s=list(s), rtol=1e-10, atol=1e-12, **weights(p), **more)


def test_three_orthogonal_modes_have_the_published_shares():
    wanted = {2.0: (0.46644, 0.30671, 0.22685), 3.0: (0.49220, 0.30156, 0.20624)}
    for kappa, shares in wanted.items():
        found = solved(
            modes(np.eye(3, dtype=int).tolist(), [0] * 3),
            (0.5, 0.3, 0.2),
            sigma=1,
            kappa=kappa,
        )
        assert np.abs(found.shares - shares).max() < PRINTED
        assert found.shares_error.max() < 1e-10


def test_two_opposite_modes_are_the_two_modes_of_the_population():
    s = [0.0, 0.3, 1.0]
    two = solve(
        derive(Model(two_modes())),
        s=s,
        rtol=1e-11,
        atol=1e-12,
        p=0.8,
        sigma=1.3,
        kappa=2,
    )
    found = solved(modes([[1], [-1]], [0]), (0.8, 0.2), s, sigma=1.3, kappa=2)
    pairs = [
        (found.shares[0], two.share_plus),
        (found.c, two.c),
        (found.V[3:], two.V[3:]),
    ]
    pairs += [(found.b[:3, 0], two.b[:3]), (found.omega[:3, 0, 0], two.omega[:3])]
    pairs += [(found.m[:, 0, 0], two.m), (found.M[3:, 1], two.M[3:])]
    pairs += [(found.bulk_variance, two.bulk_variance)]
    for one, other in pairs:
        assert np.abs(np.asarray(one) - np.asarray(other)).max() < SAME
    spec = parse_spec(
        THREE_MODES.replace("[0.5, 0.3, 0.2]", "[0.8, 0.2]")
        .replace("[[1, 0, 0], [0, 1, 0], [0, 0, 1]]", "[[1], [-1]]")
        .replace("[0, 0, 0]", "[0]")
    )
    head, tail = THREE_MODES.split("weights =")
    head = head.replace('"modes"', '"two-modes"\np = 0.8')
    other = parse_spec(head + tail[tail.index("sigma") :])
    for at in ({"phase": "weights", "s": [0, 0.5, 1]}, {"d": 1e4, "tau": [0.01, 0.5]}):
        mine, theirs = mse(spec, **at)["mse"], mse(other, **at)["mse"]
        assert np.abs(np.subtract(mine, theirs)).max() < SAME


def test_signs_with_product_weights_are_a_product_mixture():
    p, q = 0.7, 0.4
    four = [p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)]
    found = solved(modes(TREE, [0, 0]), four, sigma=1, kappa=1.5)
    two = solve(
        derive(Model(product(0, 0))),
        s=[1],
        rtol=1e-10,
        atol=1e-12,
        p_1=p,
        p_2=q,
        rho_1=1,
        rho_2=1,
        sigma=1,
        kappa=1.5,
    )
    one, other = two.share_plus.values
    wanted = [
        one * other,
        one * (1 - other),
        (1 - one) * other,
        (1 - one) * (1 - other),
    ]
    assert np.abs(found.shares - wanted).max() < SAME


def test_a_hierarchy_multiplies_its_windows():
    """By hand: the parent's two-mode share times the child's, per branch."""
    found = solved(modes(TREE, [0, "1/4"]), CHILDREN, sigma=1, kappa=1.2)
    right = norm.cdf(1.2)

    def share(p):
        return p * right + (1 - p) * (1 - right)

    up = share(0.5)
    wanted = [up * share(0.9), up * (1 - share(0.9))]
    wanted += [(1 - up) * share(0.6), (1 - up) * (1 - share(0.6))]
    assert np.abs(found.shares - wanted).max() < SAME


def test_unequal_depths_equal_modes_and_zero():
    """Mode 1 is done early; 2 and 3 are one mode; 4, at zero, parts later from them."""
    rows = [[2, 0], [0, 1], [0, 1], [0, 0]]
    p = (0.4, 0.1, 0.2, 0.3)
    found = solved(modes(rows, [0, "1/8"]), p, sigma=1, kappa=1.5)
    right, late = norm.cdf(1.5), norm.cdf(0.75)
    first = 0.4 * right + 0.6 * (1 - right)
    pair = 0.5 * late + 0.5 * (1 - late)
    wanted = [first, (1 - first) * pair / 3, (1 - first) * pair * 2 / 3]
    wanted.append((1 - first) * (1 - pair))
    assert np.abs(found.shares - wanted).max() < SAME
    assert abs(float(found.shares.sum()) - 1) < SAME


def test_a_hundred_modes_are_solved():
    rows = np.eye(100, dtype=int).tolist()
    p = np.arange(1, 101) / 5050
    found = solved(modes(rows, [0] * 100), p, (1.0,), sigma=1, kappa=4)
    x = np.linspace(-9, 9, 4001)
    right = np.sum(norm.pdf(x) * norm.cdf(x + 4) ** 99) * (x[1] - x[0])
    wanted = p * right + (1 - p) * (1 - right) / 99
    assert np.abs(found.shares - wanted).max() < SAME


def test_the_error_of_three_modes_by_monte_carlo():
    """1 + sigma^2 less the mean square of the posterior mean, drawn apart."""
    p, kappa, s = np.array([0.5, 0.3, 0.2]), 2.0, 0.8
    rng = np.random.default_rng(7)
    count = 400_000
    k = rng.choice(3, size=count, p=p)
    y = kappa * s * np.eye(3)[k] + rng.standard_normal((count, 3))
    weight = p * np.exp(kappa * s * y)
    mean = weight / weight.sum(1, keepdims=True)
    square = (mean**2).sum(1)
    wanted, error = 2 - square.mean(), square.std() / count**0.5
    found = mse(parse_spec(THREE_MODES), phase="weights", s=[0, s, 1])
    assert abs(found["mse"][1] - wanted) < LEVEL * error
    assert abs(found["mse"][0] - (2 - np.sum(p**2))) < SAME  # sigma^2 and the jump
    assert max(found["mse_error"]) < 1e-9


def test_samples_in_the_bulk_are_a_ridge_regression():
    """A ridge regression on one-hot labels with numpy at d = 2e5, drawn noise."""
    n, counts, ridge, d, sigma = 10, (7, 3), 0.5, 200_000, 1.5
    rng = np.random.default_rng(3)
    mu = np.ones(d)
    signs = np.repeat([1.0, -1.0], counts)
    x1 = signs[:, None] * mu + sigma * rng.standard_normal((n, d))
    shrunk = [
        x1[signs == s].sum(0) / (c + ridge)
        for s, c in zip((1, -1), counts, strict=True)
    ]
    left = np.sum(x1**2) - sum(
        (c + ridge) * (u @ u) for u, c in zip(shrunk, counts, strict=True)
    )
    a_hat = left / (n * d)
    with pytest.warns(UserWarning, match="no share is given"):
        found = solved(
            modes([[1], [-1]], [0]),
            (0.7, 0.3),
            (0.0, 0.4),
            Data(samples=True),
            n_1=7,
            n_2=3,
            ridge_u=ridge,
            sigma=sigma,
            kappa=2,
        )
    skip = 0.4 * a_hat / (0.6**2 + 0.4**2 * a_hat)
    finite = 5 * 4 / d**0.5  # overlaps of noises are off by d^-1/2
    assert abs(float(found.bulk_variance) - a_hat) < finite
    assert abs(float(found.c[3]) - skip) < finite
    half = (found.m[2, 0, 0] - found.m[2, 1, 0]) / 2
    assert abs(float(half) - (7 / 7.5 + 3 / 3.5) / 2) < SAME
    assert abs(float(half) - (shrunk[0] - shrunk[1]) @ mu / (2 * d)) < finite
    assert np.isnan(found.shares).all()


def flow_of(d, target=None, p=CHILDREN):
    limit = derive(Model(target or modes(TREE, [0, "1/4"])))
    point = complete(limit, {**weights(p), "sigma": 1, "kappa": 4}) | {"d": d}
    return limit, point, ModesFlow(limit, point)


def test_three_segments_keep_a_hierarchy_and_two_lose_it():
    d = 1e8
    limit, point, flow = flow_of(d)
    tau = limit.dilation.at(point)
    ends = np.array([tau(t) for t in np.linspace(0, 1, 181)])
    kept = follow_samples(flow, (ends, ends[:-1]), "left")
    assert np.abs(np.subtract(kept["shares"], CHILDREN)).max() < 3e-3
    published = (0.4514, 0.0486, 0.3008, 0.1992)
    far = np.abs(np.subtract(kept["shares"], published))
    assert (far < 5e-5 + LEVEL * np.array(kept["shares_error"])).all()
    edge = 4 / d**0.5
    two = np.concatenate([np.linspace(0, edge, 91), np.linspace(edge, 1, 91)[1:]])
    lost = follow_samples(flow, (two, two[:-1]), "left")["shares"]
    assert np.abs(np.subtract(lost, (0.4739, 0.0261, 0.3186, 0.1814))).max() < 5e-4


def test_the_velocity_is_the_bayes_velocity():
    """Against (x1 mean - ...) by hand at d = 100: posterior over modes, plain numpy."""
    rows = [[1, 0.5], [0, 1], [-1, 0]]
    _, _, flow = flow_of(100.0, modes(rows, [0, "1/4"]), (0.5, 0.3, 0.2))
    mu = np.array(rows) * 100.0 ** np.array([0.5, 0.25])
    y, tau = np.array([1.3, -0.7]), 0.23
    alpha, beta = 1 - tau, tau
    spread = alpha**2 + beta**2
    log = np.log([0.5, 0.3, 0.2]) - ((y - beta * mu) ** 2).sum(1) / (2 * spread)
    post = np.exp(log - log.max()) / np.exp(log - log.max()).sum()
    denoised = beta / spread * y + alpha**2 / spread * post @ mu
    wanted = -y / alpha + (1 + beta / alpha) * denoised
    found = flow.velocity(np.array([[1.3], [-0.7], [1.0]]), tau)
    assert np.abs(found[:2, 0] - wanted).max() < SAME


def test_jax_and_numpy_run_one_source():
    import jax.numpy as jnp

    limit = derive(Model(modes([[1, 0], [0.3, 1], [-1, 0]], [0, 0])))
    functions = indexed_functions(printed(limit.phase("weights").sampling))
    given = {"p": np.array([[0.5], [0.3], [0.2]]), "K": 3.0, "kappa": 2.0, "sigma": 1.0}
    given |= {"L": np.array([[1, 0], [0.3, 1], [-1, 0]])[:, :, None]}
    given |= {"y": np.array([[0.3, -1.0], [0.5, 2.0]]), "R": 2.0}
    one = functions.equations(np, 0.7, given)
    two = functions.equations(jnp, 0.7, {k: jnp.asarray(v) for k, v in given.items()})
    for name, value in one.items():
        assert (
            np.abs(np.asarray(two[name]) - value).max() < 1e-6
        )  # JAX may be in float32


def test_answers_of_the_command_line(capsys, tmp_path):
    from dilaton.face.cli import app

    path = tmp_path / "three.toml"
    path.write_text(THREE_MODES)

    def asked(*words):
        app([*words, "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    answer = asked("solve", str(path), "--at", "1")
    assert (
        np.abs(
            np.subtract(answer["sample"]["shares"], (0.46644, 0.30671, 0.22685))
        ).max()
        < PRINTED
    )
    assert len(answer["sample"]["shares_error"]) == 3
    assert answer["sample"]["bulk_variance"] == 1
    rows = asked("steps", str(path), "--d", "1e6", "--steps", "20,40")
    assert len(rows) == 2
    assert abs(sum(rows[0]["shares"]) - 1) < SAME


def test_options_that_modes_cannot_use_are_refused(tmp_path):
    """Nothing is followed for modes: no backend, no tolerance, no times of overlaps."""
    from dilaton.numerics.sweep.job import sweep

    path = tmp_path / "three.toml"
    path.write_text(THREE_MODES)
    rule = r"Modes are solved by NumPy and SciPy, .* is `numba`\. Leave it out\."
    with pytest.raises(ModelError, match=rule):
        solve(path, s=[1.0], rtol=1e-8, atol=1e-8, backend="numba")
    wrong = {"backend": "jax", "rtol": 1e-6, "s": (0.5,)}
    for name, value in wrong.items():
        rule = rf"A sweep of modes gives shares alone, .* `{name}` is .*\. Leave"
        with pytest.raises(ModelError, match=rule):
            sweep(path, ["kappa=2,3"], tmp_path / "store", **{name: value})
    assert not (tmp_path / "store").exists()


def test_the_tolerance_of_a_solution_of_modes_is_refused(capsys, monkeypatch, tmp_path):
    import sys

    from dilaton.face import cli

    path = tmp_path / "three.toml"
    path.write_text(THREE_MODES)
    monkeypatch.setattr(sys, "argv", ["dilaton", "solve", str(path), "--rtol", "1e-6"])
    with pytest.raises(SystemExit):
        cli.main()
    said = " ".join(capsys.readouterr().err.split())
    assert "`--rtol` must be left out for modes, whose averages" in said
    assert said.endswith("but is 1e-06. Remove it.")


def test_the_metadata_say_what_computed_modes():
    found = solved(modes(np.eye(2, dtype=int).tolist(), [0, 0]), (0.5, 0.5), **ONES)
    by = json.loads(found.attrs["json"])["solver"]["computed_by"]
    closed = {"learned": "closed form"}
    assert by["variance"] == closed
    others = [x for name, x in by.items() if name != "variance"]
    assert others == [closed | {"share": "scipy"}]


def test_weights_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ModelError, match=r"must sum to 1, but the sum is 0\.9"):
        solved(modes([[1], [-1]], [0]), (0.5, 0.4), sigma=1, kappa=2)


def test_a_sweep_has_a_dimension_of_modes(tmp_path):
    """Weights that are not swept share what is left; a row of too much is named."""
    from dilaton.numerics.sweep.job import sweep

    path = tmp_path / "three.toml"
    path.write_text(THREE_MODES)
    found = sweep(path, ["kappa=2,3", "p_1=0.5,0.8"], tmp_path / "one")
    assert found.shares.dims == ("kappa", "p_1", "mode")
    one = found.shares.sel(p_1=0.5).values
    assert (
        np.abs(one - [[0.46644, 0.30671, 0.22685], [0.49220, 0.30156, 0.20624]]).max()
        < PRINTED
    )
    eye = np.eye(3, dtype=int).tolist()
    other = solved(modes(eye, [0] * 3), (0.8, 0.12, 0.08), sigma=1, kappa=2)
    assert np.abs(found.shares.values[0, 1] - other.shares.values).max() < SAME
    every = ["p_1=0.5", "p_2=0.3", "p_3=0.2,0.3"]
    found = sweep(path, every, tmp_path / "two")
    assert found.status.values.ravel().tolist() == ["ok", "inadmissible"]
    moved = sweep(path, ["L_1_2=0,0.5"], tmp_path / "three").shares.values
    rows = [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    other = solved(modes(rows, [0] * 3), (0.5, 0.3, 0.2), sigma=1, kappa=2)
    assert np.abs(moved[1] - other.shares.values).max() < SAME


def test_a_model_of_modes_is_written_as_a_spec():
    from dilaton.theory.models.spec import spec_of

    spec = parse_spec(THREE_MODES)
    assert spec_of(spec.model, spec.values).values == spec.values


def test_what_needs_signs_refuses_modes():
    from dilaton.numerics.times.table import time_exponents
    from dilaton.torchcheck.networks.training_set import draw_training_set

    spec = parse_spec(THREE_MODES)
    with pytest.raises(ModelError, match="Training takes two modes or a product"):
        draw_training_set(spec.model, spec.values, 100, 0)
    with pytest.raises(DerivationError, match="modes"):
        time_exponents(spec, ["uniform"], ["data"], within=0.02)


@pytest.mark.parametrize("schedule", [TRIGONOMETRIC, VARIANCE_EXPLODING])
def test_shares_know_the_schedule_by_its_contrast_alone(schedule):
    """beta/alpha at the end of a window; where no noise is left no share is lost."""
    model = Model(modes([[1], [-1]], [0]), interpolant=schedule)
    limit = derive(model)
    kappas = {k: 1.5 for k in limit.parameters if k.startswith("kappa")}
    given = weights((0.7, 0.3)) | kappas
    found = solve(limit, s=[0.2, 1.0], rtol=1e-9, atol=1e-11, sigma=1, **given)
    contrast = np.pi / 2 * 1.5 if schedule is TRIGONOMETRIC else np.inf
    right = norm.cdf(contrast)
    assert abs(float(found.shares[0]) - (0.7 * right + 0.3 * (1 - right))) < SAME
    two = derive(Model(two_modes(), interpolant=schedule))
    other = solve(two, s=[0.2, 1.0], rtol=1e-9, atol=1e-11, sigma=1, p=0.7, **kappas)
    assert abs(float(found.shares[0] - other.share_plus)) < SAME
    assert np.abs(found.omega[0, 0, 0] - other.omega[0]) < SAME


def test_a_gram_matrix_is_solved_like_its_modes():
    """Three obtuse means of rank two: products alone, against counts of samples."""
    means = np.array([[0.0, 0.2], [1.5, 0.0], [-1.2, 0.4]])
    p, kappa, count = np.array([0.2, 0.5, 0.3]), 1.3, 400_000
    rng = np.random.default_rng(11)
    k = rng.choice(3, size=count, p=p)
    y = kappa * means[k] + rng.standard_normal((count, 2))
    near = ((y[:, None] - kappa * means) ** 2).sum(-1).argmin(1)
    drawn = np.bincount(near, minlength=3) / count
    found = solved(
        modes_of_gram((means @ means.T).tolist(), 0), p, sigma=1, kappa=kappa
    )
    error = np.sqrt(drawn * (1 - drawn) / count)
    assert (np.abs(found.shares.values - drawn) < LEVEL * error).all()
    assert found.shares_error.max() < 1e-10
