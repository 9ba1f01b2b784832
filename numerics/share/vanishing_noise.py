r"""The share of the + mode after a window at whose end the noise vanishes.

With $\alpha \to 0$ at $s = 1$ (variance-exploding schedules) the rate
$\dot\alpha/\alpha$ diverges, so the reduced flow is followed in $x = -\log(1 - s)$, in
which it relaxes. Nothing is left there of where $\nu$ started: $\nu > 0$ exactly where
the field of the sample has become positive, and the share is
$P(F(\sqrt\Gamma g) > 0)$ for a standard normal $g$.

At finite d the window ends where $1 - s = \kappa/\sqrt d$, at $x = \tfrac12\log d -
\log\kappa$. Where the flow still relaxes there, as with n samples whose unit carries a
bias, the share nears its limit as slowly as $\log d$ grows: `share_before_end`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..codegen.kernel import make_kernel
from ..codegen.parameters import params_of
from ..codegen.snapshot import SATURATED
from ..minima.minimise import minimise
from ..ode.rk4 import rk4_step

if TYPE_CHECKING:
    from ..codegen.snapshot import PrintedPhase
    from ..minima.result import Minima

LAST = 16.0
"""The flow ends where 1 - s = exp(-16): what is left of the noise is 1e-7."""
STEPS = 400
"""Steps of order 4 on each side of a switch of the learned branches."""
NODES = np.linspace(-8.5, 8.5, 161)


def share_without_noise(
    phase: PrintedPhase, switches: np.ndarray, point: Mapping[str, float], backend: str
) -> tuple[float, float]:
    """Return the share and its change when the steps are doubled.

    `switches` are the times at which another branch takes over, and `backend` the
    one that finds the learned overlaps.
    """
    fine, coarse = (
        _share(phase, list(_pieces(switches, k)), point, backend)
        for k in (STEPS, STEPS // 2)
    )
    return fine, abs(fine - coarse)


def share_before_end(
    phase: PrintedPhase,
    switches: np.ndarray,
    point: Mapping[str, float],
    backend: str,
    left: float,
) -> float:
    r"""Return the share where 1 - s = `left`, which is $\kappa/\sqrt d$ at finite d."""
    pieces = list(_pieces(switches, STEPS // 2, -float(np.log(left))))
    return _share(phase, pieces, point, backend)


Pieces = list[tuple[np.ndarray, np.ndarray]]


def _share(
    phase: PrintedPhase, pieces: Pieces, point: Mapping[str, float], backend: str
) -> float:
    from .euler import positive_share

    flow = phase.projected
    assert flow is not None  # asked only where the flow is reduced
    kernel = make_kernel(flow, "numpy")
    params = [params_of(flow, point)[name] for name in kernel.parameters]
    learned = params_of(phase.learned, point)
    tables = [
        _table(minimise(phase.learned, s, learned, backend=backend), kernel.inputs)
        for _, s in pieces
    ]
    at = [0.0] * len(kernel.states), [0.0] * len(kernel.inputs)
    gamma = kernel["observables"](0.0, *at, params, *kernel.rule)[0][0]

    def end(g: np.ndarray) -> np.ndarray:
        state = np.stack([np.sqrt(gamma) * g, np.zeros_like(g)])
        for (x, s), table in zip(pieces, tables, strict=True):

            def rate(i: int, y: np.ndarray, s=s, table=table) -> np.ndarray:
                now = kernel["rhs"](s[i], list(y), table[i], params, *kernel.rule)
                return (1 - s[i]) * now[0]

            for i in range(0, len(x) - 2, 2):
                state = rk4_step(rate, (i, i + 1, i + 2), x[i + 2] - x[i], state)
        return state[1]

    return positive_share(end, NODES, end(NODES))


def _pieces(
    switches: np.ndarray, steps: int, last: float = LAST
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Half steps in x, with their s, between the switches of the learned branches."""
    end = -np.expm1(-last)
    inside = np.sort(switches[(switches > 0) & (switches < min(end, 1))])
    ends = [0.0, *inside, end]
    for low, high in pairwise(ends):
        first, until = -np.log1p(-low), -np.log1p(-high) if high < end else last
        x = np.linspace(first, until, 2 * steps + 1)
        just = (1 + 1e-9) * low, (1 - 1e-9) * high if high < end else 1.0
        yield x, np.clip(-np.expm1(-x), *just)


def _table(found: Minima, names: tuple[str, ...]) -> np.ndarray:
    """Return the overlaps of one row at all times, (times, names)."""
    columns = [found[name][0] for name in names]
    return np.clip(np.stack(columns, axis=-1), -SATURATED, SATURATED)
