"""The tree of decisions of six modes, and how wide its windows are in plain time.

A pair of large means first, their children later; one mode leaves at its own branch.
"""

import dilaton
from dilaton.show import plots
from dilaton.show.tree import draw_tree

LOADINGS = [
    [1, 1, 0],
    [1, -1, 0],
    [-1, 0.6, 1],
    [-1, 0.6, -1],
    [-1, -0.6, 0],
    [0, 0, 0],
]
EXPONENTS = (0, "1/6", "1/3")
WEIGHTS = (0.30, 0.10, 0.15, 0.05, 0.25, 0.15)
NAMES = [f"{k}" for k in range(1, 7)]


def figure(quick=False):
    limit = dilaton.derive(dilaton.Model(dilaton.modes(LOADINGS, EXPONENTS)))
    count = len(limit.phases)
    windows = [
        (i / count, (i + 1) / count, phase.groups)
        for i, phase in enumerate(limit.phases)
        if phase.groups
    ]
    drawn, axes = plots.new_figure(1, 1, 7.2, 3.8)
    ax = axes[0][0]
    draw_tree(ax, windows, WEIGHTS, [f"mode {name}" for name in NAMES])
    for i, phase in enumerate(limit.phases):
        where = r"$\tau = O(1)$"
        if phase.exponent != 0:
            where = rf"$\tau \sim d^{{-{phase.exponent}}}$"
        ax.text((i + 0.5) / count, 0.62, where, ha="center", va="bottom")
    ax.set_ylim(-5.6, 1.2)
    ax.set_xlim(0, 1.0)
    ax.set_xlabel("dilated time $t$")
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    return drawn
