"""The main job: its folder, its numbers, its page, and what it does when stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import dilaton
import numpy as np
import pytest
import xarray as xr
from dilaton.errors import StoreError
from dilaton.face import page, report
from dilaton.show import plots
from dilaton.theory.models.spec import parse_spec
from dilaton.torchcheck.study import confirm
from dilaton.torchcheck.study.confirm import ReportSettings, settings_for
from dilaton.torchcheck.study.figures import distances
from dilaton.torchcheck.study.law import decided_laws, histogram
from scipy.stats import kstest

from ..cases import PRODUCT, THREE_MODES, only
from ..oracles import mixture, mixture_share

QUADRATURE = 1e-9  # the report solves at rtol 1e-9
PVALUE = 1e-3  # a KS test at a fixed seed; the perturbed law is refused at 1e-12
COARSE = 0.1  # six cells, 2,000 paths, d from 100
COMMAND = (sys.executable, "-m", "dilaton.face.cli")
TINY = ReportSettings((100, 200, 400), 3, (0.5, 1.0), 3, 2_000, (50,), 5, 2)


@pytest.fixture
def population():
    return dilaton.default_spec().replace(n="inf")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run of the population, with networks, at the smallest size."""
    output = tmp_path_factory.mktemp("run") / "report"
    patch = pytest.MonkeyPatch()
    patch.setattr(confirm, "QUICK", TINY)
    spec = dilaton.default_spec().replace(n="inf")
    report.write_report(spec, output, report.Effort(True, 1, "cpu"), force=False)
    patch.undo()
    return output


@pytest.fixture(scope="module")
def record(run_folder):
    return json.loads((run_folder / "run.json").read_text())


# ------------------------------------------------------------------- the finished run


def test_a_run_leaves_the_promised_files_and_nothing_else(run_folder):
    files = {str(p.relative_to(run_folder)) for p in run_folder.rglob("*.*")}
    figures = ("overlaps", "convergence", "laws", "shares", "undilated")
    assert files == {
        "index.html",
        "run.json",
        "equations.tex",
        "data/trajectory.nc",
        "data/population.nc",
        *(f"figures/{name}.{form}" for name in figures for form in ("png", "pdf")),
    }
    assert [p.name for p in run_folder.parent.iterdir()] == ["report"]


def test_the_numbers_are_those_of_the_theory(record):
    wanted = mixture_share(2, 0.8)
    assert record["sample"]["share_plus"] == pytest.approx(wanted, abs=QUADRATURE)
    assert record["sample"]["mode_mean"] == pytest.approx(1, abs=100 * QUADRATURE)
    curves = record["curves"]
    weights = [i for i, phase in enumerate(curves["phase"]) if phase == "weights"]
    for i in weights:
        assert curves["omega"][i] == pytest.approx(2 * curves["s"][i])
        assert curves["b"][i] == pytest.approx(np.log(4) / 2)
        assert curves["t"][i] == pytest.approx(curves["s"][i] / 2)


def test_the_record_says_how_it_was_made(record):
    assert record["seed"] == 1
    assert record["spec"] == dilaton.default_spec().replace(n="inf").text
    assert set(record["versions"]) >= {"python", "sympy", "numba", "torch"}
    assert all(x >= 0 for x in record["seconds"].values())
    assert {row["d"] for row in record["dots"]} == set(TINY.dims)


def generated(record, schedule, rule):
    """Rows of what was generated so, one for each dimension."""
    kind = (schedule, rule)
    rows = [x for x in record["shares"] if (x["schedule"], x["rule"]) == kind]
    assert [row["d"] for row in rows] == list(TINY.dims)
    return rows


def test_dilated_networks_generate_the_share_of_the_law(record):
    for row in generated(record, "dilated", "midpoint"):
        share = row["share_plus"]
        assert abs(share - mixture_share(2, 0.8)) < COARSE
        assert row["stderr"] == pytest.approx((share * (1 - share) / TINY.paths) ** 0.5)
        assert row["mode_mean"] == pytest.approx(1, abs=COARSE)


