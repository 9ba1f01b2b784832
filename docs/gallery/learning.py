r"""How the weight of a mode is learned in training time, dilated and not.

The exact flow (K2)-(K5) of the tied score network at dimension d, no limit taken. At a
time inside the window the bias reaches its Bayes value; at a time of order one, where
almost all uniform training times fall, it stays where it began.
"""

import dilaton
import numpy as np
from dilaton.numerics.ode.integrate import integrate
from dilaton.show import plots

P, SIGMA, KAPPA = 0.8, 1.0, 1.5
INIT = {"c": -1.0, "m": 0.1, "q": 0.1, "b": 0.0}


def figure(quick=False):
    system = dilaton.derive(dilaton.Model(dilaton.two_modes())).exact["tied"]
    dims = (64,) if quick else (64, 256, 512)
    until = 2.0 if quick else 30.0
    drawn, axes = plots.new_figure(1, 2, 9.4, 3.8)
    for i, d in enumerate(dims):
        for ax, tau in zip(axes[0], (KAPPA / d**0.5, 0.5), strict=True):
            times = np.concatenate([[0], np.geomspace(1e-2, until, 60)])
            flow = integrate(
                system,
                init=INIT,
                params={"p": P, "sigma": SIGMA, "d": d, "tau": tau},
                t=d * times,
                rtol=1e-5,
                atol=1e-7,
                max_steps=500_000,
                backend="scipy" if quick else "numba",  # few steps: nothing to compile
            )
            ax.plot(
                times[1:],
                flow["b"][0, 1:],
                color=plots.COLOURS[i],
                ls=("-", "--", "-.")[i],
                label=f"$d={d}$",
            )
    titles = (rf"dilated: $\tau={KAPPA}/\sqrt{{d}}$", r"undilated: $\tau=1/2$")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.axhline(np.arctanh(2 * P - 1), color="black", ls=":", lw=1.2, label="Bayes")
        ax.set_xscale("log")
        ax.set_ylim(-0.05, 0.95)
        ax.set_title(title)
        ax.set_xlabel("training time / $d$")
    axes[0, 0].set_ylabel("bias $b$")
    axes[0, 1].legend(loc="center left", bbox_to_anchor=(0.03, 0.45))
    return drawn
