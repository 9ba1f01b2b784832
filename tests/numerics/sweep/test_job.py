"""Sweeps: the grammar, resuming after kills, Dask, failing rows, the result."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from dilaton.errors import MissingExtra, ModelError, SolveError, StoreError
from dilaton.numerics.sweep.axes import Axis, axes_of, parse_axis
from dilaton.numerics.sweep.collect import summary_text
from dilaton.numerics.sweep.job import make_job, sweep
from dilaton.numerics.sweep.store import Store
from dilaton.theory.models.spec import default_spec

SETTINGS = {"backend": "numba", "device": "cpu", "s": (0.5, 1.0), "rtol": 1e-8}
SETTINGS |= {"final": False}
POPULATION = {"n": "inf"}


def rows(spec, columns, settings):
    """A row function with every feature and no physics."""
    p, kappa = columns["p"], columns["kappa"]
    status = np.where(kappa > 5, "failed", "ok")
    s = np.asarray(settings["s"])
    return {
        "share_plus": np.where(kappa > 5, np.nan, np.sin(p) ** kappa),
        "omega": np.exp(p[:, None] * s),
        "status": status,
        "reason": np.where(kappa > 5, "too steep", ""),
        "@t": s,
        "@phase": np.full(len(s), "weights"),
    }


def slow_rows(spec, columns, settings):
    time.sleep(0.05)
    return rows(spec, columns, settings)


def touchy_rows(spec, columns, settings):
    """Raises for a whole batch when one of its rows is bad."""
    if np.any(columns["kappa"] == 2.0):
        raise SolveError("kappa = 2 is a bad row.")
    return rows(spec, columns, settings)


@pytest.fixture
def spec():
    return default_spec().replace(**POPULATION)


# ------------------------------------------------------------------------- grammar


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("p=0.5:0.9:5", (0.5, 0.6, 0.7, 0.8, 0.9)),
        ("p=0.5:0.95:1", (0.5,)),
        ("kappa=0.5:8:5:log", (0.5, 1, 2, 4, 8)),
        ("n_plus=90,100", (90, 100)),
        ("p=0.3", (0.3,)),
        (" p = 0.9 : 0.1 : 3 ", (0.9, 0.5, 0.1)),
        ("ridge_u=1e-3,1e3", (1e-3, 1e3)),
    ],
)
def test_an_axis_is_read(text, values):
    axis = parse_axis(text)
    assert axis.name == text.split("=")[0].strip()
    assert axis.values == pytest.approx(values, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("p", "has no `NAME=`"),
        ("=1,2", "has no `NAME=`"),
        ("p=", "has ``, which is no number"),
        ("p=1:2", "has `1:2` after"),
        ("p=1:2:3:4:5", "after the `=`"),
        ("p=0.1:0.9:3:lin", "after the `=`"),
        ("p=0.1:0.9:0", "`0` as the number of values"),
        ("p=0.1:0.9:2.5", "`2.5` as the number of values"),
        ("p=0.1:0.9:-3", "`-3` as the number of values"),
        ("p=0.1:x:3", "`x`, which is no number"),
        ("p=0.1,nan", "not finite"),
        ("p=0.1:inf:3", "not finite"),
        ("p=0:1:3:log", "not positive"),
        ("p=0.1,0.1", "a value twice"),
        ("p=__import__('os').getcwd()", "which is no number"),
        ("p=" + "9" * 400 + ":1:3", "not finite"),
    ],
)
def test_a_bad_axis_is_refused(text, fact):
    with pytest.raises(ModelError, match=fact) as info:
        parse_axis(text)
    assert str(info.value).startswith("An axis must read")
    assert str(info.value).endswith("`p=0.5:0.95:64`.")


def test_axes_may_be_texts_tuples_axes_or_a_mapping():
    wanted = (Axis("p", (0.5, 0.75, 1.0)), Axis("kappa", (1.0, 2.0)))
    assert axes_of(["p=0.5:1:3", "kappa=1,2"]) == wanted
    assert axes_of([("p", 0.5, 1, 3), wanted[1]]) == wanted
    assert axes_of({"p": [0.5, 0.75, 1], "kappa": np.array([1, 2])}) == wanted
    assert axes_of("p=0.5:1:3") == wanted[:1]
    assert axes_of([("p", 1, 4, 3, "log")])[0].values == (1, 2, 4)


def test_the_decimals_are_those_a_person_would_type():
    assert parse_axis("p=0.1:0.9:9").values[6] == 0.7


@pytest.mark.parametrize(
    ("over", "fact"),
    [
        (["kapa=1,2"], "`kapa` was asked for; did you mean `kappa`"),
        (["n=10,20"], "`n` was asked for"),
        ([], "has none"),
        (["p=0.1,0.2", "p=0.3,0.4"], r"has \['p', 'p'\]"),
        (["p=0.1:0.9:20000", "kappa=1:2:20000"], "at most 100000000 rows"),
    ],
)
def test_bad_axes_are_refused(spec, over, fact, tmp_path):
    with pytest.raises(ModelError, match=fact):
        sweep(spec, over, tmp_path / "store", rows=rows)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("option", "fact"),
    [
        ({"backend": "nunba"}, "did you mean `numba`"),
        ({"device": "tpu"}, "`device` must be one of cpu, gpu"),
        ({"device": "gpu"}, "Only `jax` runs on a GPU"),
        ({"s": (0.5, 1.5)}, "times between 0 and 1"),
        ({"rtol": 0.0}, "positive number below 1"),
        ({"rows_per_chunk": -1}, "whole number from 1"),
        ({"chunk_index": 1}, "from 0 to 0"),
        ({"chunk_index": -1}, "from 0 to 0"),
    ],
)
def test_bad_settings_are_refused(spec, option, fact, tmp_path):
    with pytest.raises(ModelError, match=fact):
        sweep(spec, ["p=0.1,0.2"], tmp_path / "store", rows=rows, **option)


def test_a_gpu_that_is_not_there_is_reported(spec, tmp_path):
    import jax

    if jax.default_backend() == "gpu":
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match=r"finds no `gpu` here.*or use `cpu`"):
        sweep(spec, ["p=0.2,0.3"], tmp_path, rows=rows, backend="jax", device="gpu")


# -------------------------------------------------------------------------- result


def test_the_result_is_the_grid(spec, tmp_path):
    over = ["p=0.2:0.9:5", "kappa=1:4:4", "sigma=1,2"]
    found = sweep(spec, over, tmp_path, rows=rows, rows_per_chunk=7, s=(0, 0.5, 1))
    assert found.share_plus.dims == ("p", "kappa", "sigma")
    assert found.omega.dims == ("p", "kappa", "sigma", "t")
    assert found.omega.shape == (5, 4, 2, 3)
    p, kappa = found.p.values, found.kappa.values
    wanted = np.sin(p[:, None]) ** kappa
    np.testing.assert_array_equal(found.share_plus[:, :, 1], wanted)
    np.testing.assert_array_equal(
        found.omega[:, 2, 0], np.exp(p[:, None] * [0, 0.5, 1])
    )
    assert (found.status == "ok").all()


def test_netcdf_and_back(spec, tmp_path):
    found = sweep(spec, ["p=0.2:1.1:5", "kappa=1,6"], tmp_path, rows=rows)
    with xr.open_dataset(tmp_path / "sweep.nc", engine="scipy") as file:
        back = file.load()
    assert set(back) == set(found)
    for name in found:
        assert back[name].dims == found[name].dims
        np.testing.assert_array_equal(
            back[name].values.astype(found[name].dtype), found[name].values
        )
    about = json.loads(back.attrs["json"])
    assert about["axes"][1] == ["kappa", [1.0, 6.0]]
    assert about["spec"]["data"] == {"n": "inf"}
    assert list(back.attrs) == ["json"]
    assert back.omega.attrs == found.omega.attrs
    assert back.omega.attrs["order_in_d"] == "O(1)"
    assert back.kappa.attrs["long_name"] == "scale of a dilated window"


def test_bad_rows_keep_their_status_and_the_rest_goes_on(spec, tmp_path):
    found = sweep(spec, ["p=0.2,1.0,1.2", "kappa=1,6"], tmp_path, rows=rows)
    assert found.status.values.tolist() == [
        ["ok", "failed"],
        ["inadmissible"] * 2,
        ["inadmissible"] * 2,
    ]
    assert str(found.reason.values[2, 0]).startswith("`p` must be strictly between")
    assert "but is 1.2." in str(found.reason.values[2, 0])
    assert found.reason.values[0, 1] == "too steep"
    assert np.isfinite(found.share_plus.values).tolist() == [
        [True, False],
        [False] * 2,
        [False] * 2,
    ]


def test_a_chunk_whose_rows_are_all_bad(spec, tmp_path):
    found = sweep(spec, ["p=1.5,0.2"], tmp_path, rows=rows, rows_per_chunk=1)
    assert found.status.values.tolist() == ["inadmissible", "ok"]
    assert np.isnan(found.share_plus[0])
    assert np.isfinite(found.share_plus[1])


def test_a_row_that_raises_is_found_and_the_rest_is_computed(spec, tmp_path):
    found = sweep(spec, ["p=0.2,0.4", "kappa=1,2,3"], tmp_path, rows=touchy_rows)
    assert found.status.values.tolist() == [["ok", "failed", "ok"]] * 2
    assert found.reason.values[0, 1] == "kappa = 2 is a bad row."
    calm = sweep(spec, ["p=0.2,0.4", "kappa=1,2,3"], tmp_path, rows=rows)
    np.testing.assert_array_equal(found.omega[:, 0], calm.omega[:, 0])
    np.testing.assert_array_equal(found.t, calm.t)
    assert np.isnan(found.omega[:, 1]).all()


def sample_rows(spec, columns, settings):
    return {"share_plus": columns["n_plus"] / columns["n"]}


def test_n_plus_follows_p_unless_it_is_swept(tmp_path):
    spec = default_spec()
    found = sweep(spec, ["p=0.5:0.95:4", "n=10,100"], tmp_path, rows=sample_rows)
    wanted = np.rint(np.multiply.outer(found.p.values, [10, 100]))
    np.testing.assert_array_equal(found.n_plus, wanted)
    fixed = sweep(spec, ["kappa=1,2"], tmp_path, rows=sample_rows)
    assert "n_plus" not in fixed
    assert (fixed.share_plus == 102 / 128).all()
    both = sweep(spec, ["p=0.5,0.9", "n_plus=64,200"], tmp_path, rows=sample_rows)
    assert (both.share_plus[:, 0] == 0.5).all()
    assert (both.status[:, 1] == "inadmissible").all()
    none = sweep(spec, ["p=0.5,0.9999"], tmp_path, rows=sample_rows)
    assert none.status.values.tolist() == ["ok", "inadmissible"]
    with pytest.raises(ModelError, match="n_plus` stays at 102"):
        sweep(spec, ["n=200,400"], tmp_path, rows=sample_rows)


# ------------------------------------------------------------------------ resuming


def test_a_second_run_computes_nothing_and_is_the_same(spec, tmp_path):
    over = ["p=0.2:0.9:9", "kappa=1:4:4"]
    first = sweep(spec, over, tmp_path, rows=rows, rows_per_chunk=5)
    files = sorted(tmp_path.rglob("chunk*"))
    assert len(files) == 8
    before = {f: f.stat().st_mtime_ns for f in files}
    again = sweep(spec, over, tmp_path, rows=rows, rows_per_chunk=5)
    assert first.identical(again)
    assert {f: f.stat().st_mtime_ns for f in files} == before


def test_a_damaged_chunk_is_said_and_redone(spec, tmp_path, capsys):
    over = ["p=0.2:0.9:9"]
    first = sweep(spec, over, tmp_path, rows=rows, rows_per_chunk=3)
    capsys.readouterr()
    victim = sorted(tmp_path.rglob("chunk*"))[1]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-20])
    again = sweep(spec, over, tmp_path, rows=rows, rows_per_chunk=3)
    assert first.identical(again)
    assert victim.read_bytes() == whole
    said = capsys.readouterr()
    assert "Chunk 1" in said.err
    assert "checksum" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"sigma": 1.5}},
        {"over": ["p=0.2:0.9:10"]},
        {"rows_per_chunk": 4},
        {"rtol": 1e-9},
        {"s": (0.25, 1.0)},
        {"backend": "scipy"},
        {"rows": slow_rows},
    ],
)
def test_whatever_changes_never_meets_old_chunks(spec, tmp_path, change):
    given = {"over": ["p=0.2:0.9:9"], "rows": rows, "rows_per_chunk": 3}
    sweep(spec, out=tmp_path, **given)
    before = {f: f.read_bytes() for f in tmp_path.rglob("chunk*")}
    other = spec.replace(**change.pop("spec", {}))
    sweep(other, out=tmp_path, **(given | change))
    after = {f: f.read_bytes() for f in tmp_path.rglob("chunk*")}
    assert before.items() < after.items()


def test_spelling_of_the_spec_does_not_matter(spec, tmp_path):
    sweep(spec, ["p=0.2:0.9:9"], tmp_path, rows=rows)
    from dilaton.theory.models.spec import parse_spec

    respelt = parse_spec("# a comment\n" + spec.text)
    sweep(respelt, ["p=0.2:0.9:9"], tmp_path, rows=rows)
    assert len(list(tmp_path.rglob("manifest.json"))) == 1


def test_chunk_and_thread_numbers_do_not_change_a_bit(spec, tmp_path):
    over = ["p=0.2:0.9:9", "kappa=1:4:4"]
    whole = sweep(spec, over, tmp_path, rows=rows, rows_per_chunk=36, workers=1)
    parts = sweep(spec, over, tmp_path, rows=rows, rows_per_chunk=5, workers=4)
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_chunks_one_by_one_in_any_order(spec, tmp_path):
    over = ["p=0.2:0.9:9"]
    given = {"rows": rows, "rows_per_chunk": 4}
    part = sweep(spec, over, tmp_path / "a", chunk_index=2, **given)
    assert part.status.values.tolist() == ["pending"] * 8 + ["ok"]
    assert np.isnan(part.share_plus[:8]).all()
    assert not (tmp_path / "a" / "sweep.nc").exists()
    said = summary_text(part, tmp_path / "a")
    assert said == f"1 ok, 8 pending; the chunks are in {tmp_path / 'a'}"
    sweep(spec, over, tmp_path / "a", chunk_index=0, **given)
    last = sweep(spec, over, tmp_path / "a", chunk_index=1, **given)
    assert last.identical(sweep(spec, over, tmp_path / "b", **given))
    assert (tmp_path / "a" / "sweep.nc").read_bytes() == (
        tmp_path / "b" / "sweep.nc"
    ).read_bytes()


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[2])
import test_job as here
from dilaton.numerics.sweep.job import sweep
spec = here.default_spec().replace(n="inf")
sweep(spec, here.OVER, sys.argv[1], rows=here.slow_rows, rows_per_chunk=2, workers=2)
"""
OVER = ["p=0.2:0.9:16", "kappa=1:4:2"]