def test_undilated_networks_lose_the_share_as_their_rule_says(record):
    """Left ends see tanh(h) for everybody; midpoints nearly the sign alone."""
    left = generated(record, "undilated", "left")
    midpoint = generated(record, "undilated", "midpoint")
    for one, two in zip(left, midpoint, strict=True):
        assert one["share_plus"] > 0.8 + COARSE / 2
        assert two["share_plus"] < 0.8 - COARSE / 2
        for row in (one, two):
            assert row["mode_mean"] == pytest.approx(1, abs=COARSE)


def test_networks_lie_near_the_limit_and_nearer_at_larger_d(record):
    """Population networks have no draw of the data: the error is a pure power of d."""
    errors = {
        row["d"]: row["error"]
        for row in distances(record["dots"])
        if (row["phase"], row["quantity"]) == ("weights", "omega")
    }
    assert errors[400] < errors[200] < errors[100]


def test_the_page_is_self_contained(run_folder):
    text = (run_folder / "index.html").read_text()
    assert "<script" not in text
    links = set(re.findall(r'(?:src|href)="([^"]{0,30})', text))
    assert all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in links)
    assert set(re.findall(r"https?://[^\"<\s]+", text)) <= {
        "http://www.w3.org/1998/Math/MathML"
    }
    assert text.count("<figure>") == 5
    assert "τ" in text
    assert "what steps of finite length leave is not in it" in text
    anchors = set(re.findall(r'href="#(\w+)"', text))
    assert anchors <= set(re.findall(r'id="(\w+)"', text))
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).split()


def test_trajectories_can_be_read_back(run_folder, record):
    with xr.open_dataset(run_folder / "data" / "trajectory.nc", engine="scipy") as data:
        assert data["omega"].values[:5].tolist() == record["curves"]["omega"][:5]
        assert json.loads(data.attrs["json"])["values"]["kappa"] == 2.0


def test_a_target_without_networks_is_reported_without_them(tmp_path, population):
    tied = dilaton.theory.models.spec.parse_spec(
        population.text.replace("tied = false", "tied = true")
    )
    assert "untied" in confirm.untrainable(tied)
    frozen = dilaton.default_spec().replace(noise_draws=1)
    assert "degenerate" in confirm.untrainable(frozen)
    exploding = dilaton.theory.models.spec.parse_spec(
        population.text.replace('"1 - tau"', '"sqrt(d)*(1 - tau)"')
    )
    assert "alpha(0) = 1" in confirm.untrainable(exploding)
    assert confirm.untrainable(population) is None


def test_the_plan_has_room_for_the_training_set():
    spec = dilaton.default_spec().replace(n=1000, n_plus=800)
    plan = settings_for(spec, quick=False)
    assert min(plan.sampled_dims) > 1001
    assert settings_for(dilaton.default_spec(), quick=True).dims == confirm.QUICK.dims


def test_the_target_is_the_interpolants_law_where_the_phase_ends(record):
    """A trapezoid over the plotted density: weight and mean of p N(2, 1) + ..."""
    x, y = (np.array(record["laws"]["target"][k]) for k in ("nu", "density"))
    assert np.trapezoid(y, x) == pytest.approx(1, abs=1e-4)  # 4 spreads beyond a mode
    assert np.trapezoid(x * y, x) == pytest.approx(0.6 * 2, abs=1e-3)


