"""A folder of finished chunks that survives kills, full disks and other specs.

A sweep is cut into chunks; each finished chunk is one file, written to a temporary
name and moved into place, so that it is either absent or whole. Its SHA-256 is the
archive comment of the file, which stays an ordinary ``.npz``. The folder of a sweep
is named after a digest of everything that fixes its numbers, so another spec,
grid, setting or version never meets these chunks. Nothing is ever unpickled, and
no clock is read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import StoreError
from ...files import write_atomic

FORMAT = 2  # version of the file layout; part of every digest
_DIGEST_SIZE = 64  # hexadecimal SHA-256
_COMMENT_LENGTH = _DIGEST_SIZE.to_bytes(2, "little")  # last field of a zip file
_META = "meta.json"


class Damaged(Exception):
    """A chunk file is not what was written; the text says in what way."""


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON object, floats written exactly, keys sorted."""
    text = json.dumps(content, sort_keys=True, default=_exact, allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Store:
    """The chunks of one sweep, in ``root/KEY``.

    `root` is the folder the user named, which several sweeps may share. The `recipe` is
    everything that fixes the numbers, as JSON: spec, axes, chunk size, settings,
    versions. Its digest names the folder.
    """

    root: Path
    recipe: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Digest of the recipe and of the file layout."""
        return digest({"format": FORMAT, "recipe": self.recipe})

    @property
    def folder(self) -> Path:
        """Where the chunks of this recipe lie."""
        return self.root / self.key[:16]

    def path(self, index: int) -> Path:
        """The file of chunk `index`."""
        return self.folder / f"chunk-{index:06d}.npz"

    def open(self) -> Store:
        """Create the folder and its manifest; return the store.

        Raises `StoreError` when the folder cannot be written.
        """
        content = {"format": FORMAT, "key": self.key, "recipe": self.recipe}
        text = json.dumps(content, sort_keys=True, indent=1, default=_exact).encode()
        manifest = self.folder / "manifest.json"
        if _read(manifest) != text:
            write_atomic(manifest, text)
        return self

    def save(self, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a finished chunk; object arrays are refused, for they need pickle."""
        write_atomic(self.path(index), _pack(arrays, self._meta(index)))

    def load(self, index: int) -> dict[str, np.ndarray] | None:
        """Return a chunk, or `None` if it was never finished.

        Raises `Damaged` when the file is truncated, altered or of another sweep.
        """
        data = _read(self.path(index))
        return None if data is None else _unpack(data, self._meta(index))

    def tidy(self) -> None:
        """Remove the temporary files that killed processes left behind."""
        with contextlib.suppress(OSError):
            for temp in self.folder.glob(".*.tmp"):
                temp.unlink(missing_ok=True)

    def _meta(self, index: int) -> dict[str, Any]:
        return {"key": self.key, "index": index}


def _exact(value: Any) -> Any:
    """JSON for what `json` does not know: arrays and NumPy numbers, bit for bit."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


def _read(path: Path) -> bytes | None:
    try:
        if path.is_fifo():
            raise OSError(errno.EINVAL, "it is a pipe")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(
            f"The store must be a folder that can be read, but `{path}` could not be: "
            f"{error.strerror or error}. Check its permissions or choose another one."
        ) from error


def _pack(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> bytes:
    """Return an ``.npz`` whose archive comment is the SHA-256 of what precedes it."""
    buffer = io.BytesIO()
    label = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8)
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise StoreError(
                "A chunk must hold numbers or text, for nothing is pickled, but "
                f"`{name}` holds Python objects. Convert it first."
            )
    np.savez(buffer, **{_META: label}, **dict(arrays))  # type: ignore[arg-type]
    return _signed(buffer.getvalue()[:-2])  # without the empty comment's length


def _signed(body: bytes) -> bytes:
    return body + _COMMENT_LENGTH + hashlib.sha256(body).hexdigest().encode()


def _unpack(data: bytes, meta: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if _signed(data[: -_DIGEST_SIZE - 2]) != data:
        raise Damaged("its checksum does not match")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise Damaged(f"it cannot be read ({error})") from error
    label = arrays.pop(_META, np.zeros(0, np.uint8)).tobytes()
    if label != json.dumps(meta, sort_keys=True).encode():
        raise Damaged("it belongs to another sweep")
    return arrays
