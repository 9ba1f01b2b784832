"""Minima of stationary systems for whole batches, continued in the time of a phase.

The learned parameters of n samples minimise an objective that changes with s. All its
minima are found on a grid at s = 1, where basins are wide, and followed downwards; the
lowest is taken, piece by piece. At small s a closed branch competes: w = 0 with every
unit saturated. Objectives decide, and each point says on which branch it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError
from ..codegen.kernel import make_kernel, numba_module
from ..codegen.parameters import BACKENDS, check_choice
from ..codegen.quadrature import START, chebyshev, trapezoid
from ..codegen.snapshot import Printed, printed
from ..codegen.tiers import Loops
from .follow_numba import AGAIN, NOISY, PARTS, PIECES
from .result import BRANCHES, FLOOR, LEVELS, Minima, batch, charted, guesses

if TYPE_CHECKING:
    from ...theory.symbols.system import System

NODES = 41
"""Chebyshev points in log s on which the minimum is known between its end points."""

CLOSED = {"saturated": 1, "silent": 2}
"""Closed branches by name: |b| infinite, or w = 0 where there is no bias."""

WORTH = 500
"""Rows that are worth to be compiled for: Python takes 10 ms for one, numba 8 s."""

LEAST = 4
"""Rows that are worth a piece of their own for a thread."""


def minimise(
    system: System | Printed,
    s: Sequence[float] | np.ndarray,
    params: Mapping[str, Any],
    *,
    tol: float = 1e-12,
    backend: str = "numba",
    points: int = NODES,
) -> Minima:
    """Minimise a stationary system at each time `s` for a batch of parameters.

    Parameters
    ----------
    system
        A `System` of kind ``stationary``.
    s
        Times in [0, 1], in any order.
    params
        Every parameter of the system by name, each of shape () or (rows,).
    tol
        Largest bound on the error of the averages, unless the finest rule exceeds it.
    backend
        ``numba``, ``jax``, or ``scipy`` for the slow reference.
    points
        Chebyshev points of the continuation.

    Raises
    ------
    ModelError
        If the system is not stationary, or a parameter is missing.
    """
    if system.kind != "stationary":
        raise ModelError(
            "`minimise` needs a stationary system, but "
            f"`{system.name}` is {system.kind}. Use `dilaton.solve` for it."
        )
    held = printed(system)
    columns = batch(held, params)
    times = np.atleast_1d(np.asarray(s, dtype=float))
    found = _follower(backend)(held, times, columns, tol, points)
    for row in np.flatnonzero(found[-1][:, 3] != LOST):
        if _beaten(held, columns[row], tuple(x[row] for x in found)):
            values, facts, codes, *_, summary = found
            values[row], facts[row], codes[row], summary[row, 3] = (
                np.nan,
                np.nan,
                LOST,
                LOST,
            )
    return _minima(held, found)


LOST, CLOSED_ALL = BRANCHES.index("lost"), BRANCHES.index("saturated")

LOOKED = (1.0, 0.3, 0.1, 0.03, 0.01)
"""Times at which it is tested whether the closed branch is the lowest."""

TRIED = np.geomspace(1e-9, 1e4, 105), np.array([[-1.5], [0.0], [1.5]])
"""Sizes of a weight, and biases, of points that must not lie lower than a minimum."""

MARGIN = 1e-9
"""Relative: a point that is lower by more shows that another minimum was missed."""


def _beaten(system: Printed, row: np.ndarray, found: tuple[np.ndarray, ...]) -> bool:
    """Whether some point lies below the lowest minimum that was found of a row.

    Tied units have weights of the size of the scale, sign units flat stretches: their
    minima may be missed. Where the closed branch is said to be the lowest everywhere,
    it is tested at several times, since it need not be so at all of them.
    """
    shut = found[-1][3] == CLOSED_ALL
    if not shut and charted(system):
        return False
    kernel, rule = make_kernel(system, "numpy"), trapezoid(START * FINER)
    params, size = list(row), len(system.unknowns)
    own = dict(zip(system.parameters, row, strict=True))
    sizes, biases = np.broadcast_arrays(*TRIED)
    lean = sizes * own.get("sigma", 0.0) / own.get("n", 1.0)  # of a w along the labels
    tried = {"omega": sizes, "b": biases, "zeta_plus": lean, "zeta_minus": -lean}
    states = [tried.get(name, np.zeros_like(sizes)) for name in system.unknowns]
    with np.errstate(all="ignore"):
        for s in LOOKED if shut else LOOKED[:1]:
            if shut:
                known = kernel["branch"](s, [], [], params, *rule)[0][-1]
            else:
                x = list(found[SMOOTH][0, 0, :size])
                known = kernel["objective"](s, x, [], params, *rule)[0][0]
            (heights,), off = kernel["objective"](s, states, [], params, *rule)
            room = MARGIN * (1 + abs(known)) + np.nan_to_num(off, nan=np.inf)
            if np.any(heights < known - room):
                return True
    return False


FINER = 16
"""How much finer than the first rule the one is by which points are compared."""


def _follower(backend: str) -> Callable[..., tuple[np.ndarray, ...]]:
    check_choice("backend", backend, BACKENDS)
    if backend == "scipy":
        from .newton_scipy import follow_scipy

        return follow_scipy
    return _follow_side_by_side if backend == "jax" else _follow


@lru_cache(maxsize=4)
def rules(levels: int = LEVELS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nodes and weights of nested rules, one after another, and their starts."""
    found = [trapezoid(START * 2**k) for k in range(levels)]
    starts = np.cumsum([0, *(rule.nodes.size for rule in found)])
    nodes = np.concatenate([rule.nodes for rule in found])
    return nodes, np.concatenate([rule.weights for rule in found]), starts


