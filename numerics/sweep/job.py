"""Sweeps: a grid of parameters, chunk by chunk, on threads or on a Dask cluster.

The rows of a sweep are the points of the grid of its axes, last axis fastest. They
are cut into chunks that are computed independently and kept in a
`dilaton.numerics.sweep.store.Store`, so a sweep that is killed goes on where it was and
ends with the same bits. The numbers of one chunk come from a row function
``rows(spec, columns, settings)``; each of its kernels runs on one thread.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import math
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import (
    DilatonError,
    MissingExtra,
    ModelError,
    ShapeError,
    SolveError,
    StoreError,
    shown,
)
from ...files import at_home, code_digest, write_netcdf
from ...theory.models.spec import Spec
from ..asked import asked, known_limit
from ..attributes import attributes
from ..batch import SHARES
from ..codegen.double import found_device
from ..codegen.parameters import (
    BACKENDS,
    check_choice,
    increasing_times,
    tolerance,
    whole_number,
)
from ..codegen.snapshot import PrintedPhase
from ..codegen.threads import one_thread
from ..codegen.threads import workers as threads_here
from .axes import Axis, axes_of, check_axes, follows_p, inadmissible
from .modes_rows import mode_share_rows, shared_out
from .store import Damaged, Store

if TYPE_CHECKING:
    import xarray as xr

    from ...theory.derive import Limit
    from ...theory.models.model import Model

Columns = Mapping[str, np.ndarray]
RowFunction = Callable[[Spec, Columns, Mapping[str, Any]], dict[str, np.ndarray]]
"""``rows(spec, columns, settings)``: arrays whose first dimension is the row.