@pytest.mark.slow
def test_the_main_job_of_the_papers_setting(tmp_path):
    """`dilaton run --quick` as a person runs it: 128 samples, networks, real images."""
    output = tmp_path / "report"
    done = subprocess.run(
        [*COMMAND, "run", "-o", str(output), "--quick", "--digits"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(output / "index.html")
    record = json.loads((output / "run.json").read_text())
    assert record["verdict"] in ("consistent", "undecided")
    open_ = {f["quantity"] for f in record["fits"] if f["verdict"] != "consistent"}
    assert open_ <= {"a", "a_minus", "zeta_minus"}  # small: three sets scatter as much
    slopes = {f["quantity"]: f for f in record["fits"] if f["phase"] == "weights"}
    assert slopes["b"]["slope_low"] - 0.15 < -0.5 < slopes["b"]["slope_high"] + 0.15
    low, high = record["digits"]["window"]
    assert 0 <= low < high <= 1
    assert (output / "index.html").read_text().count("<figure>") == 7


# ------------------------------------------------------- several features, and modes


def written(spec, folder, digits=False):
    """Write the report of a spec; return its page and its record.

    Figures are drawn for the page alone; the finished run has their other forms.
    """
    effort = report.Effort(True, 0, "cpu", digits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save", only("svg"))
        page_file = report.write_report(spec, folder / "report", effort, force=False)
    record = json.loads((folder / "report" / "run.json").read_text())
    return page_file.read_text(), record


def rows_of(text):
    """The rows of all tables of a page, as lists of text."""
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in rows]


def long_digits(text):
    """Numbers of eight decimals and more that a page shows outside its figures."""
    return re.findall(r"\d\.\d{8,}", re.sub(r"base64,[^\"]*", "", text))


SMALL = ReportSettings((300, 1000, 3000), 3, (1.0,), 3, 2_000, (), 0, 0, 2**10)


def test_the_report_of_three_modes_trains_and_shows_each(tmp_path, monkeypatch):
    monkeypatch.setattr(confirm, "UNITS_QUICK", SMALL)
    text, record = written(parse_spec(THREE_MODES), tmp_path)
    assert record["not_trained"] == ""
    assert len(record["fits"]) > 20
    last = [x for x in record["shares"] if x["schedule"] == "dilated"][-3:]
    assert [x["mode"] for x in last] == [1, 2, 3]
    weights = (0.5, 0.3, 0.2)
    for row, share in zip(last, weights, strict=True):
        assert abs(row["share"] - share) < COARSE / 2
    heavy = [x for x in record["shares"] if x["schedule"] == "undilated"][-6]
    assert (heavy["rule"], heavy["mode"], heavy["d"]) == ("left", 1, 3000)
    assert heavy["share"] > 0.5 + COARSE  # Euler's rule sends all to the heaviest
    shown = [row[:2] for row in rows_of(text) if row[0].startswith("mode")]
    assert [f"mode {k}" for k in (1, 2, 3)] == [x for x, _ in shown[:3]]
    assert "Derive, solve, confirm" in text
    assert text.count("<figure>") == 3
    assert not long_digits(text)
    assert "Real images" not in text


def test_the_report_of_features_shows_each_with_its_error(tmp_path, monkeypatch):
    """The networks are made up: what trains them is tested by itself."""
    spec = parse_spec(PRODUCT)
    made = made_up(spec)
    monkeypatch.setattr(report, "confirm", lambda *_: made)
    text, record = written(spec, tmp_path)
    table = [row for row in rows_of(text) if row[0].startswith("feature")]
    assert table[0][:2] == ["feature 1", "0.8"]
    assert table[1][1] == "0.3"
    assert table[0][3] == table[1][3] == "0.7500 ± 0.0043"
    assert "0.7500 ± 0.0043" in text
    assert not long_digits(text)
    assert len(record["laws"]["features"]) == 2
    assert text.count("<figure>") == 5
    for name in ("m_1", "omega_2"):
        assert name in record["curves"]


def made_up(spec):
    """What training might have found, of two features."""
    random = np.random.default_rng(0)
    shares = [
        {"feature": j, "schedule": kind, "rule": rule, "d": d, "share_plus": 0.75}
        | {"stderr": 0.00433, "mode_mean": 1.0, "bulk_variance": 1.0}
        for d in (100, 1000)
        for kind, rule in (("dilated", "midpoint"), ("undilated", "left"))
        for j in (1, 2)
    ]
    draws = [random.normal(size=500) for _ in range(2)]
    row = {"phase": "weights-1", "quantity": "m_1", "s": 1.0, "t": 1 / 3, "limit": 1.0}
    dots = [
        row | {"d": d, "mean": 1 + 1 / d, "stderr": 0.01, "variance": 1e-4}
        for d in (100, 1000)
    ]
    fit = {"phase": "weights-1", "quantity": "m_1", "slope": -0.5, "rate": 0.5}
    fit |= {"slope_low": -0.6, "slope_high": -0.4, "resolution": 0.012345}
    kinds = ("decided", "dilated", "undilated left", "undilated midpoint")
    return confirm.Confirmation(
        dots=dots,
        fits=[fit | {"verdict": "consistent"}],
        verdict="consistent",
        resolution=0.012345,
        shares=shares,
        generated=dict.fromkeys(kinds, draws),
    )


def test_networks_with_a_unit_a_feature_generate_both_shares(monkeypatch):
    monkeypatch.setattr(confirm, "UNITS_QUICK", SMALL)
    spec = parse_spec(PRODUCT)
    settings = settings_for(spec, quick=True)
    assert settings.dims == (5196, 31_623, 164_317)  # errors fall as d^(-1/4)
    work = confirm._Work(
        spec, settings, 0, "cpu", lambda _: None, confirm.Confirmation()
    )
    work.generate(10_000)
    shares = {
        (x["schedule"], x["rule"], x["feature"]): x["share_plus"]
        for x in work.found.shares
    }
    assert len(shares) == 6
    for j, p in ((1, 0.8), (2, 0.3)):
        assert abs(shares["dilated", "midpoint", j] - p) < COARSE
    assert shares["undilated", "left", 1] > 0.8 + COARSE


def test_what_was_not_trained_is_said_first(tmp_path, population, monkeypatch):
    monkeypatch.setattr(plots, "rendered", lambda *_: b"<svg/>")
    tied = parse_spec(population.text.replace("tied = false", "tied = true"))
    text, record = written(tied, tmp_path)
    assert "untied" in record["not_trained"]
    assert "<h1>Derive, solve; not confirmed</h1>" in text
    first = text.index('<p class="notice"><b>No networks were trained.</b>')
    assert first < text.index('<div class="cards">')
    assert "untied" in text[first : first + 200]
    two = THREE_MODES.replace("[[1, 0, 0], [0, 1, 0]", "[[1, 0, 1], [1, 0, -1]")
    two = two.replace("exponents = [0, 0, 0]", 'exponents = [0, 0, "1/4"]')
    assert "several windows" in confirm.untrainable(parse_spec(two))


def test_digits_are_there_when_asked_for(tmp_path, population, monkeypatch):
    tied = parse_spec(population.text.replace("tied = false", "tied = true"))
    said = {"numbers": {"window": [0, 1]}, "pictures": [], "text": "8x8"}
    monkeypatch.setattr(report, "_digits", lambda *_: said)
    monkeypatch.setattr(plots, "rendered", lambda *_: b"<svg/>")
    text, record = written(tied, tmp_path, digits=True)
    assert record["digits"] == {"window": [0, 1]}
    assert "Real images" in text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.69753219, 0.0013, "0.6975 ± 0.0013"),
        (0.69753219, 0.09999, "0.698 ± 0.100"),
        (123.456, 20, "123 ± 20"),
        (1 / 3, 0.0, "0.333333"),
        (np.nan, 0.1, "-"),
    ],
)
def test_a_number_has_the_digits_that_its_error_leaves(value, error, text):
    assert page.with_error(value, error) == text


