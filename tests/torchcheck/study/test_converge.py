"""The convergence study: statistics with teeth, verdicts, folders, resumption."""

import json
from dataclasses import replace

import dilaton
import numpy as np
import pytest
from dilaton.errors import ModelError, StoreError
from dilaton.theory.models.spec import parse_spec
from dilaton.torchcheck.study.cells import Trial, sample_cell
from dilaton.torchcheck.study.compare import compare
from dilaton.torchcheck.study.converge import converge, train_cells
from dilaton.torchcheck.study.plan import TIMES, Plan, phases
from dilaton.torchcheck.study.series import Series, fit_of
from dilaton.torchcheck.study.verdict import (
    DECISIVE,
    Criterion,
    Extrapolation,
    extrapolate,
    fit_slope,
    resolution,
    verdict_of,
    worst_verdict,
)
from scipy import optimize

from ...cases import POPULATION, only
from ...oracles import check_row, measured

SPEC = dilaton.default_spec().replace(n=16, n_plus=13, ridge_u=0.1, ridge_w=0.1)
DIMS = (300, 1000, 3000, 10_000)
SEEDS = 6
CRITERION = Criterion(level=1e-3, powers=True, slack=0.0, converged=True)
CLOSE = 2e-2  # the distance from the limit that is asked for at d = 10^4


def saddle(values, field):
    """The n-sample limit at kappa s = `field`, by brute minimisation and quadrature."""
    g, weight = np.polynomial.hermite_e.hermegauss(100)
    weight = weight / weight.sum()
    n, plus, sigma = values["n"], values["n_plus"], values["sigma"]
    minus = n - plus

    def parts(x):
        omega, up, down, b = x
        r = omega**2 + plus * up**2 + minus * down**2
        a = np.tanh(np.sqrt(r) * g + field * (omega + sigma * up) + b)
        c = np.tanh(np.sqrt(r) * g + field * (-omega + sigma * down) + b)
        scale = values["ridge_u"] + plus * a**2 @ weight + minus * c**2 @ weight
        return r, a @ weight, c @ weight, scale

    def loss(x):
        r, a, c, scale = parts(x)
        gain = (plus * a - minus * c) ** 2 + sigma**2 * (plus * a**2 + minus * c**2)
        return n * (1 + sigma**2) - gain / scale + values["ridge_w"] * r

    x = optimize.minimize(loss, [field, 0.05, -0.1, 0.5], method="BFGS").x
    fine = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 4000}
    x = optimize.minimize(loss, x, method="Nelder-Mead", options=fine).x
    r, a, c, scale = parts(x)
    names = ("omega", "zeta_plus", "zeta_minus", "b")
    return dict(zip(names, x, strict=True)) | {
        "r": r,
        "m": (plus * a - minus * c) / scale,
        "a_plus": sigma * a / scale,
        "a_minus": sigma * c / scale,
    }


def test_the_error_of_a_step_is_stated_for_coarse_grids_too():
    """Where it changes its sign on the way, that of another time is stated."""
    spec = parse_spec(POPULATION).replace(sigma=1.0, kappa=4.0)
    trial = Trial(spec, Plan((300, 1000, 3000), 3, cells=8, paths=10), 1000, 0)
    cell = sample_cell(trial)
    for name, tau in (("variance/V", np.array(TIMES[:3])), ("bulk_variance", 1.0)):
        found = cell[name if "/" in name else f"sample/{name}"]
        off = np.abs(found - (1 - tau) ** 2 - tau**2).max()
        assert 1e-4 < off < cell[f"step/{name}"].max() < 1e-2


def closed(values, tau):
    """The variance phase with fresh noise."""
    n, ridge, s2 = values["n"], values["ridge_u"], values["sigma"] ** 2
    a = (ridge * (1 + s2) + s2 * (n - 1)) / (n + ridge)
    bulk = (1 - tau) ** 2 + tau**2 * a
    c = tau * a / bulk
    return {"c": c, "m": (1 - c * tau) * n / (n + ridge), "V": bulk}, a


