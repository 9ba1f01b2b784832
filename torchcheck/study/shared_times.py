"""Networks that share all times, trained by SGD, against the flow of their overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError
from ...numerics.times.nodes import curve, quantiles, value_of
from ...numerics.times.table import density_of, point_of, shared_flow
from ...theory.models.classes import pair
from ...theory.models.model import TAU, norm
from ...theory.models.spec import Spec
from ...theory.times.densities import Density, loss_weight
from ..device import need_torch

if TYPE_CHECKING:
    from ..networks.shared_training import SharedRun

FALSE_ALARM = 0.001
"""Chance that a study of a true flow is called inconsistent by chance."""

ORDER = 2.0
"""Factor of the tolerated relative error, of order (1 + rate)/d."""

DECISIVE = 0.01
"""Largest standard error with which networks that agree are called consistent."""

BLURRED = 0.1
"""Largest standard error of the noise's factor with which a fit decides."""

TOLERANCES = {"rtol": 1e-6, "atol": 1e-8}  # of the flow


@dataclass(frozen=True)
class SharedNetworks:
    """Trained networks and their overlaps: ``{d: (times, names, networks)}``."""

    spec: Spec
    density: str | Density
    loss: str
    init: Mapping[str, float]
    times: tuple[float, ...]
    run: SharedRun
    names: tuple[str, ...]
    measured: Mapping[int, np.ndarray]

    @property
    def told(self) -> dict[str, Any]:
        """Arguments of the overlaps' flow that the training decides."""
        noise = ("rate", "batch", "repeats", "common_rate", "momentum")
        about = {name: getattr(self.run, name) for name in noise}
        about |= {"density": self.density, "loss": self.loss}
        return about | {"init": self.init, "times": self.times, **TOLERANCES}

    @property
    def pace(self) -> float:
        """The rate at which a lasting slope moves the vectors, momentum included."""
        return self.run.rate / (1 - self.run.momentum)


@dataclass(frozen=True)
class SharedStudy:
    """Rows of measured and predicted overlaps, and a verdict over all of them.

    Each row has `d`, `time`, `quantity`, `mean`, `stderr`, `predicted` and `z`; of
    several units, q_j_k stands for the products of the vectors across the means.
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
    `networks.shared_training.SharedRun`.
    """
    need_torch()
    from ..networks.shared_training import (
        SharedRun,
        SharedTask,
        overlap_names,
        train_shared,
    )

    runs = {size: SharedRun(d=size, **run) for size in d}
    measured = {
        size: train_shared(
            SharedTask(**_task(spec, size, density, loss)), runs[size], init, times
        )
        for size in d
    }
    names = overlap_names(len(spec.model.target.features))
    first, when = next(iter(runs.values())), tuple(times)
    return SharedNetworks(spec, density, loss, init, when, first, names, measured)


def compare_with_flow(nets: SharedNetworks, **told: Any) -> SharedStudy:
    """Compare networks with the flow of their overlaps (R20).

    `told` overrides what the flow is told (`density`, `loss`, `rate`, `batch`,
    `repeats`), to see that a wrong theory is found out. The verdict is
    ``"consistent"``, ``"inconsistent"``, or ``"undecided"`` where the networks scatter
    too much to tell.
    """
    known = nets.told | told
    plain = not known["common_rate"] and known["repeats"] == 1
    known["exact_noise"] = plain and len(nets.spec.model.target.features) == 1
    rows = []
    for d, values in nets.measured.items():
        flow = shared_flow(nets.spec, d, **known)
        size = 1 + nets.pace
        if not known["exact_noise"]:
            size += nets.spec.values["sigma"] ** 2
        rows += _rows(d, nets, values, flow, ORDER * size / d)
    return SharedStudy(rows, verdict(rows, len(values[0, 0])))


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
    features = model.target.features
    return {
        "p": tuple(point[str(f.p)] for f in features),
        "lengths": tuple(value_of(norm(f), point) for f in features),
        "sigma": point["sigma"],
        "quantile": quantile,
        **functions,
    }


def _rows(
    d: int,
    nets: SharedNetworks,
    measured: np.ndarray,
    flow: Mapping[str, Sequence[float]],
    order: float,
) -> list[dict[str, Any]]:
    rows = []
    seen = _across({name: measured[:, k] for k, name in enumerate(nets.names)})
    told = _across({name: np.array(flow[name]) for name in nets.names})
    for i, time in enumerate(nets.times):
        for name, values in ((name, x[i]) for name, x in seen.items()):
            mean, stderr = values.mean(), values.std(ddof=1) / np.sqrt(values.size)
            predicted = float(told[name][i])
            far, slack = abs(mean - predicted), order * abs(predicted)
            row = {"d": d, "time": float(time), "quantity": name, "mean": mean}
            row |= {"stderr": stderr, "predicted": predicted}
            rows.append(row | {"z": far / stderr, "excess": (far - slack) / stderr})
    return rows


