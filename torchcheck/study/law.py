r"""The law of $\nu$ at the end of a feature window, and draws compared with it.

The limit's law is that of its sampling flow, followed from quasi-random starting
points. Generated draws are compared with it by Kolmogorov and Smirnov's statistic and,
for the extrapolation in d, by the share of draws below each eighth of the limit's law.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...numerics.codegen.parameters import Solver, complete
from ...numerics.codegen.snapshot import PrintedPhase, limit_of
from ...numerics.modes.normal_averages import as_normals, scrambled
from ...numerics.ode.inputs import Inputs
from ...theory.derive import Limit
from ...theory.models.spec import Spec
from ...theory.windows.search import S_PHASE, Window, find_windows
from ..networks.step_grid import fades

LEVELS = np.arange(1, 8) / 8
"""Where the laws are compared."""

_STARTS = 2**14
_TOLERANCE = 1e-6

_DRAWS = 100_000  # of the target
_POINT = 1e-3  # of a law whose noise has vanished


def law_time(window: Window, cells: int) -> float:
    """The time in a window, of `cells` cells, at which its law is compared: its end.

    Where the noise vanishes beside the data the law at the end is two points, so
    there it is an edge of the grid near three quarters.
    """
    if not fades(window):
        return 1.0
    return 1 - (1 - (cells // 2) / cells) ** 2


def limit_law(
    phase: PrintedPhase,
    window: Window,
    values: Mapping[str, float],
    s: float,
    activation: str,
    backend: str = "numba",
) -> dict[str, np.ndarray]:
    r"""Sorted draws of every $\nu$ of `phase` at the time `s`, in the limit.

    Empty where the phase has no sampling flow.
    """
    from ...numerics.minima.ordinary import ordinary_point
    from ...numerics.share.sampled_starts import carried_starts

    (_, spread), unit = _levels(window, values, 0), 1.0
    if phase.ordinary is not None:
        values, unit = ordinary_point(phase, s, values)
        phase, s, spread = phase.ordinary, 1.0, 1.0
    flow = phase.sampling
    if flow is None:
        return {}
    names = list(flow.unknowns)
    start = as_normals(scrambled(_STARTS, len(names), 0)) * spread
    inputs = _inputs(phase, values, activation, backend) if flow.inputs else None
    solver = Solver(backend, _TOLERANCE, _TOLERANCE)
    ends = carried_starts(flow, start, inputs, values, (0.0, s), solver)
    return {
        name: np.sort(unit * end)
        for name, end in zip(names, ends.T, strict=True)
        if name.startswith("nu")
    }


def decided_laws(spec: Spec) -> list[np.ndarray]:
    r"""Sorted draws of each feature's $\nu$ at the end of the phase that decides it."""
    limit = limit_of(spec)
    values, kind = complete(limit, spec.values), limit.about["activation"]
    found: dict[int, np.ndarray] = {}
    for phase, window in zip(limit.phases, find_windows(spec.model), strict=True):
        if phase.features:
            laws = limit_law(phase, window, values, 1.0, kind, "scipy")
            found |= zip(phase.features, laws.values(), strict=True)
    return [found[j] for j in sorted(found)]


def _inputs(
    phase: PrintedPhase, values: Mapping[str, float], activation: str, backend: str
) -> Inputs:
    """The learned overlaps as functions of `s`."""
    from ...numerics.minima.continuation import minimise_classes
    from ...numerics.minima.landscape import counted
    from ...numerics.share.sampled_starts import learned_inputs
    from ...numerics.share.several_features import as_inputs

    if not counted(phase.learned):
        return learned_inputs(phase, values, backend)
    return as_inputs(minimise_classes(phase, activation, np.ones(1), values))


def _levels(window: Window, values: Mapping[str, float], s: int) -> tuple[float, float]:
    """The data's size and the noise at an end of a window, in its units."""
    ends = (x.subs(S_PHASE, s) for x in (window.beta, window.alpha))
    beta, alpha = (x.subs({y: values[str(y)] for y in x.free_symbols}) for x in ends)
    return float(beta), float(alpha)


