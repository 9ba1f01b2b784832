r"""Gradient flow in training time, at one fixed time of the interpolant."""

from __future__ import annotations

from itertools import combinations, product

import sympy as sp

from ..models.model import Model, named
from ..symbols.gaussian import mean_phi, mean_phi2, mean_product, to_averages
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System
from ..windows.search import S_PHASE, Window
from .loss import gram_flow, tidy, window_loss, window_parameters
from .sampling import class_roots


def training(model: Model, window: Window) -> System:
    r"""Gradient flow of the overlaps in training time, at a fixed `s`. (G6)

    $\dot u = -\frac d2\nabla_u$, $\dot w = -\frac d2\nabla_w$, $\dot b = -\frac12
    \partial_b$ of the loss per dimension; the overlaps close by the Gram rule (G5).
    """
    if len(window.features) > 1:
        return _several_units(model, window)
    j = window.features[0]
    total = window_loss(model, window, j)
    rho = model.target.features[j - 1].rho
    names = ("m", "q", "omega", "r", "b")
    m, q, omega, r, b = (named(model, x, j) for x in names)
    gram = _symmetric([[q, sp.Dummy("v"), m], [0, r, omega], [0, 0, 1]])
    scaled: dict[sp.Symbol, tuple[sp.Symbol, sp.Expr]] = {}
    if model.data.samples:
        gram, scaled = _sample_gram(gram)
    raw = rho * total.subs({x: dummy / root for x, (dummy, root) in scaled.items()})
    flow = gram_flow(raw, gram, 2, (1 / rho, sp.S.One))
    back = {dummy: root * x for x, (dummy, root) in scaled.items()}
    rows: dict[sp.Symbol, sp.Expr] = {}
    for x in (m, *_starting("a", scaled), q, omega, *_starting("z", scaled), r):
        dummy, root = scaled.get(x, (x, sp.S.One))
        entry = next(e for e, y in zip(flow, gram, strict=True) if y == dummy)
        rows[x] = tidy(to_averages(sp.expand(entry.subs(back) / root)))
    if model.autoencoder.bias:
        rows[b] = tidy(to_averages(-rho * sp.diff(total, b) / 2))
    domain = () if model.data.samples else (m**2 <= q, omega**2 <= r)
    return _training_system(model, window, rows, domain)


def _symmetric(upper: list[list]) -> sp.Matrix:
    size = len(upper)
    return sp.Matrix(size, size, lambda i, k: upper[min(i, k)][max(i, k)])


def _starting(letter: str, names: dict) -> list[sp.Symbol]:
    return [x for x in names if str(x).startswith(letter)]


def _sample_gram(gram: sp.Matrix) -> tuple[sp.Matrix, dict]:
    """Add the summed noises of the two classes as data vectors of norm sqrt(d)."""
    roots = class_roots()
    names = (("a_plus", "a_minus"), ("zeta_plus", "zeta_minus"))
    scaled = {
        symbol(name): (sp.Dummy(name), root)
        for row in names
        for name, root in zip(row, roots, strict=True)
    }
    wide = sp.eye(5)
    wide[:3, :3] = gram
    for i, row in enumerate(names):
        for k, name in enumerate(row):
            wide[i, 3 + k] = wide[3 + k, i] = scaled[symbol(name)][0]
    return wide, scaled


def _training_system(
    model: Model,
    window: Window,
    rows: dict[sp.Symbol, sp.Expr],
    domain: tuple[sp.Basic, ...] = (),
) -> System:
    return System(
        name="training",
        kind="flow",
        time=symbol("train_time"),
        equations=tuple(
            Equation(f"G{i}", x, rhs) for i, (x, rhs) in enumerate(rows.items(), 6)
        ),
        parameters=(*window_parameters(model, window), S_PHASE),
        domain=domain,
        steps=(
            Step(
                "Differentiate the window's loss in the overlaps and apply the Gram "
                "rule (G5); `v` does not enter the loss and is left out.",
            ),
        ),
    ).check()