def _across(overlaps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Put q_j_k, the products of the parts across the means, in place of r_j_k.

    It is there that noise enters, and 1/d of r_j_k would hide it.
    """
    units = range(1, 1 + sum(name[:2] == "b_" for name in overlaps))
    found = {k: v for k, v in overlaps.items() if k[0] != "r"}
    for j, k in combinations_with_replacement(units, 2):
        along = ((str(pair("m", j, i)), str(pair("m", k, i))) for i in units)
        products = sum(overlaps[x] * overlaps[y] for x, y in along)
        found[str(pair("q", j, k))] = overlaps[str(pair("r", j, k))] - products
    return found


def verdict(rows: Sequence[Mapping[str, Any]], networks: int) -> str:
    """Judge all rows at once: none may be farther off than chance and 1/d allow."""
    from scipy.stats import t

    most = t.isf(FALSE_ALARM / len(rows) / 2, networks - 1)
    if max(row["excess"] for row in rows) > most:
        return "inconsistent"
    blurred = max(row["stderr"] for row in rows) > DECISIVE
    return "undecided" if blurred else "consistent"


@dataclass(frozen=True)
class RateStudy:
    r"""A fit of all overlaps over `d` and the rate, and a verdict.

    Each row of `fits` has a `quantity`, a `term`, its `value`, `stderr` and what it
    is `predicted` to be. Terms: ``limit``, how far the flow is from the measured limit
    of $\eta \to 0$, $d \to \infty$ (0); ``noise``, what multiplies the predicted noise
    of the rate (1); ``1/d``, the correction of finite dimensions times `d` (not
    predicted).
    """

    fits: list[dict[str, Any]]
    verdict: str


def converge_in_rate(nets: Sequence[SharedNetworks], **told: Any) -> RateStudy:
    r"""Fit networks of several rates and dimensions: is the flow their limit?

    At fixed $\eta\,\cdot$ steps, overlap by overlap, measured less predicted without
    noise is fitted by a constant, a multiple of what the noise adds to the prediction,
    and a part in $1/d$. Consistent where the constant is 0 and the multiple, of `q`,
    is 1. `told` overrides what the flow is told, as in `compare_with_flow`. Runs need
    seeds of their own, for the errors are those between networks.

    Raises `ModelError` without two rates and two dimensions, or for networks with
    several units, one common rate or repeated pairs, whose noise is not known at finite
    `d`.
    """
    from scipy.stats import t

    rates = {n.pace for n in nets}
    sizes = {d for n in nets for d in n.measured}
    if len(rates) < 2 or len(sizes) < 2:
        raise ModelError(
            "A fit in the rate and in d needs two rates and two dimensions, but there "
            f"are {len(rates)} and {len(sizes)}. Train more networks."
        )
    if any(n.run.common_rate or n.run.repeats > 1 or "q" not in n.names for n in nets):
        raise ModelError(
            "A fit in the rate and in d is of networks of one unit with a rate of its "
            "own for the bias and fresh pairs, but some have several units, one common "
            "rate or repeated pairs. Compare those by `compare_with_flow`."
        )
    cells = [cell for n in nets for cell in _cells(n, told)]
    names = nets[0].names
    fits = [row for k in range(len(names)) for row in _fitted(cells, k, names[k])]
    judged = [row for row in fits if row["predicted"] is not None]
    networks = min(len(values[0, 0]) for _, values, *_ in cells)
    most = t.isf(FALSE_ALARM / len(judged) / 2, networks - 1)
    far = [abs(r["value"] - r["predicted"]) / r["stderr"] for r in judged]
    sharp = all(
        r["stderr"] < (DECISIVE if r["term"] == "limit" else BLURRED) for r in judged
    )
    if max(far) > most:
        return RateStudy(fits, "inconsistent")
    return RateStudy(fits, "consistent" if sharp else "undecided")


def _cells(nets: SharedNetworks, told: dict[str, Any]) -> list[tuple]:
    """For each d: networks, the flow without noise, and what noise adds to it."""
    known = nets.told | told
    still_known = known | {"rate": None, "batch": None, "momentum": 0.0}
    cells = []
    for d, values in nets.measured.items():
        flow = shared_flow(nets.spec, d, **still_known)
        noisy = shared_flow(nets.spec, d, **known, exact_noise=True)
        still, moved = (np.array([f[x] for x in nets.names]).T for f in (flow, noisy))
        cells.append((d, values, still, moved - still))
    return cells


def _fitted(cells: Sequence[tuple], k: int, name: str) -> list[dict[str, Any]]:
    """Fit one overlap, network by network; errors are those between networks."""
    terms = ("limit", "noise", "1/d") if name == "q" else ("limit", "1/d")
    rows, targets = [], []
    for d, values, still, added in cells:
        spread = values[:, k].std(axis=1, ddof=1)
        change = added[:, k]
        left = values[:, k].T - still[:, k]
        if name != "q":
            left = left - change
        columns = {"limit": np.ones_like(spread), "noise": change}
        columns["1/d"] = np.full_like(spread, 1 / d)
        rows.append(np.stack([columns[t] for t in terms], axis=1) / spread[:, None])
        targets.append(left / spread)
    count = min(len(t) for t in targets)
    whole = np.concatenate([t[:count] for t in targets], axis=1)
    found = np.linalg.lstsq(np.concatenate(rows), whole.T, rcond=None)[0]
    expected = {"limit": 0.0, "noise": 1.0, "1/d": None}
    return [
        {
            "quantity": name,
            "term": term,
            "value": float(x.mean()),
            "stderr": float(x.std(ddof=1) / np.sqrt(count)),
            "predicted": expected[term],
        }
        for term, x in zip(terms, found, strict=True)
    ]
