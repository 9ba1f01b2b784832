r"""The potential of $\nu$'s law in the weights phase, and its bifurcation.

The law of nu at time s is p N(kappa s, 1) + (1 - p) N(-kappa s, 1). Minus its
logarithm, W, has the slope nu - s F(nu), where F is the sampling flow (S1) itself:
one valley becomes two where the slope gains zeros.
"""

import dilaton
import numpy as np
import sympy as sp
from dilaton.show import plots

KAPPA = 3.0
TIMES = (0.1, 0.35, 0.6, 0.85)


def figure(quick=False):
    flow = dilaton.derive(dilaton.Model(dilaton.two_modes())).phase("weights").sampling
    nu = flow.unknowns[0]
    names = {str(x): x for x in flow.parameters}
    slope = nu - flow.time * flow["nu"]
    given = {names["kappa"]: KAPPA}
    drawn, axes = plots.new_figure(1, 2, 9.4, 3.8)
    well, fork = axes[0]
    f = sp.lambdify((nu, flow.time, names["p"]), slope.subs(given), "numpy")
    _wells(well, f)
    _fork(fork, f, 60 if quick else 400)
    return drawn


def _wells(ax, slope):
    x = np.linspace(-4.5, 4.5, 901)
    for i, s in enumerate(TIMES):
        steps = (slope(x, s, 0.8)[1:] + slope(x, s, 0.8)[:-1]) / 2 * np.diff(x)
        value = np.concatenate([[0], np.cumsum(steps)])
        ax.plot(x, value - value.min(), color=plots.COLOURS[i], label=f"$s={s:g}$")
    ax.set_ylim(-0.2, 6)
    ax.set_xlabel(r"$\nu$")
    ax.set_ylabel(r"$W(\nu)$, minus the log of its law")
    ax.set_title("the potential, $p=0.8$")
    ax.legend(loc="upper center", ncols=2)


def _fork(ax, slope, count):
    x = np.linspace(-4, 4, 2000)
    for i, (p, mark) in enumerate(((0.5, "o"), (0.8, "s"))):
        for stable in (True, False):
            rows = [
                (s, root)
                for s in np.linspace(0.01, 1, count)
                for root, up in _roots(slope, x, s, p)
                if up == stable
            ]
            if rows:
                ax.plot(
                    *np.array(rows[:: 1 if stable else 9]).T,
                    color=plots.COLOURS[i],
                    marker=mark if stable else "x",
                    ms=1.8 if stable else 4,
                    ls="none",
                    label=f"$p={p}$, {'valley' if stable else 'ridge'}",
                )
    ax.set_xlabel("time $s$ in the weights phase")
    ax.set_ylabel(r"stationary $\nu$")
    ax.set_title(r"its bifurcation, $\kappa=3$")
    ax.legend(loc="upper left", markerscale=2)


def _roots(slope, x, s, p):
    """Zeros of the slope, and whether it rises through them."""
    y = slope(x, s, p)
    change = np.flatnonzero((y[:-1] > 0) != (y[1:] > 0))
    return [
        (x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]), bool(y[i + 1] > y[i]))
        for i in change
    ]
