"""Studies of product mixtures; the rows of laws, notes and corrections.

The limits are written by hand: Bayes' denoiser of a product mixture as d grows.
"""

import json

import dilaton
import numpy as np
import pytest
from dilaton.show.answers import study_text
from dilaton.theory.models.spec import parse_spec
from dilaton.torchcheck.study.compare import compare
from dilaton.torchcheck.study.converge import (
    converge,
    limit_curves,
    predicted_offsets,
    train_cells,
)
from dilaton.torchcheck.study.figures import _title
from dilaton.torchcheck.study.law import LEVELS, ks_row, shares_below
from dilaton.torchcheck.study.plan import Offset, Plan, phases
from scipy import stats

from ...oracles import check_row, measured, mixture, mixture_share

VALUES = {"sigma": 1.2, "p_1": 0.8, "p_2": 0.3, "rho_1": 1.0, "rho_2": 0.8}
KAPPA = 1.5


def spec_of(exponents):
    rows = "".join(
        f"[[target.features]]\np = {VALUES[f'p_{j}']}\nscale = {VALUES[f'rho_{j}']}\n"
        f'exponent = "{e}"\n'
        for j, e in enumerate(exponents, 1)
    )
    return parse_spec(
        f'[target]\nkind = "product"\nsigma = {VALUES["sigma"]}\n{rows}'
        '[interpolant]\nalpha = "1 - tau"\nbeta = "tau"\n'
        f'[dilation]\nkappa = {KAPPA}\n[data]\nn = "inf"\n'
        '[network]\nactivation = "tanh"\n'
    )


def feature(j, s):
    """The limit of unit j in its window at the times s, linear schedule."""
    field = KAPPA * s * VALUES[f"rho_{j}"] ** 0.5
    one, p = np.ones_like(s), VALUES[f"p_{j}"]
    found = {"m": one, "q": one, "omega": field, "r": field**2, "v": field}
    found["b"] = one * np.log(p / (1 - p)) / 2
    return {f"{name}_{j}": x for name, x in found.items()}


def law(j, draws=2**14):
    """Sorted quantiles of p N(k, 1) + (1 - p) N(-k, 1), the law at the window's end."""
    k, p = KAPPA * VALUES[f"rho_{j}"] ** 0.5, VALUES[f"p_{j}"]
    x = np.linspace(-8, 8, 4001)
    return np.interp((np.arange(draws) + 0.5) / draws, mixture(x, k, p), x)


def share(j):
    k, p = KAPPA * VALUES[f"rho_{j}"] ** 0.5, VALUES[f"p_{j}"]
    return np.array([mixture_share(k, p)])


def limits(spec, plan):
    """What the study has to find, phase by phase."""
    found = {}
    for part in phases(spec.model):
        s = plan.inside(part)
        units = [feature(j, s) for j in part.window.features]
        found[part.name] = {k: x for unit in units for k, x in unit.items()}
    s = plan.inside(phases(spec.model)[-1])
    spread = (1 - s) ** 2 + VALUES["sigma"] ** 2 * s**2
    found["variance"] = {"c": VALUES["sigma"] ** 2 * s / spread}
    found["variance"] |= {f"m_{j}": (1 - s) ** 2 / spread for j in (1, 2)}
    if plan.paths:
        found["law"] = {f"nu_{j}": law(j) for j in (1, 2)}
        found["sample"] = {f"share_plus_{j}": share(j) for j in (1, 2)}
        found["sample"] |= {f"mode_mean_{j}": np.ones(1) for j in (1, 2)}
        found["sample"]["bulk_variance"] = np.array([VALUES["sigma"] ** 2])
    return found


EQUAL = spec_of(("0", "0"))
PLAN = Plan(
    (1000, 3000, 9000), 3, tolerance=1e-9, times=(0.5, 1.0), paths=4000, cells=8
)


@pytest.fixture(scope="module")
def cells():
    return train_cells(EQUAL, PLAN)


@pytest.fixture(scope="module")
def study(cells):
    return compare(PLAN, EQUAL, limits(EQUAL, PLAN), cells)


