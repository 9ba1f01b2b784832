r"""The convergence study: does the limit describe networks of finite dimension?

At each dimension and seed a training set is drawn, networks are trained to a stated
gradient norm at a few times of every phase, and their overlaps are compared with the
limit: distance, rate, value extrapolated to $d = \infty$, verdict.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from xarray import Dataset

from ...errors import ModelError, StoreError
from ...files import at_home, code_digest, write_atomic
from ...numerics.asked import asked
from ...numerics.codegen.parameters import complete
from ...numerics.codegen.snapshot import PrintedLimit, limit_of, printed_limit
from ...numerics.corrections import correction_of, shifts
from ...numerics.modes.evaluate import by_entry
from ...numerics.sweep.store import Damaged, Store
from ...show.answers import to_json
from ...theory.derive import Limit
from ...theory.models.model import Model
from ...theory.models.spec import Spec
from .cells import Trial, cell_counts, check_network_training, measure_cell, sample_cell
from .compare import Study, compare, package_versions
from .figures import Line, draw_study
from .law import law_time, limit_law
from .modes_cell import DRAWS, modes_cell
from .plan import (
    PROCEDURES,
    SAMPLED,
    Cell,
    Curves,
    Offset,
    Offsets,
    Plan,
    StudyPhase,
    phases,
    suffixes,
)


def converge(
    spec: Spec | Model | Limit | str | Path,
    dims: Sequence[int],
    seeds: int,
    *,
    values: Mapping[str, float] | None = None,
    output: str | Path | None = None,
    limit: Limit | None = None,
    curves: Curves | None = None,
    correction: bool = True,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    **settings: Any,
) -> Study:
    r"""Compare trained networks with the limit of `spec`.

    For each overlap, phase and time the values are extrapolated to $d = \infty$ seed by
    seed in powers of $d^{-1/2}$. The verdict is ``inconsistent`` when a limit lies
    outside its interval, whose level is shared among all comparisons so that a true
    limit raises a false alarm in one study of a hundred; ``not converged`` when a
    gradient norm exceeds ten times the tolerance.

    `spec` is a spec, the path of a spec file, or a model or a limit with its `values`
    by name; beside a spec they replace its own. At each of the dimensions `dims` there
    are as many training sets as `seeds`. The folder `output` takes finished cells (an
    interrupted study goes on), ``converge.json`` and the figures; one with another
    study's results is refused. The networks are compared with the `limit` in place of
    the one derived from ``spec.model``, or with the numbers in `curves`.

    `correction` shows the leading correction that theory predicts beside the overlaps
    of the derived limit. For n samples it takes half a minute the first time. For modes
    none is predicted, and `False` is refused. `progress` wraps the iterable of
    (dimension, seed), for instance `tqdm.tqdm`. The `settings` are the other fields of
    `Plan`; for modes also `draws`, a power of two: how often the noise is drawn for a
    training.
    """
    begin = time.perf_counter()
    output = None if output is None else at_home(output)
    spec = asked(spec, values).spec
    modes = spec.kind == "modes"
    if modes:
        _check_modes(limit, correction)
    further = {"draws": settings.pop("draws", DRAWS)} if modes else {}
    settings = {"tolerance": PROCEDURES[spec.kind].tolerance} | settings
    plan = Plan(tuple(sorted({int(d) for d in dims})), int(seeds), **settings).check()
    check_network_training(spec, plan.dims[0])
    store = None if output is None else claim(output, spec, plan, **further)
    wanted = curves or limit_curves(spec, plan, limit)
    own = correction and curves is None and limit is None and not modes
    offsets = predicted_offsets(spec, plan, wanted) if own else {}
    cells = train_cells(spec, plan, store, progress, **further)
    study = compare(plan, spec, wanted, cells, offsets)
    study = replace(study, seconds=time.perf_counter() - begin)
    if output is not None:
        write_study(study, spec, _lines(study, spec, limit, curves), output)
    return study


def _check_modes(limit: Limit | None, correction: bool) -> None:
    """Refuse what a study of modes would not look at."""
    if limit is not None:
        raise ModelError(
            "Softmax networks are compared with the limit of their spec, but `limit` "
            "is given. Leave it out, or give `curves`."
        )
    if not correction:
        raise ModelError(
            "A study of modes shows no correction, for none is predicted, but "
            "`correction` is False. Leave it out."
        )


def _lines(
    study: Study, spec: Spec, limit: Limit | None, curves: Curves | None
) -> dict[str, Line]:
    """The limit of every overlap against dilated time, for the figure."""
    if curves is not None:
        return {row["quantity"]: ([], []) for row in study.rows}
    found = limit_at(spec, [k / 40 for k in range(41)], limit)
    t = found["t"].values.tolist()
    lines = overlap_curves(found)
    for name in {"m", "q"} & set(lines) if spec.kind == "product" else ():
        bulk = lines.pop(name)
        for end in suffixes(spec.model):
            own = lines.get(name + end, bulk)
            lines[name + end] = np.where(np.isnan(own), bulk, own)
    return {name: (t, x.tolist()) for name, x in lines.items()}


def _printed(spec: Spec, limit: Limit | None) -> PrintedLimit:
    return limit_of(spec) if limit is None else printed_limit(limit)


def limit_at(spec: Spec, s: Sequence[float], limit: Limit | None = None) -> Dataset:
    """The limit of `spec`, or the one given, at times `s` of every phase."""
    from ...numerics.solve import solve_point

    how: dict[str, Any] = {"s": s, "rtol": 1e-9, "atol": 1e-11, **spec.values}
    return solve_point(_printed(spec, limit), **how).dataset()


def limit_curves(spec: Spec, plan: Plan, limit: Limit | None = None) -> Curves:
    """Solve the limit at the times of `plan`; the learned overlaps and the samples."""
    found = limit_at(spec, sorted(plan.times), limit)
    curves: dict[str, dict[str, np.ndarray]] = {}
    for phase in phases(spec.model):
        rows = found.isel(t=found["phase"].values == phase.name)
        keep = np.isin(rows["s"].values, plan.inside(phase))
        curves[phase.name] = {
            own: x[keep]
            for name, x in overlap_curves(rows).items()
            for own in _own_names(spec, phase, name)
        }
    if plan.paths:
        curves["sample"] = _sampled_limit(spec, found)
        if spec.kind != "modes":
            curves["law"] = _laws(spec, plan, _printed(spec, limit))
    return curves


def overlap_curves(found: Dataset) -> dict[str, np.ndarray]:
    """Overlaps with their values at the times; of modes one for each entry, `m_1_2`."""
    names = [str(name) for name, x in found.data_vars.items() if x.dims[:1] == ("t",)]
    return by_entry({name: found[name].values for name in names})


def predicted_offsets(spec: Spec, plan: Plan, limits: Curves) -> Offsets:
    """The leading corrections at the times of `plan`, where theory has them.

    `limits` are the limits there, from `limit_curves`.
    """
    limit = limit_of(spec)
    values = complete(limit, spec.values)
    found = {}
    for phase, part in zip(limit.phases, phases(spec.model), strict=True):
        known = correction_of(phase)
        if known is not None:
            moves = shifts(known, plan.inside(part), values, limits[part.name])
            found[part.name] = Offset(known.rate, moves)
    return found


def _own_names(spec: Spec, phase: StudyPhase, name: str) -> list[str]:
    """In the bulk all features of a product share one `m` and one `q`."""
    if spec.kind == "product" and not phase.window.features and name in ("m", "q"):
        return [name + suffix for suffix in suffixes(spec.model)]
    return [name]


def _sampled_limit(spec: Spec, found: Dataset) -> dict[str, np.ndarray]:
    if spec.kind == "modes":
        return by_entry({"shares": found["shares"].values[None]})
    limits: dict[str, np.ndarray] = {}
    for name in SAMPLED:
        values = np.atleast_1d(found[name].values)
        ends = suffixes(spec.model) if name != "bulk_variance" else [""]
        limits |= {name + end: values[i : i + 1] for i, end in enumerate(ends)}
    return limits


def _laws(spec: Spec, plan: Plan, limit: PrintedLimit) -> dict[str, np.ndarray]:
    """Draws of every nu where its law is compared."""
    values = complete(limit, spec.values)
    found: dict[str, np.ndarray] = {}
    for phase, part in zip(limit.phases, phases(spec.model), strict=True):
        if phase.features:
            s = law_time(part.window, cell_counts(plan)[0])
            kind = limit.about["activation"]
            found |= limit_law(phase, part.window, values, s, kind)
    return found


# --------------------------------------------------------------- one training set


def train_cells(
    spec: Spec,
    plan: Plan,
    store: Store | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    **further: Any,
) -> dict[tuple[int, int], Cell]:
    """Train and measure at every dimension and seed of `plan`.

    A product mixture's population has no training set, so that its networks are
    trained once where nothing is generated.
    """
    jobs = [(d, k) for d in plan.dims for k in range(plan.seeds)]
    measure = partial(_measured, spec, plan, **further)
    once = spec.kind == "product" and spec.population and not plan.paths
    found: dict[tuple[int, int], Cell] = {}
    for d, k in progress(jobs):
        if once and (d, 0) in found:
            found[d, k] = found[d, 0]
        else:
            found[d, k] = kept(store, d, k, partial(measure, d, plan.seed + k))
    return found


def _measured(
    spec: Spec, plan: Plan, d: int, seed: int, **further: Any
) -> dict[str, np.ndarray]:
    """Overlaps of a training set's networks, and of the samples that they generate."""
    trial = Trial(spec, plan, d, seed)
    if spec.kind == "modes":
        return modes_cell(trial, **further)
    return measure_cell(trial) | (sample_cell(trial) if plan.paths else {})


# ------------------------------------------------------- the folder of a study


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
    names = [phase.name for phase in phases(spec.model)]
    draw_study(study.rows, study.fits, lines, names, output)
