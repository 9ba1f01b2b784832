r"""The share of the + mode after a window at whose end the noise vanishes.

With $\alpha \to 0$ at $s = 1$ (variance-exploding schedules) the rate
$\dot\alpha/\alpha$ diverges, so the reduced flow is followed in $x = -\log(1 - s)$, in
which it relaxes. Nothing is left there of where $\nu$ started: $\nu > 0$ exactly where
the field of the sample has become positive, and the share is
$P(F(\sqrt\Gamma g) > 0)$ for a standard normal $g$.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..codegen.kernel import make_kernel
from ..codegen.parameters import params_of
from ..codegen.snapshot import SATURATED
from ..minima.minimise import minimise
from ..minima.result import Minima

if TYPE_CHECKING:
    from ..codegen.snapshot import PrintedPhase

LAST = 16.0
"""The flow ends where 1 - s = exp(-16): what is left of the noise is 1e-7."""
STEPS = 400
"""Steps of order 4 on each side of the switch of the learned branches."""
NODES = np.linspace(-8.5, 8.5, 161)


def share_without_noise(
    phase: PrintedPhase, found: Minima, point: Mapping[str, float]
) -> tuple[float, float]:
    """Return the share and its change when the steps are doubled."""
    fine, coarse = (_share(phase, found, point, k) for k in (STEPS, STEPS // 2))
    return fine, abs(fine - coarse)


def _share(
    phase: PrintedPhase, found: Minima, point: Mapping[str, float], steps: int
) -> float:
    flow = phase.projected
    assert flow is not None  # asked only where the flow is reduced
    kernel = make_kernel(flow, "numpy")
    params = [params_of(flow, point)[name] for name in kernel.parameters]
    learned = params_of(phase.learned, point)
    pieces = list(_pieces(float(found.switch[0]), steps))
    tables = [_table(phase, s, learned, kernel.inputs) for _, s in pieces]
    at = [0.0] * len(kernel.states), [0.0] * len(kernel.inputs)
    gamma = kernel["observables"](0.0, *at, params, *kernel.rule)[0][0]

    def end(g: np.ndarray) -> np.ndarray:
        state = np.stack([np.sqrt(gamma) * g, np.zeros_like(g)])
        for (x, s), table in zip(pieces, tables, strict=True):

            def rate(i: int, y: np.ndarray, s=s, table=table) -> np.ndarray:
                now = kernel["rhs"](s[i], list(y), table[i], params, *kernel.rule)
                return (1 - s[i]) * now[0]

            for i in range(0, len(x) - 2, 2):
                state = _step(rate, i, state, x[i + 2] - x[i])
        return state[1]

    from .euler import positive_share

    return positive_share(end, NODES, end(NODES))


def _step(rate, i: int, y: np.ndarray, h: float) -> np.ndarray:
    """One step of the classical rule of order 4; nodes are half steps apart."""
    a = rate(i, y)
    b = rate(i + 1, y + h / 2 * a)
    c = rate(i + 1, y + h / 2 * b)
    return y + h / 6 * (a + 2 * b + 2 * c + rate(i + 2, y + h * c))


def _pieces(switch: float, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Half steps in x, with their s, below and above the switch of the branch."""
    turn = -np.log1p(-switch) if 0 < switch < 1 else 0.0
    off = 1e-9 * switch
    if turn > 0:
        x = np.linspace(0.0, turn, 2 * steps + 1)
        yield x, np.minimum(-np.expm1(-x), switch - off)
    x = np.linspace(turn, LAST, 2 * steps + 1)
    yield x, np.maximum(-np.expm1(-x), switch + off if turn > 0 else 0.0)


def _table(
    phase: PrintedPhase, s: np.ndarray, params: dict[str, float], names: tuple[str, ...]
) -> np.ndarray:
    found = minimise(phase.learned, s, params)
    columns = [found[name][0] for name in names]
    return np.clip(np.stack(columns, axis=-1), -SATURATED, SATURATED)