# ----------------------------------------------------------------- the output folder


def _refuse_work(*_):
    raise AssertionError("the folder must be checked before any work")


@pytest.fixture
def write(monkeypatch, population):
    """Write a report whose work is `work`, by default forbidden."""

    def run(output, work=_refuse_work, force=False):
        monkeypatch.setattr(report, "_work", work)
        return report.write_report(
            population, Path(output), report.Effort(True, 0, "cpu"), force=force
        )

    return run


def test_a_folder_with_another_run_is_refused(tmp_path, write):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(StoreError, match=r"holds another run.*--force"):
        write(tmp_path)


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_other_files_is_refused_even_by_force(tmp_path, write, force):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match="files that are no run of dilaton"):
        write(tmp_path, force=force)


def test_a_file_a_link_and_an_unwritable_place_are_refused(tmp_path, write):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(StoreError, match="is a file or a link"):
            write(tmp_path / name)
    with pytest.raises(StoreError, match=r"must be writable.*Choose another"):
        write(tmp_path / "file" / "report")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path, write):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        write(tmp_path / "report")


def test_failed_work_leaves_nothing_and_keeps_the_old_run(tmp_path, write):
    old = tmp_path / "report"
    old.mkdir()
    (old / "run.json").write_text("old")

    def fail(*_):
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write(old, work=fail, force=True)
    with pytest.raises(RuntimeError, match="stopped"):
        write(tmp_path / "new", work=fail)
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    assert (old / "run.json").read_text() == "old"


