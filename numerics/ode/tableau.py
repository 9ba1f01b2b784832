r"""Explicit Runge-Kutta pairs as coefficient tables, printed as unrolled steps.

Coefficients are read from SciPy's `RK45` and `DOP853` classes. The printed
functions work on `LANES` rows side by side (the last axis) and belong to the driver
of `march`: `attempt` takes one trial step, `extra` the stages that only dense
output needs, `interpolant` its polynomial and `interpolate` the value of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

import numpy as np

from ...files import code_digest
from ..codegen.cache import remembered


@dataclass(frozen=True)
class Tableau:
    """One embedded pair; `error_order` is that of the error per step's power law.

    `fsal`: the last stage is the first of the next step. `beta`: the weight of the
    step before in the step control (0 is plain control); `growth` and `caution`: the
    largest ratio of successive steps, and how far below the predicted one they stay.
    """

    name: str
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    order: int
    error_order: int
    beta: float
    fsal: bool
    growth: float
    caution: float


def dopri5() -> Tableau:
    """Return the pair 5(4) of Dormand and Prince (J. Comput. Appl. Math. 6, 1980)."""
    from scipy.integrate import RK45

    a = np.vstack([np.pad(RK45.A, ((0, 0), (0, 1))), [*RK45.B]])
    return Tableau(
        "dopri5", a, RK45.B, np.append(RK45.C, 1.0), 5, 5, 0.04, True, 3.0, 0.85
    )


def dop853() -> Tableau:
    """Return the pair 8(5,3) of Hairer, Norsett and Wanner (1993, section II.5)."""
    from scipy.integrate import DOP853

    return Tableau("dop853", DOP853.A, DOP853.B, DOP853.C, 8, 8, 0.02, False, 3.0, 0.85)


@lru_cache(maxsize=4)
def method_853() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The eighth-order method of Dormand and Prince, as SciPy has it."""

    def table() -> str:  # the import takes a quarter of a second
        from scipy.integrate import DOP853

        return json.dumps([x.tolist() for x in (DOP853.A, DOP853.B, DOP853.C)])

    a, b, c = json.loads(remembered("the coefficients of DOP853", table))
    return np.array(a), np.array(b), np.array(c)


DOUBT = 1.0
"""An eighth-order step is not believed to be better than this times the square of its
third-order error, relative to the state: both estimates of DOP853 can vanish by
accident, which without this bound lets one row in some thousand miss its tolerance
by a factor of 1,000."""

TABLEAUX = {"dop853": dop853, "dopri5": dopri5}

ROOM = {"dop853": (16, 7), "dopri5": (7, 4)}
"""How many stages a method has, with those of its dense output, and terms of that."""


@lru_cache(maxsize=4)
def steps_of(method: str) -> str:
    """Return the printed functions of a method, remembered: SciPy's import is slow."""
    key = "\n".join([method, version("scipy"), code_digest("numerics.ode")])
    return remembered(key, lambda: print_steps(TABLEAUX[method]()))


def print_steps(table: Tableau) -> str:
    """Print the four functions of a method for a generated numba module."""
    stages, terms = ROOM[table.name]
    constants = [
        f"STAGES = {stages}",
        f"POWER = {1 / table.error_order!r}",
        f"BETA = {table.beta!r}",
        f"FSAL = {table.fsal}",
        f"GROWTH = {table.growth!r}",
        f"CAUTION = {table.caution!r}",
        f"TERMS = {terms}",
    ]
    dense = _dense_dop853() if table.name == "dop853" else _dense_dopri5()
    return "\n".join(constants) + "\n\n\n" + _attempt(table) + "\n\n" + dense


_ARGUMENTS = "t, h, y, k, z, at, u, pieces, params, nodes, weights, slopes"
_LOOP = ["    for i in range(STATES):", "        for lane in range(LANES):"]


def _combination(coefficients: Sequence[float] | np.ndarray) -> str:
    used = [(j, float(x)) for j, x in enumerate(coefficients) if x != 0]
    return " + ".join(f"{x!r}*k{j}[i, lane]" for j, x in used) or "0.0"


def _stage(j: int, row: Sequence[float] | np.ndarray, c: float) -> list[str]:
    return [
        *_LOOP,
        f"            z[i, lane] = y[i, lane] + h[lane]*({_combination(row)})",
        "    for lane in range(LANES):",
        f"        at[lane] = t[lane] + {float(c)!r}*h[lane]",
        "    given(at, pieces, u)",
        f"    off = call_lanes(slopes, at, z, u, params, nodes, weights, k{j})",
        "    worst = off if off > worst else worst",
    ]


