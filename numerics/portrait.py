r"""Portraits of a solved limit, fast enough for a slider.

`Portraits` solves the limit of a spec at any of its numbers: the learned overlaps,
trajectories and the law of $\nu$ in the window of each feature, and, at a dimension d,
the paths and shares of a sampler with a few steps, dilated beside undilated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError
from .asked import asked
from .batch import SolvedPhase, solved_phases
from .codegen.parameters import Solver
from .codegen.snapshot import PrintedLimit, printed_limit
from .minima.result import Minima, alone
from .share.euler import follow_samples, step_paths
from .share.rules import ExactFlow, Times
from .trajectories import FARTHEST_START, Trajectories, trajectories

if TYPE_CHECKING:
    from ..theory.derive import Limit
    from ..theory.models.spec import Spec

HALF_STEPS = 80
"""Halves of steps of order four through a window."""

SHARE = 1e-6
"""Tolerance of a share."""

STARTS = np.linspace(-FARTHEST_START, FARTHEST_START, 17)
"""Starting points of the trajectories that are drawn, in standard deviations."""

SEEN = 4.5
"""The law is drawn between the ends of starts this many deviations away."""

NODES, ROUNDS = 801, 2
"""Starting points that are followed for the share of a sampler, and how often a change
of sign between two of them is sought more closely: a place is known to 5e-6."""

OVERLAPS = ("m", "omega", "b", "c")


@dataclass(frozen=True)
class Portrait:
    """A solved limit: lines along the dilated time, and each feature's window.

    `paths` has the trajectories by feature, where they can be drawn; `shares` the
    generated share of the + mode.
    """

    t: np.ndarray
    lines: dict[str, np.ndarray]
    paths: dict[int, Trajectories]
    shares: dict[int, float]


class Portraits:
    """The limit of a spec, ready to be solved at any numbers.

    Raises `ModelError` for what cannot be solved in the time of a slider's move.
    """

    def __init__(self, spec: Spec) -> None:
        check_drawable(spec)
        self.limit: Limit = asked(spec).limit
        self.printed: PrintedLimit = printed_limit(self.limit)
        self.s = np.linspace(0, 1, HALF_STEPS + 1)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The numbers that a portrait needs."""
        return self.printed.parameters

    @property
    def features(self) -> int:
        """How many features are decided."""
        return len(self.limit.model.target.features)

    def solved(self, point: Mapping[str, float]) -> Portrait:
        """Solve every phase; raise `DilatonError` where that fails."""
        given = {k: point[k] for k in self.parameters}
        parts = solved_phases(self.printed, given, self.s, Solver("numba", SHARE))
        paths: dict[int, Trajectories] = {}
        shares: dict[int, float] = {}
        for part in (x for x in parts if x.shares is not None):
            if isinstance(part.found, Minima):
                alone(part.found)
            assert part.shares is not None  # those that have none are left out
            for place, j in enumerate(part.phase.features):
                shares[j] = float(part.shares.values[0, place])
                if not part.phase.vanishes:
                    paths[j] = trajectories(part, given, self.s, place)
        return Portrait(self._times(len(parts)), self._lines(parts), paths, shares)

    def _times(self, count: int) -> np.ndarray:
        return ((np.arange(count)[:, None] + self.s[::2]) / count).ravel()

    def _lines(self, parts: list[SolvedPhase]) -> dict[str, np.ndarray]:
        """Overlaps against the dilated time; an infinite one becomes a gap."""
        none, found = np.full(self.s.shape, np.nan)[None], {}
        names = dict.fromkeys(name for part in parts for name in part.overlaps)
        for name in (x for x in names if x.partition("_")[0] in OVERLAPS):
            if name == "c_hat":
                continue
            rows = [part.overlaps.get(name, none)[0] for part in parts]
            found[name] = np.concatenate([x[::2] for x in rows])
        return found

    @cached_property
    def _flow(self) -> ExactFlow:
        return ExactFlow(self.limit, self._whole({}))

    def _whole(self, point: Mapping[str, float]) -> dict[str, float]:
        """A point with any number for what is not given."""
        wanted = [str(x) for x in self.limit.exact["sampling"].parameters]
        return dict.fromkeys([*wanted, "d"], 0.5) | dict(point)

    def sampled(
        self, point: Mapping[str, float], d: float, steps: int
    ) -> dict[str, dict[str, Any]]:
        r"""Follow `steps` Euler steps of the exact flow at dimension d, in two ways.

        ``dilated`` gives every phase as many steps, ``undilated`` are even in
        $\tau$. Each has `share`, one for each feature, and `paths` of $\hat\mu\cdot X$
        in units of its spread, of shape (features, starts, steps + 1).

        Raises `ModelError` where the windows do not follow one another at this d.
        """
        here = dict(point) | {"d": float(d)}
        flow = self._flow.at(self._whole(here))
        knots = np.array(self.limit.dilation.knots(here))
        even = np.linspace(0, 1, steps + 1)
        ends = {
            "dilated": np.interp(even, np.linspace(0, 1, len(knots)), knots),
            "undilated": even,
        }
        return {k: self._followed(flow, (x, x[:-1]), here) for k, x in ends.items()}

    def _followed(
        self, flow: ExactFlow, times: Times, point: Mapping[str, float]
    ) -> dict[str, Any]:
        found = follow_samples(flow, times, "left", NODES, ROUNDS)
        paths = step_paths(flow, STARTS, times, "left")[:, : self.features]
        levels = [flow.levels(tau) for tau in times[0]]
        alpha, beta = (np.array([getattr(x, k) for x in levels]) for k in _SIZES)
        size = np.array([self._size(j, point) for j in range(1, self.features + 1)])
        noise = alpha**2 + (point["sigma"] * beta) ** 2
        spread = np.sqrt(noise[:, None] + (beta[:, None] * size) ** 2)
        scaled = np.moveaxis(paths / spread[..., None], 0, -1)
        return {"share": np.atleast_1d(found["share_plus"]), "paths": scaled}

    def _size(self, j: int, point: Mapping[str, float]) -> float:
        """The norm of the mean of feature `j` at the dimension of `point`."""
        delta = float(self.limit.model.target.features[j - 1].exponent)
        return float(point.get(f"rho_{j}", 1.0) ** 0.5 * point["d"] ** (0.5 - delta))


_SIZES = ("alpha", "beta")


def law_of(paths: Trajectories, points: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Return evenly spaced values of $\nu$ and the density at the window's end."""
    ends = paths.from_starts(np.array([-SEEN, SEEN]))[:, -1]
    edge = float(np.abs(ends).max()) + SEEN * paths.spread
    nu = np.linspace(-edge, edge, points)
    return nu, paths.density(nu)


def check_drawable(spec: Spec) -> None:
    """Raise `ModelError` for what has no portrait within a tenth of a second."""
    if spec.kind == "modes":
        raise ModelError(
            "The explorer draws targets whose features are signs, each with a flow of "
            "its own, but the target is of kind `modes`: their projections move "
            "together, and counting thousands of paths takes seconds a move. Use "
            "`dilaton solve` and `dilaton steps`."
        )
    if spec.frozen_noise:
        raise ModelError(
            "The explorer draws what generates a share, but with frozen noise "
            f"(noise_draws = {spec.values['noise_draws']:g}) the weights are not "
            'learned. Set noise_draws = "inf".'
        )
    if spec.kind == "product" and not spec.population:
        raise ModelError(
            "The explorer solves a limit within a tenth of a second, but the minimum "
            "of several features with n samples is searched for and takes seconds. Set "
            'n = "inf".'
        )
