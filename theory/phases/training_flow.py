r"""Gradient flow in training time, at one fixed time of the interpolant."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product

import sympy as sp

from ..models.classes import labels
from ..models.model import Model
from ..symbols.gaussian import to_averages
from ..symbols.notation import symbol
from ..symbols.system import System, numbered, said
from ..windows.search import S_PHASE, Window
from .loss import Loss, by_averages, gram_flow, window_loss, window_parameters


def training(model: Model, window: Window) -> System:
    r"""Gradient flow of the overlaps in training time, at a fixed `s`. (G6)

    $\dot u_j = -\frac d2\nabla_{u_j}$, $\dot w_j = -\frac d2\nabla_{w_j}$, $\dot b_j =
    -\frac12 \partial_{b_j}$ of the loss per dimension, in units of $d^{-2\delta}$, of
    the units of a window; the overlaps close by the Gram rule (G5).
    """
    alone = len(window.features) == 1
    loss = Loss(model, window.features, labelled=not alone)
    total = window_loss(loss, window)
    rho = [model.target.features[j - 1].rho for j in loss.units]
    if alone:
        total = rho[0] * total
    gram, scaled = _gram(loss)
    count = len(rho)
    rates = (*(1 / x for x in rho), *(sp.S.One for _ in rho))
    raw = total.xreplace({x: dummy / root for x, (dummy, root) in scaled.items()})
    slope = _slopes(raw, loss)
    flow = gram_flow(slope, gram, 2 * count, rates)
    names = {dummy: x for x, (dummy, _) in scaled.items()}
    back = {dummy: root * x for x, (dummy, root) in scaled.items()}
    rows: dict[sp.Symbol, sp.Expr] = {}
    for i in range(2 * count):
        for k in (*range(2 * count, gram.cols), *range(i, 2 * count)):
            entry = names.get(gram[i, k], gram[i, k])
            if not isinstance(entry, sp.Dummy):
                root = scaled[entry][1] if entry in scaled else sp.S.One
                rows[entry] = flow[i, k].xreplace(back) / root
    biases = [b for b in map(loss.bias, loss.units) if b != 0]
    rows |= {b: -slope(b).xreplace(back) / 2 for b in biases}
    if alone:  # short enough to be collected by their averages
        rows = {x: by_averages(to_averages(sp.expand(e))) for x, e in rows.items()}
    # an overlap with the mean is at most as long as the vector (Cauchy and Schwarz)
    m, omega, q, r = (
        loss.pair(x, *loss.units[:1] * 2) for x in ("m", "omega", "q", "r")
    )
    domain = m**2 <= q, omega**2 <= r
    own = labels(count) if loss.labelled and model.autoencoder.lettered else ()
    return System(
        name="training",
        kind="flow",
        time=symbol("train_time"),
        equations=numbered("G", rows, 6),
        parameters=(*window_parameters(model, window), S_PHASE, *own),
        domain=domain if alone and not model.data.samples else (),
        steps=said(
            "Differentiate the window's loss in the overlaps and apply the Gram "
            "rule (G5); `v` does not enter the loss and is left out."
        ),
    ).check()


def _slopes(total: sp.Expr, loss: Loss) -> Callable[[sp.Symbol], sp.Expr]:
    """The slopes of a loss in its overlaps, those of several units averaged.

    For print the label of the sample stays, and the averages are over it too.
    """

    @cache
    def slope(x: sp.Symbol) -> sp.Expr:
        found = sp.diff(total, x)
        if not loss.labelled:
            return found
        if not loss.model.autoencoder.lettered:
            found = loss.over_labels(found)
        return to_averages(found)

    return slope


def _gram(loss: Loss) -> tuple[sp.Matrix, dict]:
    """The Gram matrix of all u, all w, the means and, of samples, the summed noises.

    The noises of a class are summed to a data vector of norm sqrt(d): its overlaps are
    roots of counts times those of a single noise, which `scaled` returns by name.
    """
    units, count = loss.units, len(loss.units)
    roots = {c: sp.sqrt(loss.data.count(c)) for c in loss.patterns} if loss.data else {}
    gram, scaled = sp.eye(3 * count + len(roots)), {}
    for (i, j), (k, n) in product(enumerate(units), repeat=2):
        gram[i, k] = loss.pair("q", j, n)
        gram[count + i, count + k] = loss.pair("r", j, n)
        gram[i, count + k] = gram[count + k, i] = sp.Dummy(f"v_{j}_{n}")
        for row, name in ((i, "m"), (count + i, "omega")):
            entry = loss.pair(name, j, n)
            gram[row, 2 * count + k] = gram[2 * count + k, row] = entry
    for (i, j), (k, c) in product(enumerate(units), enumerate(roots)):
        for row, name in ((i, "a"), (count + i, "zeta")):
            x, dummy = loss.own(name, j, c), sp.Dummy(name)
            scaled[x] = dummy, roots[c]
            gram[row, 3 * count + k] = gram[3 * count + k, row] = dummy
    return gram, scaled
