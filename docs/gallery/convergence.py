"""Trained networks come closer to the limit as one over the root of d."""

import dilaton
from dilaton.show import plots
from dilaton.show.display import axis_label
from dilaton.torchcheck.study.converge import converge
from dilaton.torchcheck.study.figures import distances

SHOWN = ("m", "omega", "b", "q")


def figure(quick=False):
    spec = dilaton.default_spec().replace(n=8, n_plus=6, ridge_u=0.1, ridge_w=0.1)
    dims = (50, 100, 200) if quick else (100, 300, 1000, 3000)
    plan = dict(seeds=3 if quick else 6, times=(0.75,), paths=0)
    study = converge(spec, dims, correction=not quick, **plan)
    rows = [r for r in study.rows if r["quantity"] in SHOWN]
    titles = {name: axis_label(name) for name in SHOWN}
    fits = [f for f in study.fits if f["quantity"] in SHOWN]
    return plots.convergence(distances(rows), fits, titles)
