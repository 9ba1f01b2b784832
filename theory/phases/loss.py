r"""The loss as a function of overlaps, and the gradient flow it drives (the Gram rule).

Everything a trained network does in a phase follows from one expression: the loss at
one time, written in the overlaps of the trainable vectors with one another and with
the data. It is exact at every `d` for the population; for `n` samples it uses that
the samples' noises are orthogonal up to d^(-1/2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import lcm

import sympy as sp

from ..models.classes import (
    Classes,
    Pattern,
    classes_of,
    every_pattern,
    labels,
    mark,
    overlap,
)
from ..models.model import D, Feature, Model, named
from ..symbols import gaussian
from ..symbols.notation import symbol
from ..windows.search import Window
from .denoiser import HALF

ALPHA, BETA = sp.symbols("alpha beta", positive=True)
"""The interpolant's coefficients at the time of training."""


@dataclass(frozen=True)
class Loss:
    r"""Loss per dimension at one time, in the overlaps of hidden units. (L1)

    Unit `j` sees the features of `units`. With $\varrho_k = |\mu_k|^2/d$ and, for each
    class `c` of rows with signs $s_{ck}$ and share $\pi_c$, the jointly Gaussian fields

    $$ h_{jc}: \quad \text{mean } \beta\sqrt d\,\Big(\sum_k\sqrt{\varrho_k}\,
       s_{ck}\omega_{jk} + \sigma\zeta_{jc}\Big) + b_j, \qquad
       \text{cov } \Delta\, r_{jl}, $$

    $$
    \mathcal L = (1-c\beta)^2\Big(\sum_k\varrho_k+\sigma^2\Big) + c^2\alpha^2
      + \sum_c \pi_c\Big[ \sum_j\Big( -2(1-c\beta)\frac{u_j\cdot x_c}d\,
      \mathbb E\varphi_{jc} - 2 v_j \sqrt{\tfrac{\varrho_j}d}\; k\,
      \mathbb E\varphi'_{jc}\Big) + \sum_{jl} \sqrt{\varrho_j\varrho_l}\,q_{jl}\,
      \mathbb E\varphi_{jc}\varphi_{lc} \Big]
    $$

    with $u_j\cdot x_c/d = \sum_k\sqrt{\varrho_j\varrho_k}\,s_{ck}m_{jk} +
    \sigma a_{jc}$. Population: the classes are the signs in their true shares,
    $\Delta = \alpha^2 + \sigma^2\beta^2$, $k = \sigma^2\beta - c\Delta$ (Stein's lemma
    for the noise and the sample noise together), no $a, \zeta$: exact at every $d$.
    Samples: the sample noise is fixed, so $\Delta = \alpha^2$ and $k = -c\alpha^2$; the
    Gram matrix of the samples is replaced by its limit.
    """

    model: Model
    units: tuple[int, ...]
    labelled: bool = False  # of one sample, whose label y is not averaged over

    @cached_property
    def data(self) -> Classes | None:
        """The classes of samples; `None` for the population."""
        return classes_of(self.model) if self.model.data.samples else None

    @property
    def counted(self) -> bool:
        """Whether classes are many, so that overlaps with their rows stay symbols."""
        return self.data is not None and self.data.counted

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The signs of the classes; the label of the one sample, if that is open."""
        if self.labelled:
            return (labels(len(self.units)),)
        return self.data.patterns if self.data else every_pattern(len(self.units))

    def over_labels(self, expr: sp.Expr) -> sp.Expr:
        """The average of an expression in the label over the signs, as they come."""
        whole = replace(self, labelled=False)
        found = []
        for c in whole.patterns:
            at = dict(zip(self.patterns[0], c, strict=True))
            found.append(whole.share(c) * expr.xreplace(at))
        return sp.Add(*found)

    def signs(self, c: Pattern) -> dict[int, int]:
        """The sign of each feature in class `c`."""
        return dict(zip(self.units, c, strict=True))

    def share(self, c: Pattern) -> sp.Expr:
        """The share of class `c` among the rows."""
        if self.labelled:
            return sp.S.One
        if self.data:
            return self.data.count(c) / self.data.size
        p = {k: self.model.target.features[k - 1].p for k in self.units}
        return sp.Mul(*(p[k] if s > 0 else 1 - p[k] for k, s in self.signs(c).items()))

    def norm2(self, k: int) -> sp.Expr:
        r"""$\varrho_k = |\mu_k|^2/d = \rho_k\,d^{-2\delta_k}$."""
        feature = self.model.target.features[k - 1]
        return feature.rho * D ** (-2 * feature.exponent)

    def root(self, k: int) -> sp.Expr:
        r"""$\sqrt{\varrho_k}$."""
        return sp.sqrt(self.norm2(k))

    def pair(self, name: str, j: int, k: int) -> sp.Symbol:
        """The symbol of an overlap; `q` and `r` are symmetric."""
        return overlap(self.model, name, *sorted((j, k)) if name in "qr" else (j, k))

    def own(self, name: str, j: int, c: Pattern) -> sp.Expr:
        """The overlap of unit `j` with the noise of a sample; 0 in the population."""
        return self.data.own(name, j, c) if self.data else sp.S.Zero

    def bias(self, j: int) -> sp.Expr:
        """The bias of unit `j`; 0 for units without one."""
        return named(self.model, "b", j) if self.model.autoencoder.bias else sp.S.Zero

    def on_row(self, name: str, j: int, c: Pattern) -> sp.Expr:
        r"""$w_j\cdot x_c/d$ (`seen`) or $u_j\cdot x_c/d$ (`hit`)."""
        mean, noise = ("omega", "zeta") if name == "seen" else ("m", "a")
        along = (
            self.root(k) * s * self.pair(mean, j, k) for k, s in self.signs(c).items()
        )
        size = self.root(j) if name == "hit" else sp.S.One
        own = self.model.target.sigma * self.own(noise, j, c)
        return size * sp.Add(*along) + own

    def held(self, name: str, j: int, c: Pattern) -> sp.Expr:
        """The same value as one symbol, where sums over features would be long."""
        if not self.counted:
            return self.on_row(name, j, c)
        return sp.Symbol(f"{name}_{j}_{mark(c)}", real=True)

    def released(self) -> dict[sp.Expr, sp.Expr]:
        """The expressions that the symbols of `held` stand for."""
        if not self.counted:
            return {}
        return {
            self.held(name, j, c): self.on_row(name, j, c)
            for name in ("seen", "hit")
            for j in self.units
            for c in self.patterns
        }

    def mean(self, j: int, c: Pattern) -> sp.Expr:
        """The mean of the field of unit `j` on class `c`."""
        return BETA * sp.sqrt(D) * self.held("seen", j, c) + self.bias(j)

    def cov(self, j: int, k: int) -> sp.Expr:
        """The covariance of the fields of two units on any class."""
        spread = sp.S.Zero if self.data else self.model.target.sigma**2 * BETA**2
        return (ALPHA**2 + spread) * self.pair("r", j, k)

    def product(self, j: int, k: int, c: Pattern) -> sp.Expr:
        r"""$\mathbb E\varphi_{jc}\varphi_{kc}$."""
        kind, variance = self.model.autoencoder.activation, self.cov(j, j)
        if j == k:
            return gaussian.mean_phi2(kind, self.mean(j, c), variance)
        means = self.mean(j, c), self.mean(k, c)
        cov = variance, self.cov(j, k), self.cov(k, k)
        return gaussian.mean_product(kind, means, cov)

    def rest(self) -> sp.Expr:
        """The part of the loss without hidden units."""
        c, sigma = symbol("c"), self.model.target.sigma
        size = sp.Add(*map(self.norm2, self.units)) + sigma**2
        return (1 - c * BETA) ** 2 * size + c**2 * ALPHA**2

    def unit_terms(self) -> list[sp.Expr]:
        """The terms of the loss that contain hidden units."""
        kind, skip, found = self.model.autoencoder.activation, symbol("c"), []
        fresh = sp.S.Zero if self.data else self.model.target.sigma**2 * BETA
        stein = (1 - skip * BETA) * fresh - skip * ALPHA**2
        for j, c in product(self.units, self.patterns):
            share, field = self.share(c), (kind, self.mean(j, c), self.cov(j, j))
            hit = (1 - skip * BETA) * self.held("hit", j, c)
            lean = self.pair("v", j, j) * self.root(j) / sp.sqrt(D) * stein
            found.append(-2 * share * hit * gaussian.mean_phi(*field))
            found.append(-2 * share * lean * gaussian.mean_slope(*field))
            for k in self.units[self.units.index(j) :]:
                size = self.root(j) * self.root(k) * self.pair("q", j, k)
                times = share * (1 if j == k else 2)
                found.append(times * size * self.product(j, k, c))
        return found

    def within(self, terms: list[sp.Expr], window: Window) -> sp.Expr:
        """The sum of `terms` inside a window; one by one where there are many."""
        powers = {symbol: 1 for symbol in self._along_w()}
        powers |= {self.pair("r", j, k): 2 for j in self.units for k in self.units}
        width = gain(self.model.target.features[self.units[0] - 1])
        many = self.counted or len(self.units) > 1
        parts = terms if many else [sp.Add(*terms)]
        return sp.Add(*(in_window(x, window, width, powers) for x in parts))

    def _along_w(self) -> Iterator[sp.Expr]:
        """The overlaps that are linear in `w`."""
        for j in self.units:
            yield self.pair("v", j, j)
            yield from (self.pair("omega", j, k) for k in self.units)
            for c in self.patterns if self.data else ():
                yield (
                    self.held("seen", j, c) if self.counted else self.own("zeta", j, c)
                )

    def skip(self, window: Window) -> sp.Expr:
        """`c_hat`: the loss is quadratic in `c`, which is small in the window."""
        c, terms = symbol("c"), [self.rest(), *self.unit_terms()]
        bend = sp.expand(sp.diff(terms[0], c, 2))
        feature = self.model.target.features[self.units[0] - 1]
        power = D ** (gain(feature) + window.alpha_size)
        slopes = [sp.diff(term, c).subs(c, 0) / bend for term in terms if term.has(c)]
        return self.within([-power * slope for slope in slopes], window)


def window_loss(loss: Loss, window: Window) -> sp.Expr:
    r"""Limit of the loss (L1) in a window, ridges included. (L2)

    Where the noise is of order $d^x$, `ridge_w` multiplies $\alpha^2|w|^2$.

    Samples: the loss per sample and dimension. Population: in units of $d^{-2\delta}$,
    $\sigma^2$ left out, and for a single unit in units of $|\mu|^2/d$.
    """
    rho = [loss.model.target.features[k - 1].rho for k in loss.units]
    unit = loss.norm2(loss.units[0])
    if loss.data is None and len(rho) == 1:
        return 1 + loss.within([x / unit for x in loss.unit_terms()], window)
    total = sp.Add(*rho) + loss.within(
        [x / unit * rho[0] for x in loss.unit_terms()], window
    )
    if loss.data is None:
        return total
    ridges = sp.S.Zero
    for size, j in zip(rho, loss.units, strict=True):
        ridges += symbol("ridge_u") * size * loss.pair("q", j, j)
        ridges += symbol("ridge_w") * window.unit**2 * loss.pair("r", j, j)
    return total + loss.model.target.sigma**2 + ridges / loss.data.size


def in_window(
    expr: sp.Expr,
    window: Window,
    gain: sp.Expr,
    powers: Mapping[sp.Expr, int] | None = None,
) -> sp.Expr:
    r"""Limit of `expr` for $d \to \infty$ inside a window, overlaps held at O(1).

    `gain` is $\frac12 - \delta$. The interpolant becomes $\alpha = \alpha_s d^x$,
    $\beta = \beta_s d^{x - \text{gain}}$; what is of the given `powers` in `w`
    absorbs $d^{-x}$ for each.
    """
    x = window.alpha_size
    scaled = {
        ALPHA: window.alpha * D**x,
        BETA: window.beta * D ** (x - gain),
        symbol("c"): symbol("c_hat") * D ** (-gain - x),
    }
    for var, power in (powers or {}).items():
        scaled[var] = var * D ** (-power * x)
    return at_large_d(expr.xreplace(scaled))


def at_large_d(expr: sp.Expr) -> sp.Expr:
    """Limit of `expr` for ``d -> oo``, averages through the limit of their fields."""

    def fields(values: sp.Tuple) -> list[sp.Expr]:
        return [sp.factor(power_limit(v)) for v in values]

    kind = gaussian.FieldAverage
    nodes = [e for e in sp.preorder_traversal(expr) if isinstance(e, kind)]
    limits = {node: kind(node.args[0], *map(fields, node.args[1:])) for node in nodes}
    names = {value: sp.Dummy("E") for value in limits.values()}
    flat = expr.xreplace({node: names[value] for node, value in limits.items()})
    return power_limit(flat).xreplace({name: value for value, name in names.items()})


def by_averages(expr: sp.Expr) -> sp.Expr:
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
    top, bottom = (sp.Poly(sp.expand(e), y) for e in sp.fraction(ratio))
    low = [min(m[0] for m in e.monoms()) for e in (top, bottom)]
    if low[0] > low[1]:
        return sp.S.Zero
    lead = [e.coeff_monomial(y**k) for e, k in zip((top, bottom), low, strict=True)]
    ratio = sp.factor(lead[0] / lead[1])
    return ratio if low[0] == low[1] else sp.oo * sp.sign(ratio)


def gram_flow(
    slope: Callable[[sp.Symbol], sp.Expr],
    gram: sp.Matrix,
    trainable: int,
    rates: tuple[sp.Expr, ...],
) -> sp.Matrix:
    r"""Gradient flow of the Gram matrix of the first `trainable` vectors. (G5)

    For $\dot x_i = -\frac d2\,\text{rate}_i\,\nabla_{x_i}\mathcal L(G)$,

    $$
    \dot G = -\tfrac12 (S G + G S^{T}), \qquad
    S_{ij} = \text{rate}_i\,(1+\delta_{ij})\,\partial\mathcal L/\partial G_{ij},
    $$

    with zero rows for data vectors; `slope` gives $\partial\mathcal L/\partial G_{ij}$.
    `gram` holds a symbol (or a number, for data) in each entry; equal entries are equal
    symbols. Status: exact.
    """
    size = gram.shape[0]
    pull = sp.zeros(size, size)
    for i in range(trainable):
        for j in range(size):
            if isinstance(gram[i, j], sp.Symbol):
                twice = 2 if i == j else 1
                pull[i, j] = rates[i] * twice * slope(gram[i, j])
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
