"""The main job: derive, solve and confirm one spec, and write it down as a report."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import MissingExtra, StoreError
from ..files import at_home, write_netcdf
from ..show.answers import plain, to_json
from ..torchcheck.study.confirm import confirm, settings_for, untrainable
from ..torchcheck.study.law import compared_laws
from . import page
from .doctor import built_with
from .report_run import Effort, Run

if TYPE_CHECKING:
    from xarray import Dataset

    from ..theory.derive import Limit
    from ..theory.models.spec import Spec

RTOL, ATOL = 1e-9, 1e-11
FINE = 60  # cells of the curves in each phase


def write_report(
    spec: Spec, output: str | Path, effort: Effort, *, force: bool
) -> Path:
    """Derive, solve, train and write ``index.html`` with its files into `output`.

    `effort` says how much is done, `force` that an older run may be replaced.
    Everything is made in a folder beside `output` and moved into place at the end, so
    that `output` is never half-written. Raises `StoreError`, before any work, when
    `output` cannot be written or holds something else.
    """
    output = at_home(output).absolute()
    check_output(output, force)
    with _staged(output) as folder:
        run = _work(spec, effort)
        if effort.digits:
            with _timed(run.seconds, "digits"):
                run.digits = _digits(folder, effort.quick, effort.device)
        _write(run, folder)
    return output / "index.html"


# ----------------------------------------------------------------- the output folder


def check_output(output: Path, force: bool) -> None:
    """Raise `StoreError` unless a run may be written to `output`."""
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise StoreError(
            f"The output must be a folder, but `{output}` is a file or a link. Choose "
            "another name."
        )
    held = output.is_dir() and any(output.iterdir())
    ours = (output / "run.json").is_file()
    if held and ours and not force:
        raise StoreError(
            f"The output must be a new folder, but `{output}` holds another run. "
            "Choose another name, or replace it with --force."
        )
    if held and not ours:
        raise StoreError(
            f"The output must be a new folder, but `{output}` holds files that are no "
            "run of dilaton. Choose another name."
        )


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Yield a folder beside `output` that replaces it when all went well."""
    folder = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            if output.is_dir() and not os.access(output, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise StoreError(
                f"The output folder must be writable, but `{output}` is not "
                f"({error.strerror}). Choose another folder."
            ) from None
        yield folder
        _move(folder, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, output: Path) -> None:
    old = output.with_name(f".{output.name}.{os.getpid()}.old")
    if output.exists():
        output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


# --------------------------------------------------------------------------- the work


def _work(spec: Spec, effort: Effort) -> Run:
    from tqdm import tqdm

    reason = untrainable(spec)
    plan = None if reason else settings_for(spec, effort.quick)
    total = 4 + (plan.ticks if plan else 0)
    seconds: dict[str, float] = {}
    with tqdm(total=total, file=sys.stderr, unit="step", leave=False) as bar:

        def tick(text: str) -> None:
            bar.set_description_str(text)
            bar.update()

        with _timed(seconds, "derive and solve"):
            run = _derived(spec, effort.seed, tick)
        run.plan, run.reason = plan, reason or ""
        run.quick, run.seconds = effort.quick, seconds
        if plan:
            with _timed(seconds, "train and sample"):
                run.found = confirm(
                    spec, run.limit, plan, effort.seed, effort.device, tick
                )
        if plan and run.found.generated:
            with _timed(seconds, "laws"):
                run.laws = compared_laws(
                    spec, run.limit, effort.seed, plan.dims[-1], run.found.generated
                )
        tick("writing")
    return run


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - begin, 3)


def _derived(spec: Spec, seed: int, tick: Any) -> Run:
    from ..numerics.codegen.known import derive

    whole = of_population(spec)
    limit = derive(spec.model)
    tick("derived")
    population = limit if spec.population else derive(whole.model)
    tick("derived, population")
    times = np.linspace(0, 1, FINE + 1)
    curves = _solved(limit, times, spec)
    other = curves if spec.population else _solved(population, times, whole)
    tick("solved")
    return Run(spec, seed, limit, population, curves, other)


def of_population(spec: Spec) -> Spec:
    """The same without samples."""
    return spec if spec.population else spec.replace(n="inf")


def _digits(folder: Path, quick: bool, device: str) -> dict[str, Any]:
    """Find the window of real images, beside the synthetic one."""
    from .windows_report import digits_section

    try:
        return digits_section(folder, quick=quick, device=device)
    except MissingExtra as error:
        return {"numbers": {}, "pictures": [], "text": str(error)}


def _solved(limit: Limit, times: np.ndarray, spec: Spec) -> Dataset:
    from ..numerics.solve import solve

    # a single trajectory: SciPy is done before a kernel would be compiled
    return solve(
        limit, s=times.tolist(), rtol=RTOL, atol=ATOL, backend="scipy", **spec.values
    )


# ------------------------------------------------------------------------- the folder


def _write(run: Run, folder: Path) -> None:
    from .documents import page_and_latex
    from .report_page import page_parts, report_figures

    with _timed(run.seconds, "print"):
        derivation, latex = page_and_latex(run.spec)
        aside = ""
        if not (run.spec.population or run.quick):
            aside = page_and_latex(of_population(run.spec))[0]
    with _timed(run.seconds, "draw"):
        shown = page.drawn(report_figures(run), folder / "figures")
    for svg in (folder / "figures").glob("*.svg"):  # the page holds them
        svg.unlink()
    (folder / "data").mkdir()
    write_netcdf(run.curves, folder / "data" / "trajectory.nc")
    write_netcdf(run.population_curves, folder / "data" / "population.nc")
    (folder / "equations.tex").write_text(latex, encoding="utf-8")
    (folder / "run.json").write_text(to_json(_record(run), indent=1), encoding="utf-8")
    whole = page.page(
        "dilaton: derive, solve, confirm", page_parts(run, shown, derivation, aside)
    )
    (folder / "index.html").write_text(whole, encoding="utf-8")


def _record(run: Run) -> dict[str, Any]:
    """Return what ``run.json`` holds: every plotted number and how it was made."""
    found = asdict(run.found)
    found.pop("generated")
    return {
        "dilaton": __version__,
        "spec": run.spec.text,
        "values": run.spec.values,
        "digest": run.spec.digest,
        "seed": run.seed,
        "plan": asdict(run.plan) if run.plan else None,
        "not_trained": run.reason,
        "versions": built_with(),
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "seconds": run.seconds,
        "sample": _sample(run.curves),
        "population_sample": _sample(run.population_curves),
        "curves": _curves(run.curves),
        "population_curves": _curves(run.population_curves),
        **found,
        "laws": run.laws,
        "digits": (run.digits or {}).get("numbers", {}),
    }


def _sample(curves: Dataset) -> dict[str, Any]:
    names = ["share_plus", "share_plus_error", "shares", "shares_error"]
    names += ["mode_mean", "bulk_variance"]
    return {name: plain(curves[name].values) for name in names if name in curves}


def _curves(curves: Dataset) -> dict[str, Any]:
    names = [name for name in curves.data_vars if curves[name].dims[:1] == ("t",)]
    out = {name: curves[name].values.tolist() for name in ("t", "s")}
    out["phase"] = [str(x) for x in curves["phase"].values]
    return out | {str(name): curves[name].values.tolist() for name in names}
