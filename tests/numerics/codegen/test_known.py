"""What is kept of a limit: it solves like the limit, and only the limit it is of."""

import json
import subprocess
import sys
from dataclasses import replace

import dilaton
import numpy as np
import pytest
from dilaton import Autoencoder, Data, Model, default_spec, two_modes
from dilaton.numerics.codegen.parameters import closed_values
from dilaton.numerics.codegen.snapshot import limit_of, printed, printed_limit
from dilaton.numerics.solve import solve_point
from dilaton.theory import derive as engine
from dilaton.theory.models.spec import parse_spec

POINT = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
TOLERANCES = {"s": [0.0, 0.5, 1.0], "rtol": 1e-9, "atol": 1e-11}
ROUNDING = 1e-13  # closed forms, printed from the same equations


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("DILATON_CACHE", str(tmp_path))
    return tmp_path


def population():
    return default_spec().replace(n="inf")


def test_a_known_spec_is_solved_without_deriving_it(cache, monkeypatch):
    spec = population()
    first = solve_point(limit_of(spec), **TOLERANCES, **spec.values)
    direct = dilaton.solve(engine.derive(spec.model), **TOLERANCES, **spec.values)
    monkeypatch.setattr(engine, "derive", None)
    second = solve_point(limit_of(spec), **TOLERANCES, **spec.values)
    for a, b in zip(first.rows, second.rows, strict=True):
        assert all(np.array_equal(a[k], b[k], equal_nan=True) for k in a)
    assert first.about == second.about
    kept = first.dataset()
    for name in direct.data_vars:
        np.testing.assert_allclose(kept[name], direct[name], rtol=ROUNDING)


def test_a_second_command_loads_no_sympy(cache, tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text(population().text)
    script = (
        "import sys; from dilaton.face.cli import main\n"
        f"sys.argv = ['dilaton', 'solve', {str(spec)!r}, '--json']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('sympy', 'numba', 'xarray', 'scipy') if m in sys.modules])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for _ in range(2)
    ]
    assert runs[0][0] == runs[1][0]
    assert json.loads(runs[0][0])["sample"]["share_plus"] == pytest.approx(0.7863499)
    assert "sympy" in runs[0][1]
    assert runs[1][1] == "[]"


def test_a_damaged_file_is_said_and_made_again(cache):
    spec = population()
    first = solve_point(limit_of(spec), **TOLERANCES, **spec.values)
    for path in (cache / "texts").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.warns(UserWarning, match="must match its checksum"):
        again = solve_point(limit_of(spec), **TOLERANCES, **spec.values)
    assert again.scalars == first.scalars


def test_known_models_do_not_share_their_texts(cache):
    # with the second beta the signal, and with it omega, comes in twice as fast
    text = population().text
    other = text.replace('"tau"', '"2*tau - tau**2"')
    for spec in (parse_spec(text), parse_spec(other)) * 2:
        phase = limit_of(spec).phases[0]
        direct = engine.derive(spec.model).phase("weights").learned
        at, point = np.array([0.0, 0.5, 1.0]), POINT
        kept = closed_values(phase.learned, at, point)
        wanted = closed_values(direct, at, point)
        for name in wanted:
            np.testing.assert_allclose(kept[name], wanted[name], rtol=ROUNDING)


def test_a_known_phase_can_be_derived(cache):
    limit_of(population())
    kept = limit_of(population())
    assert [phase.make().name for phase in kept.phases] == ["weights", "variance"]
    assert [phase.name for phase in kept.phases] == ["weights", "variance"]
    # the noise, 1 - tau, is used up at the end of the second phase alone
    assert [phase.vanishes for phase in kept.phases] == [False, True]


def test_another_model_is_another_entry(cache):
    solve_point(limit_of(population()), **TOLERANCES, **POINT)
    before = len(list((cache / "texts").iterdir()))
    shifted = dilaton.parse_schedule("tau**2", "beta")
    model = replace(
        Model(two_modes()),
        interpolant=dilaton.Interpolant(dilaton.LINEAR.alpha, shifted),
    )
    found = dilaton.derive(model)
    printed_limit(found)
    assert len(list((cache / "texts").iterdir())) > before
    assert (
        found.phases[0].exponent
        != dilaton.derive(Model(two_modes())).phases[0].exponent
    )


def test_derive_answers_from_the_cache_and_still_gives_every_equation(
    cache, monkeypatch
):
    limit = dilaton.derive(Model(two_modes()))
    wanted = [phase.learned for phase in limit.phases]
    real = engine.derive
    monkeypatch.setattr(engine, "derive", None)
    again = dilaton.derive(Model(two_modes()))
    assert isinstance(again, dilaton.Limit)
    monkeypatch.setattr(engine, "derive", real)
    assert [phase.learned for phase in again.phases] == wanted
    assert again.phase("weights").sampling == limit.phase("weights").sampling
    assert again == limit


def test_changed_equations_are_solved_not_what_is_kept(cache):
    limit = dilaton.derive(Model(two_modes()))
    fair = dilaton.solve(limit, **TOLERANCES, **POINT)
    phase = replace(limit.phases[0])  # a copy: a model is derived once in a process
    wrong = phase.learned.replaced("b", 2 * phase.learned["b"])
    vars(phase)["learned"] = wrong  # a cached property
    broken = replace(limit, phases=(phase, *limit.phases[1:]))
    off = dilaton.solve(broken, **TOLERANCES, **POINT)
    assert float(off.b[0]) == pytest.approx(2 * float(fair.b[0]))


@pytest.mark.parametrize(
    "model",
    [
        Model(two_modes(), data=Data(samples=True)),
        Model(two_modes(), autoencoder=Autoencoder(tied=True)),
        Model(two_modes(), data=Data(samples=True, frozen_noise=True)),
    ],
    ids=["samples", "tied", "frozen"],
)
def test_what_is_kept_has_the_names_of_the_systems(cache, model):
    limit = dilaton.derive(model)
    kept = printed_limit(limit)
    for phase, real in zip(kept.phases, limit.phases, strict=True):
        assert (phase.name, phase.features) == (real.name, real.features)
        for role in ("learned", "sampling", "projected"):
            ours, system = getattr(phase, role), getattr(real, role)
            assert (ours is None) == (system is None)
            if system is not None:
                assert ours.names == system.names
                assert ours == replace(printed(system), key=ours.key, origin=None)