@pytest.fixture(scope="module")
def curves():
    values = SPEC.values
    rows = [saddle(values, values["kappa"] * s) for s in TIMES]
    learned, a = closed(values, np.array([s for s in TIMES if s < 1]))
    return {
        "weights": {k: np.array([row[k] for row in rows]) for k in rows[0]},
        "variance": learned,
        "sample": {
            "share_plus": np.array([0.8072]),  # 400,000 paths of the limiting flow
            "mode_mean": np.array([values["n"] / (values["n"] + values["ridge_u"])]),
            "bulk_variance": np.array([a]),
        },
    }


PLAN = Plan(DIMS, SEEDS, tolerance=3e-6, paths=16_000, cells=12)


@pytest.fixture(scope="module")
def cells():
    return train_cells(SPEC, PLAN)


@pytest.fixture(scope="module")
def study(curves, cells):
    return compare(PLAN, SPEC, curves, cells)


def changed(curves, phase, name, factor):
    new = {key: dict(part) for key, part in curves.items()}
    new[phase][name] = factor * new[phase][name]
    return new


def test_the_true_limit_is_consistent(study):
    assert study.verdict == "consistent"
    assert {fit["verdict"] for fit in study.fits} == {"consistent"}
    assert study.gradient_norm <= 10 * study.plan.tolerance


def limit_at(curves, row):
    """The limit of a row of the study's table."""
    if row["quantity"] in curves["sample"]:
        return curves["sample"][row["quantity"]][0]
    return curves[row["phase"]][row["quantity"]][TIMES.index(row["s"])]


def test_the_table_is_the_statistics_of_the_cells(study, cells, curves):
    assert {row["d"] for row in study.rows} == set(DIMS)
    for row in study.rows:
        at = (row["phase"], row["quantity"], row["s"], TIMES)
        x = measured(cells, PLAN, *at)[DIMS.index(row["d"])]
        check_row(row, x, limit_at(curves, row))
        assert row["z"] is not None
        assert ("binomial" in row) == (row["quantity"] == "share_plus")
        if "binomial" in row:
            spread = x.mean() * (1 - x.mean()) / (SEEDS * PLAN.paths)
            assert row["binomial"] == pytest.approx(spread**0.5)


def test_offsets_are_those_of_the_largest_dimension(study, cells):
    for fit in study.fits:
        name = {key: fit[key] for key in ("phase", "quantity")}
        rows = [x for x in study.rows if name.items() <= x.items()]
        rows = [x for x in rows if x["d"] == DIMS[-1]]
        at = [measured(cells, PLAN, *name.values(), x["s"], TIMES)[-1] for x in rows]
        off = [np.mean(x) - row["limit"] for x, row in zip(at, rows, strict=True)]
        chance = [np.var(x, ddof=1) / len(x) for x in at]
        assert fit["offset"] == pytest.approx(np.mean(np.square(off)) ** 0.5)
        assert fit["offset_stderr"] == pytest.approx(np.mean(chance) ** 0.5)


def test_overlaps_are_near_the_limit_with_the_rate_one_half(study):
    fits = {fit["quantity"]: fit for fit in study.fits if fit["phase"] == "weights"}
    assert len(fits) == 9  # eight overlaps and the share
    for name in set(fits) - {"share_plus"}:
        fit = fits[name]
        assert fit["slope_low"] <= -0.5 <= fit["slope_high"], name
        assert abs(fit["extrapolated"] - fit["limit"]) < 1e-3, name
    largest = [
        row
        for row in study.rows
        if row["d"] == 10_000 and row["phase"] == "weights" and row["s"] == 0.25
    ]
    off = [abs(x["mean"] - x["limit"]) / max(1, abs(x["limit"])) for x in largest]
    assert max(off) < CLOSE


def guilty_of(study):
    return {x["quantity"] for x in study.fits if x["verdict"] == "inconsistent"}