def test_the_true_limit_of_a_product_is_consistent(study):
    assert study.verdict == "undecided"
    found = {x["quantity"]: x for x in study.fits}
    open_ = {name for name, x in found.items() if x["verdict"] != "consistent"}
    assert open_ == {f"{x}_{j}" for x in ("law", "mode_mean") for j in (1, 2)}
    assert {found[name]["verdict"] for name in open_} == {"undecided"}  # few paths
    assert max(found[f"share_plus_{j}"]["resolution"] for j in (1, 2)) < 0.01
    names = {(fit["phase"], fit["quantity"]) for fit in study.fits}
    units = {f"{x}_{j}" for x in ("m", "q", "omega", "r", "v", "b") for j in (1, 2)}
    laws = {f"{x}_{j}" for x in ("share_plus", "law") for j in (1, 2)}
    assert {name for phase, name in names if phase == "weights"} == units | laws
    assert study.gradient_norm <= 10 * PLAN.tolerance


def test_the_table_of_a_product_is_the_statistics_of_the_cells(study, cells):
    """The overlaps of a population do not vary: no chance, no z."""
    wanted = limits(EQUAL, PLAN)
    assert {row["d"] for row in study.rows} == set(PLAN.dims)
    for row in study.rows:
        at = (row["phase"], row["quantity"], row["s"], PLAN.times)
        x = measured(cells, PLAN, *at)[PLAN.dims.index(row["d"])]
        name = row["quantity"]
        generated = name in wanted["sample"]
        j = 0 if generated else PLAN.times.index(row["s"])
        known = wanted["sample" if generated else row["phase"]][name][j]
        check_row(row, x, known)
        assert (row["z"] is not None) == name.startswith(("share_plus", "mode_mean"))
        assert ("binomial" in row) == name.startswith("share_plus")
        if "binomial" in row:
            spread = x.mean() * (1 - x.mean()) / (3 * PLAN.paths)
            assert row["binomial"] == pytest.approx(spread**0.5)
        if name.startswith("share_plus") and row["d"] == PLAN.dims[-1]:
            fit = next(fit for fit in study.fits if fit["quantity"] == name)
            assert fit["offset_stderr"] == pytest.approx(row["stderr"])
            assert fit["offset"] == pytest.approx(abs(x.mean() - known))


@pytest.mark.parametrize(
    ("phase", "name", "factor"),
    [
        ("weights", "omega_1", 1.02),
        ("weights", "b_2", 1.01),
        ("weights", "m_2", 0.97),
        ("weights", "r_1", 1.05),
        ("variance", "c", 1.01),
        ("variance", "m_1", 1.02),
        ("sample", "bulk_variance", 1.02),
    ],
)
def test_a_broken_theory_of_a_product_is_inconsistent(cells, phase, name, factor):
    wrong = limits(EQUAL, PLAN)
    wrong[phase] = wrong[phase] | {name: factor * wrong[phase][name]}
    again = compare(PLAN, EQUAL, wrong, cells)
    assert again.verdict == "inconsistent"
    guilty = {fit["quantity"] for fit in again.fits if fit["verdict"] == "inconsistent"}
    assert guilty == {name}


def test_swapped_features_are_inconsistent(cells):
    wrong = limits(EQUAL, PLAN)
    wrong["law"] = {"nu_1": law(2), "nu_2": law(1)}
    again = compare(PLAN, EQUAL, wrong, cells)
    guilty = {fit["quantity"] for fit in again.fits if fit["verdict"] == "inconsistent"}
    assert guilty == {"law_1", "law_2"}


def test_cut_short_a_product_is_not_converged():
    plan = {"times": (0.5,), "paths": 0}
    curves = limits(EQUAL, Plan((300, 500, 800), 3, **plan))
    short = converge(EQUAL, (300, 500, 800), 3, curves=curves, max_iterations=2, **plan)
    assert short.verdict == "not converged"
    assert "not converged: the largest gradient norm" in study_text(short.to_dict())


def test_rows_of_the_law_are_scipys_test(study, cells):
    assert [(row["quantity"], row["d"]) for row in study.laws] == [
        (f"nu_{j}", d) for j in (1, 2) for d in PLAN.dims
    ]
    for row in study.laws:
        j, d = int(row["quantity"][-1]), row["d"]
        k, p = KAPPA * VALUES[f"rho_{j}"] ** 0.5, VALUES[f"p_{j}"]
        draws = np.concatenate([cells[d, seed][f"draws/nu_{j}"] for seed in range(3)])
        want = stats.kstest(
            draws,
            lambda x, k=k, p=p: mixture(x, k, p),
        )
        # the table of the law has 16384 steps
        assert abs(row["ks"] - want.statistic) < 2e-4
        assert row["draws"] == 3 * PLAN.paths == len(draws)
        assert (row["s"], row["phase"]) == (1.0, "weights")


