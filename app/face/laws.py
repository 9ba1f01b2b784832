"""The laws of a report: histograms of what was generated beside what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..theory.derive import Limit
    from ..theory.models.spec import Spec

_DRAWS = 100_000  # of the target


def compared_laws(
    spec: Spec, limit: Limit, seed: int, d: int, generated: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Histograms of the samples generated at dimension `d`, and of their laws."""
    from ..torchcheck.study.law import decided_law

    mean, spread = _window_end(spec, limit)
    edge = mean + 4 * spread
    law = decided_law(spec)
    ends = {k: v for k, v in generated.items() if k != "decided"}
    wide = 1.1 * max(1.1, *(np.abs(x).max() for x in ends.values()))
    drawn = f"generated, d = {d}"
    return {
        "d": d,
        "decided": {
            drawn: histogram(generated["decided"], -edge, edge),
            "limit": histogram(law, -edge, edge),
        },
        "target": _window_law(spec, mean, spread, edge),
        "finished": {
            drawn: histogram(generated["dilated"], -wide, wide),
            "target": histogram(_targets(spec, d, seed), -wide, wide),
        },
        "undilated": {k: histogram(v, -wide, wide) for k, v in ends.items()},
        "shares": {k: float(np.mean(v > 0)) for k, v in ends.items()},
        "law_share_plus": float(np.mean(law > 0)),
    }


def histogram(
    values: np.ndarray, low: float, high: float, bins: int = 80
) -> dict[str, Any]:
    """Return edges and density; what lies outside counts but is not shown."""
    counts, edges = np.histogram(values, bins, (low, high))
    density = counts / (len(values) * np.diff(edges))
    return {"edges": edges.tolist(), "density": density.tolist()}


def _window_end(spec: Spec, limit: Limit) -> tuple[float, float]:
    """Return the interpolant's beta and alpha where the weights phase ends."""
    from ..theory.symbols.notation import symbol

    window = next(phase.window for phase in limit.phases if phase.features)
    values = spec.values
    at = {symbol(k): values[k] for k in values if k.startswith("kappa")}
    ends = (window.beta, window.alpha)
    return tuple(float(x.subs({**at, symbol("s"): 1})) for x in ends)  # type: ignore[return-value]


def _window_law(
    spec: Spec, mean: float, spread: float, edge: float
) -> dict[str, list[float]]:
    """The interpolant's own law of nu where the weights phase ends, as a density."""
    p = spec.values["p"]
    grid = np.linspace(-edge, edge, 241)
    plus, minus = (
        np.exp(-(((grid - sign * mean) / spread) ** 2) / 2) for sign in (1, -1)
    )
    density = (p * plus + (1 - p) * minus) / (spread * np.sqrt(2 * np.pi))
    return {"nu": grid.tolist(), "density": density.tolist()}


def _targets(spec: Spec, d: int, seed: int) -> np.ndarray:
    """Draws of the target's own mu.X/d."""
    random = np.random.default_rng([seed, 31])
    sign = np.where(random.random(_DRAWS) < spec.values["p"], 1.0, -1.0)
    return sign + spec.values["sigma"] / d**0.5 * random.standard_normal(_DRAWS)
