"""The cache folder: texts and generated modules, kept and checked on every use.

Sources are named by their content, other texts by what they were made from. The
machine code that numba keeps beside them carries a checksum: code that does not match
is compiled again, and that is said.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import secrets
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from ...files import at_home

_LOCK = threading.RLock()  # a module is seen by other threads when it is complete


def cache_folder() -> Path:
    """Return ``$DILATON_CACHE``, or the user's cache folder."""
    if "DILATON_CACHE" in os.environ:
        return at_home(os.environ["DILATON_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return at_home(base) / "dilaton" if base else _in_home()


def _in_home() -> Path:
    """The folder of a user who has a home, else one by the user's number."""
    try:
        return Path.home() / ".cache" / "dilaton"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"dilaton-{os.getuid()}"


def load_source(source: str, name: str) -> ModuleType:
    """Import `source` from a file named by its content; write the file if needed.

    numba keys its cache on the file, so the file is written once, by whoever comes
    first, and never changed. A file that does not hold `source` (a torn disk, an
    edit) is put right, and a folder that cannot be written is replaced by a
    temporary one; both are said in a `UserWarning`.
    """
    title = f"{name}_{_checksum(source.encode())[:20]}"
    with _LOCK:
        if title in sys.modules:
            return sys.modules[title]
        try:
            path = _written(cache_folder() / "kernels" / f"{title}.py", source)
        except OSError as error:
            _unusable(error)
            folder = Path(tempfile.mkdtemp(prefix="dilaton-"))
            path = _written(folder / f"{title}.py", source)
        return _imported(path, title)


def remembered(key: str, make: Callable[[], str]) -> str:
    """Return ``make()``, or the text that an earlier call with this key returned.

    The text carries a checksum: one that does not match is made again. That, and a
    folder that cannot be written, are said in a `UserWarning`, the latter once.
    """
    path = cache_folder() / "texts" / _checksum(key.encode())[:40]
    if (kept := _kept(path)) is not None:
        return kept
    text = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _publish(path, f"{_checksum(text.encode())}\n{text}", os.replace)
    except OSError as error:
        _unusable(error)
    return text


def _kept(path: Path) -> str | None:
    """Return the text of a file that is there and matches its checksum."""
    try:
        digest, _, text = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if digest.decode(errors="replace") == _checksum(text):
        return text.decode()
    _damaged(path.name)
    return None


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_SAID: set[Path] = set()


def _unusable(error: OSError) -> None:
    """Say, once in a process, that nothing can be kept in the cache folder."""
    if cache_folder() in _SAID:
        return
    _SAID.add(cache_folder())
    warnings.warn(
        f"The cache folder `{cache_folder()}` cannot be used ({error.strerror}), so "
        "models are derived and kernels compiled again in each process. Set "
        "DILATON_CACHE to a folder that can be written.",
        stacklevel=3,
    )


def _written(path: Path, source: str) -> Path:
    try:
        held = path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _publish(path, source, os.link)
        held = path.read_bytes()
    if held != source.encode():
        warnings.warn(
            f"The cached kernel `{path.name}` must hold the source it is named after, "
            "but does not. It has been written and is compiled again.",
            stacklevel=3,
        )
        forget_compiled(path)
        _publish(path, source, os.replace)
    return path


def _publish(path: Path, source: str, put) -> None:
    # with the rights that the user's umask gives, so that a group may share the cache
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(source.encode())
        put(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)


def is_compiled(source: str, name: str, function: str) -> bool:
    """Whether machine code of a function is kept of a `source` that has been loaded."""
    title = f"{name}_{_checksum(source.encode())[:20]}"
    kept = cache_folder() / "kernels" / "__pycache__"
    return any(kept.glob(f"{title}.{function}-*.nbi"))


def forget_compiled(path: Path) -> None:
    """Remove numba's files for the generated module at `path`."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink(missing_ok=True)


def _imported(path: Path, title: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(title, path)
    assert spec is not None  # for a name that ends in .py there always is one
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[title] = module
    try:
        spec.loader.exec_module(module)
        for function in vars(module).values():  # their machine code is kept checked
            file = getattr(getattr(function, "_cache", None), "_cache_file", None)
            if file is not None:
                file.__class__ = _checked_file()
    except BaseException:
        del sys.modules[title]
        raise
    return module


def _damaged(name: str) -> None:
    warnings.warn(
        f"The cached file `{name}` must match its checksum, but does not. It is "
        "made again.",
        stacklevel=2,
    )


@lru_cache(maxsize=1)
def _checked_file() -> type:
    """Return numba's pair of index and data files, with a SHA-256 before each."""
    from numba.core.caching import IndexDataCacheFile

    class CheckedFile(IndexDataCacheFile):
        """Nothing is unpickled before its checksum has been compared."""

        def save(self, key, data):
            try:
                super().save(key, data)
            except OSError as err:
                warnings.warn(
                    f"The machine code of `{self._index_name}` could not be kept "
                    f"({err.strerror}), so the next process compiles it again. Free "
                    "space, or set DILATON_CACHE to another folder.",
                    stacklevel=2,
                )

        def _dump(self, obj):
            data = super()._dump(obj)
            return hashlib.sha256(data).digest() + data

        def _save_index(self, overloads):
            content = (self._version, self._source_stamp, overloads)
            with self._open_for_write(self._index_path) as file:
                file.write(self._dump(content))

        def _load_index(self):
            try:
                content = self._read(self._index_path)
            except FileNotFoundError:
                return {}
            except OSError:
                _damaged(self._index_name)
                return {}
            except Exception:  # of classes that another numba had: compile anew
                return {}
            version, stamp, overloads = content
            fresh = version == self._version and stamp == self._source_stamp
            return overloads if fresh else {}

        def _load_data(self, name):
            try:
                return self._read(self._data_path(name))
            except FileNotFoundError:
                raise
            except OSError:
                _damaged(name)
                raise

        def _read(self, path):
            raw = Path(path).read_bytes()
            if hashlib.sha256(raw[32:]).digest() != raw[:32]:
                raise OSError("the checksum does not match")
            return pickle.loads(raw[32:])

    return CheckedFile