def test_the_limit_of_what_is_generated_is_that_of_the_end(monkeypatch):
    monkeypatch.setattr("dilaton.torchcheck.study.converge._laws", lambda *_: {})
    plan = Plan(PLAN.dims, 3, times=(0.5,), paths=100, cells=8)
    found = limit_curves(EQUAL, plan)["sample"]
    for j in (1, 2):
        assert found[f"mode_mean_{j}"] == pytest.approx([1], abs=1e-6)
        assert found[f"share_plus_{j}"] == pytest.approx(share(j), abs=1e-6)
    assert found["bulk_variance"] == pytest.approx([1.44], abs=1e-6)


def test_a_law_is_told_from_a_wrong_one():
    random = np.random.default_rng(0)
    limit = np.sort(random.normal(size=2**14))
    draws = np.sort(random.normal(size=20_000))
    assert ks_row(draws, limit)["p_value"] > 1e-3
    for wrong in (1.1 * draws, draws + 0.1):
        assert ks_row(wrong, limit)["p_value"] < 1e-8
    below = shares_below(draws, limit)
    # both sides are empirical: 5 sigma of 20,000 and of 16,384 draws
    assert np.abs(below - LEVELS).max() < 5 * (0.25 / 20_000 + 0.25 / 2**14) ** 0.5


# --------------------------------------------------------------- corrections and notes


def test_corrections_are_shown_beside_and_decide_nothing(cells):
    wanted = limits(EQUAL, PLAN)
    s = np.array(PLAN.times)
    offset = Offset(0.5, {"omega_1": 2 * (KAPPA * s) ** 2, "b_1": 0 * s})
    plain = compare(PLAN, EQUAL, wanted, cells)
    found = compare(PLAN, EQUAL, wanted, cells, {"weights": offset})
    judged = ("quantity", "verdict", "extrapolated", "offset")
    assert [[x[k] for k in judged] for x in found.fits] == [
        [x[k] for k in judged] for x in plain.fits
    ]
    for row in found.rows:
        if row["quantity"] == "omega_1" and row["phase"] == "weights":
            assert np.isclose(
                row["correction"], 2 * (KAPPA * row["s"]) ** 2 * row["d"] ** -0.5
            )
        elif row["quantity"] != "b_1":
            assert row["correction"] is None
    fits = {(x["phase"], x["quantity"]): x for x in found.fits}
    omega = fits["weights", "omega_1"]
    assert omega["offset_corrected"] < 0.1 * omega["offset"]
    rows = [
        row
        for row in found.rows
        if (row["quantity"], row["d"]) == ("omega_1", 9000)
        and row["phase"] == "weights"
    ]
    off = [row["mean"] - row["limit"] for row in rows]
    assert np.isclose(omega["offset"], np.sqrt(np.mean(np.square(off))))
    assert fits["weights", "omega_2"]["offset_corrected"] is None


@pytest.mark.parametrize("exponents", [("0", "0"), ("0", "1/4")])
def test_predicted_offsets_of_a_product(exponents):
    r"""Bayes at finite d: omega = kappa s (1 + 2 kappa s d^-rate), others follow.

    The second phase begins where the first ends, at tau = kappa d^(-1/2).
    """
    spec = spec_of(exponents)
    plan = Plan((300, 1000, 3000), 3, times=(0.5, 1.0), paths=0)
    wanted = limits(spec, plan)
    found = predicted_offsets(spec, plan, wanted)
    rates = {"0": 0.5, "1/4": 0.25}
    for part in phases(spec.model)[:-1]:
        for j in part.window.features:
            offset = found[part.name]
            assert offset.rate == rates[exponents[j - 1]]
            x = KAPPA * np.array(plan.times)
            size = VALUES[f"rho_{j}"] ** 0.5
            start = (KAPPA - x) * (exponents[j - 1] == "1/4")
            moved = (2 * x**2 + start) * size
            assert np.allclose(offset.shifts[f"omega_{j}"], moved)
            assert np.allclose(offset.shifts[f"r_{j}"], 2 * x * size * moved)
            assert np.allclose(offset.shifts[f"b_{j}"], 0)
    assert "variance" not in found


