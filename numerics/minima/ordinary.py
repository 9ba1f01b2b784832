r"""The overlaps learned from samples where the noise explodes and then vanishes.

In units of its noise a network's input is $x_0 + (\beta/\alpha)\,x_1$, and the ridge of
(L1) is that of the weights in these units, $\alpha w$. So $u$, $b$, $\alpha w$ and
$\alpha c$ depend on $\beta/\alpha$ alone: they are those of a linear schedule at
$\kappa s = \beta/\alpha$. At the end of such a phase the noise is gone, $\alpha w$
tends to 0 and $w$ grows without bound: the linear phase is followed until its share no
longer moves; overlaps beyond are found one by one, until `LATEST`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..codegen.parameters import closed_rows
from ..codegen.snapshot import PrintedPhase
from .result import FLOOR, charted

LAST, SAMPLED = 1000.0, 30.0
"""Ratios of signal and noise, times sqrt(d), after which samples stay on their side:
the next power of two.

The second is for units whose shares are averages over sampled starts.
"""

LATEST = 1e6  # a ratio after which w, in units of the noise, is lost in rounding
HALVINGS = 60  # halvings of the interval in which a time is searched

POWERS = {"omega": 1, "zeta": 1, "v": 1, "c_hat": 1, "r": 2}
"""Powers of w and c in the overlaps that are not those of u, by their first words."""


def ordinary_scale(phase: PrintedPhase, given: Mapping[str, Any]) -> np.ndarray:
    """Return the kappa of the linear phase of each row, a power of two.

    Modes are further apart by the ridge. There are few powers, so that rows can be
    solved together, and a row alone has the one that it has among others.
    """
    assert phase.ordinary is not None  # it is asked for where there is one
    last = LAST if charted(phase.ordinary.learned) else SAMPLED
    apart = 1 + np.asarray(given["ridge_u"]) / np.asarray(given["n"])
    return np.ldexp(1.0, np.frexp(last * apart)[1])


def noise_and_ratio(
    phase: PrintedPhase, times: np.ndarray, given: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return $\alpha$ and $\beta/\alpha$ of a phase at some times, shape (times,)."""
    one = {k: np.ravel(given[k])[:1] for k in phase.levels.parameters}
    levels = closed_rows(phase.levels, times, one, 1)
    alpha, beta = levels["alpha"][0], levels["beta"][0]
    with np.errstate(divide="ignore"):
        return alpha, beta / alpha


def ordinary_point(
    phase: PrintedPhase, s: float, point: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """Return where the linear phase ends like this one at `s`, and its noise there.

    A sample's projections in this phase are those of the linear one times that noise.
    """
    assert phase.ordinary is not None  # it is asked for where there is one
    (alpha,), (ratio,) = noise_and_ratio(phase, np.array([s]), point)
    scale = min(float(ratio), float(ordinary_scale(phase, point)))
    more = dict.fromkeys(phase.ordinary.levels.parameters, scale)
    return {**point, **more}, float(alpha) if alpha > 0 else 1 / scale


def times_of(
    phase: PrintedPhase, edges: np.ndarray, scale: float, given: Mapping[str, Any]
) -> np.ndarray:
    """Return the times of the phase at which the linear one has the times `edges`."""
    low, high = np.zeros(edges.size), np.ones(edges.size)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        over = noise_and_ratio(phase, middle, given)[1] > scale * edges.ravel()
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    found = np.where(edges > FLOOR, high.reshape(edges.shape), edges)
    return np.where(edges < 1, found, edges)


def in_its_units(name: str, values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return an overlap (rows, times) of the linear phase for the noise `alpha`."""
    known = [k for k in POWERS if name == k or name.startswith(f"{k}_")]
    power = POWERS[known[0]] if known else 0
    return values / np.where(np.isnan(alpha), np.nan, alpha**power)
