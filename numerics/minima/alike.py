r"""Tests of a minimum that takes samples of a class to be alike.

Equal fields of all samples of a class are an assumption of the equations with n
samples, not a result. It is tested in two ways at points of the path that was found.

*A small step.* Let $\delta\zeta_i$ with $\sum\delta\zeta_i = 0$ tell the samples of a
class apart. By symmetry every first-order change of a sum over the class vanishes, so
that the loss per sample at the best `u` changes by $\tfrac1n h_c\sum\delta\zeta_i^2$,

$$ h_c = (\beta\sigma)^2\Big[-y_c f_c'' + \tfrac q2 Q_c'' -
   \frac{\sigma^2 f_c'^2}{S}\Big] + \ell + \alpha^2\sum_j N_j\Big[-y_j f_j'' +
   \tfrac q2 Q_j''\Big], \tag{H1} $$

where $y_c = u\cdot x_c/d$, $f_c = \mathbb E\varphi$ and $Q_c = \mathbb E\varphi^2$ over
the field of the class, with their slopes in its mean, and $S = \lambda + \sum N_jQ_j$.
The Hessian on these directions is $2h_c/n$ times the identity: one number a class. A
tied `u` $= tw$ is not the best one but moves along, with $t = \alpha^2/\beta$: then
$t^2S - 2t\beta\sigma^2f_c'$ stands for the term in $f_c'^2$. A sign unit does not know
the size of `w`, and has no $\ell$ here.

*A large step.* A sample of a class leaves it: alone on one side of all others, or on
the other class's side: a minimum of the same loss over three groups of samples. Such
states are lower where $\sigma$ is large and the classes are not yet told apart. At the
latest time two or three may leave together; splits of both classes at once are not
searched for. Units that are tied, without bias or signs are tested by a small step
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..codegen.kernel import make_kernel
from ..codegen.parameters import row_of
from ..codegen.quadrature import START, trapezoid
from ..codegen.snapshot import PrintedPhase
from .objective import Objective, UnitKind
from .result import Minima, charted

EVERY = 10  # every so many points of a piece are looked at
TOGETHER = 256  # points whose averages are taken together: their fields fit a cache

BEYOND = (1.0, 0.5)
"""Times below the last piece, where the closed branch is lowest, by its end."""

NOISY_SIGMA, SEEN = 5.0, 3.0
"""Smallest sigma, and sigma beta, at which a sample may leave its class."""

STARTS = ((2.0, -2.0), (8.0, -8.0))
"""Fields of the samples that leave and of the rest, where descents start."""

FEW = 3  # samples of a class that may leave it together, at most
LOWER = 1e-8  # relative: a state whose objective is lower by more is one

APART = np.array([[1.0, 0.0], [-0.5, 0.5], [-0.5, -0.5]])
"""Contrasts of three groups of samples, of which `w` is made."""


@dataclass(frozen=True)
class Alike:
    """A test of rows whose samples need not be alike; arrays of shape (rows,).

    `bend` is the smallest curvature $2h_c/n$ of the loss in directions that split a
    class, `gain` by how much a state in which a few samples have left their class is
    lower, per sample and dimension (0 if none is), and `searched` whether there was a
    search for such states.
    """

    bend: np.ndarray
    gain: np.ndarray
    searched: bool = True

    @property
    def symmetric(self) -> np.ndarray:
        """Whether nothing that was tried is lower than samples alike."""
        return (self.bend > 0) & ~(self.gain > 0)


def samples_alike(
    phase: PrintedPhase, activation: str, found: Minima, given: Mapping[str, Any]
) -> Alike | None:
    """Test the minima of a phase; `None` where there are no samples of two classes."""
    if "ridge_u" not in phase.learned.parameters:
        return None
    points = _Points(phase, activation, found, given)
    noisy = points.searched & ~points.lost & (points.given["sigma"] >= NOISY_SIGMA)
    gains = np.zeros(noisy.size)
    for i in np.flatnonzero(noisy).tolist():
        gains[i] = _Path(points, i).gain()
    return Alike(points.least(), gains, points.searched)


class _Points:
    """Points of the paths of all rows, in their order: arrays of shape (points,).

    `row` says whose they are; `given` are the parameters, `lost` and `ends`, where a
    last piece ends, of shape (rows,).
    """

    def __init__(
        self,
        phase: PrintedPhase,
        activation: str,
        found: Minima,
        given: Mapping[str, Any],
    ) -> None:
        learned, rows = phase.learned, len(found.pieces)
        self.tied = "zeta_plus" in learned.unknowns and "silent" not in learned.branches
        self.sign = activation == "sign"
        self.searched = not self.sign and charted(learned)
        self.unit = UnitKind(activation)
        self.given = {k: np.broadcast_to(v, rows) for k, v in given.items()}
        self.lost = found.status == "lost"
        pieces = np.where(self.lost, 0, found.pieces)
        self.ends = np.where(pieces, found.edges[np.arange(rows), pieces], 1.0)
        row, piece = np.nonzero(np.arange(found.smooth.shape[1]) < pieces[:, None])
        first, last = found.edges[row, piece, None], found.edges[row, piece + 1, None]
        z = found.grid[::EVERY]
        self.s = (first * (last / first) ** ((1 - z) / 2)).ravel()
        self.row = np.repeat(row, z.size)
        table = found.smooth[row, piece, ::EVERY].reshape(-1, len(found.names))
        self.values = dict(zip(found.names, table.T, strict=True))
        self._levels = make_kernel(phase.levels, "numpy")

    def levels(self, s: np.ndarray, row: Any) -> tuple[np.ndarray, ...]:
        """Return the coefficients of the interpolant at times of some rows."""
        params = [self.given[name][row] for name in self._levels.parameters]
        values, _ = self._levels["values"](s, [], [], params, *self._levels.rule)
        return tuple(np.broadcast_to(x, s.shape) for x in values)

    def least(self) -> np.ndarray:
        """Return the smallest curvature of (H1) in each row, nan if it was lost.

        Where no unit responds it is that of the ridge.
        """
        size, found = self.given["n"], np.full(self.lost.size, np.inf)
        np.minimum.at(found, self.row, self.bend().min(axis=0))
        found = np.where(np.isinf(found), self.given["ridge_w"], found)
        return np.where(self.lost, np.nan, 2 / size * found)

    def bend(self) -> np.ndarray:
        """Return h of (H1) for both classes at every point, shape (2, points)."""
        of, (alpha, beta) = self.values, self.levels(self.s, self.row)
        mine = {k: v[self.row] for k, v in self.given.items()}
        sigma, omega = mine["sigma"], of["omega"]
        std, rate = alpha * np.sqrt(of["r"]), (beta * sigma) ** 2
        counts = mine["n_plus"], mine["n"] - mine["n_plus"]
        total: Any = 0.0 if self.sign else mine["ridge_w"]
        rows, below = [], mine["ridge_u"]
        for sign, which, count in zip((1, -1), ("plus", "minus"), counts, strict=True):
            seen = sign * omega + sigma * of[f"zeta_{which}"]
            first, second, square, bent = self._slopes(beta * seen + of["b"], std)
            y = sign * of["m"] + sigma * of[f"a_{which}"]
            own = -y * second + of["q"] / 2 * bent
            total = total + alpha**2 * count * own
            below = below + count * square
            rows.append((rate * own, first))
        if self.tied:
            tie = alpha**2 / beta
            lean = 2 * tie * sigma**2 * beta
            return np.array(
                [own + tie**2 * below - lean * f + total for own, f in rows]
            )
        lean = rate * sigma**2 / below
        return np.array([own - lean * f**2 + total for own, f in rows])

    def _slopes(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Return slope and curvature of averages, value and curvature of their squares.

        They are those of the unit and of its square over fields, by the fields' mean.
        """
        if self.sign:
            z = mean / std
            first = np.sqrt(2 / np.pi) * np.exp(-z * z / 2) / std
            return np.array([first, -z / std * first, np.ones_like(z), 0 * z])
        found = np.empty((4, mean.size))
        levels = _level(std)
        for level in np.unique(levels):
            (same,), rule = np.nonzero(levels == level), trapezoid(START * 2**level)
            for k in range(0, same.size, TOGETHER):
                some = same[k : k + TOGETHER]
                fields = mean[some, None] + std[some, None] * rule.nodes
                p, d, dd = self.unit.slopes(fields, 2)
                parts = d, dd, p * p, 2 * (d * d + p * dd)
                found[:, some] = [x @ rule.weights for x in parts]
        return found


