"""Grids that take equal steps in an integral over time, and grids from a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import sympy as sp
from scipy.integrate import cumulative_trapezoid

from ...errors import ModelError
from ...files import at_home
from ...theory.grids.integrands import (
    error_weight,
    information_weight,
    lipschitz_parts,
    mode_slopes,
)
from ...theory.limit import Limit
from ...theory.models.model import D, Modes
from ...theory.symbols.system import System
from ...theory.times.grammar import formula, in_range
from ...theory.times.maps import HIGHEST, LOWEST, log_snr
from ..codegen.indexed import indexed_functions
from ..codegen.kernel import make_kernel
from ..codegen.parameters import closed_values
from ..codegen.snapshot import printed, printed_limit
from ..modes.evaluate import exponents_of, families, mse_modes, weights_of
from ..modes.normal_averages import as_normals, scalar, scrambled
from ..modes.tree_shares import Placed
from .map_curves import Curve, evaluate, evaluate_inverse

Made = tuple[Curve, Curve, float, float]
"""The curve, its inverse, and its ends: what makes a grid."""

KNOTS = 6001  # knots in log(beta/alpha): a hundredth apart, the weights vary over 1
FAR = 1e-9  # of the thinnest window, and one over it: weights beyond are negligible
SPARSE = 2001  # knots of a weight that takes an average at each
COARSE = 601  # and of one that takes it over several directions, to `NEAR`
NEAR, POINTS = 1e-5, 8192
REACH, NODES = 8.0, 201  # of a normal variable
LAST = 1e-12  # of time, next to tau = 1
LONGEST = 100_000  # times in a table


class _Ratios:
    """Knots even in log(beta/alpha), with the interpolant's time at each.

    Unless said otherwise they cover every window; modes take an average at each.
    """

    def __init__(
        self,
        limit: Limit,
        point: Mapping[str, float],
        ends: tuple[float, float] | None = None,
        count: int = KNOTS,
    ) -> None:
        sizes = scales(limit, point)
        low, high = ends or (FAR * min(sizes), max(sizes) / FAR)
        exact = (sp.Float(low, 17), sp.Float(high, 17))
        ruler = log_snr(limit.model.interpolant, *exact)
        self._tau, self._t = evaluate(ruler, point), evaluate_inverse(ruler, point)
        count = COARSE if isinstance(limit.model.target, Modes) else count
        self.t = np.linspace(0.0, 1.0, count)
        self.tau = self._tau(self.t)

    def made(self, gone: np.ndarray, *, low: bool, high: bool) -> Made:
        """Return the grid with the share `gone` of its time at each knot.

        `low` and `high` tell that it reaches 0 and 1.
        """
        first = 0.0 if low else float(self.tau[0])
        last = 1.0 if high else float(self.tau[-1])

        def curve(t: np.ndarray) -> np.ndarray:
            at = np.asarray(t, float)
            tau = self._tau(np.interp(at, gone, self.t))
            return np.where(at <= 0, first, np.where(at >= 1, last, tau))

        def inverse(tau: np.ndarray) -> np.ndarray:
            at = np.asarray(tau, float)
            return np.interp(self._t(at), self.t, gone)

        return curve, inverse, first, last

    def even(self, weight: np.ndarray, *, low: bool, high: bool) -> Made:
        """Return the grid of equal steps in the integral of `weight`."""
        total = cumulative_trapezoid(weight, initial=0.0)
        return self.made(total / total[-1], low=low, high=high)


def scales(limit: Limit, point: Mapping[str, float]) -> list[float]:
    r"""Return the size of $\beta/\alpha$ in every window, at finite `d`."""
    powers = (p.window.beta_size - p.window.alpha_size for p in limit.phases)
    return [float(point["d"]) ** float(x) for x in powers]


def entropic(limit: Limit, point: Mapping[str, float], given: Sequence[str]) -> Made:
    """Return equal steps in the information on the data, up to a largest SNR (U1)."""
    text = given[0] if given else str(HIGHEST**2)
    most = in_range(formula(text, "entropic"), "entropic", "positive", sp.S.Zero)
    high = float(sp.sqrt(most).subs(D, point["d"]))
    low = FAR * min(*scales(limit, point), high)
    ratios = _Ratios(limit, point, (low, high))
    weight = _weight(information_weight(limit), limit, ratios.tau, point)
    return ratios.even(weight, low=True, high=False)


def mse_log_snr(limit: Limit, point: Mapping[str, float], given: Sequence[str]) -> Made:
    """Return equal steps in the error's integral over log SNR between two ends (U2)."""
    if len(given) == 1:
        raise ModelError(
            "The map `mse-log-snr` takes both ends of beta/alpha or none, but has "
            f"{given[0]} alone. Write it as in `mse-log-snr:0.05/sqrt(d):49`."
        )
    low, high = [formula(x, "mse-log-snr") for x in given] or [LOWEST, HIGHEST]
    in_range(low, "mse-log-snr", "positive", sp.S.Zero)
    in_range(high / low, "mse-log-snr", "growing: the ends' ratio > 1", sp.S.One)
    ends = float(low.subs(D, point["d"])), float(high.subs(D, point["d"]))
    ratios = _Ratios(limit, point, ends)
    weight = _weight(error_weight(limit), limit, ratios.tau, point)
    return ratios.even(weight, low=False, high=False)


