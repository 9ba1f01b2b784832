"""One cell of a convergence study: networks trained, measured and sampled."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...theory.models.spec import parse_spec
from ..networks.boundary import boundary_shares
from ..networks.grid import Grid, dilated_grid, fades, phase_times
from ..networks.network import Overlaps, check_activation
from ..networks.sample import bulk_curve, sample_features
from ..networks.softmax import modes_of
from ..networks.train import Trained, train
from ..networks.training_set import draw_training_set
from .law import distance
from .plan import PROCEDURES, Plan, StudyPhase, degenerate, phases, suffixes

if TYPE_CHECKING:
    from ...theory.models.spec import Spec

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


def measure_cell(spec: Spec, plan: Plan, d: int, seed: int) -> Overlaps:
    """Train at the plan's times of every phase and measure the overlaps.

    A phase without a limit to compare with is left out.
    """
    cell: Overlaps = {}
    norms = []
    for phase in (x for x in phases(spec.model) if not degenerate(spec, x)):
        size = _input_size(phase, d)
        brief = _at_most(plan, PROCEDURES[spec.kind].measured)
        trained = _trained(spec, brief, _taus(spec, plan, d, phase), d, seed)
        found = trained.network.overlaps(trained.data)
        if "c_hat" not in found and phase.window.features:
            found["c_hat"] = _gain(spec, phase, d) * found["c"]
        for name, x in found.items():
            power = _INPUT_POWER.get(name.partition("_")[0], 0)
            cell[f"{phase.name}/{name}"] = x * size**power
        norms.append(trained.gradient_norm)
    return cell | {"gradient_norm": np.concatenate(norms)}


def _taus(spec: Spec, plan: Plan, d: int, phase: StudyPhase) -> np.ndarray:
    """Times in tau; where tau = O(1) they are the limit's own, which do not move."""
    s = plan.inside(phase)
    if phase.window.end == "interior":
        return s
    return phase_times(spec.model, kappas(spec), d, phase.name, s)


def kappas(spec: Spec) -> dict[str, Any]:
    """The values of a spec, with one `kappa` serving every window."""
    windows = [x.window.kappa for x in phases(spec.model)]
    own = {str(x): spec.values.get("kappa") for x in windows if x is not None}
    return {k: v for k, v in own.items() if v is not None} | spec.values


def _input_size(phase: StudyPhase, d: int) -> float:
    return float(d) ** float(phase.window.alpha_size)


def _gain(spec: Spec, phase: StudyPhase, d: int) -> float:
    """The factor to `c_hat`, which is of order 1 in a feature window."""
    first = spec.model.target.features[phase.window.features[0] - 1]
    return float(d) ** float(0.5 - first.exponent)


def _at_most(plan: Plan, most: int) -> Plan:
    """The plan with at most so many steps of a descent."""
    return replace(plan, max_iterations=min(plan.max_iterations, most))


def _trained(
    spec: Spec,
    plan: Plan,
    times: np.ndarray,
    d: int,
    seed: int,
) -> Trained:
    """Networks at `times` on the training set of a seed."""
    data = draw_training_set(
        spec.model, spec.values, d, seed, times=len(times), device=plan.device
    )
    return train(
        spec.model,
        spec.values,
        times,
        d,
        seed,
        data=data,
        tolerance=plan.tolerance,
        steps=plan.max_iterations,
        device=plan.device,
    )


# -------------------------------------------------------------------------- sampling


def sample_cell(spec: Spec, plan: Plan, d: int, seed: int) -> Overlaps:
    """Generated samples on a grid and on its half, extrapolated to no step at all.

    Cells are finer where a phase begins: at the entrance of the variance phase the
    trained weights are small, and a path needs time to leave the middle. With frozen
    noise only the bulk, which needs no path, is sampled.
    """
    both = [_networks(spec, plan, d, seed, each) for each in cell_counts(plan)]
    cell = _bulk(spec, plan, d, both)
    if spec.frozen_noise:
        return cell
    coarse, fine = (sample_features(*x, plan.paths, seed) for x in both)
    shares = [boundary_shares(*x, seed) for x in both]
    for j, suffix in enumerate(suffixes(spec.model)):
        pair = (x[j].value for x in shares)
        cell |= _refined(f"sample/share_plus{suffix}", *pair)
        means = coarse[j].mode_mean, fine[j].mode_mean
        cell |= _refined(f"sample/mode_mean{suffix}", *means)
        draws = coarse[j].nu, fine[j].nu
        cell |= _law(spec, plan, d, j + 1, draws, suffix)
    return cell


def _bulk(spec: Spec, plan: Plan, d: int, both: list[tuple[Trained, Grid]]) -> Overlaps:
    """The bulk variance at the end, and its curve at the plan's times of each phase."""
    curves = [bulk_curve(*x) for x in both]
    cell = _refined("sample/bulk_variance", *(x[-1:] for x in curves))
    for i, phase in enumerate(phases(spec.model)):
        times = _taus(spec, plan, d, phase)
        values = [
            _between(x, grid, i, times) * _input_size(phase, d) ** -2
            for x, (_, grid) in zip(curves, both, strict=True)
        ]
        cell |= _refined(f"{phase.name}/V", *values)
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
    spec: Spec,
    plan: Plan,
    d: int,
    j: int,
    paths: tuple[np.ndarray, np.ndarray],
    suffix: str,
) -> Overlaps:
    """Sorted draws of nu where its law is compared, refined path by path."""
    each, parts = cell_counts(plan)[0], phases(spec.model)
    i = next(i for i, x in enumerate(parts) if j in x.window.features)
    edge = i * each + (each // 2 if fades(parts[i].window) else each)
    coarse, fine = (x / _input_size(parts[i], d) for x in paths)
    draws = fine[2 * edge] + (fine[2 * edge] - coarse[edge]) / 3
    step = distance(np.sort(fine[2 * edge]), np.sort(draws))
    return {f"draws/nu{suffix}": np.sort(draws), f"step/law{suffix}": np.array([step])}


def _networks(
    spec: Spec, plan: Plan, d: int, seed: int, each: int
) -> tuple[Trained, Grid]:
    """Networks at every cell of the grid, and the grid.

    A population has no training set, so that its networks are trained once.
    """
    return _trained_grid(spec.text, plan, d, 0 if spec.population else seed, each)


@lru_cache(maxsize=2)
def _trained_grid(
    text: str, plan: Plan, d: int, seed: int, each: int
) -> tuple[Trained, Grid]:
    spec = parse_spec(text)
    parts = phases(spec.model)
    cells = each * len(parts)
    how, values = PROCEDURES[spec.kind], kappas(spec)
    grid = dilated_grid(spec.model, values, d, cells, "midpoint", grading=how.grading)
    brief = _at_most(plan, how.sampled)
    return _trained(spec, brief, grid.times, d, seed), grid
