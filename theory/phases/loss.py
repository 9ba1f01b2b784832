r"""The loss as a function of overlaps, and the gradient flow it drives (the Gram rule).

Everything a trained network does in a phase follows from one expression: the loss at
one time, written in the overlaps of the trainable vectors with one another and with
the data. It is exact at every `d` for the population; for `n` samples it uses that
the samples' noises are orthogonal up to d^(-1/2).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

import sympy as sp

from ..models.classes import classes_of
from ..models.model import Autoencoder, D, Feature, Model, suffix
from ..symbols import gaussian
from ..symbols.notation import symbol
from ..windows.search import Window
from .denoiser import HALF

ALPHA, BETA = sp.symbols("alpha beta", positive=True)
"""The interpolant's coefficients at the time of training."""


@dataclass(frozen=True)
class Group:
    """Samples alike: their share of the loss, label, and overlaps with their noise."""

    share: sp.Expr
    label: int
    a: sp.Expr = sp.S.Zero
    zeta: sp.Expr = sp.S.Zero


def population_groups(feature: Feature) -> tuple[Group, Group]:
    """The two modes in their true shares; the sample noise is averaged over."""
    return Group(feature.p, 1), Group(1 - feature.p, -1)


def sample_groups() -> tuple[Group, Group]:
    """The `n_plus` and `n - n_plus` samples; the sample noise is part of the data."""
    n, n_plus = symbol("n"), symbol("n_plus")
    return (
        Group(n_plus / n, 1, symbol("a_plus"), symbol("zeta_plus")),
        Group(1 - n_plus / n, -1, symbol("a_minus"), symbol("zeta_minus")),
    )


@dataclass(frozen=True)
class Loss:
    r"""Loss per dimension at one time for one hidden unit. (L1)

    With $\varrho = |\mu|^2/d$, $\Delta = \alpha^2 + \sigma^2\beta^2$ and, for each
    group with label $s$, the field $h \sim N(\beta(|\mu| \omega s + \sqrt d\,\sigma
    \zeta) + b,\; \text{var})$,

    $$
    \mathcal L = (1-c\beta)^2(\varrho+\sigma^2) + c^2\alpha^2 + \sum_{\rm groups}
      \text{share}\,\big[ -2(1-c\beta)(\varrho s m + \sigma a)\,\mathbb E\varphi
      - 2 v \sqrt{\varrho/d}\; k\,\mathbb E\varphi' + \varrho q\,\mathbb E\varphi^2
      \big].
    $$

    Population: var = $\Delta r$, $k = \sigma^2\beta - c\Delta$ (Stein's lemma for the
    noise and the sample noise together), exact at every $d$. Samples: the sample
    noise is fixed, so var = $\alpha^2 r$ and $k = -c\alpha^2$; the Gram matrix of the
    samples is replaced by its limit.
    """

    autoencoder: Autoencoder
    feature: Feature
    sigma: sp.Expr
    groups: tuple[Group, ...]
    averaged_samples: bool
    suffix: str = ""

    def var(self, name: str) -> sp.Symbol:
        """Return the symbol of an overlap of this unit."""
        return symbol(name + self.suffix)

    @property
    def norm2(self) -> sp.Expr:
        r"""$\varrho = |\mu|^2/d = \rho\,d^{-2\delta}$."""
        return self.feature.rho * D ** (-2 * self.feature.exponent)

    def field(self, group: Group) -> tuple[sp.Expr, sp.Expr]:
        """Mean and variance of the field of a group."""
        spread = self.sigma**2 * BETA**2 if self.averaged_samples else sp.S.Zero
        bias = self.var("b") if self.autoencoder.bias else sp.S.Zero
        signal = sp.sqrt(self.norm2) * group.label * self.var("omega")
        mean = BETA * sp.sqrt(D) * (signal + self.sigma * group.zeta) + bias
        return mean, (ALPHA**2 + spread) * self.var("r")

    def unit_part(self) -> sp.Expr:
        """The part of the loss that contains the hidden unit."""
        return sum(g.share * self._unit(g) for g in self.groups)

    def _unit(self, group: Group) -> sp.Expr:
        kind, c = self.autoencoder.activation, symbol("c")
        mean, variance = self.field(group)
        fresh = self.sigma**2 * BETA if self.averaged_samples else sp.S.Zero
        stein = (1 - c * BETA) * fresh - c * ALPHA**2
        target = group.label * self.norm2 * self.var("m") + self.sigma * group.a
        return (
            -2 * (1 - c * BETA) * target * gaussian.mean_phi(kind, mean, variance)
            - 2
            * self.var("v")
            * sp.sqrt(self.norm2 / D)
            * stein
            * gaussian.mean_slope(kind, mean, variance)
            + self.norm2 * self.var("q") * gaussian.mean_phi2(kind, mean, variance)
        )

    def full(self) -> sp.Expr:
        """The whole loss per dimension, ridges left out."""
        c = symbol("c")
        rest = (1 - c * BETA) ** 2 * (self.norm2 + self.sigma**2) + c**2 * ALPHA**2
        return rest + self.unit_part()

    def skip(self) -> sp.Expr:
        """The `c` that minimises the loss for given overlaps: the loss is quadratic."""
        c = symbol("c")
        slope = sp.diff(self.full(), c)
        return -slope.subs(c, 0) / sp.expand(sp.diff(slope, c))


