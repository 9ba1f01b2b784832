"""The model: target, interpolant, autoencoder and data, as frozen records.

A `Model` holds structure and symbols, never numbers: numbers are given to
`dilaton.solve`, by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal, get_args

import sympy as sp
from sympy.core.function import AppliedUndef

from ...errors import ModelError, did_you_mean, shown
from ...mistakes import Answering
from ..symbols.notation import symbol
from ..symbols.shown import Typeset
from .modes import Level, check_apart, check_gram, check_loadings, factored, levels

Activation = Literal["tanh", "erf", "sign"]

TAU, D = symbol("tau"), symbol("d")

FINEST = 10_000
"""Largest denominator of an exponent."""

NUMBER = re.compile(
    r"\s*[+-]?[0-9]{1,400}(/[0-9]{1,40}|(\.[0-9]{0,40})?(e[+-]?[0-9]{1,3})?)\s*",
    re.ASCII,
)
UNFINISHED = (sp.Derivative, sp.Integral, sp.Limit, sp.Sum, sp.Product, AppliedUndef)


def _typed(name: str, value: Any, kind: type, words: str, remedy: str) -> None:
    """Raise `ModelError` unless a record's field is what it must be."""
    if not isinstance(value, kind):
        raise ModelError(f"`{name}` must be {words}, but is {shown(value)}. {remedy}")


UNQUOTED = "Write it without quotes."


def _switch(name: str, value: Any, remedy: str = UNQUOTED) -> None:
    _typed(name, value, bool, "True or False", remedy)


@dataclass(frozen=True)
class Feature(Answering):
    r"""One feature of the target: a sign $s_j$ and a mean of squared norm
    $\rho_j d^{1-2\delta_j}$. `p` and `rho` are symbols, `exponent` is $\delta_j$.
    """

    p: sp.Expr
    rho: sp.Expr
    exponent: sp.Rational

    def __post_init__(self) -> None:
        """Refuse numbers: they are given to `solve`, by name."""
        make = "Make features with `two_modes` or `product`."
        for name, value in (("p", self.p), ("rho", self.rho)):
            _typed(name, value, sp.Expr, "a sympy expression", make)
        _typed("exponent", self.exponent, sp.Rational, "a sympy fraction", make)
        _check_exponent(self.exponent, "it")

    @property
    def log_odds(self) -> sp.Expr:
        r"""$h = \frac12 \log\frac{p}{1-p}$."""
        return sp.log(self.p / (1 - self.p)) / 2


@dataclass(frozen=True)
class Target(Typeset):
    r"""$x_1 = \sum_j s_j \mu_j + \sigma z$ with independent signs, orthogonal means."""

    features: tuple[Feature, ...]
    sigma: sp.Expr = field(default_factory=lambda: symbol("sigma"))

    def __post_init__(self) -> None:
        """Refuse what is no tuple of features."""
        make = "Make targets with `two_modes` or `product`."
        held = isinstance(self.features, tuple) and self.features
        if not held or not all(isinstance(f, Feature) for f in self.features):
            raise ModelError(
                "`features` must be a tuple of `Feature`, at least one, but is "
                f"{shown(self.features)}. {make}"
            )
        _typed("sigma", self.sigma, sp.Expr, "a sympy expression", make)

    @property
    def decisions(self) -> dict[int, sp.Rational]:
        """The exponents of what has a window, by number: here, of the features."""
        return {j: f.exponent for j, f in enumerate(self.features, 1)}


