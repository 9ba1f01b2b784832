"""Machines unlike ours: no home, no GPU, another matplotlibrc, a `~` left as it is."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dilaton.errors import ModelError, SolveError, StoreError
from dilaton.face import cli
from dilaton.files import at_home
from dilaton.numerics.codegen.cache import cache_folder
from dilaton.numerics.sweep.job import sweep
from dilaton.show import plots
from dilaton.theory.models.schedule import (
    check_schedule,
    check_schedule_text,
    parse_schedule,
)
from dilaton.theory.models.spec import parse_spec

from ..cases import TWO_MODES, limit_of


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    def homeless(*_):
        raise RuntimeError("Could not determine home directory.")

    for name in ("DILATON_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder().name == f"dilaton-{os.getuid()}"


BOTH = """
import sys
from dilaton.face.cli import main
sys.argv = ["dilaton", "doctor"]
try:
    main()
except SystemExit as end:
    assert not end.code
sys.argv = ["dilaton", *{words}]
main()
"""


def test_doctor_and_a_sweep_say_that_jax_finds_no_device(tmp_path):
    """The sweep leaves nothing; both in one process."""
    (tmp_path / "a.toml").write_text(TWO_MODES)
    words = f"sweep {tmp_path}/a.toml --over kappa=1,2 --backend jax -o {tmp_path}/s"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BOTH.format(words=words.split())],
        env=os.environ | {"JAX_PLATFORMS": "cuda"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "jax finds no device" in done.stdout
    assert done.returncode == 2
    assert "finds no `cpu` here with JAX_PLATFORMS=cuda" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.toml"]


def test_jax_computes_in_double_and_leaves_the_users_setting():
    import jax
    import jax.numpy as jnp
    from dilaton.numerics.codegen.kernel import make_kernel

    flow = limit_of("population").phase("weights").sampling
    point = {"p": 0.8, "kappa": 2.0, "sigma": 1.0}
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        kernel = make_kernel(flow, "jax")
        (rate,) = kernel.evaluate("rhs", params=point, states={"nu": 0.1}, at=0.5)[
            0
        ].values()
        assert jnp.ones(1).dtype == jnp.float32
    finally:
        jax.config.update("jax_enable_x64", before)
    exact = 2 * np.tanh(2 * 0.1 * 0.5 + np.log(4) / 2)
    assert abs(rate - exact) < 1e-14


def test_figures_ignore_a_usetex_of_the_user():
    import matplotlib as mpl

    with mpl.rc_context({"text.usetex": True}):
        drawn, axes = plots.new_figure(1, 1, 2, 2)
        axes[0, 0].set_title("$x$")
        assert len(plots.rendered(drawn, "png")) > 1000
        assert mpl.rcParams["text.usetex"]


def test_figures_are_drawn_with_a_backend_that_is_not_there():
    code = (
        "from dilaton.show import plots; drawn, _ = plots.new_figure(1, 1, 2, 2); "
        "print(len(plots.rendered(drawn, 'png')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MPLBACKEND": "nonsense"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) > 1000


def test_no_store_is_left_where_no_scheduler_answers(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(SolveError, match="did not answer"):
        sweep(parse_spec(TWO_MODES), "kappa=1,2", tmp_path / "s", scheduler="nonsense")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("word", "whole"),
    [
        ("~/a", "HOME/a"),
        ("--output=~/a", "--output=HOME/a"),
        ("~", "HOME"),
        ("kappa=1:2:3", "kappa=1:2:3"),
        ("--over=kappa=1,2", "--over=kappa=1,2"),
        ("a~b", "a~b"),
    ],
)
def test_a_home_is_found_in_every_option(word, whole, monkeypatch):
    monkeypatch.setenv("HOME", "HOME")
    assert cli._at_home(word) == whole


def test_python_finds_the_home_too(tmp_path, monkeypatch):
    from dilaton.numerics.times.table import density_of
    from dilaton.theory.models.spec import load_spec

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(TWO_MODES)
    (tmp_path / "times.txt").write_text("0 0.5 1")
    spec = load_spec("~/a.toml")
    assert spec == load_spec(Path("~/a.toml"))
    assert density_of("table:~/times.txt", spec.model)
    found = sweep("~/a.toml", "kappa=1,2", Path("~/s"), backend="scipy")
    assert found.kappa.size == 2
    assert (tmp_path / "s" / "sweep.nc").exists()
    assert not (tmp_path / "~").exists()


def test_a_name_with_a_tilde_may_be_a_file_and_no_home_is_said(monkeypatch):
    assert at_home("~no-such-user/a") == Path("~no-such-user/a")
    assert at_home("a~") == Path("a~")

    def homeless(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(StoreError, match="needs a home, but none is known"):
        at_home("~/a")


def test_a_root_of_a_cosine_reaches_its_end():
    changed = TWO_MODES.replace("1 - tau", "sqrt(cos(pi*tau/2))")
    assert parse_spec(changed.replace('"tau"', '"sqrt(1-cos(pi*tau/2))"')).model


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        ("cos(pi*tau/2)**0.25", "sin(pi*tau/2)"),
        ("cos(pi*tau/2)**0.01", "sin(pi*tau/2)**0.01"),
        ("sqrt(sin(pi*(1 + tau)/2))", "tau"),
        ("sqrt(sqrt(1 - sin(pi*tau/2)))", "sin(pi*tau/2)"),
        ("(cos(pi*tau)/2 + 1/2)**0.25", "tau"),
        ("sqrt(-sin(pi*(3 + tau)/2))", "sqrt(-cos(pi*(1 + tau)/2))"),
        ("tan(pi*(1 - tau)/4)**0.125", "tan(pi*tau/4)"),
    ],
)
def test_an_end_is_what_it_is_exactly(alpha, beta):
    check_schedule_text(alpha, beta)
    check_schedule(parse_schedule(alpha), parse_schedule(beta))


@pytest.mark.parametrize(
    "alpha",
    [
        "(1 - tau + 0.0000001)**0.5",
        "cos(1.57*tau)**0.25",
        "(cos(pi*tau/2) + 0.00000001)**0.25",
        "1 - tau + 0.00001*tau",
    ],
)
def test_an_end_that_is_missed_by_little_is_refused(alpha):
    with pytest.raises(ModelError, match="must be"):
        check_schedule_text(alpha, "tau")
    with pytest.raises(ModelError, match="must be"):
        check_schedule(parse_schedule(alpha), parse_schedule("tau"))


def test_a_cache_file_has_the_rights_of_the_umask(tmp_path):
    from dilaton.numerics.codegen import cache

    before = os.umask(0o002)
    try:
        cache._publish(tmp_path / "kernel.py", "x = 1\n", os.replace)
    finally:
        os.umask(before)
    assert (tmp_path / "kernel.py").stat().st_mode & 0o777 == 0o664


def test_a_result_that_no_file_holds_is_refused_at_once(tmp_path):
    with pytest.raises(ModelError, match="may have 2 GiB, but 100000000 rows"):
        sweep(
            parse_spec(TWO_MODES),
            ["kappa=1:2:10000", "p=0.5:0.9:10000"],
            tmp_path / "s",
            s=[0.5, 1.0],
        )
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("platform", "names", "opens"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("darwin", {}, True),
    ],
)
def test_a_browser_is_opened_where_there_is_a_screen(
    platform, names, opens, monkeypatch
):
    from dilaton.face import explore

    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(explore.sys, "platform", platform)
    assert explore._has_screen() is opens
