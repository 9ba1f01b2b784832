"""The confirming half of the main job: networks trained at several d and measured.

Two ways to train, side by side: by the exact average over the noise (many seeds, large
d, for rates) and on sampled noise (as practitioners do, at smaller d).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingExtra

if TYPE_CHECKING:
    from xarray import Dataset

    from ..theory.derive import Limit
    from ..theory.models.spec import Spec

Row = dict[str, Any]
Tick = Callable[[str], None]

GRADING = 2.0  # cells are finer where a phase begins, by this power
SATURATED = 15.0  # a bias this large means |b| has gone to infinity


@dataclass(frozen=True)
class Plan:
    """How much is computed. Nothing here changes what is computed."""

    dims: tuple[int, ...]  # dimensions trained by the exact average
    seeds: int
    times: tuple[float, ...]  # times in each phase at which overlaps are compared
    cells: int  # networks in each phase for sampling
    paths: int  # generated samples
    sampled_dims: tuple[int, ...]  # dimensions trained on sampled noise
    sampled_steps: int
    sampled_cells: int

    @property
    def ticks(self) -> int:
        """Number of trainings, for a progress bar."""
        return len(self.dims) * (self.seeds + 3) + 2 * len(self.sampled_dims)


EIGHTHS = tuple(k / 8 for k in range(1, 9))
FULL = Plan((300, 1000, 3000, 10000), 8, EIGHTHS, 12, 20_000, (200, 400, 800), 800, 6)
QUICK = Plan((300, 1000, 3000), 3, EIGHTHS[1::2], 6, 10_000, (150, 300), 200, 3)


def untrainable(spec: Spec) -> str | None:
    """Return why no networks are trained for `spec`, or None."""
    if spec.kind != "two-modes":
        return (
            "The report draws networks of the two-modes target alone; `dilaton "
            "converge` trains and judges those of a product mixture."
        )
    if spec.frozen_noise:
        return (
            "With frozen noise the weights are not learned (the phase is degenerate), "
            "so that there is no limit to compare networks with."
        )
    if spec.tables["network"]["activation"] == "sign" or spec.tables["network"]["tied"]:
        return "Networks are trained untied, with an activation that has a gradient."
    if not _unit_start(spec):
        return "Networks are sampled from N(0, I), for schedules with alpha(0) = 1."
    return None


def _unit_start(spec: Spec) -> bool:
    from ..theory.models.model import TAU

    return spec.model.interpolant.alpha.subs(TAU, 0) == 1


def plan_for(spec: Spec, quick: bool) -> Plan:
    """Return the amount of work, with dimensions that hold the training set."""
    plan = QUICK if quick else FULL
    need = 1 if spec.population else spec.values["n"] + 2
    scale = max(1, math.ceil(need / plan.sampled_dims[0]))
    return replace(
        plan,
        dims=tuple(d * scale for d in plan.dims),
        sampled_dims=tuple(d * scale for d in plan.sampled_dims),
    )


@dataclass
class Confirmation:
    """What the networks say, as rows that a report prints and plots.

    `dots` are overlaps against the limit and `fits` their rates and verdicts, from the
    convergence study; `sampled` are overlaps of training on sampled noise; `shares`
    what was generated; `generated` the samples themselves at the largest d.
    """

    dots: list[Row] = field(default_factory=list)
    fits: list[Row] = field(default_factory=list)
    verdict: str = ""
    gradient_norm: float = math.nan
    sampled: list[Row] = field(default_factory=list)
    shares: list[Row] = field(default_factory=list)
    trainings: list[Row] = field(default_factory=list)
    generated: dict[str, np.ndarray] = field(default_factory=dict)


def confirm(
    spec: Spec, limit: Limit, plan: Plan, seed: int, device: str, tick: Tick
) -> Confirmation:
    """Train, measure and sample at every dimension of `plan`."""
    _need_torch()
    found = Confirmation()
    _study(spec, limit, plan, seed, device, found, tick)
    for d in plan.dims:
        _dilated(spec, plan, d, seed, device, found)
        tick(f"d = {d}, sampling")
        _undilated(spec, plan, d, seed, device, found, tick)
    for d in plan.sampled_dims:
        _sampled(spec, plan, d, seed, device, found, tick)
    return found


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtra(
            "Training networks needs PyTorch, but it is not installed. Run "
            '`pip install "dilaton[torch]"`.'
        ) from None


# -------------------------------------------------------------------------- training


def _study(
    spec: Spec,
    limit: Limit,
    plan: Plan,
    seed: int,
    device: str,
    found: Confirmation,
    tick: Tick,
) -> None:
    """Run the convergence study: overlaps at every d and seed against the limit."""
    from ..torchcheck.study.converge import converge

    def progress(jobs: Iterable[Any]) -> Iterator[Any]:
        for d, k in jobs:
            yield d, k
            tick(f"d = {d}, training set {k + 1} of {plan.seeds}")

    study = converge(
        spec,
        plan.dims,
        plan.seeds,
        limit=limit,
        progress=progress,
        times=plan.times,
        paths=0,
        seed=seed,
        device=device,
    )
    names = found_phases(spec)
    for row in study.rows:
        t = (names.index(row["phase"]) + row["s"]) / len(names)
        found.dots.append(row | {"t": t})
    found.fits = list(study.fits)
    found.verdict = study.verdict
    found.gradient_norm = study.gradient_norm


def _dilated(
    spec: Spec, plan: Plan, d: int, seed: int, device: str, found: Confirmation
) -> None:
    """Sample through networks on the dilated grid, for one training set."""
    from ..torchcheck.networks.grid import dilated_grid
    from ..torchcheck.networks.sample import sample
    from ..torchcheck.networks.train import train

    cells = len(found_phases(spec)) * plan.cells
    grid = dilated_grid(spec.model, spec.values, d, cells, "midpoint", grading=GRADING)
    trained = train(spec.model, spec.values, grid.times, d, seed, device=device)
    _note(found, trained, "dilated", d, seed)
    drawn = sample(trained, grid, plan.paths, seed)
    found.shares.append(_share_row("dilated", "midpoint", d, drawn, decided=True))
    if d == plan.dims[-1]:
        found.generated["decided"] = drawn.decided_nu
        found.generated["dilated"] = drawn.nu[-1] / d**0.5


def found_phases(spec: Spec) -> tuple[str, ...]:
    """Return the names of the phases of a spec's model."""
    from ..theory.windows.search import find_windows, window_names

    return window_names(find_windows(spec.model))


