r"""The convergence study of modes: overlaps, shares of generated samples, a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...numerics.asked import known_limit
from ...numerics.codegen.parameters import complete
from ...numerics.solve import Solution, solve_point
from ...theory.windows.dilation import make_dilation
from ...theory.windows.search import find_windows, leading_rate
from ..networks.grid import StepRule, coefficients
from ..networks.softmax import SoftmaxNetworks, draw, modes_of, train_softmax
from .compare import Study
from .folder import claim, kept, write_study
from .plan import Plan, StudyPhase, phases
from .series import Series, fit_of, series_rows
from .verdict import FALSE_ALARM, Criterion, worst_verdict

if TYPE_CHECKING:
    from ...theory.models.spec import Spec

Cell = dict[str, np.ndarray]
LAST = 1 - 1e-12  # the velocity has no value at the end itself
TOLERANCE = 1e-8
SAMPLING_DRAWS = 2**12  # for networks that generate samples: counts have errors too
LINE_POINTS = 41  # of each phase, in the figure
DRAWS = 2**15  # of the noise: what is sampled of an overlap is then about 1e-4


def converge_modes(
    spec: Spec,
    dims: Sequence[int],
    seeds: int,
    *,
    output: Path | None = None,
    curves: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    draws: int = DRAWS,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    **settings: Any,
) -> Study:
    """Compare softmax networks with the limit, as `converge` does for signs.

    Quantities are ``m_k_j``, ``omega_k_j``, ``b_k`` (the last two less their mean over
    the units), `c_hat` or `c`, and ``shares_k`` of generated samples. `curves` are
    compared with in place of the solved limit; `draws`, a power of two, is how often
    the noise is drawn for a training. `output` is a folder for finished cells, from
    which an interrupted study goes on, ``converge.json`` and the figures.
    """
    begin = time.perf_counter()
    modes_of(spec.model)
    settings = {"tolerance": TOLERANCE} | settings
    plan = Plan(tuple(sorted({int(d) for d in dims})), int(seeds), **settings).check()
    parts = phases(spec.model)
    store = None if output is None else claim(output, spec, plan, draws=draws)
    wanted = curves or modes_curves(spec, plan)
    jobs = [(d, k) for d in plan.dims for k in range(plan.seeds)]
    measure = partial(modes_cell, spec, plan, draws=draws)
    cells = {
        (d, k): kept(store, d, k, partial(measure, d, k)) for d, k in progress(jobs)
    }
    overlaps = list(_series(plan, parts, wanted, cells))
    norm = max(float(cell["gradient_norm"].max()) for cell in cells.values())
    tests = sum(len(x.limit) for x in overlaps)
    fits = []
    for series in overlaps:
        part = next(x for x in parts if x.name == series.phase)
        criterion = Criterion(
            level=FALSE_ALARM / tests,
            powers=True,
            slack=series.slack,
            converged=norm <= 10 * plan.tolerance,
            power=float(leading_rate(spec.model, part.window)),
        )
        fits.append(fit_of(series, np.array(plan.dims, float), criterion, plan.seed))
    study = Study(
        rows=[row for x in overlaps for row in series_rows(x, plan, population=True)],
        fits=fits,
        verdict=worst_verdict([x["verdict"] for x in fits]),
        gradient_norm=norm,
        plan=plan,
        digest=spec.digest,
        notes=_notes(plan, wanted, cells),
        seconds=time.perf_counter() - begin,
    )
    if output is not None:
        write_study(study, spec, _lines(spec) if curves is None else {}, output)
    return study


# ------------------------------------------------------------------------- the limit


def modes_curves(spec: Spec, plan: Plan) -> dict[str, dict[str, np.ndarray]]:
    """The limit of every measured quantity at the plan's times, and the shares."""
    found = solve_point(
        known_limit(spec), s=sorted(plan.times), rtol=1e-9, atol=1e-11, **spec.values
    )
    curves: dict[str, dict[str, np.ndarray]] = {}
    for i, part in enumerate(phases(spec.model)):
        keep = np.isin(found.s, plan.inside(part))
        rows = {k: x[keep] for k, x in found.rows[i].items() if k not in ("M", "V")}
        curves[part.name] = _named(rows)
    if plan.paths:
        curves["sample"] = _shares(found)
    return curves