def _views(count: int) -> list[str]:
    return [f"    k{j} = k[{j}]" for j in range(count)]


def _attempt(table: Tableau) -> str:
    s = len(table.b)
    lines = ["@optimised", f"def attempt({_ARGUMENTS}, tried, err, rtol, atol):"]
    lines += [
        '    """Take a trial step from k[0]; fill `tried` and the error `err`."""'
    ]
    lines += [*_views(s + table.fsal), "    worst = 0.0"]
    for j in range(1, s):
        lines += _stage(j, table.a[j][:j], table.c[j])
    lines += [
        *_LOOP,
        f"            tried[i, lane] = y[i, lane] + h[lane]*({_combination(table.b)})",
    ]
    if table.fsal:
        lines += _stage(s, table.b, 1.0)
    return "\n".join(lines + _error(table) + ["    return worst"]) + "\n"


def _error(table: Tableau) -> list[str]:
    scale = [
        "            a = abs(y[i, lane])",
        "            b = abs(tried[i, lane])",
        "            scale = atol + rtol*(b if b > a else a)",
    ]
    if table.name == "dop853":
        from scipy.integrate import DOP853

        # the estimates of orders 5 and 3, blended as in the original code
        return [
            "    for lane in range(LANES):",
            "        err[lane] = 0.0",
            *_LOOP,
            *scale,
            f"            e5 = ({_combination(DOP853.E5)})/scale",
            f"            e3 = ({_combination(DOP853.E3)})/scale",
            "            whole = e5*e5 + 0.01*e3*e3",
            "            e = h[lane]*e5*e5/sqrt(whole) if whole > 0.0 else whole",
            "            square = h[lane]*e3",
            f"            square = {DOUBT!r}*square*square*rtol",
            "            e = square if square > e else e",
            "            err[lane] = err[lane] if err[lane] > e else e",
        ]
    from scipy.integrate import RK45

    return [
        "    for lane in range(LANES):",
        "        err[lane] = 0.0",
        *_LOOP,
        *scale,
        f"            e = abs(h[lane]*({_combination(RK45.E)})/scale)",
        "            err[lane] = err[lane] if err[lane] > e else e",
    ]


def _dense_dopri5() -> str:
    from scipy.integrate import RK45

    extra = [
        '    """Take no stage: the seven of the step are enough."""',
        "    return 0.0",
    ]
    rows = [f"h[lane]*({_combination(RK45.P[:, p])})" for p in range(4)]
    values = ["        value = (value + poly[TERMS - 1 - p, i, lane])*x"]
    return _dense(extra, [*_views(7), *_LOOP], rows, values)


def _dense_dop853() -> str:
    from scipy.integrate import DOP853

    extra = ['    """Take three more stages; k[12] is f at t + h."""', *_views(16)]
    extra += ["    worst = 0.0"]
    for j in range(3):
        row, c = DOP853.A_EXTRA[j][: 13 + j], DOP853.C_EXTRA[j]
        extra += _stage(13 + j, row, c)
    head = [*_views(16), *_LOOP, "            rise = tried[i, lane] - y[i, lane]"]
    head += ["            first, last = h[lane]*k0[i, lane], h[lane]*k12[i, lane]"]
    rows = ["rise", "first - rise", "2.0*rise - first - last"]
    rows += [f"h[lane]*({_combination(DOP853.D[p])})" for p in range(4)]
    values = [
        "        value += poly[TERMS - 1 - p, i, lane]",
        "        value *= x if p % 2 == 0 else 1.0 - x",
    ]
    return _dense([*extra, "    return worst"], head, rows, values)


def _dense(
    extra: list[str], head: list[str], rows: list[str], values: list[str]
) -> str:
    """Print what gives states inside a step, from the parts in which methods differ."""
    lines = ["@optimised", f"def extra({_ARGUMENTS}):", *extra, "", "", "@optimised"]
    lines += ["def interpolant(h, y, tried, k, poly):"]
    lines += ['    """Fill the coefficients of the dense output."""', *head]
    lines += [f"            poly[{p}, i, lane] = {row}" for p, row in enumerate(rows)]
    lines += ["", "", "@optimised", "def interpolate(work, y, i, lane, x):"]
    lines += ['    """Return the dense output at the fraction x of the step."""']
    lines += ["    poly = work[3]", "    value = 0.0", "    for p in range(TERMS):"]
    return "\n".join([*lines, *values, "    return y[i, lane] + value"]) + "\n"
