"""One cell of a convergence study: networks trained, measured and sampled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...theory.models.spec import Spec, parse_spec
from ..networks.boundary import boundary_shares
from ..networks.network import Overlaps, check_activation
from ..networks.sample import bulk_curve, sample_features
from ..networks.softmax import modes_of
from ..networks.step_grid import Grid, dilated_grid, fades, phase_times
from ..networks.train import Trained, train
from ..networks.training_set import draw_training_set
from .plan import PROCEDURES, Plan, StudyPhase, degenerate, phases, suffixes

_INPUT_POWER = {"c": 1, "omega": 1, "v": 1, "zeta": 1, "r": 2}
"""Powers of the input's size in overlaps of w and c, by their first word. Where a
schedule explodes, x grows as d^x and w refers to the input divided by that."""


def check_network_training(spec: Spec, d: int) -> None:
    """Raise `DilatonError` unless networks can be trained on `spec` at dimension d."""
    if spec.kind == "modes":
        modes_of(spec.model)
        return
    check_activation(spec.model.autoencoder.activation)
    draw_training_set(spec.model, spec.values, d, 0)


@dataclass(frozen=True)
class Trial:
    """One training set of a study, and what is trained on it."""

    spec: Spec
    plan: Plan
    d: int
    seed: int

    def size(self, phase: StudyPhase) -> float:
        """The size of the input in a phase: not 1 where the schedule explodes."""
        return float(self.d) ** float(phase.window.alpha_size)

    def gain(self, phase: StudyPhase) -> float:
        """The factor to `c_hat`, which is of order 1 in a feature window."""
        first = self.spec.model.target.features[phase.window.features[0] - 1]
        return float(self.d) ** float(0.5 - first.exponent)

    def taus(self, phase: StudyPhase) -> np.ndarray:
        """Times in tau; where tau = O(1) they are the limit's own: they do not move."""
        s = self.plan.inside(phase)
        if phase.window.end == "interior":
            return s
        return phase_times(self.spec.model, kappas(self.spec), self.d, phase.name, s)

    def trained(self, times: np.ndarray, most: int) -> Trained:
        """Networks at `times`, by at most so many steps."""
        return train(
            self.spec.model,
            self.spec.values,
            times,
            self.d,
            self.seed,
            tolerance=self.plan.tolerance,
            steps=min(self.plan.max_iterations, most),
            device=self.plan.device,
        )

    def on_grid(self, each: int) -> tuple[Trained, Grid]:
        """Networks at every cell of the grid, and the grid.

        A population has no training set, so that its networks are trained once.
        """
        seed = 0 if self.spec.population else self.seed
        return _trained_grid(self.spec.text, self.plan, self.d, seed, each)


def measure_cell(trial: Trial) -> Overlaps:
    """Train at the plan's times of every phase and measure the overlaps.

    A phase without a limit to compare with is left out.
    """
    cell: Overlaps = {}
    norms = []
    for phase, found, norm in _learned(trial):
        if "c_hat" not in found and phase.window.features:
            found["c_hat"] = trial.gain(phase) * found["c"]
        for name, x in found.items():
            power = _INPUT_POWER.get(name.partition("_")[0], 0)
            cell[f"{phase.name}/{name}"] = x * trial.size(phase) ** power
        norms.append(norm)
    return cell | {"gradient_norm": np.concatenate(norms)}


def _learned(trial: Trial) -> Iterator[tuple[StudyPhase, Overlaps, np.ndarray]]:
    """Train in each phase that has a limit; return overlaps and gradient norms.

    The networks of a population have no training set to share: those of all phases
    are trained at once.
    """
    spec, most = trial.spec, PROCEDURES[trial.spec.kind].measured
    held = [x for x in phases(spec.model) if not degenerate(spec, x)]
    for group in [held] if spec.population else [[x] for x in held]:
        times = [trial.taus(phase) for phase in group]
        trained = trial.trained(np.concatenate(times), most)
        found = trained.network.overlaps(trained.data)
        end = 0
        for phase, own in zip(group, times, strict=True):
            part = slice(end, end := end + len(own))
            overlaps = {name: x[part] for name, x in found.items()}
            yield phase, overlaps, trained.gradient_norm[part]


def kappas(spec: Spec) -> dict[str, Any]:
    """The values of a spec, with one `kappa` serving every window."""
    windows = [x.window.kappa for x in phases(spec.model)]
    own = {str(x): spec.values.get("kappa") for x in windows if x is not None}
    return {k: v for k, v in own.items() if v is not None} | spec.values