def in_window(
    expr: sp.Expr, window: Window, gain: sp.Expr, suffix: str = ""
) -> sp.Expr:
    r"""Limit of `expr` for $d \to \infty$ inside a window, overlaps held at O(1).

    `gain` is $\frac12 - \delta$. The interpolant becomes $\alpha = \alpha_s d^x$,
    $\beta = \beta_s d^{x - \text{gain}}$; the overlaps of `w` absorb $d^{-x}$.
    """
    x = window.alpha_size
    scaled = {
        ALPHA: window.alpha * D**x,
        BETA: window.beta * D ** (x - gain),
        symbol("c"): symbol("c_hat") * D ** (-gain - x),
    }
    for name, power in (("omega", 1), ("v", 1), ("r", 2)):
        var = symbol(name + suffix)
        scaled[var] = var * D ** (-power * x)
    for name in ("zeta_plus", "zeta_minus"):
        scaled[symbol(name)] = symbol(name) * D ** (-x)
    return at_large_d(expr.subs(scaled, simultaneous=True))


def at_large_d(expr: sp.Expr) -> sp.Expr:
    """Limit of `expr` for ``d -> oo``, averages through the limit of their fields."""
    nodes = [e for e in sp.preorder_traversal(expr) if _is_average(e)]
    limits = {
        node: gaussian.FieldAverage(node.args[0], *(_each(a) for a in node.args[1:]))
        for node in nodes
    }
    names = {value: sp.Dummy("E") for value in limits.values()}
    flat = expr.xreplace({node: names[value] for node, value in limits.items()})
    return power_limit(flat).xreplace({name: value for value, name in names.items()})


def _is_average(expr: sp.Basic) -> bool:
    return isinstance(expr, gaussian.FieldAverage)


def _each(values: sp.Tuple) -> sp.Tuple:
    return sp.Tuple(*(sp.factor(power_limit(v)) for v in values))


def tidy(expr: sp.Expr) -> sp.Expr:
    """Collect the averages of `expr`, in which they are linear."""
    nodes = sorted(expr.atoms(gaussian.FieldAverage, gaussian.Average), key=str)
    dummies = [sp.Dummy("E") for _ in nodes]
    flat = expr.xreplace(dict(zip(nodes, dummies, strict=True)))
    slopes = [sp.diff(flat, x) for x in dummies]
    if any(slope.has(*dummies) for slope in slopes):
        return expr
    rest = flat.xreplace(dict.fromkeys(dummies, sp.S.Zero))
    return _short(rest) + sp.Add(
        *(_short(slope) * node for slope, node in zip(slopes, nodes, strict=True))
    )


def _short(expr: sp.Expr) -> sp.Expr:
    """Factor a short coefficient; a long one is left as it is."""
    return sp.factor(expr) if sp.count_ops(expr) <= 60 else expr