@pytest.mark.parametrize(
    ("phase", "name", "factor"),
    [
        ("weights", "omega", 1.01),
        ("weights", "b", 0.99),
        ("weights", "m", 1.01),
        ("weights", "r", 1.01),
        ("weights", "zeta_plus", 0.97),
        ("weights", "zeta_minus", 1.03),
        ("weights", "a_plus", 1.02),
        ("weights", "a_minus", -1.0),
        ("variance", "c", 1.02),
        ("variance", "m", 1.1),
        ("variance", "V", 1.01),
        ("sample", "bulk_variance", 1.02),
        ("sample", "mode_mean", 1.02),
        ("sample", "share_plus", 1.01),
    ],
)
def test_a_wrong_factor_is_inconsistent(curves, cells, phase, name, factor):
    again = compare(PLAN, SPEC, changed(curves, phase, name, factor), cells)
    assert again.verdict == "inconsistent"
    assert guilty_of(again) == {name}


def scaled(curves, factor):
    return {
        phase: {name: factor * x for name, x in part.items()}
        for phase, part in curves.items()
    }


@pytest.mark.parametrize("error", [0.01, 0.02, 0.05, 0.1, -0.01, -0.02, -0.05, -0.1])
def test_deliberate_errors_are_excluded_or_left_undecided(curves, cells, study, error):
    """All limits wrong by a factor at once: each comparison knows what it can see."""
    again = compare(PLAN, SPEC, scaled(curves, 1 + error), cells)
    for true, wrong in zip(study.fits, again.fits, strict=True):
        if abs(error) > true["resolution"] + 1e-4:
            assert wrong["verdict"] == "inconsistent", wrong["quantity"]
        if wrong["verdict"] == "consistent":  # then the truth is within what it says
            assert abs(error) / (1 + error) < wrong["resolution"] <= DECISIVE
    missed = {x["quantity"] for x in again.fits if x["verdict"] != "inconsistent"}
    assert missed <= ({"m"} if abs(error) < 0.03 else set())  # of the variance phase


def test_what_a_comparison_says_it_excludes_it_excludes(curves, cells, study):
    for i, fit in enumerate(study.fits):
        sample = fit["quantity"] in curves["sample"]
        phase = "sample" if sample else fit["phase"]
        for sign in (-1, 1):
            factor = 1 + sign * (1.02 * fit["resolution"] + 1e-4)
            wrong = changed(curves, phase, fit["quantity"], factor)
            mine = compare(PLAN, SPEC, wrong, cells).fits[i]
            assert mine["verdict"] == "inconsistent", fit["quantity"]


def test_the_study_is_as_fine_as_its_coarsest_consistent_comparison(study):
    sizes = [fit["resolution"] for fit in study.fits]
    assert study.resolution == max(sizes) <= DECISIVE
    shares = [x for x in study.fits if x["quantity"] == "share_plus"]
    assert shares[0]["resolution"] < 0.01


def test_a_wrong_ridge_in_the_theory_is_inconsistent(curves, cells):
    values = SPEC.values | {"ridge_w": 0.2}
    rows = [saddle(values, values["kappa"] * s) for s in TIMES]
    wrong = curves | {
        "weights": {k: np.array([row[k] for row in rows]) for k in rows[0]}
    }
    assert compare(PLAN, SPEC, wrong, cells).verdict == "inconsistent"


def test_cut_short_is_not_converged(curves):
    short = converge(
        SPEC, (300, 1000, 3000), 3, curves=curves, paths=0, max_iterations=5
    )
    assert short.verdict == "not converged"
    assert {fit["verdict"] for fit in short.fits} == {"not converged"}
    assert short.gradient_norm > 1e-6


def tiny(curves, output, **more):
    return converge(
        SPEC, (300, 500, 800), 3, curves=curves, output=output, paths=0, **more
    )


