"""Systems in indexed form at numbers: overlaps of all modes, errors, the bulk."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from ...theory.models.modes import Level
from ..codegen.indexed import indexed_functions
from ..codegen.snapshot import Printed, PrintedLimit, PrintedPhase
from .normal_averages import TOLERANCE, normal_average, scalar
from .tree_shares import ModeShares, Placed, tree_shares

Rows = dict[str, np.ndarray]


def by_entry(rows: Mapping[str, np.ndarray]) -> Rows:
    """Give each entry of families of shape (times, ...) a name: ``m_1_2``, ``b_3``."""
    return {
        name + "".join(f"_{i + 1}" for i in place): values[(slice(None), *place)]
        for name, values in rows.items()
        for place in np.ndindex(values.shape[1:])
    }


def families(weights: np.ndarray, loadings: np.ndarray) -> dict[str, Any]:
    """Weights and loadings as the printed functions take them."""
    size, width = loadings.shape
    own = {"p": weights[:, None], "L": loadings[:, :, None]}
    return own | {"K": float(size), "R": float(width)}


def weights_of(point: Mapping[str, float], name: str = "p") -> np.ndarray:
    """The numbers ``p_1, p_2, ...`` of a point."""
    found: list[float] = []
    while f"{name}_{len(found) + 1}" in point:
        found.append(point[f"{name}_{len(found) + 1}"])
    return np.array(found, float)


def solve_modes(
    limit: PrintedLimit, s: np.ndarray, point: Mapping[str, float]
) -> tuple[list[Rows], dict[str, Any]]:
    """Learned overlaps of each phase, and what describes the generated sample."""
    placed, weights = Placed.of(limit.about["modes"]), weights_of(point)
    tree = iter(placed.tree)
    rows = [
        _window_rows(phase, placed, next(tree), s, point)
        if phase.features
        else _bulk_rows(phase, placed, s, point)
        for phase in limit.phases
    ]
    known = not limit.about["samples"]
    none = np.full(len(weights), np.nan)
    shares = tree_shares(limit, point, weights) if known else ModeShares(none, none)
    last = limit.phases[-1]
    assert last.sampling is not None  # the last phase follows every decision
    solved = _values(last.sampling.solved(), placed.loadings, point, 1.0)
    sample = {
        "shares": shares.value,
        "shares_error": shares.error,
        "mode_mean": np.broadcast_to(np.ravel(solved["M"]), len(weights)),
        "bulk_variance": scalar(solved["V"]),
    }
    return rows, sample


def _values(
    system: Printed, loadings: np.ndarray, point: Mapping[str, float], at: Any
) -> dict[str, Any]:
    """Evaluate a closed system without averages for all modes."""
    weights = weights_of(point)
    given = dict(point) | families(weights, loadings)
    counts = weights_of(point, "n")
    given |= {"n": counts[:, None]} if counts.size else {}
    with np.errstate(divide="ignore", invalid="ignore"):
        return indexed_functions(system).equations(np, at, given)


def _window_rows(
    phase: PrintedPhase,
    placed: Placed,
    here: Level,
    s: np.ndarray,
    point: Mapping[str, float],
) -> Rows:
    """Learned overlaps of a window for each mode: those of its group."""
    if not phase.learned.unknowns:
        return {}
    size, width = placed.loadings.shape
    seen = [j - 1 for j in here.directions]
    found: Rows = {
        "m": np.full((len(s), size, width), np.nan),
        "omega": np.full((len(s), size, width), np.nan),
        "b": np.zeros((len(s), size)),
    }
    found["m"][:, :, seen] = placed.loadings[:, seen]
    found["omega"][:, :, seen] = 0.0
    functions, weights = indexed_functions(phase.learned), weights_of(point)
    for branch in here.branches:
        own = np.array([sum(weights[k - 1] for k in group) for group in branch])
        loadings = placed.points(branch, here.directions)
        given = dict(point) | families(own / own.sum(), loadings)
        with np.errstate(all="ignore"):  # fields diverge where no noise is left
            values = functions.equations(np, s, given)
        for i, group in enumerate(branch):
            modes = [k - 1 for k in group]
            for name in ("m", "omega"):
                rows = np.broadcast_to(values[name], (*loadings.shape, len(s)))[i].T
                found[name][np.ix_(range(len(s)), modes, seen)] = rows[:, None]
            found["b"][:, modes] = np.broadcast_to(values["b"][i], len(s))[:, None]
    skips = {k: np.broadcast_to(values[k], s.shape) * 1.0 for k in ("c", "c_hat")}
    return skips | found


def _bulk_rows(
    phase: PrintedPhase, placed: Placed, s: np.ndarray, point: Mapping[str, float]
) -> Rows:
    """Learned overlaps and the closed sampling flow of the variance phase."""
    size, width = placed.loadings.shape
    values = _values(phase.learned, placed.loadings, point, s)

    def wide(value: Any, *axes: int) -> np.ndarray:
        return np.moveaxis(np.broadcast_to(value, (*axes, len(s))), -1, 0)

    found = {"c": wide(np.ravel(values["c"])), "m": wide(values["m"], size, width)}
    own = [x for x in ("a", "e") if f"{x}[k]" in phase.learned.unknowns]
    found |= {name: wide(values[name], size) for name in own}
    if phase.sampling is not None:
        flow = _values(phase.sampling.solved(), placed.loadings, point, s)
        found |= {"M": wide(flow["M"], size), "V": wide(flow["V"])}
    return found


def mse_modes(
    system: Printed,
    placed: Placed,
    point: Mapping[str, float],
    times: np.ndarray,
    *,
    d: float | None,
    within: float = TOLERANCE,
) -> tuple[list[float], list[float]]:
    """The Bayes error at each time, and the error of its average.

    In the limit (`d` is `None`) directions of exponent 0 count alone. Of another
    closed system in the error's average the first unknown is returned.
    """
    name = system.unknowns[0]
    exponents = exponents_of(placed)
    seen = exponents == 0 if d is None else exponents >= 0
    loadings, exponents = placed.loadings[:, seen], exponents[seen]
    given = dict(point) | families(weights_of(point), loadings)
    given |= {} if d is None else {"d": d, "delta": exponents[:, None]}
    points = loadings if d is None else loadings * d ** (0.5 - exponents)
    functions = indexed_functions(system)
    values, errors = [], []
    for at in times:
        averages, error = [], 0.0
        if hasattr(functions, "integrand_0"):

            def integrand(g: np.ndarray, at: float = float(at)) -> np.ndarray:
                return functions.integrand_0(np, at, given | {"g": g})

            value, error = normal_average(integrand, points, within)
            averages = [value]
        found = functions.equations(np, float(at), given, averages)
        moved = functions.equations(np, float(at), given, [x + error for x in averages])
        values.append(scalar(found[name]))
        errors.append(abs(scalar(moved[name]) - values[-1]))
    return values, errors


def exponents_of(placed: Placed) -> np.ndarray:
    """The exponents of the directions as numbers."""
    return np.array([float(Fraction(x)) for x in placed.exponents])
