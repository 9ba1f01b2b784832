"""Every form of a first argument asks the same question."""

import pytest
from dilaton import Autoencoder, Data, Model, default_spec, derive, product, two_modes
from dilaton.errors import ModelError, StoreError
from dilaton.numerics.asked import asked
from dilaton.numerics.codegen.snapshot import limit_of as printed_of
from dilaton.numerics.learn import learn, mse
from dilaton.numerics.share.euler import smallest_steps, steps
from dilaton.numerics.solve import solve
from dilaton.numerics.sweep.collect import sweep_summary
from dilaton.numerics.sweep.job import sweep
from dilaton.theory.models.spec import parse_spec

from ..cases import PRODUCT

POINT = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
TOLERANCES = {"s": [0.5, 1.0], "rtol": 1e-8, "atol": 1e-8}
COUNTS = {"p_1": 0.8, "rho_1": 1.0, "n_p": 13, "n_m": 3, "ridge_u": 0.1}
COUNTS |= {"ridge_w": 0.2, "sigma": 1.5, "kappa": 2.0}
SAMPLES = {"n": 16, "n_plus": 13, "ridge_u": 0.1, "ridge_w": 0.2, **POINT}


def forms(spec, path):
    """The question of a spec in each of its forms, with the values that go with it."""
    path.write_text(spec.text)
    with_values = [spec.model, derive(spec.model), printed_of(spec)]
    return [(x, spec.values) for x in with_values] + [(spec, {}), (str(path), {})]


@pytest.mark.parametrize("text", [default_spec().replace(n="inf").text, PRODUCT])
def test_all_forms_are_solved_alike(text, tmp_path):
    spec = parse_spec(text)
    found = [
        solve(given, **TOLERANCES, **values)
        for given, values in forms(spec, tmp_path / "spec.toml")
    ]
    for other in found[1:]:
        assert other.equals(found[0])


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Model(two_modes()), POINT),
        (Model(two_modes(), data=Data(samples=True)), SAMPLES),
        (
            Model(two_modes(), data=Data(samples=True, frozen_noise=True)),
            SAMPLES | {"noise_draws": 3},
        ),
        (Model(two_modes(), autoencoder=Autoencoder("erf", bias=False)), POINT),
        (
            Model(product(0, "1/4")),
            {"p_1": 0.8, "p_2": 0.3, "rho_1": 1.0, "rho_2": 2.0, "sigma": 1.0}
            | {"kappa_1": 2.0, "kappa_2": 3.0},
        ),
        (Model(product(0), data=Data(samples=True)), COUNTS),
    ],
    ids=["population", "samples", "frozen", "erf", "product", "counted"],
)
def test_a_model_with_values_has_a_spec(model, values):
    spec = asked(model, values).spec
    assert spec.model == model
    assert spec.values == values
    assert parse_spec(spec.text).tables == spec.tables


def test_values_beside_a_spec_replace_its_own(tmp_path):
    spec = default_spec().replace(n="inf")
    assert asked(spec, {"p": 0.6}).values == {**spec.values, "p": 0.6}
    there = solve(spec, **TOLERANCES, p=0.6)
    here = solve(spec.model, **TOLERANCES, **{**spec.values, "p": 0.6})
    assert there.equals(here)
    assert not there.equals(solve(spec, **TOLERANCES))
    with pytest.raises(ModelError, match="The numbers of this spec are p, sigma"):
        solve(spec, **TOLERANCES, q=0.6)


@pytest.mark.parametrize("given", [None, 3, {"p": 0.8}])
def test_neither_a_model_nor_a_spec_is_said(given, tmp_path):
    start = dict.fromkeys(("m", "q", "omega", "r", "b"), 0.5)
    for ask in (
        lambda: solve(given, **TOLERANCES),
        lambda: learn(given, "weights", 0.5, start, [1.0]),
        lambda: mse(given, "weights", [0.5]),
        lambda: sweep(given, ["p=0.5,0.6"], tmp_path),
        lambda: steps(given, 1e4, [9], "dilated", "left"),
        lambda: smallest_steps(given, 1e4, "dilated", "left"),
    ):
        with pytest.raises(ModelError, match="a spec, the path of a spec file, or a m"):
            ask()


def test_all_forms_learn_and_step_alike_and_have_the_same_error(tmp_path):
    spec = default_spec().replace(n="inf")
    start = {"m": 0.3, "q": 0.5, "omega": 0.2, "r": 0.4, "b": 0.0}
    asks = [x for x in forms(spec, tmp_path / "s.toml") if x[0] != printed_of(spec)]
    flows = [learn(x, "weights", 0.75, start, [2.0], **v) for x, v in asks]
    errors = [mse(x, "weights", [0.5], **v) for x, v in asks]
    shares = [steps(x, 1e4, [9], "dilated", "left", **v) for x, v in asks]
    assert all(x == shares[0] for x in shares)
    assert shares[0] != steps(spec, 1e4, [9], "dilated", "left", p=0.7)
    assert all(x == flows[0] for x in flows)
    assert all(x == errors[0] for x in errors)
    assert flows[0] != learn(spec, "weights", 0.75, start, [2.0], p=0.7)
    assert errors[0] != mse(spec, "weights", [0.5], p=0.7)


def test_all_forms_are_swept_alike_and_features_have_a_dimension(tmp_path):
    spec, values = parse_spec(PRODUCT), {"over": ["p_1=0.6,0.8"], "s": [1.0]}
    found = [
        sweep(given, out=tmp_path / str(i), **values, **numbers)
        for i, (given, numbers) in enumerate(forms(spec, tmp_path / "s.toml"))
        if given != printed_of(spec)
    ]
    assert all(other.equals(found[0]) for other in found)
    assert found[0].share_plus.dims == ("p_1", "feature")
    point = solve(spec, **TOLERANCES | {"rtol": 1e-8, "s": [1.0]}, p_1=0.6)
    for name in ("share_plus", "share_plus_error", "mode_mean"):
        assert found[0][name].isel(p_1=0, drop=True).equals(point[name].drop_attrs()), (
            name
        )
    told = sweep_summary(found[0])
    assert [told["share_plus_1"][0], told["share_plus_2"][0]] == list(point.share_plus)
    assert told["mode_mean"].shape == (2,)


def test_a_missing_file_and_a_missing_value_are_said(tmp_path):
    with pytest.raises(StoreError, match="The spec file must be readable"):
        asked(tmp_path / "none.toml")
    with pytest.raises(ModelError, match="`sigma` is missing"):
        solve(Model(two_modes()), **TOLERANCES, p=0.8, kappa=2.0)
    with pytest.raises(ModelError, match=r"must give `target\.sigma`"):
        _ = asked(Model(two_modes()), {"p": 0.8, "kappa": 2.0}).spec


def test_a_value_that_no_spec_has_is_said():
    with pytest.raises(ModelError, match="must be one that a spec can describe"):
        _ = asked(Model(two_modes()), POINT | {"n": 3}).spec
    held = printed_of(default_spec())
    with pytest.raises(ModelError, match="The first argument must be a spec"):
        _ = asked(held, POINT).limit
