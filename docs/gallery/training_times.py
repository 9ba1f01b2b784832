r"""How long the weight of a mode takes to be learned, for six densities of times.

One tied network for all times, the exact learning time at each $d$ from p = 1/2 to
within 0.05 of p = 0.8; the dots are networks trained by SGD from w = mu, b = 0, at
times drawn from the density (24 runs each, and their standard error).
"""

import dilaton
import numpy as np
from dilaton.show import plots
from dilaton.theory.models.spec import parse_spec
from dilaton.torchcheck.study.shared_times import train_networks

SPEC = """
[target]
kind = "two-modes"
p = 0.8
sigma = 1.0
[interpolant]
alpha = "1 - tau"
beta = "tau"
[dilation]
kappa = 3.0
[data]
n = "inf"
"""
WITHIN = 0.05
DENSITIES = {
    "uniform": "uniform",
    "shift:3": "shift 3",
    "logit-normal:0:1": "logit-normal",
    "logit-normal:0:1+shift:3": "logit-normal, shift 3",
    "dilated": r"dilated, $\kappa=3$",
    "shift:sqrt(d)": r"shift $\sqrt{d}$",
}
MEASURED = {"uniform": (64, 256), "shift:3": (64, 256), "dilated": (64, 256)}
MEASURED["shift:sqrt(d)"] = (64, 256)


def measured_time(spec, d, density, until, quick):
    """When the mean of sigmoid(2b) over networks is first within reach of p."""
    start = {"m": 1.0, "q": 0.0, "b": 0.0}
    times = np.linspace(0, until, 61)[1:]
    run = {"rate": 1.0, "batch": 16, "networks": 4 if quick else 24, "seed": d}
    nets = train_networks(spec, [d], density, "data", start, times, **run)
    share = 1 / (1 + np.exp(-2 * nets.measured[d][:, 2]))
    target = 0.8 - WITHIN

    def crossing(path):
        path = np.maximum.accumulate(path)
        return np.interp(target, np.concatenate([[0.5], path]), [0, *times])

    mean = share.mean(axis=1)
    halves = [crossing(share[:, i::4].mean(axis=1)) for i in range(4)]
    return crossing(mean), np.std(halves, ddof=1) / 2


def figure(quick=False):
    spec = parse_spec(SPEC)
    dims = np.geomspace(36, 65536, 5 if quick else 25)
    drawn, axes = plots.new_figure(1, 1, 6.4, 4.6)
    (ax,) = axes[0]
    for i, (density, label) in enumerate(DENSITIES.items()):
        rows = dilaton.learning_times(spec, dims, [density], ["data"], within=WITHIN)
        colour = plots.COLOURS[i % len(plots.COLOURS)]
        style = ("-", "--", "-.", ":", "-", "--")[i]
        times = [row["time"] for row in rows]
        ax.plot(dims, times, color=colour, ls=style, label=label)
        sizes = MEASURED.get(density, ())
        for d in ((36,) if density == "shift:sqrt(d)" else ()) if quick else sizes:
            until = 1.6 * np.interp(d, dims, times)
            time, error = measured_time(spec, d, density, until, quick)
            ax.errorbar(d, time, error, color=colour, fmt="o", ms=5)
    ax.plot([], [], "ko", ms=5, label="networks by SGD")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("dimension $d$")
    ax.set_ylabel("learning time of the weight, in train_time")
    ax.legend(loc="upper left")
    return drawn