def _level(std: Any) -> Any:
    """Return how often a rule is halved for fields that are so wide."""
    return np.ceil(np.log2(np.fmax(std, 1.0))).astype(int)


class _Path:
    """The minima of one row, at points of its path."""

    def __init__(self, points: _Points, row: int) -> None:
        point = row_of(points.given, row)
        self.points, self.row = points, row
        self.counts = np.array([point["n_plus"], point["n"] - point["n_plus"]])
        self.size, self.sigma = point["n"], point["sigma"]
        self.ridges = point["ridge_u"], point["ridge_w"]
        mine = slice(*np.searchsorted(points.row, [row, row + 1]))
        self.s, self.end = points.s[mine], points.ends[row]
        self.values = {k: v[mine] for k, v in points.values.items()}

    def gain(self) -> float:
        """Return by how much a state is lower in which a few samples have left."""
        below = [self.end * x for x in BEYOND] if self.end > 1e-4 else []
        times = np.append(self.s, below)
        alpha, beta = self.points.levels(times, self.row)
        seen = np.flatnonzero(beta * self.sigma > SEEN).tolist()
        for i in seen:
            here = float(alpha[i]), float(beta[i])
            height, fields = self._known(i, here)
            gain = self.size * (1 + self.sigma**2 - height)
            for few in range(1, FEW + 1 if i == seen[0] else 2):
                if gain >= self._most(few):
                    break
                found = min(self._left(c, few, here, fields) for c in (0, 1))
                if found < height - LOWER * (1 + abs(height)):
                    return height - found
        return 0.0

    def _most(self, few: int) -> float:
        r"""Return what no state with `few` samples on a wrong side gains more than.

        With $F = \sum f_i^2$ over the others, at most n - k, and $\mu$ over these k, at
        most k, the gain is below $[(n-k)F + \sigma^2(F + \mu)]/(F + \mu + \lambda)$.
        """
        n, noise, ridge = self.size, self.sigma**2, self.ridges[0]
        right = n - few
        none = right * (right + noise) / (right + ridge)
        return max(none, (right**2 + noise * n) / (n + ridge))

    def _loss(self, signs: list[float], counts: list[float], std: float) -> Objective:
        """The objective on groups of samples, by a rule fine enough for the fields."""
        return Objective(
            signs=np.array(signs)[:, None],
            counts=np.array(counts, float),
            rho=np.ones(1),
            sigma=self.sigma,
            ridge_u=self.ridges[0],
            ridge_w=self.ridges[1],
            network=self.points.unit,
            intervals=START * 2 ** int(_level(std)),
        )

    def _known(self, i: int, here: tuple[float, float]) -> tuple[float, np.ndarray]:
        """Return the objective of samples alike at a time, and their fields."""
        n, (plus, minus) = self.size, self.counts
        if i >= self.s.size:  # the closed branch
            gain = (plus - minus) ** 2 + self.sigma**2 * n
            height = 1 + self.sigma**2 - gain / (n + self.ridges[0]) / n
            return height, np.full(2, np.copysign(4.0, plus - minus))
        omega, b = self.values["omega"][i], self.values["b"][i]
        std = here[0] * np.sqrt(self.values["r"][i])
        loss = self._loss([1.0, -1.0], [*self.counts], std)
        a = omega / 2 * np.array([[1.0, -1.0]])
        found = loss.evaluate(*here, a, np.array([b]), (True,))
        return float(found.value), here[1] * (a @ loss.gram)[0] + b

    def _left(
        self, c: int, few: int, here: tuple[float, float], fields: np.ndarray
    ) -> float:
        """Return the lowest objective found with `few` samples of class `c` apart."""
        own, other = self.counts[[c, 1 - c]]
        if own <= few:
            return np.inf
        sign = 1.0 - 2.0 * c
        crossed = (fields[1 - c], fields[c], fields[1 - c])
        alone = [(out, rest, rest) for out, rest in STARTS]
        std = max(4.0, *np.abs(fields)) / 2
        loss = self._loss([sign, sign, -sign], [few, own - few, other], std)
        return min(_descended(loss, here, np.array(x)) for x in (crossed, *alone))


def _descended(loss: Objective, here: tuple[float, float], start: np.ndarray) -> float:
    """Return the objective where a descent from given fields of the groups ends."""
    from scipy.optimize import minimize

    fields = np.column_stack([here[1] * loss.gram @ APART, np.ones(3)])
    scale = 1 / np.abs(fields).max(axis=0)

    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        y = x * scale
        found = loss.evaluate(*here, (APART @ y[:2])[None], y[2:], (True,))
        slope = np.append(found.slope_a[0] @ APART, found.slope_b)
        return float(found.value), slope * scale

    first = np.linalg.solve(fields, start) / scale
    return float(minimize(both, first, jac=True, method="BFGS").fun)