def _follow_side_by_side(
    system: Printed, times: np.ndarray, columns: np.ndarray, tol: float, points: int
) -> tuple[np.ndarray, ...]:
    """Follow rows on JAX; one by one those where several minima may compete."""
    from .newton_jax import follow_jax

    found = follow_jax(system, times, columns, tol, points)
    summary = found[-1]
    early = (summary[:, 0] == 1) & (found[EDGES][:, 1] <= FLOOR)
    hard = (summary[:, 3] == BRANCHES.index("lost")) | (summary[:, 1] > 1)
    hard |= early & (times < FLOOR).any() | _noisy(system, columns)
    again = np.flatnonzero(hard)
    if not again.size:
        return found
    return _put(found, again, _follow(system, times, columns[again], tol, points))


def _noisy(system: Printed, columns: np.ndarray) -> np.ndarray:
    """Return where much of `w` lies along the noise of the samples."""
    if not charted(system):
        return np.zeros(len(columns), dtype=bool)
    kernel = make_kernel(system, "numpy")
    seen, _ = kernel["observables"](1.0, [1.0, 0.0], [], [*columns.T], *kernel.rule)
    size = seen[kernel.outputs("observables").index("r")]
    return np.broadcast_to(size > 1 + NOISY, len(columns))


def minimise_in_parts(
    system: System | Printed, params: Mapping[str, Any], points: int
) -> Minima:
    """Minimise as `minimise` does, compiled, on pieces cut where a minimum moves fast.

    The `edges` are then not all switches: this is what a share is computed from.
    """
    held, none = printed(system), np.zeros(0)
    columns = batch(held, params)
    room = (points, len(held.names), PARTS)
    found = _room(len(columns), 0, PARTS, *room)
    _fill(held, none, columns, 1e-12, found, 1)
    return _minima(held, found)


def _put(
    found: tuple[np.ndarray, ...], rows: np.ndarray, more: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, ...]:
    """Put results of some rows into those of all; make room for their pieces."""
    old, new = found[SMOOTH], more[SMOOTH]
    room = max(old.shape[1], new.shape[1])
    smooth = np.full((len(old), room, *old.shape[2:]), np.nan)
    smooth[:, : old.shape[1]] = old
    smooth[rows] = np.nan
    smooth[rows, : new.shape[1]] = new
    whole = (*found[:SMOOTH], smooth, *found[SMOOTH + 1 :])
    for k, (all_rows, part) in enumerate(zip(whole, more, strict=True)):
        if k != SMOOTH:
            all_rows[rows] = part
    return whole


ROUGH = 16
"""Nodes of the rule that a landscape is searched with."""

SIZES, PLACES = (0.003, 24.0, 26), 25
"""Sizes of the fields on a grid of the landscape, and how many biases there are.

The largest lies well beyond those of minima: what is lowest on an edge is no dip.
"""

THIN = (12, 11)
"""Sizes, and biases, on the grid where one minimum is expected."""


