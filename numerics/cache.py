"""Generated modules on disk: written once, checked on every use, imported by path."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType


def cache_folder() -> Path:
    """Return ``$DILATON_CACHE``, or the user's cache folder."""
    if "DILATON_CACHE" in os.environ:
        return Path(os.environ["DILATON_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dilaton"


def load_source(source: str, name: str) -> ModuleType:
    """Import `source` from a file named by its content; write the file if needed.

    numba keys its cache on the file, so the file is written once, by whoever comes
    first, and never changed. A file that does not hold `source` (a torn disk, an
    edit) is put right, and a folder that cannot be written is replaced by a
    temporary one; both are said in a `UserWarning`.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()[:20]
    title = f"{name}_{digest}"
    if title in sys.modules:
        return sys.modules[title]
    try:
        path = _written(cache_folder() / "kernels" / f"{title}.py", source)
    except OSError as err:
        warnings.warn(
            f"The cache folder `{cache_folder()}` cannot be used ({err.strerror}), so "
            "kernels are compiled again in each process. Set DILATON_CACHE to a "
            "folder that can be written.",
            stacklevel=2,
        )
        path = _written(
            Path(tempfile.mkdtemp(prefix="dilaton-")) / f"{title}.py", source
        )
    return _imported(path, title)


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
            stacklevel=4,
        )
        forget_compiled(path)
        _publish(path, source, os.replace)
    return path


def _publish(path: Path, source: str, put) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(source.encode())
        put(temporary, path)
    except FileExistsError:
        pass
    finally:
        Path(temporary).unlink(missing_ok=True)


def forget_compiled(path: Path) -> None:
    """Remove numba's files for the generated module at `path`."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink(missing_ok=True)


def _imported(path: Path, title: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(title, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"`{path}` must be a Python file that can be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[title] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[title]
        raise
    return module
