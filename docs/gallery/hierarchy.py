r"""The windows of a three-level hierarchy, in time and in dilated time.

Three features with means of different sizes. The sharpness of a sign's posterior,
$E \tanh^2(h + \Lambda s + \sqrt\Lambda g)$, says how far it is decided at the ratio
$\Lambda$ of signal to noise; each rises in a window of its own.
"""

import dilaton
import numpy as np
from dilaton.show import plots

WEIGHTS, SIGMA, D = (0.8, 0.7, 0.6), 1.0, 1e8
EXPONENTS = (0, "1/6", "1/3")
KAPPA = 3.0


def figure(quick=False):
    model = dilaton.Model(dilaton.product(*EXPONENTS))
    limit = dilaton.derive(model)
    values = {"d": D} | {f"kappa_{j}": KAPPA for j in (1, 2, 3)}
    knots = limit.dilation.knots(values)
    tau_of = limit.dilation.at(values)
    drawn, axes = plots.new_figure(1, 2, 9.6, 3.8)
    early, even = axes[0]
    tau = np.geomspace(1e-6, 0.999, 80 if quick else 400)
    t = np.linspace(1e-6, 1 - 1e-6, 80 if quick else 400)
    for j, feature in enumerate(model.target.features):
        style = {"color": plots.COLOURS[j], "ls": ("-", "--", "-.")[j]}
        power = 1 - 2 * feature.exponent
        size = "d" if power == 1 else f"d^{{{power}}}"
        name = rf"$|\mu_{j + 1}|^2 = {size}$"
        early.plot(tau, decided(j, feature, tau), label=name, **style)
        even.plot(t, decided(j, feature, np.array([tau_of(x) for x in t])), **style)
    for i, edge in enumerate(knots[1:-1], 1):
        early.axvline(edge, color=plots.GREY, lw=0.9, ls=":")
        even.axvline(i / (len(knots) - 1), color=plots.GREY, lw=0.9, ls=":")
    early.set_xscale("log")
    early.set_xlabel(r"time $\tau$, $d=10^8$")
    even.set_xlabel("dilated time $t$")
    early.set_ylabel("how far a sign is decided")
    early.set_title("each feature has a window")
    even.set_title("the dilation gives each an equal share")
    early.legend(loc="upper left")
    return drawn


def decided(j, feature, tau):
    """Average of tanh^2 over the posterior's field, from 0 to 1 between its ends."""
    x, weight = np.polynomial.hermite_e.hermegauss(60)
    weight = weight / weight.sum()
    norm2 = D ** float(1 - 2 * feature.exponent)
    snr = (tau**2 * norm2 / ((1 - tau) ** 2 + (SIGMA * tau) ** 2))[:, None]
    p, h = WEIGHTS[j], np.arctanh(2 * WEIGHTS[j] - 1)
    found = sum(
        share * np.tanh(h + sign * snr + np.sqrt(snr) * x) ** 2 @ weight
        for sign, share in ((1, p), (-1, 1 - p))
    )
    return (found - np.tanh(h) ** 2) / (1 - np.tanh(h) ** 2)