@dataclass(frozen=True, kw_only=True)
class Modes(Target):
    r"""$x_1 = \sum_j \sqrt d\, d^{-\delta_j} L_{kj} e_j + \sigma z$ with
    probability $p_k$: any modes, orthonormal directions $e_j$, no signs.

    `loadings` has a row for each mode and a column for each direction, `exponents`
    a $\delta_j$ for each direction. Both are structure: they fix the tree in which
    the modes part. The weights ``p_1, p_2, ...`` are numbers, given to `solve`.
    """

    loadings: tuple[tuple[float, ...], ...]
    exponents: tuple[sp.Rational, ...]
    features: tuple[Feature, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        """Refuse what is no matrix of loadings, and modes that are all equal."""
        rows = check_loadings("loadings", self.loadings)
        given = isinstance(self.exponents, tuple) and len(self.exponents) == len(
            rows[0]
        )
        if not given or not all(isinstance(e, sp.Rational) for e in self.exponents):
            raise ModelError(
                f"`exponents` must list one fraction for each of the {len(rows[0])} "
                f"directions, but is {shown(self.exponents)}. Use `modes`."
            )
        check_apart(rows, self.exponents)
        make = "Make targets with `modes`."
        _typed("sigma", self.sigma, sp.Expr, "a sympy expression", make)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The decisions of each window: the tree, coarse to fine."""
        return levels(self.loadings, self.exponents)

    @property
    def decisions(self) -> dict[int, sp.Rational]:
        """The exponents of the directions that tell modes apart, by number."""
        told = (j for level in self.levels for j in level.directions)
        return {j: self.exponents[j - 1] for j in sorted(told)}


def two_modes() -> Target:
    r"""$p N(\mu, \sigma^2 I) + (1-p) N(-\mu, \sigma^2 I)$ with $|\mu|^2 = d$."""
    return Target((Feature(symbol("p"), sp.S.One, sp.S.Zero),))


def product(*exponents: sp.Rational | int | str | float) -> Target:
    r"""A product mixture with one feature for each exponent $\delta_j < 1/2$.

    The symbols are ``p_1, rho_1, p_2, rho_2, ...`` (also for a single feature).
    """
    if not exponents:
        raise ModelError(
            "A product mixture must have at least one feature, but no exponent is "
            "given. Write for example `product(0, 0.25)`."
        )
    deltas = [_exponent(e, j) for j, e in enumerate(exponents, 1)]
    return Target(
        tuple(
            Feature(symbol(f"p_{j}"), symbol(f"rho_{j}"), delta)
            for j, delta in enumerate(deltas, 1)
        )
    )


def modes(
    loadings: Sequence[Sequence[float]],
    exponents: Sequence[sp.Rational | int | str | float],
) -> Modes:
    r"""A mixture of any modes: row k of `loadings` is mode k, in the directions $e_j$.

    >>> target = modes([[1, 0], [-1, 1], [-1, -1]], [0, "1/4"])
    >>> [level.branches for level in target.levels]
    [(((1,), (2, 3)),), (((2,), (3,)),)]
    """
    rows = check_loadings("loadings", loadings)
    if not isinstance(exponents, list | tuple) or len(exponents) != len(rows[0]):
        raise ModelError(
            f"`exponents` must list one exponent for each of the {len(rows[0])} "
            f"directions, but is {shown(exponents)}. Column j of `loadings` is "
            "direction j."
        )
    deltas = tuple(_exponent(e, j) for j, e in enumerate(exponents, 1))
    return Modes(loadings=tuple(map(tuple, rows)), exponents=deltas)


def modes_of_gram(
    gram: Sequence[Sequence[float]], exponent: sp.Rational | int | str | float
) -> Modes:
    r"""Modes with the products $\mu_k\cdot\mu_l = C_{kl}\, d^{1-2\delta}$."""
    size = len(gram) if isinstance(gram, list | tuple) else 0
    rows = factored("gram", check_gram("gram", gram, size))
    return modes(rows, [exponent] * len(rows[0]))


def _exponent(value: sp.Rational | int | str | float, j: int) -> sp.Rational:
    """Return an exponent as an exact fraction; text is read, never evaluated."""
    try:
        text = str(value)
        if not NUMBER.fullmatch(text):
            raise ValueError(text)
        exact = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ModelError(
            '`exponent` must be a number or a fraction such as "1/3", but that of '
            f"feature {j} is {shown(value)}. Write it in digits, as in "
            '`product(0, "1/4")`.'
        ) from None
    _check_exponent(exact, f"feature {j}")
    return sp.Rational(exact)


def _check_exponent(value: Fraction | sp.Rational, whose: str) -> None:
    """Raise `ModelError` unless an exact exponent is a short fraction in [0, 1/2)."""
    if not 2 * value < 1:
        raise ModelError(
            "`exponent` must be below 1/2, or the modes are no farther apart than "
            f"one coordinate's noise, but {whose} has exponent {_exact(value)}. "
            "Lower it."
        )
    if value < 0:
        raise ModelError(
            "`exponent` must be at least 0, since |mu|^2 = rho d^(1 - 2 exponent) "
            f"grows at most like d, but {whose} has exponent {_exact(value)}. Raise it."
        )
    if value.denominator > FINEST:
        near = Fraction(str(value)).limit_denominator(FINEST)
        raise ModelError(
            f"`exponent` must be a fraction with a denominator of at most {FINEST}, "
            f"but {whose} has exponent {float(value)!r}. Write it as text: "
            f'"{near}" is near.'
        )


def _exact(value: Fraction | sp.Rational) -> str:
    """Return a fraction as text, or a number near it where that is long."""
    return str(value) if len(str(value)) <= 12 else f"{float(value):g}"


@dataclass(frozen=True)
class Interpolant(Typeset):
    r"""$x_\tau = \alpha(\tau) x_0 + \beta(\tau) x_1$: `alpha` multiplies the noise."""

    alpha: sp.Expr
    beta: sp.Expr

    def __post_init__(self) -> None:
        """Refuse text, which sympy would evaluate as Python, and foreign symbols."""
        read = "Read text with `parse_schedule`."
        for key, value in (("alpha", self.alpha), ("beta", self.beta)):
            _typed(key, value, sp.Expr, "a sympy expression in tau", read)
            _check_formula(key, value)

    @property
    def explodes(self) -> bool:
        r"""Whether the noise starts larger than the data, by a power of d.

        `ridge_w` then multiplies $\alpha^2|w|^2$, and $|w|^2$ elsewhere: it weighs w
        for an input in units of its noise, which is of order one elsewhere. (L1)
        """
        return self.alpha.subs(TAU, 0).has(D)


def _check_formula(key: str, value: sp.Expr) -> None:
    """Raise `ModelError` unless this is a formula in the toolkit's own symbols."""
    for part in sorted(value.atoms(*UNFINISHED), key=str):
        raise ModelError(
            f"`{key}` must be a formula in tau that can be evaluated, but contains "
            f"{str(part)[:60]}. Work it out first, as with `.doit()`."
        )
    for x in sorted(value.free_symbols - {TAU, D}, key=str):
        other = "another symbol that is called " if str(x) in ("tau", "d") else ""
        raise ModelError(
            f"`{key}` must be a function of the symbols `TAU` and `D` of "
            f"`dilaton.theory.models.model` alone, but has {other}`{x}`. Use those, or "
            "read text with `parse_schedule`."
        )


LINEAR = Interpolant(1 - TAU, TAU)
TRIGONOMETRIC = Interpolant(sp.cos(sp.pi * TAU / 2), sp.sin(sp.pi * TAU / 2))
VARIANCE_PRESERVING = Interpolant(sp.sqrt(1 - TAU**2), TAU)
VARIANCE_EXPLODING = Interpolant(sp.sqrt(D) * (1 - TAU), TAU)


@dataclass(frozen=True)
class Autoencoder(Answering):
    r"""$f(x) = c x + \sum_j u_j \varphi(w_j \cdot x/\sqrt d + b_j)$, a set per time.

    `tied` is the score parametrisation, $u = \alpha^2 w/(\beta \sqrt d)$.
    """

    activation: Activation = "tanh"
    tied: bool = False
    bias: bool = True

    @property
    def lettered(self) -> bool:
        """Whether it is derived for print: its unit and its sums keep their letters."""
        return self.activation.startswith("phi")

    def __post_init__(self) -> None:
        """Refuse an activation that no rule knows, and what is no switch."""
        known = get_args(Activation)
        if self.activation not in known:
            raise ModelError(
                f"`activation` must be one of {', '.join(known)}, but is "
                f"`{self.activation}`{did_you_mean(str(self.activation), known)}"
            )
        _switch("tied", self.tied)
        _switch("bias", self.bias)


@dataclass(frozen=True)
class Data(Answering):
    """The population (``samples=False``) or `n` samples, with fresh or frozen noise.

    The samples of a product mixture are counted by the signs of their features;
    `empty` names the sign patterns, as in ``("--",)``, that no sample has.
    """

    samples: bool = False
    frozen_noise: bool = False
    empty: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no switch, and details of samples that are not there."""
        counted = type(self.samples) in (int, float)
        remedy = "How many there are is a value, as in `n=16`." if counted else UNQUOTED
        _switch("samples", self.samples, remedy)
        _switch("frozen_noise", self.frozen_noise)
        patterns = isinstance(self.empty, tuple)
        if not patterns or not all(isinstance(x, str) for x in self.empty):
            raise ModelError(
                "`empty` must be a tuple of sign patterns, but is "
                f'{shown(self.empty)}. Write it as in `empty=("--",)`.'
            )
        for name in ("frozen_noise", "empty"):
            if getattr(self, name) and not self.samples:
                raise ModelError(
                    f"`{name}` describes samples, but `samples` is False: the "
                    "population has none. Leave it out, or set `samples=True`."
                )


@dataclass(frozen=True)
class Model(Typeset):
    """Everything the derivation starts from."""

    target: Target
    interpolant: Interpolant = LINEAR
    autoencoder: Autoencoder = Autoencoder()
    data: Data = Data()

    def __post_init__(self) -> None:
        """Refuse what is no record."""
        for name, kind, remedy in PARTS:
            words = f"a `dilaton.{kind.__name__}`"
            _typed(name, getattr(self, name), kind, words, remedy)


PARTS = (
    ("target", Target, "Make one with `two_modes`, `product` or `modes`."),
    ("interpolant", Interpolant, "`LINEAR` is one; `parse_schedule` reads text."),
    ("autoencoder", Autoencoder, 'Write it as in `Autoencoder("tanh")`.'),
    ("data", Data, "Write `Data(samples=True)` for n samples."),
)
"""The fields of a `Model`, what each must be, and how one is made."""


def suffix(model: Model, j: int) -> str:
    """``"_j"`` for the features of a product mixture, nothing for the paper's model."""
    if not model.target.features:
        return ""
    return "" if model.target.features[j - 1].p == symbol("p") else f"_{j}"


def named(model: Model, name: str, j: int) -> sp.Symbol:
    """Return the symbol of quantity `name` of feature `j` (1-based)."""
    return symbol(name + suffix(model, j))


def norm(feature: Feature) -> sp.Expr:
    r"""$|\mu_j| = \sqrt{\rho_j}\,d^{1/2-\delta_j}$."""
    return sp.sqrt(feature.rho) * D ** (sp.Rational(1, 2) - feature.exponent)