# -------------------------------------------------------------------------- sampling


def sample_cell(trial: Trial) -> Overlaps:
    """Generated samples on a grid and on its half, extrapolated to no step at all.

    Cells are finer where a phase begins: at the entrance of the variance phase the
    trained weights are small, and a path needs time to leave the middle. With frozen
    noise only the bulk, which needs no path, is sampled.
    """
    both = [trial.on_grid(each) for each in cell_counts(trial.plan)]
    cell = _bulk(trial, both)
    if trial.spec.frozen_noise:
        return cell
    coarse, fine = (sample_features(*x, trial.plan.paths, trial.seed) for x in both)
    shares = [boundary_shares(*x, trial.seed) for x in both]
    for j, suffix in enumerate(suffixes(trial.spec.model)):
        cell |= _refined(f"sample/share_plus{suffix}", *(x[j] for x in shares))
        means = coarse[j].mode_mean, fine[j].mode_mean
        cell |= _refined(f"sample/mode_mean{suffix}", *means)
        cell |= _law(trial, j + 1, (coarse[j].nu, fine[j].nu), suffix)
    return cell


def _bulk(trial: Trial, both: list[tuple[Trained, Grid]]) -> Overlaps:
    """The bulk variance at the end, and its curve at the plan's times of each phase.

    The error of the step changes its sign on the way, so that the largest one of a
    phase is stated for the whole curve.
    """
    curves = [bulk_curve(*x) for x in both]
    cell = _refined("sample/bulk_variance", *(x[-1:] for x in curves))
    steps, bounds = abs(curves[1][::2] - curves[0]) / 3, both[0][1].bounds
    for i, phase in enumerate(phases(trial.spec.model)):
        times = trial.taus(phase)
        values = [
            _between(x, grid, i, times) * trial.size(phase) ** -2
            for x, (_, grid) in zip(curves, both, strict=True)
        ]
        cell |= _refined(f"{phase.name}/V", *values)
        largest = steps[bounds[i - 1] if i else 0 : bounds[i] + 1].max()
        cell[f"step/{phase.name}/V"] = np.array([largest * trial.size(phase) ** -2])
    return cell


def _between(curve: np.ndarray, grid: Grid, i: int, times: np.ndarray) -> np.ndarray:
    """A curve on the edges of a grid, at `times` inside its phase `i`."""
    from scipy.interpolate import CubicSpline

    first = grid.bounds[i - 1] if i else 0
    inside = slice(first, grid.bounds[i] + 1)
    return CubicSpline(grid.edges[inside], curve[inside])(times)


def cell_counts(plan: Plan) -> tuple[int, int]:
    """Cells of a phase on the coarse and on the fine grid."""
    return plan.cells // 2, 2 * (plan.cells // 2)


def _refined(
    name: str, coarse: np.ndarray | float, fine: np.ndarray | float
) -> Overlaps:
    """A value without the error of the step, and how much that was."""
    step = np.atleast_1d((fine - coarse) / 3)  # the rule is of second order
    return {name: fine + step, f"step/{name.removeprefix('sample/')}": abs(step)}


def _law(
    trial: Trial, j: int, paths: tuple[np.ndarray, np.ndarray], suffix: str
) -> Overlaps:
    """Sorted draws of nu where its law is compared, refined path by path."""
    from scipy.stats import ks_2samp

    each, parts = cell_counts(trial.plan)[0], phases(trial.spec.model)
    i = next(i for i, x in enumerate(parts) if j in x.window.features)
    edge = i * each + (each // 2 if fades(parts[i].window) else each)
    coarse, fine = (x / trial.size(parts[i]) for x in paths)
    draws = fine[2 * edge] + (fine[2 * edge] - coarse[edge]) / 3
    step = ks_2samp(fine[2 * edge], draws, method="asymp").statistic
    return {f"draws/nu{suffix}": np.sort(draws), f"step/law{suffix}": np.array([step])}


@lru_cache(maxsize=2)
def _trained_grid(
    text: str, plan: Plan, d: int, seed: int, each: int
) -> tuple[Trained, Grid]:
    spec = parse_spec(text)
    cells, how = each * len(phases(spec.model)), PROCEDURES[spec.kind]
    at = (spec.model, kappas(spec), d, cells)
    grid = dilated_grid(*at, "midpoint", grading=how.grading)
    return Trial(spec, plan, d, seed).trained(grid.times, how.sampled), grid
