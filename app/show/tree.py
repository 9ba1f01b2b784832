"""A figure of the tree of decisions: which modes part in which window of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .plots import COLOURS, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cluster = tuple[int, ...]
Windows = Sequence[tuple[float, float, Sequence[Sequence[Cluster]]]]

THIN, THICK = 1.0, 9.0  # widths of branches, of no weight and of all of it
NAME = "mode {}"


def draw_tree(
    ax: Axes, windows: Windows, weights: Sequence[float], names: Sequence[str] = ()
) -> dict[Cluster, float]:
    """Draw branches along the time axis; their width tells their weight.

    Parameters
    ----------
    ax
        Where to draw; the horizontal axis is the dilated time.
    windows
        For each window its beginning and end, and the branches that part in it, each a
        list of groups of modes counted from 1.
    weights
        Of the modes.
    names
        Labels of the modes, ``mode 1`` and so on if left out.

    Returns
    -------
    dict
        The height of each group that was drawn.
    """
    whole = tuple(range(1, len(weights) + 1))
    heights = _heights(whole, windows)
    here: dict[Cluster, float] = {whole: 0.0}  # since when a branch runs
    for low, high, branches in windows:
        ax.axvspan(low, high, color=GREY, alpha=0.12, lw=0)
        ax.axvline(high, color=GREY, lw=0.9, ls=":")
        for branch in branches:
            parent = tuple(sorted(k for group in branch for k in group))
            _line(ax, here.pop(parent), low, heights[parent], _weight(parent, weights))
            for group in branch:
                ends = heights[parent], heights[group]
                _bend(ax, low, high, ends, _weight(group, weights))
                here[group] = high
    for group, since in here.items():
        _line(ax, since, 1.0, heights[group], _weight(group, weights))
        text = " = ".join(names[k - 1] if names else NAME.format(k) for k in group)
        share = f"{text}  ({_weight(group, weights):.2g})"
        place: dict[str, Any] = {
            "xytext": (6, 0),
            "textcoords": "offset points",
            "va": "center",
        }
        ax.annotate(share, (1.0, heights[group]), **place)
    ax.set_xlim(0, 1)
    ax.set_yticks([])
    return heights


def _weight(group: Cluster, weights: Sequence[float]) -> float:
    return float(sum(weights[k - 1] for k in group))


def _heights(whole: Cluster, windows: Windows) -> dict[Cluster, float]:
    """Put the last groups at equal distances and each branch amid its own."""
    children = {
        tuple(sorted(k for group in branch for k in group)): branch
        for *_, branches in windows
        for branch in branches
    }
    heights: dict[Cluster, float] = {}
    leaves = 0

    def place(group: Cluster) -> float:
        nonlocal leaves
        if group in children:
            heights[group] = float(np.mean([place(tuple(x)) for x in children[group]]))
        else:
            heights[group] = -float(leaves)
            leaves += 1
        return heights[group]

    place(whole)
    return heights


def _line(ax: Axes, low: float, high: float, height: float, weight: float) -> None:
    ax.plot([low, high], [height, height], color=COLOURS[0], **_style(weight))


def _bend(
    ax: Axes, low: float, high: float, ends: tuple[float, float], weight: float
) -> None:
    x = np.linspace(0, 1, 41)
    smooth = x * x * (3 - 2 * x)
    y = ends[0] + (ends[1] - ends[0]) * smooth
    ax.plot(low + (high - low) * x, y, color=COLOURS[0], **_style(weight))


def _style(weight: float) -> dict[str, Any]:
    return {"lw": THIN + (THICK - THIN) * weight, "solid_capstyle": "round"}
