"""Results, systems and limits show themselves."""

import subprocess
import sys

import dilaton
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from cycler import cycler
from dilaton.numerics.sweep.job import sweep
from dilaton.show.display import axis_label
from dilaton.show.drawing import quantity_of
from dilaton.show.plots import COLOURS, STYLE
from dilaton.theory.models.spec import parse_spec
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

TWO = """[target]
kind = "product"
sigma = 1.0
[[target.features]]
p = 0.7
scale = 1.0
exponent = 0
[[target.features]]
p = 0.9
scale = 2.0
exponent = "1/4"
[interpolant]
alpha = "1 - tau"
beta = "tau"
[dilation]
kappa = [2.0, 2.0]
[data]
n = "inf"
"""
MODES = """[target]
kind = "modes"
sigma = 1.0
weights = [0.5, 0.3, 0.2]
loadings = [[1, 0], [-1, 1], [-1, -1]]
exponents = [0, "1/4"]
""" + TWO[TWO.index("[interpolant]") :]


@pytest.fixture(scope="module")
def limit():
    return dilaton.derive(dilaton.Model(dilaton.two_modes()))


@pytest.fixture(scope="module")
def traj(limit):
    given = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
    s = np.linspace(0, 1, 5)
    return dilaton.solve(limit, s=s, rtol=1e-8, atol=1e-10, **given)


@pytest.fixture(scope="module")
def features():
    return dilaton.solve(parse_spec(TWO), s=[0.25, 0.5, 0.75])


@pytest.fixture(scope="module")
def modes():
    return dilaton.solve(parse_spec(MODES), s=[0.0, 0.5, 1.0])


def rows(spec, columns, settings):
    """Stands in for the solver: shares of two features, and an overlap over time."""
    p, kappa = columns["p_1"], columns["kappa_1"]
    omega = np.stack([kappa, 2 * kappa, np.full_like(p, np.nan)], axis=1)
    coordinates = {"@t": [0.25, 0.5, 1.0], "@s": [0.5, 1.0, 1.0]}
    return coordinates | {
        "@phase": np.array(["weights", "weights", "variance"]),
        "share_plus": np.stack([p, np.sqrt(kappa)], axis=1),
        "omega": omega,
    }


def grid(tmp_path, *over):
    return sweep(parse_spec(TWO), over, tmp_path, rows=rows)


def panels(figure):
    return {ax.get_ylabel(): ax for ax in figure.axes if ax.get_visible()}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ------------------------------------------------------------------------- trajectories


def test_a_trajectory_draws_each_overlap_against_t(traj):
    figure = traj.dilaton.plot()
    found = panels(figure)
    assert {r"$\omega$", "$m$"} <= found.keys()
    ax = found[r"$\omega$"]
    x, y = ax.lines[0].get_data()
    gap = np.isnan(x)  # between the phases, which share a time
    assert gap.sum() == 1
    np.testing.assert_array_equal(x[~gap], traj.t)
    np.testing.assert_array_equal(y[~gap], traj.omega)
    assert ax.lines[1].get_xdata()[0] == 0.5  # where the phase changes
    assert ax.get_xlabel() == "dilated time $t$"
    assert figure._repr_svg_().lstrip().startswith("<?xml")


def test_windows_are_named_above(features):
    (ax,) = panels(features.dilaton.plot("m_1")).values()
    (above,) = ax.child_axes
    told = [text.get_text() for text in above.get_xticklabels()]
    assert told == ["weights-1", "weights-2", "variance"]


def test_a_curve_is_broken_where_a_phase_ends_and_its_scale_told(features):
    (ax,) = panels(features.dilaton.plot("c_hat")).values()
    x, y = ax.lines[0].get_data()
    assert np.isnan(x).sum() == 2  # though no time repeats
    assert np.isnan(y[list(np.flatnonzero(np.isnan(x)))]).all()
    told = [text.get_text() for text in ax.child_axes[0].get_xticklabels()]
    assert r"\sqrt{d}" in told[0]
    assert "d^{1/4}" in told[1]
    assert told[2] == "variance"


def test_only_what_is_asked_for_is_drawn_by_either_door(traj):
    for figure in (
        traj.dilaton.plot("m"),
        traj.dilaton.plot(names=["m"]),
        dilaton.plot(traj, "m"),
    ):
        assert list(panels(figure)) == ["$m$"]


def test_a_quantity_stands_for_all_its_units(features):
    (ax,) = panels(features.dilaton.plot("omega")).values()
    assert legend(ax) == [r"$\omega_{1}$", r"$\omega_{2}$"]
    assert list(panels(features.dilaton.plot("omega_2"))) == [r"$\omega_{2}$"]
    (ax,) = panels(features.dilaton.plot("m")).values()  # of the bulk there is an m
    assert legend(ax) == ["$m_{1}$", "$m_{2}$", "$m$"]


