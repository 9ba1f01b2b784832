"""Gives ``xarray.Dataset`` its accessor ``.dilaton``, whichever is imported first.

Importing dilaton loads no xarray: the accessor is registered at once if that is there
already, and else when it is imported. So a result that `xarray.open_dataset` read in a
new process has it too.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

WAITS_FOR = "xarray"


def register() -> None:
    """Register the accessor, now or when xarray is imported."""
    if WAITS_FOR in sys.modules:
        _load()
    else:
        sys.meta_path.insert(0, _Waiting())


def _load() -> None:
    import_module(".display", __package__)


class _Waiting:
    """Finds nothing itself; once others find xarray, acts after its import."""

    def __init__(self) -> None:
        self._asking = False

    def find_spec(self, name: str, *_: Any) -> Any:
        if name != WAITS_FOR or self._asking:
            return None
        self._asking = True
        try:
            spec = find_spec(name)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader: Any) -> None:
        execute = loader.exec_module

        def then(module: Any) -> None:
            execute(module)
            sys.meta_path.remove(self)
            _load()

        loader.exec_module = then
