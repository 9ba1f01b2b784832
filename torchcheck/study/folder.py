"""The folder of a study: finished cells, from which it goes on, and its results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import StoreError
from ...files import code_digest, write_atomic
from ...numerics.sweep.store import Damaged, Store
from ...show.answers import to_json
from .compare import Study, package_versions
from .figures import Line, draw_study
from .plan import Cell, Plan, phases

if TYPE_CHECKING:
    from ...theory.models.spec import Spec


def claim(output: Path, spec: Spec, plan: Plan, **further: Any) -> Store:
    """Return the store of the folder's cells; `further` settings fix them too.

    Raises `StoreError` for a file, and for a folder with another study in it.
    """
    settings = {k: v for k, v in vars(plan).items() if k not in ("dims", "seeds")}
    code = {"sources": code_digest("theory", "torchcheck.networks", "torchcheck.study")}
    about = {"study": "converge", "spec": spec.digest, **settings, **further}
    store = Store(output / "cells", about | package_versions() | code)
    if output.exists() and not output.is_dir():
        raise StoreError(
            f"The output must be a folder, but `{output}` is a file. Choose another "
            "name."
        )
    mine = (store.folder / "manifest.json").exists()
    if output.exists() and any(output.iterdir()) and not mine:
        raise StoreError(
            f"A study writes to a new folder or continues its own, but `{output}` "
            "holds something else, or a study with other settings or of other code. "
            "Choose another folder."
        )
    store = store.open()
    store.tidy()
    return store


def kept(
    store: Store | None, d: int, k: int, measure: Callable[[], dict[str, np.ndarray]]
) -> Cell:
    """Return a cell: read if it was finished, measured and saved if not.

    A damaged file is measured again, with a note.
    """
    if store is None:
        return measure()
    index = d * 10_000 + k
    try:
        done = store.load(index)
    except Damaged as damage:
        print(
            f"Note: `{store.path(index)}` is not used: {damage}; computing it again.",
            file=sys.stderr,
        )
        done = None
    if done is None:
        done = measure()
        store.save(index, done)
    return done


def write_study(
    study: Study, spec: Spec, lines: Mapping[str, Line], output: Path
) -> None:
    """Write ``converge.json`` and the figures; `lines` are the limit's, by quantity."""
    text = to_json(study.to_dict(), indent=1)
    write_atomic(output / "converge.json", text.encode())
    names: Sequence[str] = [phase.name for phase in phases(spec.model)]
    draw_study(study.rows, study.fits, lines, names, output)