def test_modes_have_a_curve_for_each_mode_and_direction(modes):
    (ax,) = panels(modes.dilaton.plot("m")).values()
    assert legend(ax) == [f"$m_{{{k} {j}}}$" for k in (1, 2, 3) for j in (1, 2)]
    first = ax.lines[0].get_ydata()
    np.testing.assert_array_equal(first[np.isfinite(first)], [1, 1, 1, 1, 0.5, 0])


def test_a_constant_is_drawn_beside_zero(traj, features):
    for data, name in ((traj, "b"), (features, "m_1")):
        (ax,) = panels(data.dilaton.plot(name)).values()
        low, high = ax.get_ylim()
        value = np.nanmax(data[name])
        assert low <= 0 < value < high < 1.5 * value
    (ax,) = panels(features.dilaton.plot("a")).values()
    assert ax.get_ylim() == pytest.approx((-1, 1), abs=0.2)


# ------------------------------------------------------------------------------- styles


def test_the_user_keeps_his_style(traj):
    mine = {
        "axes.prop_cycle": cycler(color=["#112233"]),
        "lines.linewidth": 3.25,
        "axes.labelsize": 17.0,
        "xtick.color": "#445566",
    }
    with mpl.rc_context(mine):
        before = dict(mpl.rcParams)
        figure = traj.dilaton.plot("omega")
        assert dict(mpl.rcParams) == before
    (ax,) = panels(figure).values()
    assert to_hex(ax.lines[0].get_color()) == "#112233"
    assert ax.lines[0].get_linewidth() == 3.25
    assert ax.yaxis.label.get_size() == 17.0
    assert to_hex(ax.get_xticklabels()[0].get_color()) == "#445566"


def test_ours_is_asked_for(traj, modes):
    with mpl.rc_context({"lines.linewidth": 3.25}):
        figure = traj.dilaton.plot("omega", style="dilaton")
        assert mpl.rcParams["lines.linewidth"] == 3.25
    (ax,) = panels(figure).values()
    assert ax.lines[0].get_color() == COLOURS[0]
    assert ax.lines[0].get_linewidth() == STYLE["lines.linewidth"]
    (of_modes,) = panels(modes.dilaton.plot("m", style="dilaton")).values()
    drawn = [line.get_color() for line in of_modes.lines[:6]]
    assert drawn == [to_hex(COLOURS[k]) for k in (0, 0, 1, 1, 2, 2)]
    assert not ax.spines["right"].get_visible()
    with pytest.raises(dilaton.ModelError, match="`style` must be `dilaton`"):
        traj.dilaton.plot(style="ggplot")


def test_axes_of_ones_own_are_drawn_on(traj):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert traj.dilaton.plot("m", "q", ax=left) is left
    assert legend(left) == ["$m$", "$q$"]
    axes = [left, right]
    assert traj.dilaton.plot("m", "omega", axes=axes) is axes
    assert right.get_ylabel() == r"$\omega$"
    assert len(figure.axes) == 2
    assert len(left.child_axes) == 1  # windows are named once
    with pytest.raises(dilaton.ModelError, match="3 panels needs `ax`, or `axes`"):
        traj.dilaton.plot("m", "q", "omega", axes=axes)
    with pytest.raises(dilaton.ModelError, match="needs `ax`, or `axes`"):
        traj.dilaton.plot("m", ax=left, axes=axes)


# -------------------------------------------------------------------------------- files


def test_a_misspelt_name_is_corrected(traj):
    with pytest.raises(dilaton.ModelError, match="did you mean `omega`"):
        traj.dilaton.plot("omegaa")


def test_a_dataset_of_something_else_is_refused():
    with pytest.raises(dilaton.ModelError, match="attribute `json`"):
        xr.Dataset({"m": ("t", [1.0])}).dilaton.plot()


def test_every_variable_says_what_it_is(traj, features, modes):
    for data in (traj, features, modes):
        for name, values in data.variables.items():
            assert values.attrs["long_name"], name
        for name in data.data_vars:
            assert data[name].attrs["order_in_d"], name
            assert data[name].attrs["label"], name
    assert traj.m.attrs["label"] == "weights: (W3); variance: (V2)"
    assert features.omega_2.attrs["definition"] == "w_2.mu_2/(d^(3/4) sqrt(rho_2))"
    assert features.share_plus.attrs["label"] == "(Q1.1), (Q2.1)"


