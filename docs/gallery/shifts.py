"""Twenty steps on six grids: which keep the weight or the spread as d grows."""

import dilaton
import numpy as np
from dilaton.numerics.share.euler import steps
from dilaton.show import plots

GRIDS = {
    "uniform": "uniform",
    "shift:3": "shift 3",
    "shift:d**(1/4)": "shift $d^{1/4}$",
    "shift:sqrt(d)": r"shift $\sqrt{d}$",
    "log-snr": "even in log SNR",
    "dilated": "dilation, $\\kappa = 3$",
}
P, STEPS = 0.8, 20


def figure(quick=False):
    spec = dilaton.default_spec().replace(n="inf", p=P, sigma=1.0, kappa=3.0)
    dims = np.logspace(2, 8, 4 if quick else 13)
    drawn, axes = plots.new_figure(1, 2, 9.4, 3.8)
    rows = [steps(spec, d, [STEPS], list(GRIDS), "left") for d in dims]
    titles = {"share_plus": "share of the + mode", "bulk_std": "spread of the bulk"}
    for ax, (key, title) in zip(axes[0], titles.items(), strict=True):
        for i, label in enumerate(GRIDS.values()):
            values = [row[i][key] for row in rows]
            style = {"color": plots.COLOURS[i], "marker": plots.MARKERS[i]}
            ax.plot(dims, values, label=label, ms=5, **style)
        target = P if key == "share_plus" else 1.0
        ax.axhline(target, color="black", ls="--", lw=1.2, label="target")
        ax.set_xscale("log")
        ax.set_xlabel("dimension $d$")
        ax.set_title(title)
    axes[0, 1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    drawn.suptitle(f"{STEPS} Euler steps on the exact velocity")
    return drawn
