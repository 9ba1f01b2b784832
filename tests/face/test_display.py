"""Results, systems and limits show themselves."""

import subprocess
import sys

import dilaton
import numpy as np
import pytest
import xarray as xr
from dilaton.show.display import axis_label


@pytest.fixture(scope="module")
def limit():
    return dilaton.derive(dilaton.Model(dilaton.two_modes()))


@pytest.fixture(scope="module")
def traj(limit):
    given = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
    s = np.linspace(0, 1, 5)
    return dilaton.solve(limit, s=s, rtol=1e-8, atol=1e-10, **given)


def test_a_trajectory_draws_each_overlap_against_t(traj):
    figure = traj.dilaton.plot()
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert r"$\omega$" in titles
    assert "$m$" in titles
    ax = next(a for a in figure.axes if a.get_title() == r"$\omega$")
    x, y = ax.lines[0].get_data()
    gap = np.isnan(x)  # between the phases, which share a time
    assert gap.sum() == 1
    np.testing.assert_array_equal(x[~gap], traj.t)
    np.testing.assert_array_equal(y[~gap], traj.omega)
    assert ax.lines[1].get_xdata()[0] == 0.5  # where the phase changes
    assert figure._repr_svg_().lstrip().startswith("<?xml")


def test_only_what_is_asked_for_is_drawn_by_either_door(traj):
    for figure in (traj.dilaton.plot("m"), dilaton.plot(traj, "m")):
        assert [a.get_title() for a in figure.axes if a.get_visible()] == ["$m$"]


def test_a_misspelt_name_is_corrected(traj):
    with pytest.raises(dilaton.ModelError, match="did you mean `omega`"):
        traj.dilaton.plot("omegaa")


def test_a_dataset_of_something_else_is_refused():
    with pytest.raises(dilaton.ModelError, match="attribute `json`"):
        xr.Dataset({"m": ("t", [1.0])}).dilaton.plot()


def test_the_metadata_is_there_after_a_round_trip(traj, tmp_path):
    traj.to_netcdf(tmp_path / "traj.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "traj.nc", engine="scipy") as again:
        assert again.dilaton.about["values"]["p"] == 0.8
        assert again.dilaton.names == traj.dilaton.names


@pytest.mark.parametrize("axes", [["kappa=1:4:3"], ["kappa=1:4:3", "p=0.6:0.9:2"]])
def test_a_sweep_is_a_line_or_a_map(axes, tmp_path):
    from dilaton.numerics.sweep.job import sweep

    spec = dilaton.default_spec().replace(n="inf")
    grid = sweep(spec, over=axes, out=tmp_path)
    figure = grid.dilaton.plot()
    assert figure.axes[0].get_xlabel() == r"$\kappa$"
    if len(axes) == 1:
        np.testing.assert_array_equal(
            figure.axes[0].lines[0].get_ydata(), grid.share_plus
        )
    else:
        shown = figure.axes[0].collections[0].get_array()
        np.testing.assert_array_equal(shown.reshape(2, 3), grid.share_plus.T)


def test_systems_and_limits_render_in_notebooks(limit):
    text = limit.phase("weights").sampling._repr_latex_()
    assert r"\dot{\nu} &= " in text
    assert r"\text{(S1)}" in text
    assert text.count("{") == text.count("}")
    table = limit._repr_markdown_()
    assert "| weights |" in table
    assert r"\tau(t) = " in table


def test_every_system_has_its_unknowns_in_its_latex():
    model = dilaton.Model(dilaton.two_modes(), data=dilaton.Data(samples=True))
    for system in dilaton.derive(model).systems:
        text = system._repr_latex_()
        assert text.startswith("$$")
        for eq in system.equations:
            assert f"({eq.label})" in text


def test_names_have_symbols():
    assert axis_label("omega") == r"$\omega$"
    assert axis_label("p_2") == "$p_{2}$"
    assert axis_label("n_plus") == "$n_+$"
    assert axis_label("bulk_variance") == "bulk variance"


def test_loading_dilaton_does_not_load_the_display():
    code = "import dilaton, sys; assert 'xarray' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
