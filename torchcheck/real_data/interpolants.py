r"""Interpolants as numbers: $x_t = \alpha(t) x_0 + \beta(t) x_1$, data at $t = 1$."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError, ShapeError, shown
from .arrays import as_array

if TYPE_CHECKING:
    from ...theory.models.model import Interpolant


@dataclass(frozen=True)
class NumericInterpolant:
    r"""Numbers of an interpolant $x_t = \alpha(t) x_0 + \beta(t) x_1$; $t = 1$ is data.

    `alpha` multiplies the noise. Only velocity models need `alpha2_dot`, `beta_dot`,
    the derivatives of $\alpha^2$ and $\beta$. (The square, because $\dot\alpha$ itself
    may diverge at the data end.)
    """

    alpha: Callable[[float], float]
    beta: Callable[[float], float]
    alpha2_dot: Callable[[float], float]
    beta_dot: Callable[[float], float]

    @classmethod
    def of(cls, interpolant: Interpolant) -> NumericInterpolant:
        """Make one of a symbolic `Interpolant` (whose only symbol is ``tau``)."""
        import sympy as sp

        from ...theory.models.model import TAU

        alpha, beta = interpolant.alpha, interpolant.beta
        for name, f in (("alpha", alpha), ("beta", beta)):
            if extra := sorted(map(str, f.free_symbols - {TAU})):
                raise ModelError(
                    f"`{name}` must be a function of `tau` alone, but has "
                    f"{', '.join(extra)}. Substitute a number."
                )
        exprs = (alpha, beta, sp.diff(alpha**2, TAU), sp.diff(beta, TAU))
        return cls(*(sp.lambdify(TAU, sp.simplify(e), "math") for e in exprs))

    def ratio(self, t: float) -> float:
        r"""$\beta/\alpha$, the root of the signal-to-noise ratio; inf at $t = 1$."""
        alpha = self.alpha(t)
        return math.inf if alpha <= 0 else self.beta(t) / alpha

    def time_of_ratio(self, ratio: Any) -> np.ndarray:
        r"""Return the times at which $\beta/\alpha$ has these values (by bisection)."""
        goal = np.ravel(np.asarray(ratio, dtype=float))
        lo, hi = np.zeros_like(goal), np.ones_like(goal)
        for _ in range(60):
            mid = (lo + hi) / 2
            below = np.array([self.ratio(t) for t in mid]) < goal
            lo, hi = np.where(below, mid, lo), np.where(below, hi, mid)
        return hi.reshape(np.shape(ratio))


LINEAR_PATH = NumericInterpolant(
    lambda t: 1 - t, lambda t: t, lambda t: -2 * (1 - t), lambda _t: 1.0
)
"""alpha = 1 - t, beta = t: flow matching, stochastic interpolants."""

VARIANCE_PRESERVING_PATH = NumericInterpolant(
    lambda t: math.sqrt(max(0.0, 1 - t * t)),
    lambda t: t,
    lambda t: -2 * t,
    lambda _t: 1.0,
)
"""alpha = sqrt(1 - t**2), beta = t: DDPM, with t the square root of alpha-bar."""

_LOOKED_AT = np.linspace(0.01, 0.99, 9)


def same_interpolant(one: NumericInterpolant, two: NumericInterpolant) -> bool:
    """Whether two interpolants have the same coefficients, whoever made them."""
    return all(
        math.isclose(f(t), g(t), rel_tol=1e-9, abs_tol=1e-12)
        for f, g in ((one.alpha, two.alpha), (one.beta, two.beta))
        for t in map(float, _LOOKED_AT)
    )


def as_interpolant(path: Any) -> NumericInterpolant:
    """Return an interpolant in numbers, of one in numbers or in symbols.

    Raises `ModelError` for anything else.
    """
    if isinstance(path, NumericInterpolant):
        return path
    if hasattr(path, "alpha") and hasattr(path, "beta"):
        return NumericInterpolant.of(path)
    raise ModelError(
        "`path` must be the interpolant between noise and data, such as `LINEAR_PATH` "
        f"or `VARIANCE_PRESERVING_PATH`, but is {shown(path)}. Pass one of them, or "
        "`NumericInterpolant.of(interpolant)`."
    )


def interpolant_of(
    denoiser: Any, path: NumericInterpolant | None
) -> NumericInterpolant:
    """Return the interpolant that a denoiser was made for, or the one that is given.

    Raises `ModelError` when both are known and differ: the noise level of a sample
    and the level that the model is told would not be the same.
    """
    path = path if path is None else as_interpolant(path)
    for holder in (denoiser, getattr(denoiser, "__self__", None)):
        own = getattr(holder, "path", None)
        if isinstance(own, NumericInterpolant):
            break
    else:
        return LINEAR_PATH if path is None else path
    if path is not None and not same_interpolant(own, path):
        raise ModelError(
            "`path` must be the interpolant that the denoiser was made for, but at "
            f"t = 0.5 they have beta = {path.beta(0.5):.3g} and {own.beta(0.5):.3g}. "
            "Leave `path` out: the denoiser carries its own."
        )
    return own


def check_times(times: Any, name: str = "times") -> np.ndarray:
    """Return `times` as a one-dimensional increasing array within [0, 1]."""
    t = as_array(times)
    if t.ndim != 1 or t.size == 0:
        raise ShapeError(
            f"`{name}` must be a list of numbers, but has shape {t.shape}. Give at "
            "least one time."
        )
    outside = t[~((t >= 0) & (t <= 1))]
    if outside.size:
        raise ModelError(
            f"`{name}` must lie in [0, 1], where 0 is noise and 1 is data, but has "
            f"{outside[0]:g}. Rescale them."
        )
    if (np.diff(t) <= 0).any():
        i = int(np.argmax(np.diff(t) <= 0))
        raise ModelError(
            f"`{name}` must increase, but {t[i + 1]:g} follows {t[i]:g}. Sort them and "
            "remove repeated ones."
        )
    return t