def test_what_is_printed(study):
    text = study_text(study.to_dict())
    assert "The limit is undecided: mode_mean_1 (variance, " in text
    assert text.endswith(" %); consistent to 0.55 % in 18 quantities.")
    assert "Law of nu against the limit's (Kolmogorov-Smirnov), at each d:" in text
    answer = json.loads(json.dumps(study.to_dict(), allow_nan=False))
    assert {"correction", "z", "stderr"} <= set(answer["rows"][0])
    assert {"offset", "offset_corrected", "offset_stderr"} <= set(answer["fits"][0])
    whole = answer | {"fits": answer["fits"][:3], "verdict": "consistent"}
    assert study_text(whole).endswith("\n\nThe limit is consistent to 0.55 %.")
    whole["fits"][1] |= {"verdict": "inconsistent", "resolution": None}
    said = "The limit is inconsistent: q_1 (weights, any error); consistent to 0.55 % "
    assert study_text(whole).endswith(f"{said}in 2 quantities.")
    nothing = study_text(answer | {"fits": []})
    assert nothing.endswith("undecided: nothing was compared.")
    corrected = study.to_dict()
    corrected["fits"][0]["offset_corrected"] = 0.25
    assert "Distance of the mean from the limit at d = 9000" in study_text(corrected)


def test_the_figure_has_every_feature_in_every_phase(tmp_path, monkeypatch):
    drawn = {}

    def keep(rows, fits, curves, names, folder):
        drawn.update(curves)

    monkeypatch.setattr("dilaton.torchcheck.study.converge.draw_study", keep)
    plan = {"times": (0.5,), "paths": 0}
    converge(
        EQUAL, (300, 500, 800), 3, output=tmp_path / "out", max_iterations=2, **plan
    )
    for j in (1, 2):
        t, m = map(np.array, drawn[f"m_{j}"])
        bulk = t > 0.5
        s = 2 * t[bulk] - 1
        assert np.allclose(m[t < 0.5], 1)
        assert np.allclose(m[bulk], (1 - s) ** 2 / ((1 - s) ** 2 + 1.44 * s**2))
        assert np.isnan(np.array(drawn[f"omega_{j}"][1])[bulk]).all()
    assert _title("omega_2") == r"$\omega_{2}$"
    assert _title("mode_mean") == "mode mean"


FROZEN = dilaton.default_spec().replace(
    n=4, n_plus=3, ridge_u=0.5, ridge_w=0.5, noise_draws=1
)


def test_a_degenerate_phase_is_noted_and_not_judged():
    """c = 2 a/(a + b) at tau = 1/2, a = (ridge (1 + s2) + s2 (n - 1))/(n + ridge)."""
    a, b = (0.5 * 2 + 3) / 4.5, 3.5 / 4.5
    curves = {
        "weights": {"b": np.zeros(1)},
        "variance": {"c": np.array([2 * a / (a + b)])},
    }
    study = converge(FROZEN, (300, 1000, 3000), 3, curves=curves, times=(0.5,), paths=0)
    assert study.verdict == "consistent"
    half = {**curves, "variance": {"c": curves["variance"]["c"] / 2}}
    wrong = converge(FROZEN, (300, 1000, 3000), 3, curves=half, times=(0.5,), paths=0)
    assert wrong.verdict == "inconsistent"
    assert {(x["phase"], x["quantity"]) for x in study.fits} == {("variance", "c")}
    assert not study.laws
    (note,) = study.notes
    assert "weights is degenerate: with frozen noise (noise_draws = 1)" in note
    assert f"Note: {note}" in study_text(study.to_dict())


# ----------------------------------------------------------------------- larger studies


@pytest.mark.slow
def test_the_derived_limit_of_a_product_is_consistent():
    spec = EQUAL
    plan = Plan((1000, 3000, 10_000, 30_000), 6, tolerance=1e-9, paths=8000)
    cells = train_cells(spec, plan)
    wanted = limit_curves(spec, plan)
    offsets = predicted_offsets(spec, plan, wanted)
    study = compare(plan, spec, wanted, cells, offsets)
    assert study.verdict == "consistent"
    assert {row["quantity"] for row in study.laws} == {"nu_1", "nu_2"}
    assert min(row["ks"] for row in study.laws) < 0.02
    fits = {(x["phase"], x["quantity"]): x for x in study.fits}
    first = fits[phases(spec.model)[0].name, "omega_1"]
    assert first["offset_corrected"] < 0.1 * first["offset"]
    sample = {name: 1.1 * x for name, x in wanted["sample"].items()}
    wrong = compare(plan, spec, wanted | {"sample": sample}, cells)
    guilty = {x["quantity"] for x in wrong.fits if x["verdict"] == "inconsistent"}
    assert {"share_plus_1", "mode_mean_1", "bulk_variance"} <= guilty