def test_force_replaces_the_old_run_whole(tmp_path, write, monkeypatch):
    old = tmp_path / "report"
    old.mkdir()
    (old / "run.json").write_text("old")
    (old / "extra.txt").write_text("old")
    monkeypatch.setattr(
        report, "_write", lambda run, folder: (folder / "run.json").write_text("new")
    )
    write(old, work=lambda *_: None, force=True)
    assert [p.name for p in old.iterdir()] == ["run.json"]
    assert (old / "run.json").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize(
    ("kill", "code"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["kill", "int", "term"],
)
def test_a_killed_run_leaves_no_half_written_folder(tmp_path, kill, code):
    script = (
        "import sys, time, dilaton.face.cli, dilaton.face.report as report\n"
        "report._work = lambda *_: time.sleep(60)\n"
        f"sys.argv = ['dilaton', 'run', '-o', {str(tmp_path / 'report')!r}]\n"
        "dilaton.face.cli.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(kill)
    _, err = process.communicate()
    assert process.returncode == code
    assert b"Traceback" not in err
    assert not (tmp_path / "report").exists()
    assert kill == signal.SIGKILL or not list(tmp_path.iterdir())


# --------------------------------------------------------------------- the small parts


def test_distances_are_root_mean_squares_over_times_and_seeds():
    base = {"phase": "weights", "quantity": "m", "d": 100}
    dots = [
        base | {"mean": 1.3, "limit": 1.0, "variance": 0.0},
        base | {"mean": 0.9, "limit": 1.0, "variance": 0.06},
    ]
    assert distances(dots)[0]["error"] == pytest.approx(np.sqrt((0.09 + 0.07) / 2))


def test_histogram_is_a_density_of_all_values():
    found = histogram(np.array([0.1, 0.2, 0.9, 7.0]), 0, 1, bins=2)
    assert found == {"edges": [0, 0.5, 1], "density": [1.0, 0.5]}


def test_the_law_of_the_limit_is_the_interpolants_own(population):
    """For the population nu at the end of the window is p N(k, 1) + (1-p) N(-k, 1)."""
    (law,) = decided_laws(population)
    assert kstest(law, mixture, (2, 0.8)).pvalue > PVALUE
    assert kstest(law, mixture, (2, 0.7)).pvalue < 1e-12  # the oracle can refuse


def test_mathml_writes_names_as_in_the_papers():
    from dilaton.theory.document.formula import mathml
    from dilaton.theory.symbols.latex import latex_name

    def shown(name):
        return mathml(latex_name(name))

    assert "<msub><mi>n</mi><mo>+</mo></msub>" in shown("n_plus")
    assert "<msub><mi>ζ</mi><mo>−</mo></msub>" in shown("zeta_minus")
    assert "λ" in shown("ridge_u")
    assert "𝔼" in shown("E[tanh(H_1)**2]")
    assert "<mover" in shown("c_hat")


def test_page_text_is_escaped():
    text = page.section("x", "<b>", page.paragraph("1 < 2"), page.code("<script>"))
    assert "<b>" not in text
    assert "<script>" not in text
    assert "1 &lt; 2" in text


def test_figures_are_the_same_bytes_each_time():
    rows = [
        {
            "schedule": "dilated",
            "rule": "left",
            "d": d,
            "share_plus": 0.7,
            "stderr": 0.1,
        }
        for d in (10, 100)
    ]
    once, twice = (
        plots.rendered(plots.shares(rows, {"target": 0.8}), "svg") for _ in range(2)
    )
    assert once == twice
    assert b"<svg" in once
