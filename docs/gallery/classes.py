r"""Shares of K orthogonal classes: the window's scale must grow as $\sqrt{2\log K}$.

The chance that a sample is counted to its own class at the end of the window, against
kappa and against kappa divided by $\sqrt{2\log K}$.
"""

import numpy as np
from dilaton.numerics.modes.confusion import confusion
from dilaton.show import plots

SIZES = (2, 5, 20, 100)


def figure(quick=False):
    drawn, axes = plots.new_figure(1, 2, 9.0, 3.6)
    plain, scaled = axes[0]
    kappa = np.linspace(0.05, 8, 15 if quick else 80)
    for i, size in enumerate(SIZES):
        style = {"color": plots.COLOURS[i], "ls": ("-", "--", "-.", ":")[i]}
        right = [confusion(k * np.eye(size)).matrix[0, 0] for k in kappa]
        plain.plot(kappa, right, label=f"K = {size}", **style)
        scaled.plot(kappa / np.sqrt(2 * np.log(size)), right, **style)
    scaled.axvline(1, color=plots.GREY, lw=0.9, ls=":")
    plain.set_xlabel(r"$\kappa$")
    scaled.set_xlabel(r"$\kappa/\sqrt{2\,\log K}$")
    scaled.set_xlim(0, 4)
    plain.set_ylabel("counted to its own class")
    plain.legend(loc="lower right")
    return drawn
