"""Without a dilation a sampler with few steps loses p as d grows."""

import dilaton
import numpy as np
from dilaton.numerics.share.euler import follow_samples
from dilaton.numerics.share.rules import ExactFlow
from dilaton.numerics.times.time_grid import make_grid
from dilaton.show import plots

P, KAPPA, STEPS = 0.8, 3.0, 40
KINDS = (("dilated", "midpoint"), ("undilated", "left"), ("undilated", "midpoint"))


def figure(quick=False):
    limit = dilaton.derive(dilaton.Model(dilaton.two_modes()))
    dims = np.logspace(2, 8, 3 if quick else 13)
    count = 10 if quick else STEPS
    drawn, axes = plots.new_figure(1, 1, 6.6, 3.8)
    ax = axes[0, 0]
    for i, (schedule, rule) in enumerate(KINDS):
        shares = [share(limit, d, count, schedule, rule) for d in dims]
        ax.plot(
            dims,
            shares,
            color=plots.COLOURS[i],
            marker=plots.MARKERS[i],
            label=f"{schedule}, {rule} rule",
        )
    ax.axhline(P, color="black", ls="--", lw=1.2, label=f"target, p = {P}")
    ax.set_xscale("log")
    ax.set_ylim(0.45, 1.03)
    ax.set_xlabel("dimension $d$")
    ax.set_ylabel("generated share of the + mode")
    ax.set_title(f"{count} Euler steps on the exact velocity")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return drawn


def share(limit, d, count, schedule, rule):
    point = {"p": P, "sigma": 1.0, "kappa": KAPPA, "d": d}
    grid = make_grid(schedule, limit, point).times(count, rule)
    return follow_samples(ExactFlow(limit, point), grid, "left")["share_plus"]