def start(store):
    command = [sys.executable, "-c", PROGRAM, str(store), str(Path(__file__).parent)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def kill_when(process, store, chunks):
    """Send SIGKILL once `chunks` are there (the test's only use of a clock)."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(store.rglob("chunk*"))) >= chunks:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_kill_9_at_random_moments_loses_nothing(tmp_path):
    rng = np.random.default_rng(5)
    store = tmp_path / "store"
    for chunks in sorted(rng.integers(0, 15, 3)):
        process = start(store)
        kill_when(process, store, chunks)
        kept = {f: f.read_bytes() for f in store.rglob("chunk*")}
        assert process.returncode == -signal.SIGKILL
    assert start(store).wait() == 0
    assert all(f.read_bytes() == data for f, data in kept.items())
    assert not [f for f in store.rglob(".*.tmp") if f.name.startswith(".chunk")]
    spec = default_spec().replace(**POPULATION)
    straight = sweep(spec, OVER, tmp_path / "other", rows=rows, rows_per_chunk=2)
    with xr.open_dataset(store / "sweep.nc", engine="scipy") as file:
        for name in straight:
            np.testing.assert_array_equal(
                file[name].values.astype(straight[name].dtype), straight[name].values
            )


@pytest.mark.slow
def test_kill_9_ten_times(tmp_path):
    rng = np.random.default_rng(6)
    store = tmp_path / "store"
    for pause in rng.uniform(0.3, 1.6, 10):
        process = start(store)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = {f: f.read_bytes() for f in store.rglob("chunk*")}
    assert start(store).wait() == 0
    assert all(f.read_bytes() == data for f, data in kept.items())


def test_two_processes_on_one_store(tmp_path):
    workers = [start(tmp_path / "store") for _ in range(2)]
    assert [w.wait(120) for w in workers] == [0, 0]
    spec = default_spec().replace(**POPULATION)
    straight = sweep(spec, OVER, tmp_path / "other", rows=slow_rows, rows_per_chunk=2)
    names = sorted(f.name for f in (tmp_path / "other").rglob("chunk*"))
    assert sorted(f.name for f in (tmp_path / "store").rglob("chunk*")) == names
    with xr.open_dataset(tmp_path / "store" / "sweep.nc", engine="scipy") as file:
        np.testing.assert_array_equal(file.share_plus, straight.share_plus)


def test_a_store_that_cannot_be_written_is_refused(spec, tmp_path):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(StoreError, match="must be a folder"):
        sweep(spec, ["p=0.2:0.9:9"], tmp_path / "store", rows=rows)


def test_a_full_disk_stops_the_sweep_and_keeps_what_is_done(
    spec, tmp_path, monkeypatch
):
    given = {"rows": rows, "rows_per_chunk": 3, "workers": 1}
    fsync, calls = os.fsync, []

    def full(number):
        calls.append(number)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left.*finished before is kept"):
        sweep(spec, ["p=0.2:0.9:9"], tmp_path, **given)
    monkeypatch.undo()
    assert len(list(tmp_path.rglob("chunk*"))) == 1
    assert not list(tmp_path.rglob("*.tmp"))
    sweep(spec, ["p=0.2:0.9:9"], tmp_path, **given)
    assert len(list(tmp_path.rglob("chunk*"))) == 3


def test_progress_goes_to_standard_error(spec, tmp_path, capsys):
    sweep(spec, ["p=0.2,0.3"], tmp_path, rows=rows, progress=True)
    said = capsys.readouterr()
    assert "1/1" in said.err
    assert said.out == ""


# ---------------------------------------------------------------------------- Dask


@pytest.mark.filterwarnings("default")
def test_a_dask_cluster_gives_the_same_bits(spec, tmp_path):
    distributed = pytest.importorskip("distributed")
    over = ["p=0.2:1.1:9", "kappa=1:6:4"]
    given = {"rows": rows, "rows_per_chunk": 5}
    local = sweep(spec, over, tmp_path / "local", **given)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=False
    ) as cluster:
        far = sweep(
            spec, over, tmp_path / "far", scheduler=cluster.scheduler_address, **given
        )
    assert local.identical(far)
    here, there = (sorted((tmp_path / x).rglob("chunk*")) for x in ("local", "far"))
    assert [a.read_bytes() for a in here] == [b.read_bytes() for b in there]


@pytest.mark.filterwarnings("default")
def test_a_scheduler_that_does_not_answer_is_reported(spec, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(SolveError, match="`scheduler` must be the address"):
        sweep(spec, ["p=0.2,0.3"], tmp_path, rows=rows, scheduler="nowhere://x")


def test_a_cluster_without_its_package_names_the_package(spec, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"pip install 'dilaton\[distributed\]'"):
        sweep(spec, ["p=0.2,0.3"], tmp_path, rows=rows, scheduler="tcp://here:1")


def test_a_result_that_cannot_be_written_leaves_nothing_behind(spec, tmp_path):
    found = sweep(spec, ["p=0.2:0.9:4"], tmp_path / "a", rows=rows, rows_per_chunk=2)
    kept = sorted(path.name for path in (tmp_path / "a").rglob("chunk*"))
    (tmp_path / "a" / "sweep.nc").unlink()
    (tmp_path / "a" / "sweep.nc").mkdir()
    with pytest.raises(StoreError, match=r"writes its result, but it holds something"):
        sweep(spec, ["p=0.2:0.9:4"], tmp_path / "a", rows=rows, rows_per_chunk=2)
    assert sorted(path.name for path in (tmp_path / "a").rglob("chunk*")) == kept
    assert not list(tmp_path.rglob("*.tmp"))
    (tmp_path / "a" / "sweep.nc").rmdir()
    again = sweep(spec, ["p=0.2:0.9:4"], tmp_path / "a", rows=rows, rows_per_chunk=2)
    assert again.identical(found)


def test_a_file_of_the_user_s_is_not_written_over(spec, tmp_path):
    (tmp_path / "sweep.nc").write_text("my own")
    with pytest.raises(StoreError, match=r"holds something else\. Move it"):
        sweep(spec, ["p=0.2:0.9:4"], tmp_path, rows=rows)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.nc"]
    assert (tmp_path / "sweep.nc").read_text() == "my own"


def test_results_of_two_sweeps_lie_side_by_side(spec, tmp_path):
    one = sweep(spec, ["p=0.2:0.9:4"], tmp_path, rows=rows)
    two = sweep(spec, ["p=0.3:0.9:4"], tmp_path, rows=rows)
    key = json.loads(one.attrs["json"])["key"]
    with xr.open_dataset(tmp_path / f"sweep-{key[:16]}.nc") as kept:
        np.testing.assert_array_equal(kept.share_plus, one.share_plus)
    with xr.open_dataset(tmp_path / "sweep.nc") as kept:
        np.testing.assert_array_equal(kept.share_plus, two.share_plus)


WRONG = {  # what a chunk may hold that no row function gives: what is said of it
    "status": (np.zeros(2), "`status` holds float64"),
    "share_plus": (np.array(["x", "y"]), "`share_plus` holds <U1"),
    "omega": (np.zeros((3, 1)), r"`omega` has the shape \(3, 1\) for 2 rows"),
    "reason": (None, "it has no `reason`"),
}


@pytest.mark.parametrize(("name", "case"), WRONG.items(), ids=WRONG)
def test_a_chunk_of_another_content_is_said_and_redone(
    spec, tmp_path, capsys, name, case
):
    settings = {"rows": rows, "rows_per_chunk": 2}
    whole = sweep(spec, ["p=0.2:0.9:4"], tmp_path, **settings)
    job = make_job(spec, ["p=0.2:0.9:4"], rows, 2, SETTINGS)
    store = Store(tmp_path, job.recipe())
    held, (wrong, said) = store.load(0), case
    held.pop(name, None)
    store.save(0, held if wrong is None else held | {name: wrong})
    again = sweep(spec, ["p=0.2:0.9:4"], tmp_path, **settings)
    assert again.identical(whole)
    assert re.search(f"Chunk 0 .* is not used: {said}", capsys.readouterr().err)


def test_a_worker_with_other_code_is_refused(spec):
    from dilaton.numerics.sweep.job import run_checked

    job = make_job(spec, ["p=0.2,0.3"], rows, None, SETTINGS | {"s": (1.0,)})
    known = job.recipe()["versions"]
    assert run_checked(job, 0, known)[0] == 0
    with pytest.raises(SolveError, match="differs in sources"):
        run_checked(job, 0, known | {"sources": "other"})


# ---------------------------------------------------------------- the command line


def test_the_command_prints_one_json_object(tmp_path, capsys, monkeypatch):
    from dilaton.face import cli

    path = tmp_path / "spec.toml"
    path.write_text(default_spec().replace(**POPULATION).text)
    over = ["--over", "p=0.5,0.9,1.2", "--over", "kappa=1:4:2"]
    store = ["-o", str(tmp_path / "store"), "--json"]
    command = ["dilaton", "sweep", str(path), *over, *store]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["axes"] == {"p": [0.5, 0.9, 1.2], "kappa": [1.0, 4.0]}
    assert said["rows"] == {"inadmissible": 2, "ok": 4}
    assert said["share_plus"][2] == [None, None]
    assert said["share_plus"][1][0] == pytest.approx(0.9 * 0.8413447 + 0.1 * 0.1586553)
    assert (tmp_path / "store" / "sweep.nc").exists()


def test_the_command_refuses_with_one_message(tmp_path, capsys, monkeypatch):
    from dilaton.face import cli

    path = tmp_path / "spec.toml"
    path.write_text(default_spec().text)
    store = str(tmp_path / "store")
    command = ["dilaton", "sweep", str(path), "--over", "kapa=1,2", "-o", store]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "did you mean `kappa`?" in said.err
    assert not (tmp_path / "store").exists()