def _note(found: Confirmation, trained: Any, schedule: str, d: int, seed: int) -> None:
    found.trainings.append(
        {
            "schedule": schedule,
            "d": d,
            "seed": seed,
            "times": len(trained.times),
            "gradient_norm": float(trained.gradient_norm.max()),
            "seconds": trained.seconds,
            **trained.settings,
        }
    )


def _share_row(schedule: str, rule: str, d: int, drawn: Any, decided: bool) -> Row:
    """What was generated; the share when the mode is decided, or at the end."""
    share = drawn.share_plus if decided else drawn.final_share_plus
    return {
        "schedule": schedule,
        "rule": rule,
        "d": d,
        "share_plus": share,
        "stderr": (share * (1 - share) / drawn.nu.shape[1]) ** 0.5,
        "mode_mean": drawn.mode_mean,
        "bulk_variance": drawn.bulk_variance,
    }


def _sampled(
    spec: Spec,
    plan: Plan,
    d: int,
    seed: int,
    device: str,
    found: Confirmation,
    tick: Tick,
) -> None:
    """Train on sampled noise, and by the exact average on the same training set."""
    import torch

    from ..torchcheck.networks.grid import dilated_grid
    from ..torchcheck.networks.network import measure
    from ..torchcheck.networks.sample import sample
    from ..torchcheck.networks.train import train
    from ..torchcheck.networks.training_set import in_span

    cells = plan.sampled_cells
    phases = found_phases(spec)
    grid = dilated_grid(
        spec.model, spec.values, d, len(phases) * cells, "midpoint", grading=GRADING
    )
    trained = train(
        spec.model,
        spec.values,
        grid.times,
        d,
        seed,
        method="sampled",
        steps=plan.sampled_steps,
        batch=128 if spec.population else None,
        device=device,
        dtype=torch.float32,
    )
    tick(f"d = {d}, sampled noise")
    _note(found, trained, "dilated", d, seed)
    data = in_span(_doubled(trained.data))
    exact = train(
        spec.model, spec.values, grid.times, d, seed, data=data, device=device
    )
    tick(f"d = {d}, the same samples, exact average")
    measured = measure(trained.network, trained.data)
    reference = measure(exact.network, exact.data)
    flip = np.sign(measured["m"] * reference["m"])  # (u, w, b) -> -(u, w, b) is free
    for j in range(len(grid.times)):
        phase = phases[j // cells]
        for name in ("c_hat", "m", "omega", "b", "q", "r", "c"):
            sign = flip[j] if name in ("m", "omega", "b") else 1.0
            row = {
                "phase": phase,
                "tau": float(grid.times[j]),
                "quantity": name,
                "d": d,
            }
            row |= {"mean": float(sign * measured[name][j])}
            found.sampled.append(row | {"exact": float(reference[name][j])})
    drawn = sample(trained, grid, plan.paths, seed)
    kind = "dilated, sampled noise"
    found.shares.append(_share_row(kind, "midpoint", d, drawn, decided=True))


def _doubled(data: Any) -> Any:
    """Return a training set in double precision, as the exact average needs."""
    names = ("means", "signs", "x1", "weights")
    return replace(data, **{name: getattr(data, name).double() for name in names})


def _undilated(
    spec: Spec,
    plan: Plan,
    d: int,
    seed: int,
    device: str,
    found: Confirmation,
    tick: Tick,
) -> None:
    """The same number of networks, spread evenly over tau."""
    from ..torchcheck.networks.grid import uniform_grid
    from ..torchcheck.networks.sample import sample
    from ..torchcheck.networks.train import train

    cells = len(found_phases(spec)) * plan.cells
    for rule in ("left", "midpoint"):
        grid = uniform_grid(cells, rule)
        trained = train(spec.model, spec.values, grid.times, d, seed, device=device)
        _note(found, trained, f"undilated, {rule}", d, seed)
        drawn = sample(trained, grid, plan.paths, seed)
        found.shares.append(_share_row("undilated", rule, d, drawn, decided=False))
        if d == plan.dims[-1]:
            found.generated[f"undilated {rule}"] = drawn.nu[-1] / d**0.5
        tick(f"d = {d}, undilated, {rule}")


def distances(dots: Sequence[Row]) -> list[Row]:
    """Return the root mean square distance from the limit by phase, quantity and d."""
    groups: dict[tuple[str, str, int], list[float]] = {}
    for row in dots:
        key = (row["phase"], row["quantity"], row["d"])
        square = (row["mean"] - row["limit"]) ** 2 + row["variance"]
        groups.setdefault(key, []).append(square)
    return [
        {"phase": p, "quantity": q, "d": d, "error": float(np.sqrt(np.mean(x)))}
        for (p, q, d), x in groups.items()
    ]


# ------------------------------------------------------------------------------- laws


def histogram(values: np.ndarray, low: float, high: float, bins: int = 80) -> Row:
    """Return edges and density; what lies outside counts but is not shown."""
    counts, edges = np.histogram(values, bins, (low, high))
    density = counts / (len(values) * np.diff(edges))
    return {"edges": edges.tolist(), "density": density.tolist()}


def decided_law(
    limit: Limit,
    trajectory: Dataset,
    values: Mapping[str, float],
    seed: int,
    paths: int,
) -> np.ndarray:
    """Return draws of nu at the end of the (only) weights phase, in the limit.

    The sampling flow of that phase, by the classical Runge-Kutta rule between the
    times of `trajectory`, from standard normal states.
    """
    import sympy as sp

    phase = next(p for p in limit.phases if p.features and p.sampling)
    system = phase.sampling
    assert system is not None  # by the choice of the phase
    rows = trajectory.isel(t=trajectory["phase"].values == phase.name)
    arguments = [*system.unknowns, system.time, *system.inputs, *system.parameters]
    rates = [
        sp.lambdify(arguments, equation.rhs, "numpy") for equation in system.equations
    ]
    numbers = [values[str(x)] for x in system.parameters]
    times = rows["s"].values
    held = np.array([_finite(rows[str(x)].values) for x in system.inputs])

    def rate(s: float, state: np.ndarray) -> np.ndarray:
        given = [np.interp(s, times, x) for x in held]
        return np.array([f(*state, s, *given, *numbers) for f in rates])

    state = np.random.default_rng([seed, 23]).standard_normal((len(rates), paths))
    for s, end in pairwise(times):
        state = _runge_kutta(rate, s, end - s, state)
    return state[0]


def _finite(values: np.ndarray) -> np.ndarray:
    """Return a bias that has gone to infinity as one that saturates every unit."""
    return np.clip(values, -2 * SATURATED, 2 * SATURATED)


def _runge_kutta(rate: Callable, s: float, h: float, y: np.ndarray) -> np.ndarray:
    k1 = rate(s, y)
    k2 = rate(s + h / 2, y + h / 2 * k1)
    k3 = rate(s + h / 2, y + h / 2 * k2)
    k4 = rate(s + h, y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
