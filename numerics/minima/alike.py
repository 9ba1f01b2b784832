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
from itertools import pairwise
from typing import Any

import numpy as np

from ..codegen.kernel import make_kernel
from ..codegen.parameters import row_of
from ..codegen.quadrature import START, trapezoid
from ..codegen.snapshot import PrintedPhase
from .objective import Objective, UnitKind
from .result import Minima, charted

EVERY = 10  # every so many points of a piece are looked at

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
    rows = range(len(found.pieces))
    paths = [_Path(phase, activation, found, row_of(given, i), i) for i in rows]
    each = [(x.bend(), x.gain()) for x in paths]
    bends, gains = np.array(each).reshape(-1, 2).T
    return Alike(bends, gains, all(x.searched for x in paths))


class _Path:
    """The minima of one row, at points of its path."""

    def __init__(
        self,
        phase: PrintedPhase,
        activation: str,
        found: Minima,
        point: Mapping[str, float],
        row: int,
    ) -> None:
        learned = phase.learned
        self.tied = "zeta_plus" in learned.unknowns and "silent" not in learned.branches
        self.sign = activation == "sign"
        self.searched = not self.sign and charted(learned)
        self.unit = UnitKind(activation)
        self.counts = np.array([point["n_plus"], point["n"] - point["n_plus"]])
        self.size, self.sigma = float(point["n"]), float(point["sigma"])
        self.ridges = float(point["ridge_u"]), float(point["ridge_w"])
        self.lost = found.status[row] == "lost"
        pieces = 0 if self.lost else int(found.pieces[row])
        edges, z = found.edges[row], found.grid[::EVERY]
        pairs = pairwise(edges[: pieces + 1])
        tables = found.smooth[row, :pieces, ::EVERY]
        self.s = np.array([a * (b / a) ** ((1 - z) / 2) for a, b in pairs]).ravel()
        self.values = dict(zip(found.names, np.moveaxis(tables, -1, 0), strict=True))
        self.values = {k: v.ravel() for k, v in self.values.items()}
        self.end = float(edges[pieces]) if pieces else 1.0
        kernel = make_kernel(phase.levels, "numpy")
        params = [point[name] for name in kernel.parameters]

        def levels(s: np.ndarray) -> tuple[np.ndarray, ...]:
            (alpha, beta), _ = kernel["values"](s, [], [], params, *kernel.rule)
            return tuple(np.broadcast_to(x, np.shape(s)) for x in (alpha, beta))

        self.levels = levels

    def bend(self) -> float:
        """Return the smallest curvature of (H1), nan where no unit responds."""
        if not self.s.size:
            return np.nan if self.lost else 2 * self.ridges[1] / self.size
        return float(2 / self.size * _split_bend(self).min())

    def gain(self) -> float:
        """Return by how much a state is lower in which a few samples have left."""
        if self.lost or not self.searched or self.sigma < NOISY_SIGMA:
            return 0.0
        below = [self.end * x for x in BEYOND] if self.end > 1e-4 else []
        times = np.append(self.s, below)
        alpha, beta = self.levels(times)
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
        level = max(0, int(np.ceil(np.log2(max(std, 1.0)))))
        return Objective(
            signs=np.array(signs)[:, None],
            counts=np.array(counts, float),
            rho=np.ones(1),
            sigma=self.sigma,
            ridge_u=self.ridges[0],
            ridge_w=self.ridges[1],
            network=self.unit,
            intervals=START * 2**level,
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


def _split_bend(path: _Path) -> np.ndarray:
    """Return h of (H1) for both classes at the points of a path, shape (2, points)."""
    of, (alpha, beta) = path.values, path.levels(path.s)
    omega, zetas = of["omega"], (of["zeta_plus"], of["zeta_minus"])
    std, rate = alpha * np.sqrt(of["r"]), (beta * path.sigma) ** 2
    rows, below, ridge_w = [], *path.ridges
    total = 0.0 if path.sign else ridge_w
    for sign, zeta, a, count in zip(
        (1, -1), zetas, (of["a_plus"], of["a_minus"]), path.counts, strict=True
    ):
        mean = beta * (sign * omega + path.sigma * zeta) + of["b"]
        first, second, square, bent = _slopes(path, mean, std)
        own = -(sign * of["m"] + path.sigma * a) * second + of["q"] / 2 * bent
        total = total + alpha**2 * count * own
        below = below + count * square
        rows.append((rate * own, first))
    if path.tied:
        tie = alpha**2 / beta
        lean = 2 * tie * path.sigma**2 * beta
        return np.array([own + tie**2 * below - lean * f + total for own, f in rows])
    lean = rate * path.sigma**2 / below
    return np.array([own - lean * f**2 + total for own, f in rows])


def _slopes(path: _Path, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return slope and curvature of an average, and of its square value and curvature.

    They are those of the unit and of its square over fields, in the fields' mean.
    """
    if path.sign:
        z = mean / std
        first = np.sqrt(2 / np.pi) * np.exp(-z * z / 2) / std
        return first, -z / std * first, np.ones_like(z), np.zeros_like(z)
    rule = trapezoid(START * 2 ** max(0, int(np.ceil(np.log2(max(std.max(), 1.0))))))
    p, d, dd = path.unit.slopes(mean[:, None] + std[:, None] * rule.nodes, 2)
    parts = d, dd, p * p, 2 * (d * d + p * dd)
    return tuple(x @ rule.weights for x in parts)