def power_limit(expr: sp.Expr) -> sp.Expr:
    """Limit for ``d -> oo`` of an expression rational in powers of ``d``."""
    if not expr.has(D):
        return expr
    expr = sp.powsimp(sp.expand_power_base(expr, force=True))
    powers = [sp.Rational(p.exp) for p in expr.atoms(sp.Pow) if p.base == D]
    scale = lcm(*(p.q for p in powers))
    y = sp.Dummy("y", positive=True)
    ratio = sp.together(sp.powsimp(expr.subs(D, y ** (-scale))))
    top, bottom = (sp.Poly(sp.expand(e), y) for e in _cleared(ratio, y))
    low = [min(m[0] for m in e.monoms()) for e in (top, bottom)]
    if low[0] > low[1]:
        return sp.S.Zero
    lead = [e.coeff_monomial(y**k) for e, k in zip((top, bottom), low, strict=True)]
    ratio = sp.factor(lead[0] / lead[1])
    return ratio if low[0] == low[1] else sp.oo * sp.sign(ratio)


def _cleared(ratio: sp.Expr, y: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """Numerator and denominator as polynomials in `y`."""
    top, bottom = sp.fraction(ratio)
    return sp.expand(top), sp.expand(bottom)


def gram_flow(
    loss: sp.Expr, gram: sp.Matrix, trainable: int, rates: tuple[sp.Expr, ...]
) -> sp.Matrix:
    r"""Gradient flow of the Gram matrix of the first `trainable` vectors. (G5)

    For $\dot x_i = -\frac d2\,\text{rate}_i\,\nabla_{x_i}\mathcal L(G)$,

    $$
    \dot G = -\tfrac12 (S G + G S^{T}), \qquad
    S_{ij} = \text{rate}_i\,(1+\delta_{ij})\,\partial\mathcal L/\partial G_{ij},
    $$

    with zero rows for data vectors. `gram` holds a symbol (or a number, for data) in
    each entry; equal entries are equal symbols. Status: exact.
    """
    size = gram.shape[0]
    pull = sp.zeros(size, size)
    for i in range(trainable):
        for j in range(size):
            if isinstance(gram[i, j], sp.Symbol):
                slope = sp.diff(loss, gram[i, j])
                pull[i, j] = rates[i] * (2 if i == j else 1) * slope
    return -(pull * gram + gram * pull.T) / 2


def gain(feature: Feature) -> sp.Expr:
    r"""$\frac12-\delta$: the power of `d` by which a feature beats one coordinate."""
    return HALF - feature.exponent


def window_parameters(model: Model, window: Window) -> tuple[sp.Symbol, ...]:
    """Target parameters of the window's features, sigma, kappa, sample sizes."""
    own: list[sp.Symbol] = []
    for j in window.features:
        feature = model.target.features[j - 1]
        own += [x for x in (feature.p, feature.rho) if isinstance(x, sp.Symbol)]
    own.append(model.target.sigma)
    own += [window.kappa] if window.kappa is not None else []
    if model.data.samples:
        own += [*classes_of(model).counts, symbol("ridge_u"), symbol("ridge_w")]
    own += [symbol("noise_draws")] if model.data.frozen_noise else []
    return tuple(own)


def make_loss(model: Model, j: int) -> Loss:
    """Return the loss (L1) of the unit that learns feature `j`."""
    feature = model.target.features[j - 1]
    samples = model.data.samples
    groups = sample_groups() if samples else population_groups(feature)
    return Loss(
        model.autoencoder,
        feature,
        model.target.sigma,
        groups,
        averaged_samples=not samples,
        suffix=suffix(model, j),
    )


def window_loss(model: Model, window: Window, j: int) -> sp.Expr:
    """Limit of the loss of unit `j` per ``|mu|^2`` (population) or per sample. (L2)"""
    loss = make_loss(model, j)
    part = in_window(
        loss.unit_part() / loss.norm2, window, gain(loss.feature), loss.suffix
    )
    total = 1 + part
    if model.data.samples:
        ridge = symbol("ridge_u") * symbol("q") + symbol("ridge_w") * symbol("r")
        total = total + model.target.sigma**2 + ridge / symbol("n")
    return total