def mse_decrements(
    limit: Limit, point: Mapping[str, float], given: Sequence[str]
) -> Made:
    """Return equal decrements of the Bayes error (E1)."""
    ratios = _Ratios(limit, point)
    times = np.concatenate([[0.0], ratios.tau])
    error = _weight(limit.exact["mse"], limit, times, point)
    left = error[1:] / error[0]
    # averages are known up to their quadrature's error
    gone = np.maximum.accumulate(1 - np.clip(left, 0.0, 1.0))
    return ratios.made(gone, low=True, high=True)


def lipschitz(limit: Limit, point: Mapping[str, float], given: Sequence[str]) -> Made:
    """Return the grid of least averaged squared Lipschitz constant (U3)."""
    modes = isinstance(limit.model.target, Modes)
    ratios = _Ratios(limit, point, count=SPARSE)
    near = ratios.tau < 1 - LAST  # beyond, 1 - tau has too few digits
    weight = np.zeros(len(ratios.tau))
    own = _lipschitz_of_modes if modes else _lipschitz_weight
    weight[near] = own(limit, point, ratios.tau[near])
    return ratios.even(weight, low=True, high=True)


def _weight(
    system: System, limit: Limit, tau: np.ndarray, point: Mapping[str, float]
) -> np.ndarray:
    """Return the one unknown of a closed system at every time."""
    if not isinstance(limit.model.target, Modes):
        return closed_values(system, tau, point)[str(system.unknowns[0])]
    placed = Placed.of(printed_limit(limit).about["modes"])
    d = float(point["d"])
    return np.array(mse_modes(printed(system), placed, point, tau, d=d, within=NEAR)[0])


def _lipschitz_of_modes(
    limit: Limit, point: Mapping[str, float], tau: np.ndarray
) -> np.ndarray:
    """Return the root of E|Jacobian|^2, per unit of log(beta/alpha), by Sobol points.

    Points are spread over the modes by their weights.
    """
    functions = indexed_functions(mode_slopes(limit.model))
    placed, weights = Placed.of(printed_limit(limit).about["modes"]), weights_of(point)
    rows, width = placed.loadings, placed.loadings.shape[1]
    uniform = scrambled(POINTS, width + 1, seed=0)
    mode = np.searchsorted(np.cumsum(weights)[:-1], uniform[:, 0])
    noise = as_normals(uniform[:, 1:]).T
    given = dict(point) | families(weights, rows)
    given |= {"delta": exponents_of(placed)[:, None]}
    found = []
    for at in tau.tolist():
        here = functions.equations(np, at, given | {"y": np.zeros((width, 1))})
        shift = np.reshape(here["shift"], (-1, 1))
        y = shift * rows[mode].T + here["spread"] * noise
        slopes = functions.equations(np, at, given | {"y": y})["slope"]
        top = np.linalg.eigvalsh(np.moveaxis(slopes, -1, 0))[:, -1]
        bulk = scalar(here["bulk"])
        size = np.maximum(bulk**2, (bulk + top) ** 2).mean()
        found.append(np.sqrt(size) * scalar(here["width"]))
    return np.array(found)


