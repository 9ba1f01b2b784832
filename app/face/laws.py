"""The laws of a report: histograms of what was generated beside what is expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..theory.derive import Limit
    from ..theory.models.spec import Spec

_DRAWS = 100_000  # of the target
_POINT = 1e-3  # of a law whose noise has vanished


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
    from ..torchcheck.study.law import decided_laws

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
    from ..theory.symbols.notation import symbol
    from ..torchcheck.study.cells import kappas

    window = next(phase.window for phase in limit.phases if j in phase.features)
    values = kappas(spec)
    at = {symbol(k): values[k] for k in values if k.startswith("kappa")}
    beta, alpha = (
        float(x.subs({**at, symbol("s"): 1})) for x in (window.beta, window.alpha)
    )
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
