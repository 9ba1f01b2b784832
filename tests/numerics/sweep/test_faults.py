"""Whatever breaks while it runs: nothing is lost and nothing is silently wrong.

Kills, damaged files and full disks of one part are tested beside that part; here are
whole commands, clocks, memory, and several things at once.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dilaton
import numpy as np
import pytest
from dilaton.errors import StoreError
from dilaton.face import cli, documents
from dilaton.numerics.sweep.job import sweep

from ...cases import POPULATION, TEXT

OVER = ["p=0.2:0.8:6", "kappa=1:3:3"]
CELLS = {"rows_per_chunk": 3, "workers": 1}


def rows(spec, columns, settings):
    """A row function without physics."""
    return {"share_plus": np.sin(columns["p"]) ** columns["kappa"]}


@pytest.fixture
def spec():
    return dilaton.default_spec().replace(n="inf")


def chunks(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("chunk*")}


# ------------------------------------------------------------------------------ memory


def test_memory_that_runs_out_in_a_worker_loses_no_chunk(spec, tmp_path):
    called = []

    def hungry(spec, columns, settings):
        called.append(1)
        if len(called) == 3:
            raise MemoryError("Unable to allocate 1 PiB")
        return rows(spec, columns, settings)

    hungry.__qualname__, hungry.__module__ = rows.__qualname__, rows.__module__
    with pytest.raises(MemoryError):
        sweep(spec, OVER, tmp_path / "a", rows=hungry, **CELLS)
    kept = chunks(tmp_path / "a")
    assert len(kept) == 2
    assert not (tmp_path / "a" / "sweep.nc").exists()
    # with memory again the same command goes on, with the same recipe
    whole = sweep(spec, OVER, tmp_path / "a", rows=rows, **CELLS)
    assert kept.items() < chunks(tmp_path / "a").items()
    assert whole.identical(sweep(spec, OVER, tmp_path / "b", rows=rows, **CELLS))


def test_memory_that_runs_out_is_one_message(monkeypatch, capsys, tmp_path):
    (tmp_path / "spec.toml").write_text(POPULATION)

    def hungry(*_):
        raise MemoryError("Unable to allocate 1 PiB")

    monkeypatch.setattr(documents, "document", hungry)
    monkeypatch.setattr(sys, "argv", ["dilaton", "derive", str(tmp_path / "spec.toml")])
    monkeypatch.setattr("warnings.showwarning", None)  # put back afterwards
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "must fit in memory, but it ran out (Unable to allocate 1 PiB)" in said
    assert "Ask for less at once" in said


LIMITED = """
import resource, sys
from pathlib import Path
import dilaton, numpy as np
from dilaton.numerics.sweep.job import sweep
def rows(spec, columns, settings):
    if columns["p"][0] > 0.5:
        np.ones(1 << 33)  # 64 GiB
    return {"share_plus": columns["p"]}
spec = dilaton.default_spec().replace(n="inf")
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
try:
    sweep(spec, ["p=0.2:0.8:6"], sys.argv[1], rows=rows, rows_per_chunk=1, workers=1)
except MemoryError:
    print(len(list(Path(sys.argv[1]).rglob("chunk*"))))