def stop_after_two(jobs):
    yield from list(jobs)[:2]
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def resumed(tmp_path_factory, curves):
    """A study that was interrupted after two cells; their files; its end."""
    out = tmp_path_factory.mktemp("study") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dilaton.show.plots.save", only("png"))
        with pytest.raises(KeyboardInterrupt):
            tiny(curves, out, progress=stop_after_two)
        assert not (out / "converge.json").exists()
        cells = sorted((out / "cells").glob("*/*.npz"))
        times = {cell: cell.stat().st_mtime_ns for cell in cells}
        return out, times, tiny(curves, out)


def test_the_folder_has_what_is_promised(curves, resumed):
    out, _, found = resumed
    answer = json.loads((out / "converge.json").read_text())
    row = {"phase", "s", "quantity", "d", "mean", "stderr", "limit", "z"}
    fit = {"quantity", "phase", "slope", "slope_low", "slope_high", "extrapolated"}
    fit |= {"resolution", "rate"}
    assert all(row <= set(x) for x in answer["rows"])
    assert all(fit | {"verdict"} <= set(x) for x in answer["fits"])
    assert answer["verdict"] == found.verdict
    assert "resolution" in answer
    assert {"dims", "seeds", "tolerance", "seed"} <= set(answer["plan"])
    for stem in ("overlaps", "convergence"):
        assert (out / f"{stem}.png").stat().st_size > 1000
    # another run's folder is refused and left as it is
    before = (out / "converge.json").read_bytes()
    with pytest.raises(StoreError, match="study with other settings"):
        converge(SPEC.replace(sigma=1.5), (300, 500, 800), 3, curves=curves, output=out)
    assert (out / "converge.json").read_bytes() == before


def test_an_interrupted_study_goes_on(curves, resumed, monkeypatch):
    monkeypatch.setattr("dilaton.torchcheck.study.converge.draw_study", lambda *_: None)
    out, times, whole = resumed
    assert len(times) == 2
    assert {cell: cell.stat().st_mtime_ns for cell in times} == times
    fresh = tiny(curves, None)
    assert whole.rows == fresh.rows
    # a damaged file is noticed and redone
    cell = min(times)
    cell.write_bytes(cell.read_bytes()[:-100])
    assert tiny(curves, out).rows == fresh.rows
    assert cell.stat().st_mtime_ns > times[cell]


def test_a_folder_with_something_else_is_refused(tmp_path, curves):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="holds something else"):
        tiny(curves, tmp_path)
    with pytest.raises(StoreError, match="must be a folder, but"):
        tiny(curves, tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": (300, 1000)}, "at least three different dimensions"),
        ({"dims": (1, 300, 1000)}, "dimensions from 2"),
        ({"seeds": 2}, "`seeds` must be at least 3"),
        ({"times": (0.0, 0.5)}, r"`times` must lie in \(0, 1\]"),
        ({"dims": (10, 300, 1000)}, "needs d > 16, but d is 10"),
    ],
)
def test_messages(change, message, curves):
    given = {"dims": DIMS, "seeds": 3, "curves": curves} | change
    with pytest.raises(ModelError, match=message):
        converge(SPEC, given.pop("dims"), given.pop("seeds"), **given)


# ------------------------------------------------------------- statistics by themselves


def series(seed, dims=DIMS, seeds=8, noise=0.3, shift=0.0):
    random = np.random.default_rng(seed)
    d = np.array(dims, float)[:, None]
    a, b = random.normal([1.0, -2.0], noise, (seeds, 2)).T
    return 2.0 + shift + a * d**-0.5 + b / d + 0.5 * d**-1.5


def test_extrapolation_finds_the_constant():
    found = extrapolate(np.array(DIMS), series(0), 2.0, CRITERION)
    assert abs(found.value - 2) < 1e-4
    assert found.low < 2 < found.high
    assert found.high - found.low < 2e-3


def test_false_alarms_are_as_rare_as_promised():
    criterion = Criterion(level=0.05, powers=True, slack=0.0, converged=True)
    outside = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        values = series(seed) + random.normal(0, 0.01, (4, 8))  # independent noise too
        found = extrapolate(np.array(DIMS), values, 2.0, criterion)
        outside += not found.low < 2 < found.high
    # 5 % of 400 is 20; truncation only widens the interval
    assert outside <= 20 + 3 * 4.4


