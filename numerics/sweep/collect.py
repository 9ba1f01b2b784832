"""The result of a sweep: its finished chunks as one Dataset, and in a few words."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import StoreError
from ..asked import known_limit
from ..attributes import attributes
from .chunk import SECOND, Job, blank_rows, misfits, solver_of
from .store import Damaged, Store

if TYPE_CHECKING:
    import xarray as xr

TEXTS = ("status", "reason", "@phase")
"""The columns of a chunk that are text; all others are numbers."""


def usable(job: Job, store: Store, index: int) -> dict[str, np.ndarray] | None:
    """Return a finished chunk; say so when one is damaged and will be redone."""
    try:
        arrays = store.load(index)
        return arrays and _checked_chunk(arrays, job.span(index))
    except Damaged as damage:
        say(f"Chunk {index} in `{store.folder}` is not used: {damage}; computing it.")
        return None


def _checked_chunk(arrays: dict[str, np.ndarray], span: slice) -> dict[str, np.ndarray]:
    """Return arrays as a row function gives them, or say in what way they are not."""
    rows = span.stop - span.start
    for name in sorted({"status", "reason"} - arrays.keys()):
        raise Damaged(f"it has no `{name}`")
    for name in misfits(arrays, rows):
        raise Damaged(f"`{name}` has the shape {arrays[name].shape} for {rows} rows")
    for name, array in arrays.items():
        kinds = "U" if name in TEXTS else "biuf"
        if array.dtype.kind not in kinds:
            raise Damaged(f"`{name}` holds {array.dtype}")
    return arrays


def say(text: str) -> None:
    """Print one line for the user on standard error, clear of any progress bar."""
    from tqdm import tqdm

    tqdm.write(f"dilaton sweep: {text}", file=sys.stderr)


def collect(job: Job, store: Store) -> tuple[xr.Dataset, bool]:
    """Return the chunks as one Dataset, and whether none is missing."""
    table: dict[str, np.ndarray] = {}
    texts: dict[str, list[np.ndarray]] = {"status": [], "reason": []}
    complete = True
    for index in range(job.chunks):
        span = job.span(index)
        rows = span.stop - span.start
        none = {"status": np.full(rows, "pending"), "reason": np.full(rows, "")}
        arrays = usable(job, store, index) or none
        complete &= "pending" not in arrays["status"]
        for name, array in arrays.items():
            if name in texts:
                texts[name].append(array)
            elif name.startswith("@"):
                table[name] = array
            else:
                table.setdefault(name, blank_rows(array, job.size))[span] = array
    joined = {name: np.concatenate(parts) for name, parts in texts.items()}
    return _dataset(job, store, joined | table), complete


def _dataset(job: Job, store: Store, table: Mapping[str, np.ndarray]) -> xr.Dataset:
    import xarray as xr

    dims = tuple(axis.name for axis in job.axes)
    own = job.rows is solver_of(job.spec)  # else nothing is known of its columns
    phases = known_limit(job.spec).phases if own else ()
    coords: dict[str, Any] = {
        a.name: (a.name, np.asarray(a.values), attributes(a.name)) for a in job.axes
    }
    data: dict[str, Any] = {}
    for name, array in table.items():
        dim = SECOND.get(name, "t")
        if name.startswith("@"):
            coords[name[1:]] = (dim, array, attributes(name[1:]))
            continue
        tail, shape = (dim,) * (array.ndim - 1), job.shape + array.shape[1:]
        if tail and dim != "t":
            coords[dim] = (dim, np.arange(1, shape[-1] + 1), attributes(dim))
        about = attributes(name, phases)
        data[name] = ((*dims, *tail), array.reshape(shape), about)
    whole = {"key": store.key, **job.recipe()}
    return xr.Dataset(data, coords, {"json": json.dumps(whole, sort_keys=True)})


def key_of_result(path: Path) -> str | None:
    """Return the key of the sweep that wrote a result, or `None` if there is no file.

    Raises `StoreError` for a file that no sweep wrote.
    """
    from scipy.io import netcdf_file

    if not path.exists():
        return None
    try:
        with netcdf_file(str(path), mmap=True) as file:  # reads no more than asked for
            return str(json.loads(file.json)["key"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(
            f"`{path}` is where a sweep writes its result, but it holds something "
            "else. Move it, or choose another folder."
        ) from error


def make_room(path: Path, key: str) -> None:
    """Keep the result of another sweep in the folder under a name with its key."""
    other = key_of_result(path)
    if other not in (None, key):
        path.replace(path.with_name(f"sweep-{other[:16]}.nc"))


def sweep_summary(result: xr.Dataset) -> dict[str, Any]:
    """Return what ``dilaton sweep --json`` prints: axes, scalars, counts of rows."""
    states, counts = np.unique(result.status.values, return_counts=True)
    scalars = {}
    for name, values in result.data_vars.items():
        if "t" in values.dims or values.dtype.kind not in "fi":
            continue
        if not {"feature", "mode"} & set(values.dims):
            scalars[str(name)] = values.values
        elif name == "mode_mean":
            scalars[name] = values.isel(feature=0).values
        else:
            for j, each in enumerate(np.moveaxis(values.values, -1, 0), 1):
                scalars[f"{name}_{j}"] = each
    return {
        "axes": {str(name): result[name].values for name in result.status.dims},
        "rows": dict(zip(states.tolist(), counts.tolist(), strict=True)),
        **scalars,
        "status": result.status.values,
    }


def summary_text(result: xr.Dataset, out: Path) -> str:
    """Return what ``dilaton sweep`` prints."""
    rows = sweep_summary(result)["rows"]
    counts = ", ".join(f"{count} {state}" for state, count in rows.items())
    if "pending" in rows:
        return f"{counts}; the chunks are in {out}"
    return f"{counts}; the result is {out / 'sweep.nc'}"
