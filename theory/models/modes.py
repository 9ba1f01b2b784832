"""Modes as numbers: what a list of them must be, and the tree in which they part.

Reading a spec needs this, so that neither sympy nor numpy is loaded here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from ...errors import ModelError, shown

MOST_MODES = 128
LARGEST = 1e6  # of a loading
SAME = 1e-9  # of the largest loading: modes that are nearer count as one
SUM_ERROR = 1e-9  # of the weights' sum
ROUNDING = 1e-12  # of a Gram matrix's largest entry

Cluster = tuple[int, ...]
"""Modes, counted from 1, that count as one."""

Parting = tuple[Cluster, ...]
"""The groups that a branch of the tree parts into."""

Rows = Sequence[Sequence[float]]


class Level(NamedTuple):
    """The decisions of one window.

    `directions` (from 1) are those of its exponent, `branches` the groups that it
    tells apart, one entry for each branch that parts here; `groups` are all groups
    afterwards.
    """

    exponent: Fraction
    directions: tuple[int, ...]
    branches: tuple[Parting, ...]
    groups: tuple[Cluster, ...]


def levels(loadings: Rows, exponents: Sequence[Any]) -> tuple[Level, ...]:
    """The tree of decisions, coarse to fine: a larger mean is seen earlier.

    Modes that differ in a direction of an exponent part in its window; modes that
    differ in later directions only count as one until then. Directions that tell no
    modes apart have no window.
    """
    every = [Fraction(str(e)) for e in exponents]
    whole: Cluster = tuple(range(1, len(loadings) + 1))
    found: list[Level] = []
    groups: tuple[Cluster, ...] = (whole,)
    for exponent in sorted(set(every)):
        seen = tuple(j for j, e in enumerate(every, 1) if e == exponent)
        parts = [_parted(group, loadings, seen) for group in groups]
        groups = tuple(group for part in parts for group in part)
        branches = tuple(part for part in parts if len(part) > 1)
        if branches:
            found.append(Level(exponent, seen, branches, groups))
    return tuple(found)


def _parted(group: Cluster, loadings: Rows, seen: tuple[int, ...]) -> Parting:
    """The groups of modes that are equal in the directions `seen`."""
    size = max(abs(loadings[k - 1][j - 1]) for k in group for j in seen)
    parts: list[list[int]] = []
    for k in group:
        for part in parts:
            pairs = (
                (loadings[k - 1][j - 1], loadings[part[0] - 1][j - 1]) for j in seen
            )
            if all(abs(a - b) <= SAME * size for a, b in pairs):
                part.append(k)
                break
        else:
            parts.append([k])
    return tuple(map(tuple, parts))


# ----------------------------------------------------------------- what they must be


def check_weights(where: str, given: Any) -> list[float]:
    """Return the weights of two or more modes; raise `ModelError` for others."""
    rule = f"`{where}` must list the weights of 2 to {MOST_MODES} modes"
    if not isinstance(given, list | tuple) or not 2 <= len(given) <= MOST_MODES:
        fact = f"has {len(given)}" if isinstance(given, list) else f"is {shown(given)}"
        raise ModelError(f"{rule}, but {fact}. One mode has no weight to learn.")
    for k, weight in enumerate(given, 1):
        if not _is_number(weight) or not 0 < weight < 1:  # nan compares false
            raise ModelError(
                f"{rule}, each between 0 and 1, but that of mode {k} is "
                f"{shown(weight)}. Leave out a mode without weight."
            )
    check_sum(where, given)
    return [float(x) for x in given]


def check_sum(where: str, weights: Sequence[float]) -> None:
    """Raise `ModelError` unless weights sum to 1."""
    total = math.fsum(weights)
    if abs(total - 1) > SUM_ERROR:
        raise ModelError(
            f"`{where}` must sum to 1, but the sum is {total:.12g}. Divide them by it."
        )


def check_loadings(where: str, given: Any, modes: int | None = None) -> list[list]:
    """Return a K x J matrix whose row k is mode k, whole numbers as such."""
    rule = f"`{where}` must be a matrix with one row for each mode"
    rows = _matrix(where, rule, given)
    if modes is not None and len(rows) != modes:
        raise ModelError(
            f"{rule}, but has {len(rows)} rows for {modes} weights. Row k is mode k."
        )
    if modes is None and not 2 <= len(rows) <= MOST_MODES:
        raise ModelError(
            f"{rule}, from 2 to {MOST_MODES}, but has {len(rows)}. One mode has no "
            "weight to learn."
        )
    return rows


def _matrix(where: str, rule: str, given: Any) -> list[list]:
    lists = isinstance(given, list | tuple) and given
    if not lists or not all(isinstance(row, list | tuple) for row in given):
        raise ModelError(f"{rule}, but is {shown(given)}. Write [[1, 0], [0, 1]].")
    width = len(given[0])
    for k, row in enumerate(given, 1):
        if len(row) != width or not width or width > MOST_MODES:
            raise ModelError(
                f"{rule} and 1 to {MOST_MODES} numbers in each, equally many, but row "
                f"{k} has {len(row)} and row 1 has {width}. Fill it up with zeros."
            )
        for x in row:
            if not _is_number(x) or not abs(x) < LARGEST:
                raise ModelError(
                    f"`{where}` must hold numbers below {LARGEST:g}, but row {k} holds "
                    f"{shown(x)}. Change it."
                )
    # one spelling of a number: whole ones as int, without a sign of zero
    return [[int(x) if x == int(x) else float(x) for x in row] for row in given]


def _is_number(x: Any) -> bool:
    return type(x) in (int, float)


def check_apart(loadings: Rows, exponents: Sequence[Any]) -> None:
    """Raise `ModelError` when all modes are equal: there is nothing to decide."""
    if not levels(loadings, exponents):
        raise ModelError(
            f"At least two modes must differ, but all {len(loadings)} have the same "
            "mean. Change a loading."
        )


# --------------------------------------------------------------------- Gram matrices


def check_gram(where: str, given: Any, modes: int) -> list[list]:
    """Return a symmetric K x K matrix of products of means, in units of d."""
    rule = f"`{where}` must be a symmetric matrix with one row and column for each mode"
    rows = _matrix(where, rule, given)
    if len(rows) != modes or len(rows[0]) != modes:
        raise ModelError(
            f"{rule}, but is {len(rows)} x {len(rows[0])} for {modes} weights. Entry "
            "(k, l) is the product of means k and l, divided by d^(1 - 2 exponent)."
        )
    size = max(abs(x) for row in rows for x in row)
    for k, row in enumerate(rows):
        for i in range(k):
            if abs(row[i] - rows[i][k]) > ROUNDING * size:
                raise ModelError(
                    f"{rule}, but entry ({k + 1}, {i + 1}) is {row[i]:g} and entry "
                    f"({i + 1}, {k + 1}) is {rows[i][k]:g}. Make them equal."
                )
    return rows


def factored(where: str, gram: Rows) -> list[list[float]]:
    """Return loadings L (K x rank) with L L^T = `gram`, by pivoted Cholesky.

    Raises `ModelError` when the matrix has a negative eigenvalue: no means have these
    products.
    """
    size = len(gram)
    rest = [[float(x) for x in row] for row in gram]
    scale = max(abs(x) for row in rest for x in row)
    columns: list[list[float]] = []
    while True:
        pivot = max(range(size), key=lambda k: rest[k][k])
        if rest[pivot][pivot] <= 1e3 * ROUNDING * scale:
            break
        root = math.sqrt(rest[pivot][pivot])
        column = [rest[k][pivot] / root for k in range(size)]
        columns.append(column)
        for k in range(size):
            for i in range(size):
                rest[k][i] -= column[k] * column[i]
    left = max((abs(x) for row in rest for x in row), default=0.0)
    if left > 1e4 * ROUNDING * scale:
        worst = min(rest[k][k] for k in range(size))
        raise ModelError(
            f"`{where}` must be positive semidefinite, being the products of means, "
            f"but after {len(columns)} of them {min(worst, -left):.3g} is left. Check "
            "its entries: |C_kl| <= sqrt(C_kk C_ll) is needed, among others."
        )
    return [[column[k] for column in columns] or [0.0] for k in range(size)]
