"""The chunk store: whole or absent, checked, never mixed, never unpickled."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dilaton.errors import StoreError
from dilaton.files import source_digest, write_atomic
from dilaton.numerics.sweep.store import Damaged, Store, digest

RECIPE = {"spec": {"p": 0.8}, "axes": [["p", [0.1, 0.2]]], "rows_per_chunk": 4}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", RECIPE).open()


@pytest.fixture
def chunk():
    return {
        "share_plus": np.array([0.1, np.nan, 1 / 3]),
        "status": np.array(["ok", "inadmissible", "ok"]),
    }


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])
        assert left[name].dtype == right[name].dtype


def test_a_chunk_comes_back_bit_for_bit(store, chunk):
    store.save(3, chunk)
    assert_same(store.load(3), chunk)
    assert store.load(4) is None


def test_a_chunk_is_an_ordinary_npz(store, chunk):
    store.save(0, chunk)
    with np.load(store.path(0), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["share_plus"], chunk["share_plus"])
    assert zipfile.ZipFile(store.path(0)).testzip() is None


def test_the_bytes_do_not_depend_on_when_they_are_written(store, chunk):
    store.save(0, chunk)
    first = store.path(0).read_bytes()
    store.save(0, chunk)
    assert store.path(0).read_bytes() == first


@pytest.mark.parametrize("where", [0, 30, 200, -70, -66, -1])
def test_one_flipped_bit_is_noticed(store, chunk, where):
    store.save(0, chunk)
    data = bytearray(store.path(0).read_bytes())
    data[where] ^= 1
    store.path(0).write_bytes(data)
    with pytest.raises(Damaged):
        store.load(0)


@pytest.mark.parametrize("kept", [0, 1, 65, 66, 100, 0.5, -1])
def test_truncation_is_noticed(store, chunk, kept):
    store.save(0, chunk)
    data = store.path(0).read_bytes()
    kept = int(kept * len(data)) if isinstance(kept, float) else kept
    store.path(0).write_bytes(data[:kept])
    with pytest.raises(Damaged, match="checksum"):
        store.load(0)


def test_a_chunk_under_another_index_or_key_is_refused(store, chunk, tmp_path):
    store.save(0, chunk)
    store.path(1).write_bytes(store.path(0).read_bytes())
    with pytest.raises(Damaged, match="another sweep"):
        store.load(1)
    other = Store(tmp_path / "store", RECIPE | {"spec": {"p": 0.9}}).open()
    assert other.folder != store.folder
    assert other.load(0) is None
    other.path(0).write_bytes(store.path(0).read_bytes())
    with pytest.raises(Damaged, match="another sweep"):
        other.load(0)


def test_nothing_is_pickled_in_or_out(store, tmp_path):
    with pytest.raises(StoreError, match="nothing is pickled, but `bad`"):
        store.save(0, {"bad": np.array([{}, None], dtype=object)})
    assert not list(store.folder.glob("chunk*"))
    assert not list(store.folder.glob(".*"))
    trap = tmp_path / "ran"
    payload = f"__import__('pathlib').Path({str(trap)!r}).touch()"

    class Trap:
        def __reduce__(self):
            return eval, (payload,)

    store.path(0).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(Damaged):
        store.load(0)
    assert not trap.exists()


def test_digest_sees_every_bit_and_no_order():
    assert digest({"a": 1.0, "b": 2}) == digest({"b": 2, "a": 1.0})
    assert digest({"a": 0.1}) != digest({"a": np.nextafter(0.1, 1)})
    assert digest({"a": np.array([0.1])}) == digest({"a": [0.1]})
    assert digest({"a": np.float64(0.5)}) == digest({"a": 0.5})


def test_source_digest_sees_names_and_contents(tmp_path):
    (tmp_path / "one.py").write_text("x = 1\n")
    first = source_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("not a source")
    assert source_digest(tmp_path) == first
    (tmp_path / "one.py").write_text("x = 2\n")
    second = source_digest(tmp_path)
    (tmp_path / "one.py").rename(tmp_path / "two.py")
    assert len({first, second, source_digest(tmp_path)}) == 3


def test_a_manifest_says_what_the_folder_holds(store):
    manifest = store.folder / "manifest.json"
    before = manifest.read_text()
    assert store.key in before
    assert '"rows_per_chunk": 4' in before
    manifest.write_text("{}")
    store.open()
    assert manifest.read_text() == before


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(
    store, chunk, monkeypatch
):
    store.save(0, chunk)
    before = sorted(store.folder.iterdir())

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"must be.*No space left.*Free space") as info:
        store.save(0, {"share_plus": np.zeros(3)})
    monkeypatch.undo()
    assert isinstance(info.value, OSError)
    assert sorted(store.folder.iterdir()) == before
    assert_same(store.load(0), chunk)


LIMITED = """
import resource, sys
import numpy as np
from pathlib import Path
from dilaton.errors import StoreError
from dilaton.numerics.sweep.store import Store
store = Store(Path(sys.argv[1]), {}).open()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    store.save(0, {"x": np.zeros(100_000)})
except StoreError as error:
    print(error)
print(sorted(p.name for p in store.folder.iterdir()))
"""


def test_the_kernel_refusing_to_write_is_reported(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "File too large" in done.stdout
    assert done.stdout.splitlines()[-1] == "['manifest.json']"


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(StoreError, match=r"must be a folder.*Check|.*choose another"):
        Store(tmp_path / "store", RECIPE).open()
    assert (tmp_path / "store").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_read_only_root_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        Store(tmp_path / "store", RECIPE).open()
    tmp_path.chmod(0o700)


def test_tidy_removes_what_kills_left_and_only_that(store, chunk):
    store.save(0, chunk)
    (store.folder / ".chunk-000001.npz.77-abcd.tmp").write_bytes(b"half")
    store.tidy()
    names = sorted(p.name for p in store.folder.iterdir())
    assert names == ["chunk-000000.npz", "manifest.json"]


def test_a_writer_whose_temporary_file_was_tidied_accepts_the_finished_one(
    store, chunk, monkeypatch
):
    store.save(0, chunk)

    def gone(self, target):
        raise FileNotFoundError(errno.ENOENT, "gone", str(self))

    monkeypatch.setattr(Path, "replace", gone)
    store.save(0, chunk)
    monkeypatch.undo()
    assert_same(store.load(0), chunk)


HAMMER = f"""
import sys
from pathlib import Path
import numpy as np
from dilaton.numerics.sweep.store import Store
store = Store(Path(sys.argv[1]), {RECIPE!r}).open()
rng = np.random.default_rng(int(sys.argv[2]))
for _ in range(30):
    index = int(rng.integers(4))
    store.save(index, {{"x": np.full(2000, float(index))}})
    found = store.load(int(rng.integers(4)))
    if found is not None:
        assert np.ptp(found["x"]) == 0
"""


def test_two_processes_may_share_a_store(tmp_path):
    workers = [
        subprocess.Popen([sys.executable, "-c", HAMMER, str(tmp_path), str(seed)])
        for seed in (1, 2)
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    store = Store(tmp_path, RECIPE)
    for index in range(4):
        np.testing.assert_array_equal(store.load(index)["x"], index)


def test_write_atomic_replaces(tmp_path):
    write_atomic(tmp_path / "a" / "b.txt", b"one")
    write_atomic(tmp_path / "a" / "b.txt", b"two")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"two"
