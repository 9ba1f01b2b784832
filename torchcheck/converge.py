r"""The convergence study: does the limit describe networks of finite dimension?

At each dimension and seed a training set is drawn, networks are trained to a stated
gradient norm at a few times of every phase, and their overlaps are compared with the
limit: distance, rate, value extrapolated to $d = \infty$, verdict.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import StoreError
from ..numerics.store import Damaged, Store, write_atomic
from .compare import (
    SAMPLED,
    Cell,
    Curves,
    Phase,
    Plan,
    Study,
    compare,
    phases,
    versions,
)
from .draws import TrainingSet, draw_training_set
from .figures import draw_study
from .grid import dilated_grid, phase_times
from .network import measure
from .sample import Samples, sample
from .train import Trained, train

if TYPE_CHECKING:
    from xarray import Dataset

    from ..spec import Spec
    from ..theory.derive import Limit


_INPUT_POWER = {
    **dict.fromkeys(("c", "c_hat", "omega", "v", "zeta_plus", "zeta_minus"), 1),
    "r": 2,
}
"""Powers of the input's size in overlaps of w and c. Where a schedule explodes, x grows
as d^x and w, with its ridge, refers to the input divided by that."""


def converge(
    spec: Spec,
    dims: Sequence[int],
    seeds: int,
    *,
    output: Path | None = None,
    limit: Limit | None = None,
    curves: Curves | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    **settings: Any,
) -> Study:
    r"""Compare trained networks with the limit of `spec`.

    For each overlap, phase and time the values are extrapolated to $d = \infty$ seed
    by seed in powers of $d^{-1/2}$. The verdict is ``inconsistent`` when a limit lies
    outside its interval, whose level is shared among all comparisons so that a true
    limit raises a false alarm in one study of a hundred; ``not converged`` when a
    gradient norm exceeds ten times the tolerance.

    Parameters
    ----------
    spec
        From `dilaton.load_spec`.
    dims, seeds
        Dimensions, and number of training sets at each.
    output
        Folder for finished cells (an interrupted study goes on), ``converge.json``
        and the figures. A folder with another study's results is refused.
    limit
        Compare with this limit instead of ``derive(spec.model)``.
    curves
        Compare with these numbers instead of solving the limit.
    progress
        Wraps the iterable of (dimension, seed), for instance `tqdm.tqdm`.
    **settings
        The other fields of `Plan`.
    """
    begin = time.perf_counter()
    plan = Plan(tuple(sorted({int(d) for d in dims})), int(seeds), **settings).check()
    store = None if output is None else _claim(output, spec, plan)
    wanted = curves or limit_curves(spec, plan, limit)
    study = compare(plan, spec, wanted, train_cells(spec, plan, store, progress))
    study = replace(study, seconds=time.perf_counter() - begin)
    if output is not None:
        text = json.dumps(study.to_dict(), indent=1, allow_nan=False)
        write_atomic(output / "converge.json", text.encode())
        lines = _lines(study, spec, limit, curves)
        names = [phase.name for phase in phases(spec.model)]
        draw_study(study.rows, study.fits, lines, names, output)
    return study


def _lines(
    study: Study, spec: Spec, limit: Limit | None, curves: Curves | None
) -> dict[str, tuple[list[float], list[float]]]:
    """The limit of every overlap against dilated time, for the figure."""
    if curves is not None:
        return {row["quantity"]: ([], []) for row in study.rows}
    found = _solve(spec, [k / 40 for k in range(1, 41)], limit)
    t = found["t"].values.tolist()
    return {
        str(name): (t, x.values.tolist())
        for name, x in found.data_vars.items()
        if x.dims == ("t",)
    }


def _solve(spec: Spec, s: Sequence[float], limit: Limit | None) -> Dataset:
    from ..numerics.solve import solve
    from ..theory.derive import derive

    values = spec.values
    return solve(
        limit or derive(spec.model),
        s=s,
        rtol=1e-9,
        atol=1e-11,
        backend="scipy",
        **values,
    )


def limit_curves(spec: Spec, plan: Plan, limit: Limit | None = None) -> Curves:
    """Solve the limit at the times of `plan`; the learned overlaps and the samples."""
    found = _solve(spec, sorted(plan.times), limit)
    curves: dict[str, dict[str, np.ndarray]] = {}
    for phase in phases(spec.model):
        rows = found.isel(t=found["phase"].values == phase.name)
        keep = np.isin(rows["s"].values, plan.inside(phase))
        curves[phase.name] = {
            str(name): x.values[keep]
            for name, x in rows.data_vars.items()
            if x.dims == ("t",)
        }
    if plan.paths:
        curves["sample"] = {
            name: np.atleast_1d(found[name].values) for name in SAMPLED if name in found
        }
    return curves


# --------------------------------------------------------------- one training set


def _taus(spec: Spec, plan: Plan, d: int, phase: Phase) -> np.ndarray:
    """Times in tau; where tau = O(1) they are the limit's own, which do not move."""
    s = plan.inside(phase)
    if phase.window.end == "interior":
        return s
    return phase_times(spec.model, spec.values, d, phase.name, s)


