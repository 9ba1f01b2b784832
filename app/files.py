"""Files of every kind: written whole or not at all, sources told apart by content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StoreError

if TYPE_CHECKING:
    import xarray as xr


def room(dotted: str) -> Path:
    """Return the folder of a room, as in ``"theory"`` or ``"numerics.codegen"``."""
    package = import_module(f".{dotted}", __package__)
    return Path(next(iter(package.__path__)))


@cache
def code_digest(*rooms: str) -> str:
    """Return the digest of every source in `rooms` and in the rooms inside them."""
    return source_digest(*map(room, rooms))


def source_digest(*folders: Path) -> str:
    """Return the SHA-256 of the Python sources below `folders`, in order of path.

    Folders inside them count, so that a file that moves into a room is still seen.
    """
    total = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder).as_posix()
            total.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def at_home(path: str | os.PathLike[str]) -> Path:
    """Return a path with the `~` or `~name` before it replaced, as a shell does it.

    A name that no user has is kept, as it may be a file. Raises `StoreError` for `~`
    where no home is known.
    """
    given = Path(path)
    try:
        return given.expanduser()
    except RuntimeError:
        if given.parts[0] != "~":
            return given
        raise StoreError(
            f"A path with `~` needs a home, but none is known here for `{given}`. "
            "Write the path in full, or set HOME."
        ) from None


def write_netcdf(result: xr.Dataset, path: Path) -> None:
    """Write a result as netCDF, whole or not at all.

    Raises `StoreError` when the folder cannot be written or has no space.
    """
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        result.to_netcdf(temp, engine="scipy")
        temp.replace(path)
    except OSError as error:
        raise StoreError(
            f"The result must be written to a folder with space, but `{path}` could "
            f"not be: {error.strerror or error}. Free space and run the command again; "
            "what was finished before is kept."
        ) from error
    finally:
        temp.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that readers see the old file or the new, whole.

    Raises `StoreError` when the disk is full or the folder cannot be written; the
    old file is then untouched and no partial file is left.
    """
    temp = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temp.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temp.unlink()
        if isinstance(error, FileNotFoundError) and path.exists():
            return  # another process finished the same file and tidied up
        raise StoreError(
            f"The store must be a folder that can be written, but `{path}` could not "
            f"be: {error.strerror or error}. Free space or choose another folder; "
            "what was finished before is kept."
        ) from error