def test_the_metadata_is_there_after_a_round_trip(features, tmp_path):
    features.to_netcdf(tmp_path / "traj.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "traj.nc", engine="scipy") as again:
        assert again.dilaton.about["values"]["p_1"] == 0.7
        assert again.dilaton.names == features.dilaton.names
        for name in features.variables:
            assert again[name].attrs == features[name].attrs
        drawn = [panels(x.dilaton.plot("c_hat", "m_1")) for x in (again, features)]
    assert drawn[0].keys() == drawn[1].keys()


FRESH = """
import importlib.util
{imports}
assert importlib.util.find_spec("xarray")
import xarray as xr
figure = xr.open_dataset({path!r}, engine="scipy").dilaton.plot("m_1")
assert len(figure.axes) == 1
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import dilaton",
        pytest.param("import xarray, dilaton", marks=pytest.mark.slow),
    ],
)
def test_a_file_is_plotted_in_a_new_process(imports, features, tmp_path):
    path = tmp_path / "traj.nc"
    features.to_netcdf(path, engine="scipy")
    code = FRESH.format(imports=imports, path=str(path))
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_loading_dilaton_does_not_load_the_display():
    code = "import dilaton, sys; assert not {'xarray', 'numpy'} & sys.modules.keys()"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ------------------------------------------------------------------------------- sweeps


@pytest.mark.parametrize("axes", [["kappa=1:4:3"], ["kappa=1:4:3", "p=0.6:0.9:2"]])
def test_a_sweep_is_a_line_or_a_map(axes, tmp_path):
    spec = dilaton.default_spec().replace(n="inf")
    found = sweep(spec, over=axes, out=tmp_path, backend="scipy")
    figure = found.dilaton.plot()
    assert figure.axes[0].get_xlabel() == r"$\kappa$"
    if len(axes) == 1:
        drawn = figure.axes[0].lines[0].get_ydata()
        np.testing.assert_array_equal(drawn, found.share_plus)
    else:
        shown = figure.axes[0].collections[0].get_array()
        np.testing.assert_array_equal(shown.reshape(2, 3), found.share_plus.T)
    assert found.omega.attrs["label"].startswith("(W")


def test_a_sweep_of_two_features_has_a_line_or_a_map_for_each(tmp_path):
    found = grid(tmp_path, "kappa_1=1:4:4")
    (ax,) = panels(found.dilaton.plot()).values()
    assert legend(ax) == ["feature 1", "feature 2"]
    for line, j in zip(ax.lines, (1, 2), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), found.share_plus.sel(feature=j))
    found = grid(tmp_path, "kappa_1=1:4:4", "p_1=0.5,0.9")
    maps = [ax for ax in found.dilaton.plot().axes if ax.get_xlabel()]
    assert [ax.get_title() for ax in maps] == ["feature 1", "feature 2"]
    shown = maps[1].collections[0].get_array()
    wanted = found.share_plus.sel(feature=2).transpose("p_1", "kappa_1")
    np.testing.assert_array_equal(np.ravel(shown), np.ravel(wanted))


def test_an_overlap_of_a_sweep_is_taken_where_it_is_last_known(tmp_path):
    (ax,) = panels(grid(tmp_path, "kappa_1=1:4:4").dilaton.plot("omega")).values()
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2, 4, 6, 8])
    assert ax.get_title() == "weights, s = 1"


def test_a_point_of_a_sweep_is_a_trajectory(tmp_path):
    found = grid(tmp_path, "kappa_1=1:4:4").isel(kappa_1=1)
    assert list(panels(found.dilaton.plot())) == [r"$\omega$"]


def test_more_axes_than_a_page_has_are_refused(tmp_path):
    found = grid(tmp_path, "kappa_1=1,2", "p_1=0.5,0.9", "p_2=0.5,0.9")
    with pytest.raises(dilaton.ModelError, match=r"has 3.*`\.isel\(p_2=0\)`"):
        found.dilaton.plot()
    assert len(panels(found.isel(p_2=0).dilaton.plot())) > 0
    assert len(panels(found.isel(p_2=[0]).dilaton.plot())) > 0


def test_a_sweep_of_an_older_version_is_read_rightly():
    p = np.array([0.2, 0.4, 0.8])
    columns = {f"share_plus_{j}": ("p_1", j * p) for j in (1, 2)}
    older = xr.Dataset(columns, {"p_1": p}, {"json": "{}"})
    (ax,) = panels(older.dilaton.plot()).values()
    drawn = [line.get_ydata() for line in ax.lines]
    np.testing.assert_array_equal(drawn, [p, 2 * p])


def test_a_sweep_of_modes_draws_their_shares(tmp_path):
    found = sweep(parse_spec(MODES), ["kappa_1=1,2"], tmp_path)
    (ax,) = panels(found.dilaton.plot()).values()
    assert legend(ax) == ["mode 1", "mode 2", "mode 3"]
    assert found.shares.dims == ("kappa_1", "mode")


# ------------------------------------------------------------------------------ systems


def test_systems_and_limits_render_in_notebooks(limit):
    text = limit.phase("weights").sampling._repr_latex_()
    assert r"\dot{\nu} &= " in text
    assert r"\text{(S1)}" in text
    assert text.count("{") == text.count("}")
    table = limit._repr_markdown_()
    assert "| weights |" in table
    assert r"\tau(t) = " in table


def test_names_have_symbols():
    assert axis_label("omega") == r"$\omega$"
    assert axis_label("p_2") == "$p_{2}$"
    assert axis_label("n_plus") == "$n_+$"
    assert axis_label("bulk_variance") == "bulk variance"
    names = ("m_1_2", "zeta_plus", "a_2_pm", "c_hat", "share_plus_1", "share_plus")
    wanted = ["m", "zeta", "a", "c_hat", "share_plus", "share_plus"]
    assert [quantity_of(x) for x in names] == wanted
