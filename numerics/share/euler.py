"""The samples of few steps: the exact flow at dimension d, by any rule.

No limit is taken. Each projection on a mean obeys a scalar flow, so the shares need
no Monte Carlo: the map from the starting point to the last one is followed on a grid
and the sign changes of its result are located by bisection.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from ...errors import ModelError
from ...theory.limit import Limit
from ...theory.models.model import Model, Modes
from ...theory.models.spec import Spec
from ..asked import Asked, asked
from ..codegen.parameters import check_choice, complete, dimension
from ..times.time_grid import TimeGrid, make_grid
from .rules import RULES, ExactFlow, ModesFlow, Times

GRID = 4001
REACH = 8.5  # standard deviations; a normal leaves 2e-17 outside
ROUNDS, SECTIONS = 8, 65  # sections of a sign change: its place to 65**-8

KEEP_SHARE, KEEP_SPREAD = 0.02, 0.1
"""How near the weights and the spread must come for a number of steps to do."""
TRIED = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""The numbers of steps among which the smallest is sought."""

NAMES = {"uniform": "undilated"}


def steps(
    spec: Spec | Model | Limit | str | Path,
    d: float,
    steps: Sequence[int],
    grid: str | Sequence[str],
    rule: str,
    **values: float,
) -> list[dict[str, Any]]:
    r"""Shares and bulk spread after `steps` steps on the exact flow, at dimension `d`.

    The steps are spread evenly over a map of time (`make_grid`): ``dilated`` gives
    every phase an equal share, ``uniform`` (or ``undilated``) is even in $\tau$,
    ``shift:sqrt(d)`` is a shift. A step from $\tau_k$ to $\tau_{k+1}$ asks for the
    velocity at $X_k$ and at its left end (``left``) or at the middle (``midpoint``) of
    its interval; ``heun``, ``exponential`` and ``dpm++2m`` are `RULES` of their own.
    All are of the exact flow (D3). `spec` is a spec, the path of a spec file, or a
    model or a limit, with its `values` by name.

    Returns rows ``{"d", "steps", "schedule", "grid", "rule", "share_plus",
    "bulk_std"}``, grid by grid; `share_plus` is a list when there are several features.
    Modes have `shares` with `shares_error`, a standard error, in its place.
    """
    if not steps or not all(count == int(count) and count >= 1 for count in steps):
        raise ModelError(
            f"`steps` must be whole numbers from 1, but is {list(steps)}. Change it."
        )
    flow, grids = _prepared(asked(spec, values), d, grid, rule)
    return [
        {
            "d": float(d),
            "steps": int(count),
            **_named(text, rule),
            **follow_samples(flow, made.times(int(count), rule), rule),
        }
        for text, made in grids
        for count in steps
    ]


def smallest_steps(
    spec: Spec | Model | Limit | str | Path,
    d: float,
    grid: str | Sequence[str],
    rule: str,
    **values: float,
) -> list[dict[str, Any]]:
    """Return the fewest steps that keep the weights to .02 and the spread to .1.

    Rows ``{"d", "schedule", "grid", "rule", "smallest"}``; `smallest` is `None` where
    none of the numbers in `TRIED` does.
    """
    question = asked(spec, values)
    flow, grids = _prepared(question, d, grid, rule)
    point = question.values
    wanted = [float(x) for k, x in point.items() if k == "p" or k.startswith("p_")]
    sigma = float(point[str(question.limit.model.target.sigma)])

    def kept(times: Times) -> bool:
        got = follow_samples(flow, times, rule)
        shares = np.atleast_1d(got["shares" if "shares" in got else "share_plus"])
        near = np.abs(shares - wanted) <= KEEP_SHARE
        return bool(near.all()) and abs(got["bulk_std"] - sigma) <= KEEP_SPREAD

    return [
        {
            "d": float(d),
            **_named(text, rule),
            "smallest": next((n for n in TRIED if kept(made.times(n, rule))), None),
        }
        for text, made in grids
    ]


def _named(text: str, rule: str) -> dict[str, str]:
    return {"schedule": NAMES.get(text, text), "grid": text, "rule": rule}


def _prepared(
    question: Asked, d: float, grid: str | Sequence[str], rule: str
) -> tuple[ExactFlow, list[tuple[str, TimeGrid]]]:
    limit = question.limit
    point = complete(limit, question.values) | {"d": dimension(d)}
    check_choice("rule", rule, tuple(RULES))
    texts = [grid] if isinstance(grid, str) else list(grid)
    if not texts:
        raise ModelError(
            "`grid` must name at least one map of time, but names none. Write "
            '"dilated", for one.'
        )
    made = [make_grid(text, limit, point) for text in texts]
    kind = ModesFlow if isinstance(limit.model.target, Modes) else ExactFlow
    return kind(limit, point), [(g.text, g) for g in made]


def follow_samples(
    flow: ExactFlow, times: Times, rule: str, points: int = GRID, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Follow every projection and the bulk through the steps of `times` by `rule`.

    `points` are the starting points between which signs are sought to change, `rounds`
    how often a change is sought more closely.
    """
    if isinstance(flow, ModesFlow):
        return flow.counted(lambda first: RULES[rule](flow, first, times))

    def end(nu: np.ndarray) -> np.ndarray:
        first = flow.start * np.stack([*[nu] * flow.features, np.ones_like(nu)])
        return RULES[rule](flow, first, times)

    nodes = np.linspace(-REACH, REACH, points)
    last = end(nodes)
    shares = [
        positive_share(lambda x, i=i: end(x)[i], nodes, last[i], rounds)
        for i in range(flow.features)
    ]
    return {
        "share_plus": shares if flow.features > 1 else shares[0],
        "bulk_std": float(abs(last[-1, 0])),
    }


def step_states(flow: ExactFlow, state: np.ndarray, times: Times) -> np.ndarray:
    """Return the states at the ends of Euler steps, one more than there are steps."""
    found = [state]
    for width, at in zip(np.diff(times[0]), times[1], strict=True):
        found.append(found[-1] + width * flow.velocity(found[-1], at))
    return np.stack(found)


def positive_share(
    end: Any, nodes: np.ndarray, values: np.ndarray, rounds: int = ROUNDS
) -> float:
    """P(end(g) > 0) for a standard normal g, from the sign changes of `end`."""
    rising, places = sign_changes(end, nodes, values, rounds)
    # P = 1{positive at the far right} minus what each crossing takes away
    share = float(values[-1] > 0)
    return float(share + np.sum(np.where(rising, -1, 1) * ndtr(places)))


def sign_changes(
    end: Any, nodes: np.ndarray, values: np.ndarray, rounds: int = ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Return where `end` changes sign, and whether it rises there.

    Each change between two nodes is sought in ever finer sections.
    """
    change = np.flatnonzero((values[:-1] > 0) != (values[1:] > 0))
    low, high = nodes[change], nodes[change + 1]
    rising = values[change] <= 0
    parts = np.linspace(0.0, 1.0, SECTIONS)
    for _ in range(rounds if len(change) else 0):
        inside = low[:, None] + (high - low)[:, None] * parts
        up = (end(inside.ravel()) > 0).reshape(inside.shape) == rising[:, None]
        up[:, 0], up[:, -1] = False, True
        first = np.argmax(up, axis=1)[:, None]
        low = np.take_along_axis(inside, first - 1, axis=1)[:, 0]
        high = np.take_along_axis(inside, first, axis=1)[:, 0]
    return rising, low
