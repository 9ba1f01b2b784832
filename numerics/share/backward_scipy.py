"""Shares by NumPy and SciPy, one row after another: nothing has to be compiled.

All end points of a row are followed backwards together by DOP853, with the printed
functions on arrays; the error comes from half of the end points, and from fewer of
the points between which the learned overlaps are interpolated.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..codegen.kernel import Kernel, make_kernel
from ..codegen.quadrature import START, barycentric, chebyshev, trapezoid
from ..codegen.snapshot import Printed
from .backward_numba import FINEST, NARROW, REACH, SAFE, WIDE

ENDS = 65  # end points from which trajectories are followed backwards
FEW = 17  # end points that tell what interpolating the inputs may change

HALVINGS = 50


def shares_scipy(
    flow: Printed, rows: list[np.ndarray], tol: float, intervals: int = START
) -> np.ndarray:
    """Return share, error bound and separatrix, of shape (rows, 3).

    `rows` are the learned overlaps at Chebyshev points in log s of each piece, those
    below the last, the edges and the number of pieces, Gamma and the parameters;
    `intervals` are those of the rule over what Y(0) leaves open.
    """
    kernel = make_kernel(flow, "numpy")
    with np.errstate(all="ignore"):
        each = zip(*rows, strict=True)
        found = [_Row(kernel, tol, intervals, *row).share() for row in each]
    return np.array(found).reshape(-1, 3)


class _Row:
    """The reduced flow of one row, followed backwards."""

    def __init__(
        self, kernel: Kernel, tol: float, intervals: int, *row: np.ndarray
    ) -> None:
        self.kernel, self.tol, self.intervals = kernel, tol, intervals
        smooth, self.below, edges, pieces, gamma, self.params = row
        self.smooth, self.edges = smooth[: int(pieces)], edges[: int(pieces) + 1]
        self.gamma = float(gamma)
        self.spread = np.sqrt(max(1 - 1 / self.gamma, 0.0))

    def share(self) -> tuple[float, float, float]:
        """Return the share, the bound on its error and the separatrix."""
        low, high = self._range()
        ends = 0.5 * (low + high) + 0.5 * (high - low) * chebyshev(ENDS)
        fall, start = self.landing(ends, 1)
        share, split, doubt = self.averaged(fall, start)
        half, *_ = self.averaged(fall[::2], start[::2])
        stride = (ENDS - 1) // (FEW - 1)
        fine, *_ = self.averaged(fall[::stride], start[::stride])
        rough = [self.averaged(*self.landing(ends[::stride], k))[0] for k in (4, 2)]
        first, last = abs(rough[0] - rough[1]), abs(rough[1] - fine)
        thin = last * min(1.0, SAFE * last / (first + 1e-300))
        apart = abs(share - half)
        bound = min(apart, 1000 * apart**2) + doubt + thin + 10 * self.tol + FINEST
        return share, bound, split

    def landing(self, ends: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
        """The mean of nu(1) given Y(0), by the free flow's factor, and Y(0).

        The inputs are interpolated between every `stride`-th of their points.
        """
        x = np.concatenate([ends, np.zeros_like(ends)])
        for k, table in enumerate(self.smooth):
            x = self._piece(x, self.edges[k : k + 2], table[::stride])
        rates, last = partial(self._rates, inputs=self.below), (self.edges[-1], 0.0)
        y, f = self._follow(rates, last, x).reshape(2, -1)
        return y / self.gamma - f, y

    def _piece(self, x: np.ndarray, ends: np.ndarray, table: np.ndarray) -> np.ndarray:
        """Follow the flow down a piece, in u with s = upper (lower/upper)^u."""
        depth, grid = np.log(ends[1] / ends[0]), chebyshev(len(table))

        def rates(u: float, x: np.ndarray) -> np.ndarray:
            s = ends[0] * np.exp(depth * u)
            inputs = (barycentric(np.array([1 - 2 * u]), grid) @ table)[0]
            return s * depth * self._rates(s, x, inputs)

        return self._follow(rates, (0.0, 1.0), x)

    def _rates(self, s: float, x: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        state = list(x.reshape(2, -1))
        found, _ = self.kernel["rhs"](s, state, inputs, self.params, *self.kernel.rule)
        return found.ravel()

    def _follow(self, rates: Any, span: tuple[float, float], x: np.ndarray):
        from scipy.integrate import solve_ivp

        tight = {"rtol": max(self.tol, 3e-14), "atol": self.tol}
        return solve_ivp(rates, span, x, method="DOP853", **tight).y[:, -1]

    def _range(self) -> tuple[float, float]:
        """Ends between which the landing leaves every noise behind on both sides."""
        width, reach = 8.0, REACH * max(self.spread, WIDE)
        while width < 1e4:
            ends = np.linspace(-width, width, ENDS)
            fall, _ = self.landing(ends, 1)
            if fall[0] <= -reach and fall[-1] >= reach:
                break
            width *= 2
        first = max(int(np.sum(fall <= -reach)) - 1, 0)
        last = min(ENDS - int(np.sum(fall >= reach)), ENDS - 1)
        return ends[first], ends[max(last, first + 1)]

    def averaged(
        self, fall: np.ndarray, start: np.ndarray
    ) -> tuple[float, float, float]:
        """P(nu(1) > 0) and the separatrix, from landings at Chebyshev points.

        The last number is the error of the rule over starts, by every second node.
        """
        from scipy.special import ndtr

        nodes, weights = trapezoid(self.intervals)
        used = (weights > 0) & (np.abs(nodes) <= REACH)
        spread = self.spread if self.spread > NARROW else 0.0
        targets = spread * np.append(nodes[used], 0.0)
        grid = chebyshev(len(fall))
        low, high = -np.ones_like(targets), np.ones_like(targets)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            less = barycentric(middle, grid) @ fall < targets
            low, high = np.where(less, middle, low), np.where(less, high, middle)
        y = barycentric(0.5 * (low + high), grid) @ start
        above = ndtr(-y[:-1] / np.sqrt(self.gamma))
        half, weights = np.flatnonzero(used) % 2 == 0, weights[used]
        share = float(above @ weights / weights.sum())
        off = abs(share - float(above[half] @ weights[half] / weights[half].sum()))
        return share, float(y[-1]), min(off, 1000 * off**2)