def shares_below(draws: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Share of sorted `draws` below each level of the limit's law, shape (7,)."""
    points = np.quantile(limit, LEVELS)
    return np.searchsorted(draws, points, side="right") / len(draws)


def ks_row(draws: np.ndarray, limit: np.ndarray) -> dict[str, Any]:
    """Kolmogorov and Smirnov's statistic and p-value of `draws` against `limit`."""
    from scipy.stats import kstest

    ranks = (np.arange(len(limit)) + 0.5) / len(limit)
    test = kstest(draws, lambda x: np.interp(x, limit, ranks, left=0.0, right=1.0))
    return {
        "draws": len(draws),
        "ks": float(test.statistic),
        "p_value": float(test.pvalue),
    }


# -------------------------------------------------------------- histograms of a report


def compared_laws(
    spec: Spec,
    limit: Limit,
    seed: int,
    d: int,
    generated: Mapping[str, Sequence[np.ndarray]],
) -> dict[str, Any]:
    """Histograms of the samples generated at dimension `d`, and of their laws.

    With several features there is a table for each, under ``features``.
    """
    tables = []
    for j, law in enumerate(decided_laws(spec), 1):
        own = {name: draws[j - 1] for name, draws in generated.items()}
        window, targets = _window_end(spec, limit, j), _targets(spec, d, seed, j)
        p, drawn = _values(spec, j)[0], f"generated, d = {d}"
        tables.append(_table(window, p, law, targets, own, drawn))
    return {"d": d} | (tables[0] if len(tables) == 1 else {"features": tables})


def _table(
    window: tuple[float, float],
    p: float,
    law: np.ndarray,
    targets: np.ndarray,
    generated: Mapping[str, np.ndarray],
    drawn: str,
) -> dict[str, Any]:
    """The laws along one feature, of mean and spread `window` where it is decided."""
    mean, spread = window
    edge = mean + 4 * spread
    ends = {k: v for k, v in generated.items() if k != "decided"}
    wide = 1.1 * max(1.1, *(np.abs(x).max() for x in ends.values()))
    return {
        "decided": {
            drawn: histogram(generated["decided"], -edge, edge),
            "limit": histogram(law, -edge, edge),
        },
        "target": _window_law(p, mean, spread, edge),
        "finished": {
            drawn: histogram(generated["dilated"], -wide, wide),
            "target": histogram(targets, -wide, wide),
        },
        "undilated": {k: histogram(v, -wide, wide) for k, v in ends.items()},
        "shares": {k: float(np.mean(v > 0)) for k, v in ends.items()},
        "law_share_plus": float(np.mean(law > 0)),
    }


def _values(spec: Spec, j: int) -> tuple[float, float, float]:
    """Weight, scale and exponent of feature `j`."""
    feature, own = spec.model.target.features[j - 1], spec.values
    weight = own["p"] if "p" in own else own[f"p_{j}"]
    return float(weight), float(own.get(f"rho_{j}", 1.0)), float(feature.exponent)


def histogram(
    values: np.ndarray, low: float, high: float, bins: int = 80
) -> dict[str, Any]:
    """Return edges and density; what lies outside counts but is not shown."""
    counts, edges = np.histogram(values, bins, (low, high))
    density = counts / (len(values) * np.diff(edges))
    return {"edges": edges.tolist(), "density": density.tolist()}


def _window_end(spec: Spec, limit: Limit, j: int) -> tuple[float, float]:
    """Return the mean and the spread along feature `j` where it is decided."""
    window = next(phase.window for phase in limit.phases if j in phase.features)
    beta, alpha = _levels(window, complete(limit, spec.values), 1)
    return beta * _values(spec, j)[1] ** 0.5, max(alpha, _POINT)


def _window_law(
    p: float, mean: float, spread: float, edge: float
) -> dict[str, list[float]]:
    """The interpolant's own law of nu where a feature is decided, as a density."""
    grid = np.linspace(-edge, edge, 241)
    plus, minus = (
        np.exp(-(((grid - sign * mean) / spread) ** 2) / 2) for sign in (1, -1)
    )
    density = (p * plus + (1 - p) * minus) / (spread * np.sqrt(2 * np.pi))
    return {"nu": grid.tolist(), "density": density.tolist()}


def _targets(spec: Spec, d: int, seed: int, j: int) -> np.ndarray:
    """Draws of the target's own mu.X/|mu|^2 along feature `j`."""
    p, rho, exponent = _values(spec, j)
    random = np.random.default_rng([seed, 31] if j == 1 else [seed, 31, j])
    sign = np.where(random.random(_DRAWS) < p, 1.0, -1.0)
    size = rho**0.5 * d ** (0.5 - exponent)
    return sign + spec.values["sigma"] / size * random.standard_normal(_DRAWS)