def train_cells(
    spec: Spec,
    plan: Plan,
    store: Store | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[tuple[int, int], Cell]:
    """Train and measure at every dimension and seed of `plan`."""
    jobs = [(d, k) for d in plan.dims for k in range(plan.seeds)]
    return {(d, k): _cell(spec, plan, store, d, k) for d, k in progress(jobs)}


def _cell(
    spec: Spec, plan: Plan, store: Store | None, d: int, k: int
) -> dict[str, np.ndarray]:
    """Train and measure, or read what was finished; a damaged file is redone."""
    index = d * 10_000 + k
    if store is not None:
        try:
            done = store.load(index)
        except Damaged as damage:
            print(
                f"Note: `{store.path(index)}` is not used: {damage}; computing it "
                "again.",
                file=sys.stderr,
            )
            done = None
        if done is not None:
            return done
    cell = _measure_cell(spec, plan, d, plan.seed + k)
    if plan.paths and _can_sample(spec):
        cell |= _sample_cell(spec, plan, d, plan.seed + k)
    if store is not None:
        store.save(index, cell)
    return cell


def _measure_cell(spec: Spec, plan: Plan, d: int, seed: int) -> dict[str, np.ndarray]:
    cell: dict[str, np.ndarray] = {}
    norms = []
    for phase in phases(spec.model):
        times = _taus(spec, plan, d, phase)
        size = float(d) ** float(phase.window.alpha_size)
        values = dict(spec.values)
        if "ridge_w" in values:
            values["ridge_w"] *= size**2
        data = draw_training_set(
            spec.model, values, d, seed, times=len(times), device=plan.device
        )
        trained = _train(spec, plan, values, times, data, seed)
        for name, x in measure(trained.network, trained.data).items():
            cell[f"{phase.name}/{name}"] = x * size ** _INPUT_POWER.get(name, 0)
        norms.append(trained.gradient_norm)
    return cell | {"gradient_norm": np.concatenate(norms)}


def _train(
    spec: Spec,
    plan: Plan,
    values: Mapping[str, float],
    times: np.ndarray,
    data: TrainingSet,
    seed: int,
) -> Trained:
    return train(
        spec.model,
        values,
        times,
        data.d,
        seed,
        data=data,
        tolerance=plan.tolerance,
        steps=plan.max_iterations,
        device=plan.device,
    )


def _can_sample(spec: Spec) -> bool:
    """Frozen noise has no common span; exploding noise needs far finer cells."""
    sizes = [phase.window.alpha_size for phase in phases(spec.model)]
    return not spec.frozen_noise and all(size == 0 for size in sizes)


def _sample_cell(spec: Spec, plan: Plan, d: int, seed: int) -> dict[str, np.ndarray]:
    """Generated samples on a grid and on its half, extrapolated to no step at all.

    Cells are finer where a phase begins: at the entrance of the variance phase the
    trained weights are small, and a path needs time to leave the middle.
    """
    coarse, fine = (
        _generated(spec, plan, d, seed, cells) for cells in (plan.cells, 2 * plan.cells)
    )
    cell = {}
    for name in SAMPLED:
        step = (getattr(fine, name) - getattr(coarse, name)) / 3  # second order
        cell[f"sample/{name}"] = np.array([getattr(fine, name) + step])
        cell[f"step/{name}"] = np.array([abs(step)])
    return cell


def _generated(spec: Spec, plan: Plan, d: int, seed: int, cells: int) -> Samples:
    model, values = spec.model, spec.values
    grid = dilated_grid(model, values, d, cells, "midpoint", grading=2.0)
    data = draw_training_set(model, values, d, seed, device=plan.device)
    trained = _train(spec, plan, values, grid.times, data, seed)
    return sample(trained, grid, plan.paths, seed)


# ------------------------------------------------------------------------ the folder


def _claim(output: Path, spec: Spec, plan: Plan) -> Store:
    """Return the folder's store; refuse a folder with another study in it."""
    settings = {k: v for k, v in vars(plan).items() if k not in ("dims", "seeds")}
    recipe = {"study": "converge", "spec": spec.digest, **settings, **versions()}
    store = Store(output / "cells", recipe)
    if output.exists() and not output.is_dir():
        raise StoreError(
            f"The output must be a folder, but `{output}` is a file. Choose another "
            "name."
        )
    mine = (store.folder / "manifest.json").exists()
    if output.exists() and any(output.iterdir()) and not mine:
        raise StoreError(
            f"A study writes to a new folder or continues its own, but `{output}` "
            "holds something else or a study with other settings. Choose another "
            "folder."
        )
    store = store.open()
    store.tidy()
    return store