def _lines(spec: Spec) -> dict[str, tuple[list[float], list[float]]]:
    """The limit of every overlap against the dilated time, for the figure."""
    s = np.linspace(0, 1, LINE_POINTS)
    found = solve_point(known_limit(spec), s=s, rtol=1e-9, atol=1e-11, **spec.values)
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for i, rows in enumerate(found.rows):
        for name, values in _named(rows).items():
            t, x = lines.setdefault(name, ([], []))
            t.extend((i + s) / len(found.rows))
            x.extend(values)
    return lines


def _shares(found: Solution) -> dict[str, np.ndarray]:
    shares = found.sample["shares"]
    return {f"shares_{k}": np.array([x]) for k, x in enumerate(shares, 1)}


def _named(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give each entry of a family a name: ``m_1_2``, ``b_3``."""
    found: dict[str, np.ndarray] = {}
    for name, values in rows.items():
        for place in np.ndindex(values.shape[1:]):
            index = "".join(f"_{i + 1}" for i in place)
            found[name + index] = values[(slice(None), *place)]
    return found


# -------------------------------------------------------------------- one training set


def modes_cell(spec: Spec, plan: Plan, d: int, k: int, draws: int) -> Cell:
    """Train at the plan's times of every phase and measure; generate samples."""
    seed, cell, norms = plan.seed + k, {}, []
    for part in phases(spec.model):
        taus = _taus(spec, part, d, plan.inside(part))
        if not taus.size:
            continue
        networks = _trained(spec, plan, d, taus, seed, draws)
        norms.append(networks.gradient_norm)
        for name, values in measured_overlaps(spec, part, networks).items():
            cell[f"{part.name}/{name}"] = values
    cell["gradient_norm"] = np.concatenate(norms)
    if plan.paths:
        cell |= generated_shares(spec, plan, d, seed)
    return cell


def _trained(
    spec: Spec, plan: Plan, d: int, taus: np.ndarray, seed: int, draws: int
) -> SoftmaxNetworks:
    data = draw(spec.model, spec.values, d, taus, seed, draws)
    return train_softmax(
        data, seed, tolerance=plan.tolerance, max_iterations=plan.max_iterations
    )


def _taus(spec: Spec, part: StudyPhase, d: int, s: np.ndarray) -> np.ndarray:
    """Times of the interpolant at times inside a phase."""
    windows = find_windows(spec.model)
    place = windows.index(part.window)
    tau = make_dilation(windows).at(_point(spec, d))
    return np.array([tau((place + x) / len(windows)) for x in s])


def _point(spec: Spec, d: int) -> dict[str, float]:
    return complete(known_limit(spec), spec.values) | {"d": float(d)}


def measured_overlaps(
    spec: Spec, part: StudyPhase, networks: SoftmaxNetworks
) -> dict[str, np.ndarray]:
    """Overlaps of networks in the units of a phase, a name for each entry."""
    target, d = modes_of(spec.model), networks.d
    exponents = np.array([float(e) for e in target.exponents])
    rows = {"m": networks.u.numpy() / d ** (0.5 - exponents)}
    c = networks.c.numpy()
    if not part.window.features:
        return _named({"c": c, **rows})
    size = float(d) ** float(part.window.alpha_size)
    gain = d ** (0.5 - float(exponents[part.window.features[0] - 1]))
    slope, b = networks.slope.numpy() * size, networks.b.numpy()
    rows |= {"omega": slope - slope.mean(1, keepdims=True)}
    rows |= {"b": b - b.mean(1, keepdims=True)}
    return _named({"c_hat": c * gain * size, **rows})


def generated_shares(spec: Spec, plan: Plan, d: int, seed: int) -> Cell:
    """Shares of samples at the end of the window, by midpoint steps; what they cost."""
    fine = _generated(spec, plan, d, seed, plan.cells)
    coarse = _generated(spec, plan, d, seed, plan.cells // 2)
    found: Cell = {}
    for k, (one, other) in enumerate(zip(fine, coarse, strict=True), 1):
        found[f"sample/shares_{k}"] = np.array([one])
        found[f"step/sample/shares_{k}"] = np.array([abs(one - other) / 3])
    return found


def _generated(spec: Spec, plan: Plan, d: int, seed: int, cells: int) -> np.ndarray:
    return carried_shares(spec, plan, d, seed, window_edges(spec, d, cells), "midpoint")


def window_edges(spec: Spec, d: int, cells: int) -> np.ndarray:
    """The ends of equal steps through the window in which the modes part."""
    part = next(x for x in phases(spec.model) if x.window.features)
    return _taus(spec, part, d, np.linspace(0, 1, cells + 1))


def carried_shares(
    spec: Spec, plan: Plan, d: int, seed: int, edges: np.ndarray, rule: StepRule
) -> np.ndarray:
    r"""Train networks for the steps between `edges` and count what they generate.

    The `plan.paths` samples are counted to the nearest mean at the last edge.
    Returns the shares of the modes, (K,).
    """
    asked = edges[:-1] if rule == "left" else (edges[1:] + edges[:-1]) / 2
    networks = _trained(spec, plan, d, asked, seed, SAMPLING_DRAWS)
    found = coefficients(spec.model.interpolant, asked, d)
    target = modes_of(spec.model)
    exponents = np.array([float(e) for e in target.exponents])
    means = torch.tensor(np.array(target.loadings, float) * d ** (0.5 - exponents))
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    start = float(coefficients(spec.model.interpolant, np.zeros(1), d).alpha[0])
    shape = (plan.paths, means.shape[1])
    y = start * torch.randn(shape, generator=generator, dtype=torch.float64)
    for i, step in enumerate(np.diff(edges)):
        rate, drive = found.gamma[i], found.zeta[i]

        def speed(x: torch.Tensor, i: int = i, rate=rate, drive=drive) -> torch.Tensor:
            skip = rate + drive * networks.c[i]
            return skip * x + drive * networks.denoised(i, x)

        y = y + step * speed(y if rule == "left" else y + step / 2 * speed(y))
    near = torch.cdist(y, _beta(spec, edges[-1], d) * means).argmin(1)
    return torch.bincount(near, minlength=len(means)).numpy() / plan.paths


def _beta(spec: Spec, tau: float, d: int) -> float:
    """The size of the data at a time, which may be the last."""
    last = np.array([min(tau, LAST)])
    return float(coefficients(spec.model.interpolant, last, d).beta[0])


# ---------------------------------------------------------------------------- verdicts


def _series(
    plan: Plan,
    parts: list[StudyPhase],
    wanted: Mapping[str, Mapping[str, np.ndarray]],
    cells: Mapping[tuple[int, int], Mapping[str, np.ndarray]],
) -> Iterable[Series]:
    first = next(iter(cells.values()))
    window = next(x.name for x in parts if x.window.features)
    for key in first:
        head, _, name = key.partition("/")
        if head in ("gradient_norm", "step") or name not in wanted.get(head, {}):
            continue
        values = np.array(
            [[cells[d, k][key] for k in range(plan.seeds)] for d in plan.dims]
        )
        limit = wanted[head][name]
        if head == "sample":
            slack = max(float(x[f"step/{key}"].max()) for x in cells.values())
            ends = np.ones(1)
            yield Series(window, name, ends, values, limit, slack, plan.paths)
        else:
            part = next(x for x in parts if x.name == head)
            yield Series(head, name, plan.inside(part), values, limit, 0.0)


def _notes(
    plan: Plan,
    wanted: Mapping[str, Mapping[str, np.ndarray]],
    cells: Mapping[tuple[int, int], Mapping[str, np.ndarray]],
) -> tuple[str, ...]:
    """The counts of the modes at the largest d: multinomial, by their chi-square."""
    if not plan.paths:
        return ()
    from scipy.stats import chi2

    names = list(wanted["sample"])
    law = np.array([wanted["sample"][x][0] for x in names])
    d, draws = plan.dims[-1], plan.paths * plan.seeds
    rows = [[cells[d, k][f"sample/{x}"][0] for x in names] for k in range(plan.seeds)]
    share = np.mean(rows, axis=0)
    size = draws * float(np.sum((share - law) ** 2 / law))
    chance = float(chi2.sf(size, len(law) - 1))
    return (
        f"Counts of the modes in {draws} samples at d = {d} against the limit: "
        f"chi-square {size:.3g} with {len(law) - 1} degrees of freedom, chance "
        f"{chance:.2g}. (It sees the error of a finite d and of finite steps too.)",
    )
