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
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import MissingExtra, ModelError, SolveError, StoreError, shown
from ...files import at_home, write_netcdf
from ...theory.models.spec import Spec
from ..asked import asked
from ..codegen.double import found_device
from ..codegen.parameters import (
    BACKENDS,
    check_choice,
    increasing_times,
    tolerance,
    whole_number,
)
from ..codegen.threads import workers as threads_here
from .axes import axes_of, check_axes, follows_p
from .chunk import Job, RowFunction, run_chunk, solver_of, versions
from .collect import collect, key_of_result, make_room, say, usable
from .store import Store

if TYPE_CHECKING:
    import xarray as xr

    from ...theory.derive import Limit
    from ...theory.models.model import Model

LARGEST = 2**31 - 4
"""Bytes of a variable in a netCDF-3 file."""


def sweep(
    spec: Spec | Model | Limit | str | Path,
    over: Mapping[str, Any] | Iterable[Any],
    out: str | Path,
    *,
    backend: str = "numba",
    device: str = "cpu",
    s: Sequence[float] = (0.5, 1.0),
    rtol: float = 1e-8,
    final: bool = False,
    scheduler: str | None = None,
    chunk_index: int | None = None,
    rows_per_chunk: int | None = None,
    workers: int | None = None,
    progress: bool = False,
    rows: RowFunction | None = None,
    **values: float,
) -> xr.Dataset:
    """Solve a spec at every point of a grid; what was finished is never redone.

    `spec` is a `Spec`, the path of a spec file, or a model or a limit with its `values`
    by name; beside a spec, they replace its own. `over` has the axes: texts such as
    ``"p=0.5:0.95:64"``, tuples such as ``("p", 0.5, 0.95, 64)``, or a mapping from
    names to values. With n samples and `p` but not `n_plus` among them, ``n_plus =
    round(p*n)`` in each row.

    `out` is the folder of the store. Chunks of other specs, grids and settings may lie
    there too and are left alone. The finished result is also written there, as
    ``sweep.nc``; that of another sweep becomes ``sweep-KEY.nc``.

    `backend` is ``numba``, ``jax`` or ``scipy``, `device` ``cpu`` or ``gpu``; `s` are
    the times in each phase, in [0, 1], at which the learned overlaps are kept, `rtol`
    the relative tolerance of the flow and of the averages; with `final` the shares at
    the end of sampling are given too (see `solve_rows`). A sweep of modes takes none of
    these: its shares are averages by SciPy. `rows` is another row function in place of
    the solver.

    Chunks have `rows_per_chunk` rows, by default a 64th of the sweep, between 64 and
    4096. They are computed by `workers` threads, by default one for each core this
    process may use, or by the workers of the Dask `scheduler` at an address. With
    `chunk_index` this chunk alone is computed: rows that nobody has computed yet have
    the status ``pending`` in the result. `progress` shows a bar on standard error.

    The dimensions of the result are the axes in order, then ``t`` for overlaps and
    ``feature`` for the shares and means of several features; `status` and `reason` are
    text; the attribute ``json`` holds the recipe. Raises `ModelError` if an axis or a
    setting is not valid, `StoreError` if the folder cannot be written or read.
    """
    settings = {"backend": backend, "device": device, "s": s, "rtol": rtol}
    settings |= {"final": final}
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
        pending = [i for i in wanted if usable(job, store, i) is None]
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
        make_room(folder / "sweep.nc", store.key)
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
    return Job(spec, axes, rows or solver_of(spec), per_chunk, checked)


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
    backend: str, device: str, s: Sequence[float], rtol: float, final: bool
) -> dict[str, Any]:
    """Return the settings of the row function, or say which cannot be used."""
    check_choice("backend", backend, BACKENDS)
    check_choice("device", device, ("cpu", "gpu"))
    check_choice("final", str(final), ("False", "True"))
    if device == "gpu" and backend != "jax":
        raise ModelError(
            f"`device` must be `cpu` for the backend `{backend}`, but is `gpu`. Only "
            "`jax` runs on a GPU."
        )
    if backend == "jax":
        found_device(device)
    times, rtol = increasing_times("s", s).tolist(), tolerance("rtol", rtol)
    found = {"backend": backend, "device": device, "s": times, "rtol": rtol}
    return found | {"final": bool(final)}


def _check_modes(settings: Mapping[str, Any]) -> None:
    """Refuse settings that do nothing: the shares of modes are averages of SciPy."""
    own = inspect.signature(sweep).parameters
    for name, value in settings.items():
        if not np.array_equal(value, own[name].default):
            raise ModelError(
                "A sweep of modes gives shares alone, averages that tell their own "
                f"error, but `{name}` is {shown(value)}. Leave it out."
            )


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
