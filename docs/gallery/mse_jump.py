r"""The error of the best denoiser: it jumps at $\tau=0$ as d grows, unless dilated."""

import dilaton
import numpy as np
from dilaton.numerics.codegen.kernel import make_kernel
from dilaton.show import plots

GIVEN = {"p": 0.8, "sigma": 1.0}
KAPPA = 3.0


def figure(quick=False):
    limit = dilaton.derive(dilaton.Model(dilaton.two_modes()))
    exact = make_kernel(limit.exact["mse"], "numpy")
    dims = (1e2, 1e4) if quick else (1e2, 1e3, 1e4, 1e6)
    t = np.linspace(0, 1 - 1e-9, 61 if quick else 201)
    drawn, axes = plots.new_figure(1, 2, 9.4, 3.8)
    plain, dilated = axes[0]
    for i, d in enumerate(dims):
        style = {"color": plots.COLOURS[i], "ls": ("-", "--", "-.", ":")[i]}
        tau = np.geomspace(1e-6, 1 - 1e-9, len(t))
        label = f"$d=10^{{{int(np.log10(d))}}}$"
        plain.plot(tau, mse(exact, d, tau), label=label, **style)
        tau_of = limit.dilation.at({"kappa": KAPPA, "d": d})
        dilated.plot(t, mse(exact, d, np.array([tau_of(x) for x in t])), **style)
    s = np.linspace(0, 1, 41)
    for i, name in enumerate(("weights", "variance")):
        kernel = make_kernel(limit.phase(name).mse, "numpy")
        given = {"kappa": KAPPA} | GIVEN
        params = {x: given[x] for x in kernel.parameters}
        found = kernel.evaluate("values", params=params, at=s)[0]["mse"]
        label = None if i else r"limit $d\to\infty$"
        dilated.plot((i + s) / 2, found, color="black", lw=1, label=label)
    plain.set_xlim(-0.02, 0.5)
    plain.set_xlabel(r"time $\tau$")
    dilated.set_xlabel("dilated time $t$")
    plain.set_ylabel("mean squared error / $d$")
    plain.set_title("undilated: a jump at 0")
    dilated.set_title("dilated: one curve for every large $d$")
    plain.legend()
    dilated.legend()
    return drawn


def mse(kernel, d, tau):
    params = {x: (GIVEN | {"d": d})[x] for x in kernel.parameters}
    found, _ = kernel.evaluate("values", params=params, at=tau, tol=1e-8)
    return np.broadcast_to(found["mse"], tau.shape)