@lru_cache(maxsize=1)
def _rough() -> tuple[np.ndarray, np.ndarray]:
    """Return a Gauss-Hermite rule that is short, for fields that are not steep."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(ROUGH)
    return nodes, weights / weights.sum()


def _shapes(system: Printed) -> tuple[np.ndarray, ...]:
    """Return the grids of the landscape, close and thin; empty ones if it has none."""
    if not charted(system):
        return (np.zeros(0),) * 4
    found = []
    for sizes, places in ((SIZES[2], PLACES), THIN):
        found += [np.geomspace(*SIZES[:2], sizes), np.linspace(-1, 1, places)]
    return tuple(found)


PRINTED = ("newton", "branch", "observables", "objective", "fields")
"""Functions that the loops call, in the order of the numbers in `newton_numba`."""


@lru_cache(maxsize=16)
def _functions(system: Printed) -> tuple[Any, ...]:
    """Return the functions of a system that the loops call."""
    module = numba_module(system, only=PRINTED)[1]
    return tuple(getattr(module, name, None) for name in PRINTED)


@lru_cache(maxsize=16)
def _loops(states: int, names: int, even: bool) -> Loops:
    """Return the loops around systems of so many unknowns, and names in all."""
    from . import crossing_numba, follow_numba, newton_numba, survey_numba

    files = (newton_numba, survey_numba, crossing_numba, follow_numba)
    sizes = {"STATES": states, "NAMES": names, "EVEN": int(even)}
    return Loops(files, "follow", sizes, WORTH)


def _follow(
    system: Printed, times: np.ndarray, columns: np.ndarray, tol: float, points: int
) -> tuple[np.ndarray, ...]:
    """Follow every row; rows of several pieces again, with room for all of them."""
    found = _room(len(columns), times.size, 1, points, len(system.names))
    _fill(system, times, columns, tol, found)
    again = np.flatnonzero(found[-1][:, 3] == AGAIN)
    if not again.size:
        return found
    pieces = int(found[-1][again, 0].max())
    more = _room(again.size, times.size, pieces, points, len(system.names))
    _fill(system, times, columns[again], tol, more)
    return _put(found, again, more)


SMOOTH, EDGES = 3, 4
"""The places of the values at Chebyshev points, and of the ends of pieces."""


def _room(
    rows: int, times: int, pieces: int, points: int, names: int, most: int = PIECES
) -> tuple[np.ndarray, ...]:
    """Return arrays to fill; see `follow_row`."""
    return (
        np.full((rows, times, names), np.nan),
        np.full((rows, times, 4), np.nan),
        np.full((rows, times), BRANCHES.index("lost")),
        np.full((rows, pieces, points, names), np.nan),
        np.full((rows, most + 1), np.nan),
        np.full((rows, names), np.nan),
        np.full((rows, 4), np.nan),
    )


def _fill(
    system: Printed,
    times: np.ndarray,
    columns: np.ndarray,
    tol: float,
    results: tuple[np.ndarray, ...],
    cuts: int = 0,
) -> None:
    closed = CLOSED[system.branches[0]] if system.branches else 0
    shapes = _shapes(system)
    r_index = system.names.index("r") if shapes[0].size else -1
    points = results[SMOOTH].shape[2]
    how = (r_index, cuts)
    common = (times, chebyshev(points), FLOOR, closed, guesses(system), shapes, how)
    loops = _loops(len(system.unknowns), len(system.names), system.even)

    def work(follow: Any, functions: Any, first: int, last: int) -> None:
        part, held = tuple(x[first:last] for x in results), (*rules(), functions)
        follow(*common, columns[first:last], (*held, *_rough()), tol, part)

    loops.through(len(columns), _functions(system), work, LEAST)


def _minima(system: Printed, found: tuple[np.ndarray, ...]) -> Minima:
    values, facts, codes, smooth, edges, below, summary = found
    interior = codes == BRANCHES.index("interior")
    lost = summary[:, 3] == BRANCHES.index("lost")
    return Minima(
        names=system.names,
        values=values,
        objective=facts[..., 0],
        residual=facts[..., 1],
        eigenvalue=np.where(interior, facts[..., 2], np.nan),
        quadrature=facts[..., 3],
        branch=codes,
        edges=edges,
        pieces=summary[:, 0].astype(int),
        minima=summary[:, 1].astype(int),
        flat=summary[:, 2],
        status=np.array(["ok", "saturated", "lost"])[summary[:, 3].astype(int)],
        grid=chebyshev(smooth.shape[2]),
        smooth=smooth,
        below=np.where(lost[:, None], np.nan, below),
    )
