"""Networks that share all times, trained by SGD, against the flow of their overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...numerics.times.nodes import curve, quantiles
from ...numerics.times.table import density_of, point_of, shared_flow
from ...theory.models.model import TAU
from ...theory.times.weights import loss_weight
from ..device import need_torch

if TYPE_CHECKING:
    from ...theory.models.spec import Spec
    from ...theory.times.densities import Density

NAMES = ("m", "q", "b")

FALSE_ALARM = 0.001
"""Chance that a study of a true flow is called inconsistent by chance."""

ORDER = 2.0
"""Factor of the tolerated relative error, of order (1 + rate + sigma^2)/d."""

DECISIVE = 0.01
"""Largest standard error with which networks that agree are called consistent."""


@dataclass(frozen=True)
class SharedNetworks:
    """Trained networks and their overlaps: ``{d: (times, (m, q, b), networks)}``."""

    spec: Spec
    density: str | Density
    loss: str
    init: Mapping[str, float]
    times: tuple[float, ...]
    rate: float
    batch: int
    repeats: int
    measured: Mapping[int, np.ndarray]


@dataclass(frozen=True)
class SharedStudy:
    """Rows of measured and predicted overlaps, and a verdict over all of them.

    Each row has `d`, `time`, `quantity`, `mean`, `stderr`, `predicted` and `z`.
    """

    rows: list[dict[str, Any]]
    verdict: str


def train_networks(
    spec: Spec,
    d: Sequence[int],
    density: str | Density,
    loss: str,
    init: Mapping[str, float],
    times: Sequence[float],
    **run: Any,
) -> SharedNetworks:
    """Train networks at each `d`, at times drawn from a density.

    `run` holds `rate`, `batch`, `networks`, `seed` and the other fields of
    `networks.shared.SharedRun`.
    """
    need_torch()
    from ..networks.shared import SharedRun, SharedTask, train_shared

    m, q, b = (float(init[name]) for name in NAMES)
    measured = {
        size: train_shared(
            SharedTask(**_task(spec, size, density, loss)),
            SharedRun(d=size, **run),
            (m, q, b),
            times,
        )
        for size in d
    }
    return SharedNetworks(
        spec=spec,
        density=density,
        loss=loss,
        init=init,
        times=tuple(times),
        rate=run["rate"],
        batch=run["batch"],
        repeats=run.get("repeats", 1),
        measured=measured,
    )


def compare_with_flow(nets: SharedNetworks, **told: Any) -> SharedStudy:
    """Compare networks with the flow of their overlaps (R20).

    `told` overrides what the flow is told (`density`, `loss`, `rate`, `batch`,
    `repeats`), to see that a wrong theory is found out. The verdict is
    ``"consistent"``, ``"inconsistent"``, or ``"undecided"`` where the networks scatter
    too much to tell.
    """
    known: dict[str, Any] = {"density": nets.density, "loss": nets.loss}
    known |= {"rate": nets.rate, "batch": nets.batch, "repeats": nets.repeats}
    known |= told
    rows = []
    for d, values in nets.measured.items():
        known |= {"init": nets.init, "times": nets.times}
        flow = shared_flow(nets.spec, d, **known, rtol=1e-6, atol=1e-8)
        size = 1 + nets.rate + nets.spec.values["sigma"] ** 2
        rows += _rows(d, nets.times, values, flow, ORDER * size / d)
    return SharedStudy(rows, verdict(rows))


def _task(spec: Spec, d: float, density: str | Density, loss: str) -> dict[str, Any]:
    model = spec.model
    chosen = density_of(density, model)
    point = point_of(spec, d, chosen)
    curves = {
        "alpha": model.interpolant.alpha,
        "beta": model.interpolant.beta,
        "weight": loss_weight(loss, model.interpolant),
    }
    functions = {
        name: partial(curve(expr, TAU), point=point) for name, expr in curves.items()
    }
    quantile = quantiles(chosen, point, model.interpolant)
    return {"p": point["p"], "sigma": point["sigma"], "quantile": quantile, **functions}


def _rows(
    d: int,
    times: Sequence[float],
    measured: np.ndarray,
    flow: Mapping[str, Sequence[float]],
    order: float,
) -> list[dict[str, Any]]:
    rows = []
    for i, time in enumerate(times):
        for k, name in enumerate(NAMES):
            values = measured[i, k]
            mean, stderr = values.mean(), values.std(ddof=1) / np.sqrt(values.size)
            far = abs(mean - flow[name][i])
            slack = order * abs(flow[name][i])
            row = {"d": d, "time": float(time), "quantity": name, "mean": mean}
            row |= {"stderr": stderr, "predicted": flow[name][i]}
            rows.append(row | {"z": far / stderr, "excess": (far - slack) / stderr})
    return rows


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Judge all rows at once: none may be farther off than chance and 1/d allow."""
    from scipy.stats import norm

    most = norm.isf(FALSE_ALARM / len(rows) / 2)
    if max(row["excess"] for row in rows) > most:
        return "inconsistent"
    blurred = max(row["stderr"] for row in rows) > DECISIVE
    return "undecided" if blurred else "consistent"