"""


def test_a_real_limit_on_memory_leaves_whole_chunks(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "3"
    assert not list(tmp_path.rglob("*.tmp"))


# ------------------------------------------------------------------------------- clocks


def jumping(start=1e9):
    """A clock that goes back a day, forward a year, and stands still."""
    state = {"now": start, "calls": 0}

    def now():
        state["calls"] += 1
        state["now"] += (-86_400.0, 3.2e7, 0.0)[state["calls"] % 3]
        return state["now"]

    return now


def test_a_clock_that_jumps_changes_nothing(spec, tmp_path, monkeypatch):
    plain = sweep(spec, OVER, tmp_path / "a", rows=rows, **CELLS)
    with monkeypatch.context() as patch:
        for name in ("time", "monotonic", "perf_counter"):
            patch.setattr(time, name, jumping())
        jumped = sweep(spec, OVER, tmp_path / "b", rows=rows, progress=True, **CELLS)
    assert jumped.identical(plain)
    assert chunks(tmp_path / "b") == chunks(tmp_path / "a")


def test_files_from_the_future_are_still_used(spec, tmp_path):
    first = sweep(spec, OVER, tmp_path, rows=rows, **CELLS)
    for path in tmp_path.rglob("*"):
        os.utime(path, (4e9, 4e9))

    def never(*_):
        raise AssertionError("a finished chunk was computed again")

    never.__qualname__, never.__module__ = rows.__qualname__, rows.__module__
    assert sweep(spec, OVER, tmp_path, rows=never, **CELLS).identical(first)


# ------------------------------------------------------------------------ damaged files


@pytest.mark.parametrize("damage", ["truncated", "emptied", "one bit", "of another"])
def test_every_damage_to_a_chunk_is_said_and_mended(spec, tmp_path, capsys, damage):
    whole = sweep(spec, OVER, tmp_path, rows=rows, **CELLS)
    kept = chunks(tmp_path)
    victim, other = sorted(tmp_path.rglob("chunk*"))[:2]
    data = victim.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    victim.write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "emptied": b"",
            "one bit": bytes(flipped),
            "of another": other.read_bytes(),
        }[damage]
    )
    capsys.readouterr()
    assert sweep(spec, OVER, tmp_path, rows=rows, **CELLS).identical(whole)
    assert "Chunk 0" in (said := capsys.readouterr().err)
    assert "computing it" in said
    assert chunks(tmp_path) == kept


def test_a_chunk_that_is_a_folder_is_refused_not_removed(spec, tmp_path):
    sweep(spec, OVER, tmp_path, rows=rows, **CELLS)
    victim = sorted(tmp_path.rglob("chunk*"))[0]
    victim.unlink()
    victim.mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        sweep(spec, OVER, tmp_path, rows=rows, **CELLS)
    assert victim.is_dir()


# ------------------------------------------------------------------ whole commands

CONVERGE = [
    *("converge", "SPEC", "--dims", "60,120,240", "--seeds", "3", "--paths", "0"),
    *("--at", "0.5,1", "--json", "-o", "OUT"),
]
SWEEP = [
    *("sweep", "SPEC", "--over", "p=0.2:0.8:12", "--over", "kappa=1:3:8"),
    *("--rows-per-chunk", "4", "--workers", "1", "--json", "-o", "OUT"),
]


def start(line, spec, out):
    words = [{"SPEC": str(spec), "OUT": str(out)}.get(word, word) for word in line]
    command = [
        sys.executable,
        "-c",
        "from dilaton.face.cli import main; main()",
        *words,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("line", [CONVERGE, SWEEP], ids=["converge", "sweep"])
def test_a_command_killed_again_and_again_ends_with_the_same_numbers(tmp_path, line):
    spec = tmp_path / "spec.toml"
    spec.write_text(POPULATION)
    straight, _ = start(line, spec, tmp_path / "straight").communicate()
    rng = np.random.default_rng(3)
    out = tmp_path / "killed"
    for wanted in sorted(rng.integers(1, 8, 4)):
        process = start(line, spec, out)
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(out.rglob("*.npz"))) >= wanted:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kept = {path: path.read_bytes() for path in out.rglob("*.npz")}
    again, _ = start(line, spec, out).communicate()
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert without_times(again) == without_times(straight)


def without_times(text):
    import json

    answer = json.loads(text)
    return {k: v for k, v in answer.items() if k not in ("seconds", "store", "folder")}


@pytest.mark.slow
def test_windows_killed_goes_on(tmp_path):
    line = ["windows", "mixture", "--d", "128", "--seeds", "2", "--quick", "-o", "OUT"]
    out = tmp_path / "out"
    for wanted in (1, 3):
        process = start(line, "", out)
        deadline = time.monotonic() + 250
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(out.rglob("parts/*.json"))) >= wanted:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kept = {path: path.read_bytes() for path in out.rglob("parts/*.json")}
        assert not (out / "index.html").exists()
    process = start(line, "", out)
    process.communicate()
    assert process.returncode == 0
    assert kept
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert (out / "index.html").stat().st_size > 1000


@pytest.mark.slow
def test_two_commands_on_one_store_end_alike(tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text(POPULATION)
    both = [start(SWEEP, spec, tmp_path / "out") for _ in range(2)]
    one, two = (without_times(process.communicate()[0]) for process in both)
    alone, _ = start(SWEEP, spec, tmp_path / "other").communicate()
    assert one == two == without_times(alone)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["file", "full"])
def test_a_cache_that_cannot_be_used_is_said_and_the_numbers_are_right(tmp_path, where):
    """A file in place of the folder, and a folder on a file system without space."""
    spec = tmp_path / "spec.toml"
    spec.write_text(TEXT)  # samples: their minimum is compiled
    if where == "file":
        (tmp_path / "cache").write_text("in the way")
    folder = {"file": tmp_path / "cache", "full": Path("/proc/self")}[where]
    found = {}
    for name in (folder, tmp_path / "good"):
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from dilaton.face.cli import main; main()"),
                *("solve", str(spec), "--at", "0.5,1", "--json"),
            ],
            env={**os.environ, "DILATON_CACHE": str(name)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found[name] = done.stdout
        assert ("cannot be used" in done.stderr) == (name == folder)
    assert len(set(found.values())) == 1