Two-dimensional ones have time second, or what `SECOND` says; the coordinates along
time are returned under ``"@t"``, ``"@s"``, ``"@phase"``. ``"status"`` and ``"reason"``
are text.
"""

SECOND = dict.fromkeys((*SHARES, "mode_mean"), "feature")
SECOND |= dict.fromkeys(("shares", "shares_error"), "mode")
"""The second dimension of columns that have a value for each feature or mode."""

LARGEST = 2**31 - 4
"""Bytes of a variable in a netCDF-3 file."""
TEXTS = ("status", "reason", "@phase")
"""The columns of a chunk that are text; all others are numbers."""

# --- the rows -------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A sweep, apart from where its chunks are kept; sent whole to every worker."""

    spec: Spec
    axes: tuple[Axis, ...]
    rows: RowFunction
    rows_per_chunk: int
    settings: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def chunks(self) -> int:
        return -(-self.size // self.rows_per_chunk)

    def span(self, index: int) -> slice:
        """The rows of chunk `index`."""
        start = index * self.rows_per_chunk
        return slice(start, min(start + self.rows_per_chunk, self.size))

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """Every parameter of the rows of chunk `index`, each of shape (rows,)."""
        span = self.span(index)
        at = np.unravel_index(np.arange(span.start, span.stop), self.shape)
        size = span.stop - span.start
        values = {k: np.full(size, float(v)) for k, v in self.spec.values.items()}
        for axis, where in zip(self.axes, at, strict=True):
            values[axis.name] = np.asarray(axis.values)[where]
        if follows_p(self.spec.values, self.axes):
            values["n_plus"] = np.rint(values["p"] * values["n"])
        return shared_out(values, self.axes) if self.spec.kind == "modes" else values

    def recipe(self) -> dict[str, Any]:
        """Everything that fixes the numbers of the sweep, as JSON."""
        return {
            "spec": self.spec.tables,
            "axes": [[axis.name, list(axis.values)] for axis in self.axes],
            "rows_per_chunk": self.rows_per_chunk,
            "rows": f"{self.rows.__module__}.{self.rows.__qualname__}",
            "settings": dict(self.settings),
            "versions": versions(str(self.settings.get("backend", ""))),
        }


@cache
def versions(backend: str) -> dict[str, str]:
    """Return what the last bits of the numbers depend on besides the parameters."""
    names = ["dilaton", "numpy", "scipy", "sympy"]
    names += {"numba": ["numba", "llvmlite"], "jax": ["jax", "jaxlib"]}.get(backend, [])
    sources = code_digest("theory", "numerics")
    found = {name: metadata.version(name) for name in names}
    return found | {"sources": sources, "machine": platform.machine()}


def run_chunk(job: Job, index: int) -> dict[str, np.ndarray]:
    """Compute chunk `index`; a row that fails keeps its status, the others go on."""
    columns = job.columns(index)
    reasons = inadmissible(columns)
    good = np.flatnonzero(reasons == "")
    size = len(reasons)
    out = {
        "status": np.where(reasons == "", "ok", "inadmissible").astype("<U16"),
        "reason": reasons,
    }
    if follows_p(job.spec.values, job.axes):
        out["n_plus"] = columns["n_plus"]
    if good.size:
        with one_thread():  # other chunks have the other cores
            found = _guarded(job, {k: v[good] for k, v in columns.items()})
        for name, array in found.items():
            out[name] = _scatter(array, good, size, out.get(name), name)
    return {name: _narrow(array) for name, array in out.items()}


def _narrow(array: np.ndarray) -> np.ndarray:
    """Return text as wide as its longest entry."""
    return np.array(array.tolist(), dtype=str) if array.dtype.kind == "U" else array


def _guarded(job: Job, columns: Columns) -> dict[str, np.ndarray]:
    """Run the row function; when it raises, run its rows one by one."""
    size = len(next(iter(columns.values())))
    try:
        found = job.rows(job.spec, columns, job.settings)
    except (DilatonError, ArithmeticError, ValueError) as error:
        if size == 1:
            return {
                "status": np.array(["failed"]),
                "reason": np.array([str(error)[:120]]),
            }
    else:
        return _arrays(found, size)
    single = [
        _guarded(job, {k: v[i : i + 1] for k, v in columns.items()})
        for i in range(size)
    ]
    return _stacked(single)


def _arrays(found: Any, size: int) -> dict[str, np.ndarray]:
    """Return what a row function gave as arrays, or say what it must give."""
    if not isinstance(found, Mapping):
        raise _bad_rows(f"returned {shown(found)}")
    arrays = {name: _array(name, value) for name, value in found.items()}
    for name in _misfits(arrays, size):
        shape = arrays[name].shape
        raise _bad_rows(f"gave `{name}` the shape {shape} for {size} rows")
    return arrays


def _misfits(arrays: Columns, size: int) -> Iterator[str]:
    """Names of arrays that are not (rows,), (rows, times) or, with an @, (times,)."""
    times = arrays.get("@t")
    for name, array in arrays.items():
        fits = name in SECOND or times is None or array.shape[1:] == (times.size,)
        wide = array.ndim == 2 and fits
        along = name.startswith("@") and array.ndim == 1
        rows = array.shape[:1] == (size,) and (array.ndim == 1 or wide)
        if not (along or (rows and not name.startswith("@"))):
            yield name


def _array(name: Any, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        raise _bad_rows(f"gave `{name}` as {shown(value)}") from None
    if not isinstance(name, str) or array.dtype.kind not in "biufU":
        raise _bad_rows(f"gave `{name}` as {shown(value)}")
    return array


def _bad_rows(fact: str) -> ShapeError:
    return ShapeError(
        "A row function must return a mapping from names to arrays of numbers or "
        f"text, of shape (rows,) or (rows, times), but it {fact}. Correct the "
        "function; `dilaton.numerics.sweep.job.RowFunction` says what it may return."
    )


def _stacked(single: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Stack one-row results, of which some have a status only."""
    model: dict[str, np.ndarray] = {}
    for row in single:
        model = model | dict(row)
    out = {}
    for name, array in model.items():
        if name.startswith("@"):
            out[name] = array
            continue
        lack = np.full(array.shape, _blank(array), dtype=array.dtype)
        out[name] = np.concatenate([row.get(name, lack) for row in single])
    return out


def _scatter(
    array: np.ndarray, good: np.ndarray, size: int, base: np.ndarray | None, name: str
) -> np.ndarray:
    if name.startswith("@"):
        return array
    if base is None:
        base = np.full((size, *array.shape[1:]), _blank(array), dtype=array.dtype)
    base[good] = array
    return base


def _blank(array: np.ndarray) -> Any:
    return "" if array.dtype.kind == "U" else np.nan if array.dtype.kind == "f" else 0


# --- running --------------------------------------------------------------------


def sweep(
    spec: Spec | Model | Limit | str | Path,
    over: Mapping[str, Any] | Iterable[Any],
    out: str | Path,
    *,
    backend: str = "numba",
    device: str = "cpu",
    s: Sequence[float] = (0.5, 1.0),
    rtol: float = 1e-8,
    scheduler: str | None = None,
    chunk_index: int | None = None,
    rows_per_chunk: int | None = None,
    workers: int | None = None,
    progress: bool = False,
    rows: RowFunction | None = None,
    **values: float,
) -> xr.Dataset:
    """Solve a spec at every point of a grid; what was finished is never redone.

    Parameters
    ----------
    spec
        A `Spec`, the path of a spec file, or a model or a limit with its values.
    over
        The axes: texts such as ``"p=0.5:0.95:64"``, tuples such as
        ``("p", 0.5, 0.95, 64)``, or a mapping from names to values. With n samples
        and `p` but not `n_plus` among them, ``n_plus = round(p*n)`` in each row.
    out
        The folder of the store. Chunks of other specs, grids and settings may lie
        there too and are left alone. The finished result is also written there, as
        ``sweep.nc``; that of another sweep becomes ``sweep-KEY.nc``.
    backend, device
        ``numba``, ``jax`` or ``scipy``; ``cpu`` or ``gpu``. A sweep of modes takes
        neither, nor `s` and `rtol`: its shares are averages by SciPy.
    s
        Times in each phase, in [0, 1], at which the learned overlaps are kept.
    rtol
        Relative tolerance of the flow and of the averages.
    scheduler
        Address of a running Dask scheduler; its workers then compute the chunks.
    chunk_index
        Compute this chunk only: the rows that nobody has computed yet have the
        status ``pending`` in the result.
    rows_per_chunk
        Rows in a chunk; by default a 64th of the sweep, between 64 and 4096.
    workers
        Threads; by default one for each core this process may use.
    progress
        Show a progress bar on standard error.
    rows
        Another row function in place of the solver.
    **values
        The values of a model or a limit by name; beside a spec, they replace its own.

    Returns
    -------
    Dataset
        Dimensions are the axes in order, then ``t`` for overlaps and ``feature`` for
        the shares and means of several features; `status` and
        `reason` are text; the attribute ``json`` holds the recipe.

    Raises
    ------
    ModelError
        If an axis or a setting is not valid.
    StoreError
        If the folder cannot be written or read.
    """
    settings = {"backend": backend, "device": device, "s": s, "rtol": rtol}
    asked_for = asked(spec, values).spec
    job = make_job(asked_for, over, rows, rows_per_chunk, settings)
    if progress and follows_p(job.spec.values, job.axes):
        say("n_plus = round(p*n) in each row, since p is swept and n_plus is not.")
    folder, wanted = _folder(out), _wanted(job, chunk_index)
    threads = _threads(job, workers)
    key_of_result(folder / "sweep.nc")  # refuses another's file before any work
    # nothing is written where nobody answers
    with _client(scheduler) if scheduler else contextlib.nullcontext() as client:
        store = Store(folder, job.recipe()).open()
        pending = [i for i in wanted if _usable(job, store, i) is None]
        work = (
            _on_cluster(job, pending, client)
            if client
            else _on_threads(job, pending, threads)
        )
        if pending:
            _keep(job, store, work, len(wanted) - len(pending), progress)
    result, complete = collect(job, store)
    if complete:
        store.tidy()
        _make_room(folder / "sweep.nc", store.key)
        write_netcdf(result, folder / "sweep.nc")
    return result


def make_job(
    spec: Spec,
    over: Mapping[str, Any] | Iterable[Any],
    rows: RowFunction | None,
    rows_per_chunk: int | None,
    settings: Mapping[str, Any],
) -> Job:
    """Check what the user asked for and return it as a `Job`."""
    checked = _checked_settings(**settings)
    if not (rows is None or callable(rows)):
        raise ModelError(
            "`rows` must be a function of a spec, columns and settings, but is "
            f"{shown(rows)}. Leave it out to solve the spec."
        )
    if rows is None and "counts" in spec.tables["data"]:
        raise ModelError(
            "A sweep solves thousands of points of two modes or of a population, but "
            "this spec counts its samples by class, and each such point takes seconds. "
            'Use `dilaton solve` for each, or n = "inf".'
        )
    if rows is None and spec.kind == "modes":
        _check_modes(checked)
    axes = axes_of(over)
    check_axes(spec, axes)
    size = math.prod(len(axis.values) for axis in axes)
    _check_size(size, len(checked["s"]))
    per_chunk = min(max(-(-size // 64), 64), 4096)
    if rows_per_chunk is not None:
        per_chunk = whole_number("rows_per_chunk", rows_per_chunk)
    return Job(spec, axes, rows or _solver(spec), per_chunk, checked)


def _check_size(rows: int, times: int) -> None:
    """Refuse a result that no netCDF-3 file holds, before anything is computed."""
    phases = 2
    size = 8 * rows * times * phases
    if size > LARGEST:
        raise ModelError(
            f"A variable of `sweep.nc` may have 2 GiB, but {rows} rows at {times} "
            f"times need {size / 2**30:.1f}. Ask for fewer times, or cut the grid "
            "into several sweeps."
        )


def _checked_settings(
    backend: str, device: str, s: Sequence[float], rtol: float
) -> dict[str, Any]:
    """Return the settings of the row function, or say which cannot be used."""
    check_choice("backend", backend, BACKENDS)
    check_choice("device", device, ("cpu", "gpu"))
    if device == "gpu" and backend != "jax":
        raise ModelError(
            f"`device` must be `cpu` for the backend `{backend}`, but is `gpu`. Only "
            "`jax` runs on a GPU."
        )
    if backend == "jax":
        found_device(device)
    times, rtol = increasing_times("s", s).tolist(), tolerance("rtol", rtol)
    return {"backend": backend, "device": device, "s": times, "rtol": rtol}


def _check_modes(settings: Mapping[str, Any]) -> None:
    """Refuse settings that do nothing: the shares of modes are averages of SciPy."""
    own = inspect.signature(sweep).parameters
    for name, value in settings.items():
        if not np.array_equal(value, own[name].default):
            raise ModelError(
                "A sweep of modes gives shares alone, averages that tell their own "
                f"error, but `{name}` is {shown(value)}. Leave it out."
            )


def _solver(spec: Spec) -> RowFunction:
    """Return the solver; a limit that cannot be derived is refused here, at once."""
    from .rows import sweep_rows

    known_limit(spec)
    return mode_share_rows if spec.kind == "modes" else sweep_rows


def _folder(out: Any) -> Path:
    """Return the folder of a store as a path."""
    if not isinstance(out, str | Path) or not str(out) or "\0" in str(out):
        raise StoreError(
            f"`out` must be the path of a folder, but is {shown(out)}. Name a new one, "
            "or a store to go on with."
        )
    return at_home(out)


def _wanted(job: Job, chunk_index: int | None) -> Sequence[int]:
    if chunk_index is None:
        return range(job.chunks)
    known = isinstance(chunk_index, int | np.integer)
    if not known or not 0 <= chunk_index < job.chunks:
        raise ModelError(
            f"`chunk_index` must be from 0 to {job.chunks - 1}, since the sweep has "
            f"chunks of {job.rows_per_chunk} rows, {job.chunks} in all, but is "
            f"{shown(chunk_index)}. Change it, or the size of the job array."
        )
    return [int(chunk_index)]


def _usable(job: Job, store: Store, index: int) -> dict[str, np.ndarray] | None:
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
    for name in _misfits(arrays, rows):
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


Finished = Iterator[tuple[int, dict[str, np.ndarray]]]


def _threads(job: Job, workers: int | None) -> int:
    if workers is not None:
        return whole_number("workers", workers)
    if job.settings["backend"] != "numba":
        return 1  # jax has its own threads; scipy holds the interpreter
    return threads_here()


def _on_threads(job: Job, pending: Sequence[int], workers: int) -> Finished:
    """Compute chunks on threads; the kernels release the interpreter lock."""
    pool = ThreadPoolExecutor(workers)
    try:
        futures = {pool.submit(run_chunk, job, index): index for index in pending}
        for future in as_completed(futures):
            index = futures.pop(future)
            yield index, future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)  # a running chunk cannot stop
        raise
    pool.shutdown()


def _on_cluster(job: Job, pending: Sequence[int], client: Any) -> Finished:
    """Compute chunks on the workers of a running Dask scheduler."""
    from distributed import as_completed

    known = job.recipe()["versions"]
    futures = client.map(run_checked, [job] * len(pending), pending, known=known)
    for future in as_completed(futures, loop=client.loop):
        yield future.result()
        future.release()


def _client(address: str) -> Any:
    """Return a client of a Dask scheduler.

    One that did not connect is gone before the error is raised: at the end of the
    process it could no longer close itself.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtra(
            "`scheduler` needs the package `distributed`, but it is not installed. "
            "Run `pip install 'dilaton[distributed]'`."
        ) from error

    with contextlib.suppress(OSError, ValueError, TypeError, TimeoutError):
        return Client(address, timeout=10, set_as_default=False)
    gc.collect()
    raise SolveError(
        "`scheduler` must be the address of a running Dask scheduler, but "
        f"`{address}` did not answer within 10 s. Start one with `dask scheduler`."
    )


def run_checked(
    job: Job, index: int, known: Mapping[str, str]
) -> tuple[int, dict[str, np.ndarray]]:
    """Compute chunk `index` on a worker, provided that it runs the same code."""
    here = versions(str(job.settings.get("backend", "")))
    if here != known:
        differ = sorted(k for k in {*here, *known} if here.get(k) != known.get(k))
        raise SolveError(
            "Every worker must run the same code as the client, but a worker differs "
            f"in {', '.join(differ)}. Install the same versions on all machines."
        )
    return index, run_chunk(job, index)


def _keep(job: Job, store: Store, work: Finished, ready: int, progress: bool) -> None:
    """Write chunks to the store as they are finished."""
    from tqdm import tqdm

    bar = tqdm(
        total=job.chunks,
        initial=ready,
        unit="chunk",
        desc="sweep",
        file=sys.stderr,
        disable=not progress,
    )
    with bar:
        for index, arrays in work:
            store.save(index, arrays)
            bar.update()


# --- the result -----------------------------------------------------------------


def collect(job: Job, store: Store) -> tuple[xr.Dataset, bool]:
    """Return the chunks as one Dataset, and whether none is missing."""
    table: dict[str, np.ndarray] = {}
    texts: dict[str, list[np.ndarray]] = {"status": [], "reason": []}
    complete = True
    for index in range(job.chunks):
        span = job.span(index)
        arrays = _usable(job, store, index) or _pending(span.stop - span.start)
        complete &= "pending" not in arrays["status"]
        for name, array in arrays.items():
            if name in texts:
                texts[name].append(array)
            else:
                _place(table, name, array, job, span)
    joined = {name: np.concatenate(parts) for name, parts in texts.items()}
    return _dataset(job, store, joined | table), complete


def _pending(rows: int) -> dict[str, np.ndarray]:
    return {"status": np.full(rows, "pending"), "reason": np.full(rows, "")}


def _place(
    table: dict[str, np.ndarray], name: str, array: np.ndarray, job: Job, span: slice
) -> None:
    if name.startswith("@"):
        table[name] = array
        return
    if name not in table:
        shape = (job.size, *array.shape[1:])
        table[name] = np.full(shape, _blank(array), dtype=array.dtype)
    table[name][span] = array


def _dataset(job: Job, store: Store, table: Mapping[str, np.ndarray]) -> xr.Dataset:
    import xarray as xr

    dims = tuple(axis.name for axis in job.axes)
    phases = _phases(job)
    coords: dict[str, Any] = {
        a.name: (a.name, np.asarray(a.values), attributes(a.name)) for a in job.axes
    }
    data: dict[str, Any] = {}
    for name, (tail, array) in _columns(table).items():
        if name.startswith("@"):
            coords[name[1:]] = (tail, array, attributes(name[1:]))
            continue
        shape = job.shape + array.shape[1:]
        about = attributes(name, phases)
        data[name] = ((*dims, *tail), array.reshape(shape), about)
    whole = {"key": store.key, **job.recipe()}
    return xr.Dataset(data, coords, {"json": json.dumps(whole, sort_keys=True)})


def _columns(
    table: Mapping[str, np.ndarray],
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Return columns with their dimensions beside the row."""
    found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name, array in table.items():
        dim = SECOND.get(name, "t")
        along = array.ndim == 2 or name.startswith("@")
        found[name] = (dim,) if along else (), array
        if array.ndim == 2 and dim != "t":
            found[f"@{dim}"] = (dim,), np.arange(1, array.shape[1] + 1)
    return found


def _phases(job: Job) -> Sequence[PrintedPhase]:
    """The phases that the rows of a sweep were solved in, if this solver did."""
    return known_limit(job.spec).phases if job.rows is _solver(job.spec) else ()


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


def _make_room(path: Path, key: str) -> None:
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