def _lipschitz_weight(
    limit: Limit, point: Mapping[str, float], tau: np.ndarray
) -> np.ndarray:
    """Return the root of E max(gamma^2, lambda_j^2), per unit of log(beta/alpha)."""
    system = lipschitz_parts(limit.model)
    kernel, names = make_kernel(system, "numpy"), [str(x) for x in system.unknowns]
    count = len(limit.model.target.features)
    nodes = np.linspace(-REACH, REACH, NODES)

    def parts(nu: list[np.ndarray]) -> dict[str, np.ndarray]:
        params = [point[str(x)] for x in system.parameters[:-count]] + nu
        with np.errstate(all="ignore"):
            got, _ = kernel["values"](tau[:, None], [], [], params, *kernel.rule)
        return dict(zip(names, got, strict=True))

    at = parts([np.zeros(1)] * count)
    mass = np.exp(-(nodes**2) / 2)
    squares, chances = [], np.zeros((count, count, 2 * NODES))
    for j, feature in enumerate(limit.model.target.features):
        p = float(feature.p.subs({feature.p: point[str(feature.p)]}))
        sides = [x * at[f"center_{j + 1}"] + at["spread"] * nodes for x in (1, -1)]
        nu = np.concatenate(sides, axis=1)
        squares.append(parts([nu] * count)[f"slope_{j + 1}"] ** 2)
        chances[j, j] = np.concatenate([p * mass, (1 - p) * mass]) / mass.sum()
    atoms = np.concatenate(squares, axis=1)
    order = np.argsort(atoms, axis=1, kind="stable")
    # slopes are independent: all are below a level if each is
    below = np.prod([np.cumsum(x.ravel()[order], axis=1) for x in chances], axis=0)
    levels = np.maximum(np.take_along_axis(atoms, order, axis=1), at["bulk"] ** 2)
    law = np.diff(below, axis=1, prepend=0.0)
    return np.sqrt(np.sum(levels * law, axis=1)) * at["width"][:, 0]


def tabulated_times(
    limit: Limit, point: Mapping[str, float], given: Sequence[str]
) -> Made:
    """Return the times in a file, equally far apart in grid time."""
    times = read_times(given[0])
    even = np.linspace(0.0, 1.0, len(times))
    return (
        lambda t: np.interp(t, even, times),
        lambda tau: np.interp(tau, times, even),
        float(times[0]),
        float(times[-1]),
    )


def read_times(path: str | Path) -> np.ndarray:
    """Return the increasing times in [0, 1] of a text file, at least two."""
    text = at_home(path).read_text(encoding="utf-8", errors="replace")
    words = text.replace(",", " ").split()
    try:
        times = np.array([float(x) for x in words[:LONGEST]])
    except ValueError as error:
        raise _bad_table(path, str(error)) from None
    if len(times) < 2 or len(words) > LONGEST:
        raise _bad_table(path, f"it has {len(words)}")
    if not (np.all(np.diff(times) > 0) and times[0] >= 0 and times[-1] <= 1):
        raise _bad_table(path, f"it begins {', '.join(words[:4])[:60]}")
    return times


def _bad_table(path: str | Path, fact: str) -> ModelError:
    return ModelError(
        f"A table of times must hold 2 to {LONGEST} numbers that increase in [0, 1], "
        f"but of `{path}` this is not so: {fact}. Write tau, which is 1 at the data; "
        "noise levels are 1 - tau."
    )


MAKERS: dict[str, Callable[[Limit, Mapping[str, float], Sequence[str]], Made]] = {
    "entropic": entropic,
    "mse-decrements": mse_decrements,
    "mse-log-snr": mse_log_snr,
    "lipschitz": lipschitz,
    "table": tabulated_times,
}
"""The maps that are known as numbers, by name."""
