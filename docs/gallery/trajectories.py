"""Order parameters through both phases, of the population and of sixteen samples."""

import dilaton
import numpy as np
from dilaton.show import plots
from dilaton.show.display import axis_label

GIVEN = {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
SAMPLES = {"n": 16, "n_plus": 13, "ridge_u": 0.1, "ridge_w": 0.1}
PANELS = ("m", "q", "omega", "b", "r", "v", "c_hat", "c")


def figure(quick=False):
    s = np.linspace(0.02, 1, 15 if quick else 60)
    found = [
        curves(dilaton.Data(samples=True), s, GIVEN | SAMPLES),
        curves(dilaton.Data(), s, GIVEN),
    ]
    titles = {name: axis_label(name) for name in PANELS}
    drawn = plots.overlaps(*found, [], titles, [0.5])
    drawn.legends[0].texts[0].set_text("population")
    drawn.legends[0].texts[1].set_text("16 samples, 13 of them in the + mode")
    return drawn


def curves(data, s, given):
    limit = dilaton.derive(dilaton.Model(dilaton.two_modes(), data=data))
    traj = dilaton.solve(limit, s=s, rtol=1e-9, atol=1e-11, **given)
    return {n: plots.broken(traj.t, traj[n], traj.phase) for n in PANELS if n in traj}