def test_slack_and_logarithms_widen_the_interval():
    plain = extrapolate(np.array(DIMS), series(0), 2.0, CRITERION)
    for criterion in (
        Criterion(level=1e-3, powers=True, slack=0.1, converged=True),
        Criterion(level=1e-3, powers=False, slack=0.0, converged=True),
    ):
        wide = extrapolate(np.array(DIMS), series(0), 2.0, criterion)
        assert wide.high - wide.low > 2 * (plain.high - plain.low)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_slopes_are_recovered(power):
    d = np.array(DIMS, float)
    random = np.random.default_rng(1)
    errors = random.normal(1.0, 0.5, (1, 8, 2)) * d[:, None, None] ** -power
    slope, low, high = fit_slope(d, errors, 0)
    assert low <= -power <= high < low + 0.1
    assert abs(slope + power) < 1e-10
    bent = errors * (1 + 3 * d[:, None, None] ** -0.5)
    slope, low, high = fit_slope(d, bent, 0)
    assert abs(slope + power) > 0.01
    assert low <= -power <= high < low + 0.6  # wide for the term, no wider


def test_no_slope_within_the_floor():
    assert all(np.isnan(fit_slope(np.array(DIMS, float), np.zeros((4, 3, 1)), 0)))


def test_an_interval_that_excludes_nothing_decides_nothing():
    """The interval .465 to 9.07 around a limit of 4.93 would pass a factor of 1.8."""
    wide = Extrapolation(4.7675, 0.465, 9.07, 1.0, 1.0)
    size = resolution(wide, 4.93, 4.93)
    assert size == pytest.approx((9.07 - 0.465) / 2 / 4.93 + (4.93 - 4.7675) / 4.93)
    assert verdict_of(True, size, CRITERION) == "undecided"
    assert verdict_of(False, size, CRITERION) == "inconsistent"
    assert verdict_of(True, DECISIVE, CRITERION) == "consistent"
    assert verdict_of(True, 1.001 * DECISIVE, CRITERION) == "undecided"
    assert verdict_of(True, 0.0, replace(CRITERION, converged=False)) == "not converged"
    assert resolution(wide, 0.0, 0.0) == np.inf


@pytest.mark.parametrize("limit", [0.0, 2.0])
def test_noise_leaves_a_comparison_undecided(limit):
    random = np.random.default_rng(0)
    noise = np.array(DIMS, float)[:, None, None] ** -0.5 * random.normal(size=(4, 8, 1))
    for scale, verdict in ((0.01, "consistent"), (3.0, "undecided")):
        values = limit + scale * noise
        quantity = Series("weights", "x", np.ones(1), values, np.array([limit]), 0.0)
        fit = fit_of(quantity, np.array(DIMS, float), CRITERION, 0)
        assert fit["verdict"] == verdict
        half = (fit["extrapolated_high"] - fit["extrapolated_low"]) / 2
        size = half + abs(fit["extrapolated"] - limit)
        assert fit["resolution"] == pytest.approx(size / (limit or 1.0))


def test_the_worst_verdict_wins():
    assert worst_verdict([]) == "undecided"
    assert worst_verdict(["consistent", "undecided"]) == "undecided"
    assert worst_verdict(["undecided", "inconsistent"]) == "inconsistent"
    assert worst_verdict(["consistent", "consistent"]) == "consistent"
    assert worst_verdict(["consistent", "inconsistent"]) == "inconsistent"
    assert worst_verdict(["inconsistent", "not converged"]) == "not converged"


def test_plans_leave_out_the_end_of_time():
    weights, variance = phases(SPEC.model)
    plan = Plan(DIMS, 8)
    assert plan.inside(weights).tolist() == list(TIMES)
    assert plan.inside(variance).tolist() == list(TIMES[:-1])
