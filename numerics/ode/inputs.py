r"""Given functions of time: piecewise Chebyshev sums, one set for each row.

The learned overlaps of a finite data set are smooth in the phase time `s` between a
few breaks (where the better of two minima changes). A flow takes them as inputs; the
solver never steps across a break, so jumps are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ShapeError


@dataclass(frozen=True)
class Inputs:
    r"""Functions $f(s) = \sum_j c_j T_j(x)$, $x \in [-1, 1]$ across each piece.

    Attributes
    ----------
    names
        ASCII names of the functions.
    breaks
        Ends of the pieces, shape ``(batch, pieces + 1)``, not decreasing; a piece of
        zero length is skipped.
    coefficients
        Shape ``(batch, function, piece, degree + 1)``. `batch` may be 1.
    """

    names: tuple[str, ...]
    breaks: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def of(
        cls,
        functions: Callable[[np.ndarray], Mapping[str, Any]],
        breaks: Any,
        degree: int = 24,
    ) -> Inputs:
        """Interpolate `functions` at Chebyshev points of each piece.

        `functions` takes times of shape ``(batch, points)`` and returns a mapping of
        arrays of that shape (or of a larger batch, when the breaks have one row); it
        is called once for each piece and never at a break. `breaks` has shape
        ``(pieces + 1,)`` or ``(batch, pieces + 1)``.
        """
        breaks = np.atleast_2d(np.asarray(breaks, float))
        parts = []
        for i in range(breaks.shape[1] - 1):
            times = chebyshev_times(breaks[:, i], breaks[:, i + 1], degree)
            values = functions(times)
            names = tuple(values)
            *rows, _ = np.broadcast_arrays(*values.values(), times)
            parts.append(chebyshev_coefficients(np.stack(rows, axis=1)))
        coefficients = np.stack(parts, axis=2)
        batch = coefficients.shape[0]
        # a copy in C order: numba compiles again for any other layout
        ends = np.array(np.broadcast_to(breaks, (batch, breaks.shape[1])), order="C")
        return cls(names, ends, coefficients)

    def __call__(self, times: Any) -> dict[str, np.ndarray]:
        """Evaluate at `times`, shape ``(points,)``; arrays of ``(batch, points)``."""
        times = np.atleast_1d(np.asarray(times, float))
        left, right = self.breaks[:, :-1, None], self.breaks[:, 1:, None]
        last = self.breaks[:, -1:, None]
        inside = (times >= left) & (
            (times < right) | ((times == last) & (right == last))
        )
        piece = np.argmax(inside, axis=1)
        rows = np.arange(self.breaks.shape[0])[:, None]
        a, b = self.breaks[rows, piece], self.breaks[rows, piece + 1]
        width = np.where(b > a, b - a, 1.0)
        x = (2 * times - a - b) / width
        found = {}
        for i, name in enumerate(self.names):
            c = np.moveaxis(self.coefficients[rows, i, piece], -1, 0)
            found[name] = np.polynomial.chebyshev.chebval(x, c, tensor=False)
        return found

    def of_rows(self, rows: Any) -> Inputs:
        """Return those of some rows, by index or slice; one set is for all rows."""
        if self.breaks.shape[0] == 1:
            return self
        return Inputs(self.names, self.breaks[rows], self.coefficients[rows])

    def checked(self, names: tuple[str, ...], batch: int, span: tuple) -> Inputs:
        """Return them in the order of `names` for `batch` rows, or raise."""
        missing = [n for n in names if n not in self.names]
        if missing:
            raise ShapeError(
                f"`inputs` must give every one of ({', '.join(names)}), but "
                f"`{missing[0]}` is missing. Add it to the functions."
            )
        rows = self.breaks.shape[0]
        if rows not in (1, batch) or self.coefficients.shape[0] != rows:
            raise ShapeError(
                f"`inputs` must have 1 or {batch} rows, but has {rows} rows of breaks "
                f"and {self.coefficients.shape[0]} of coefficients. Give one set for "
                "all rows or one for each."
            )
        outside = (self.breaks[:, 0] > span[0]) | (self.breaks[:, -1] < span[1])
        if np.any(outside) or np.any(np.diff(self.breaks, axis=1) < 0):
            row = int(np.argmax(outside))
            raise ShapeError(
                f"`inputs` must cover the times {span[0]:g} to {span[1]:g} in order, "
                f"but row {row} has the breaks {self.breaks[row]}. Extend the pieces."
            )
        order = [self.names.index(n) for n in names]
        coefficients = np.ascontiguousarray(self.coefficients[:, order])
        return Inputs(names, np.ascontiguousarray(self.breaks), coefficients)


def no_inputs(span: tuple[float, float]) -> Inputs:
    """Return an empty set of functions on one piece, for all rows."""
    return Inputs((), np.array([span], float), np.zeros((1, 0, 1, 1)))


def chebyshev_times(left: Any, right: Any, degree: int) -> np.ndarray:
    """Return the ``degree + 1`` Chebyshev points between `left` and `right`."""
    x = np.polynomial.chebyshev.chebpts1(degree + 1)
    left, right = np.asarray(left, float), np.asarray(right, float)
    return 0.5 * (left + right)[..., None] + 0.5 * (right - left)[..., None] * x


def chebyshev_coefficients(values: np.ndarray) -> np.ndarray:
    """Return the sums through values at `chebyshev_times`, along the last axis."""
    n = values.shape[-1]
    x = np.polynomial.chebyshev.chebpts1(n)
    basis = np.polynomial.chebyshev.chebvander(x, n - 1) * (2.0 / n)
    basis[:, 0] /= 2
    return values @ basis