def _several_units(model: Model, window: Window) -> System:
    """Training flow of the units of a shared window, all overlaps between them kept."""
    numbers, count = window.features, len(window.features)
    loss = _several_loss(model, window)
    gram = sp.eye(3 * count)
    for (i, j), (k, n) in product(enumerate(numbers), repeat=2):
        gram[i, k] = _pair("q", *sorted((j, n)))
        gram[count + i, count + k] = _pair("r", *sorted((j, n)))
        gram[i, count + k] = gram[count + k, i] = sp.Dummy(f"v_{j}_{n}")
        gram[i, 2 * count + k] = gram[2 * count + k, i] = _pair("m", j, n)
        gram[count + i, 2 * count + k] = gram[2 * count + k, count + i] = _pair(
            "omega", j, n
        )
    rho = [model.target.features[j - 1].rho for j in numbers]
    rates = tuple(1 / x for x in rho) + (sp.S.One,) * count
    flow = gram_flow(loss, gram, 2 * count, rates)
    rows = {
        gram[i, k]: flow[i, k]
        for i in range(2 * count)
        for k in range(i, 3 * count)
        if not isinstance(gram[i, k], sp.Dummy)
    }
    for j in numbers:
        b = symbol(f"b_{j}")
        rows[b] = -sp.diff(loss, b) / 2
    rows = {x: to_averages(rhs) for x, rhs in rows.items()}
    return _training_system(model, window, rows)


def _pair(name: str, j: int, k: int) -> sp.Symbol:
    """``m_1`` for unit 1 with mean 1, ``m_1_2`` for unit 1 with mean 2."""
    return symbol(f"{name}_{j}" if j == k else f"{name}_{j}_{k}")


def _several_loss(model: Model, window: Window) -> sp.Expr:
    r"""Loss in units of $d^{1-2\delta}$ of the units of a shared window. (L3)

    $$ \sum_l \rho_l + \mathbb E_s\Big[ -2\sum_{kl} \sqrt{\rho_k\rho_l}\, s_l
       m_{kl}\, \mathbb E\varphi_k + \sum_{kl} \sqrt{\rho_k\rho_l}\, q_{kl}\,
       \mathbb E\varphi_k\varphi_l \Big], $$

    with correlated fields of mean $\beta\sum_l\sqrt{\rho_l}s_l\omega_{kl} + b_k$ and
    covariance $\alpha^2 r_{kl}$, averaged over the sign patterns $s$.
    """
    kind, numbers = model.autoencoder.activation, window.features
    features = {j: model.target.features[j - 1] for j in numbers}
    root = {j: sp.sqrt(f.rho) for j, f in features.items()}
    total = sum(f.rho for f in features.values())
    for signs in product((1, -1), repeat=len(numbers)):
        s = dict(zip(numbers, signs, strict=True))
        weight = sp.Mul(*(f.p if s[j] == 1 else 1 - f.p for j, f in features.items()))
        mean = {
            k: window.beta * sum(root[x] * s[x] * _pair("omega", k, x) for x in numbers)
            + symbol(f"b_{k}")
            for k in numbers
        }
        cov = {
            (k, x): window.alpha**2 * _pair("r", *sorted((k, x)))
            for k, x in product(numbers, repeat=2)
        }
        for k in numbers:
            target = sum(root[x] * s[x] * _pair("m", k, x) for x in numbers)
            total += weight * (
                -2 * root[k] * target * mean_phi(kind, mean[k], cov[k, k])
                + features[k].rho
                * symbol(f"q_{k}")
                * mean_phi2(kind, mean[k], cov[k, k])
            )
        for k, x in combinations(numbers, 2):
            both = mean_product(
                kind, (mean[k], mean[x]), (cov[k, k], cov[k, x], cov[x, x])
            )
            total += 2 * weight * root[k] * root[x] * _pair("q", k, x) * both
    return total
