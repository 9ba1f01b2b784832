r"""Averages over Gaussian fields: exact where a rule is known, else a node.

Two nodes. `FieldAverage` is $\mathbb{E}\,F(h)$ over a Gaussian field $h$ with a given
mean and covariance; its derivatives follow the heat equation (G2), so no derivative
of a square root ever appears. `Average` is the same over standard normals, which
`numerics` turns into quadrature with a reported error.
"""

from __future__ import annotations

import sympy as sp
from sympy.printing.printer import Printer

G = sp.Symbol("g", real=True)
"""The standard normal that one-dimensional averages integrate over."""
G2 = sp.Symbol("g2", real=True)
"""The second standard normal of a two-dimensional average."""
H, H2 = sp.symbols("h1 h2", real=True)
"""The fields that the integrand of a `FieldAverage` is written in."""


class Average(sp.Expr):
    r"""The average $\mathbb{E}_g\,[f(g)]$ over $g \sim N(0, I)$, unevaluated. (G1)

    Constants leave the average and sums are split, so equal averages are equal
    expressions; differentiation goes under the integral sign.

    Examples
    --------
    >>> a = sp.symbols("a")
    >>> Average(3 * a + 2 * a * sp.tanh(a * G))
    2*a*E[tanh(a*g)] + 3*a
    """

    is_commutative = True
    is_real = True

    def __new__(cls, integrand: sp.Expr, *variables: sp.Symbol) -> sp.Expr:
        """Return the average over `variables` (default: the single normal ``g``)."""
        variables = variables or (G,)
        integrand = sp.sympify(integrand)
        if not integrand.has(*variables):
            return integrand
        if isinstance(integrand, sp.Add):
            return sp.Add(*(cls(term, *variables) for term in integrand.args))
        constant, rest = integrand.as_independent(*variables, as_Add=False)
        used = tuple(v for v in variables if rest.has(v))
        return constant * sp.Expr.__new__(cls, rest, *used)

    @property
    def integrand(self) -> sp.Expr:
        """The function of the normals that is averaged."""
        return self.args[0]

    @property
    def variables(self) -> tuple[sp.Symbol, ...]:
        """The standard normals, independent of one another."""
        return self.args[1:]

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """The parameters; the normals are bound."""
        return self.integrand.free_symbols - set(self.variables)

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return Average(sp.diff(self.integrand, symbol), *self.variables)

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr | None:
        if old in self.variables or _lacks(self, old):
            return self
        return Average(self.integrand._subs(old, new), *self.variables)

    def _latex(self, printer: Printer) -> str:
        names = ",".join(printer._print(v) for v in self.variables)
        body = printer._print(self.integrand)
        return rf"\mathbb{{E}}_{{{names}}}\left[{body}\right]"

    def _sympystr(self, printer: Printer) -> str:
        return f"E[{printer._print(self.integrand)}]"


class FieldAverage(sp.Expr):
    r"""$\mathbb{E}\,F(h)$ for $h \sim N(\text{mean}, \text{cov})$, one or two fields.

    $$
    \frac{\partial\,\mathbb{E}F}{\partial\,\text{mean}_i} = \mathbb{E}\,\partial_i F,
    \tag{G2}
    $$

    $$
    \frac{\partial\,\mathbb{E}F}{\partial\,\text{cov}_{ij}}
      = \tfrac{1}{1+\delta_{ij}}\,\mathbb{E}\,\partial_i\partial_j F . \tag{G3}
    $$

    Status: exact (Price's theorem). Arguments: the integrand in the fields ``h1, h2``,
    the tuple of means, the tuple of covariances ``(c11,)`` or ``(c11, c12, c22)``.
    """

    is_commutative = True
    is_real = True

    def __new__(cls, integrand: sp.Expr, means: sp.Tuple, cov: sp.Tuple) -> sp.Expr:
        """Return the node, with sums split and constants taken out."""
        integrand = sp.expand(sp.sympify(integrand))
        means, cov = sp.Tuple(*means), sp.Tuple(*cov)
        if not integrand.has(H, H2):
            return integrand
        if isinstance(integrand, sp.Add):
            return sp.Add(*(cls(term, means, cov) for term in integrand.args))
        if len(means) == 2 and not integrand.has(H2):
            return cls(integrand, means[:1], cov[:1])
        if len(means) == 2 and not integrand.has(H):
            return cls(integrand.subs(H2, H), means[1:], cov[2:])
        constant, rest = integrand.as_independent(H, H2, as_Add=False)
        return constant * sp.Expr.__new__(cls, rest, means, cov)

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """The parameters; the fields are bound."""
        return (self.args[0].free_symbols - {H, H2}).union(
            *(a.free_symbols for a in self.args[1:])
        )

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        integrand, means, cov = self.args
        fields = (H, H2)[: len(means)]
        pairs = [(0, 0)] if len(means) == 1 else [(0, 0), (0, 1), (1, 1)]
        first = sum(
            FieldAverage(sp.diff(integrand, h), means, cov) * sp.diff(mean, symbol)
            for h, mean in zip(fields, means, strict=True)
        )
        second = sum(
            FieldAverage(sp.diff(integrand, fields[i], fields[j]), means, cov)
            * sp.diff(c, symbol)
            / (2 if i == j else 1)
            for (i, j), c in zip(pairs, cov, strict=True)
        )
        return first + second

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr | None:
        if old in (H, H2) or _lacks(self, old):
            return self
        integrand, means, cov = self.args
        return FieldAverage(
            integrand,
            means._subs(old, new),
            sp.Tuple(*(c._subs(old, new) for c in cov)),
        )

    def standardised(self) -> sp.Expr:
        """Return the same average over standard normals, or its closed form."""
        integrand, means, cov = self.args
        if len(means) == 1:
            closed = _closed(integrand, means[0], cov[0])
            std = sp.sqrt(cov[0]).replace(sp.Abs, lambda x: x)  # g and -g are alike
            return closed or Average(integrand.subs(H, means[0] + std * G))
        slope = cov[1] / sp.sqrt(cov[0])
        rest = sp.sqrt(cov[2] - cov[1] ** 2 / cov[0])
        fields = {
            H: means[0] + sp.sqrt(cov[0]) * G,
            H2: means[1] + slope * G + rest * G2,
        }
        return Average(integrand.subs(fields, simultaneous=True), G, G2)

    def _latex(self, printer: Printer) -> str:
        return rf"\mathbb{{E}}\left[{printer._print(self.args[0])}\right]"


def _lacks(expr: sp.Expr, old: sp.Basic) -> bool:
    """Whether a symbol does not occur, so that nothing need be built anew."""
    return isinstance(old, sp.Symbol) and old not in expr.free_symbols


def _closed(integrand: sp.Expr, mean: sp.Expr, var: sp.Expr) -> sp.Expr | None:
    r"""Closed averages: of sign, of $\mathrm{erf}(h/\sqrt2)$, of their slopes."""
    if var == 0:
        return integrand.subs(H, mean)
    if integrand == sp.sign(H):
        return sp.erf(mean / sp.sqrt(2 * var))
    if integrand == sp.sign(H) ** 2:
        return sp.S.One
    if integrand == sp.erf(H / sp.sqrt(2)):
        return sp.erf(mean / sp.sqrt(2 * (1 + var)))
    if integrand == sp.exp(-(H**2) / 2):
        return sp.exp(-(mean**2) / (2 * (1 + var))) / sp.sqrt(1 + var)
    if integrand == sp.DiracDelta(H):
        return sp.exp(-(mean**2) / (2 * var)) / sp.sqrt(2 * sp.pi * var)
    return None


class OpenUnit(sp.Function):
    r"""A unit of which nothing is known but its name, and its slopes $\varphi^{(k)}$.

    Arguments: the field, and the order of the slope. Averages of it have no closed
    form, so that equations keep their shape when they are printed.

    Examples
    --------
    >>> OpenUnit(H, 0), sp.diff(OpenUnit(H, 0), H, 2)
    (phi(h1), phi''(h1))
    """

    is_real = True

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return the slope."""
        return OpenUnit(self.args[0], self.args[1] + 1)

    def _sympystr(self, printer: Printer) -> str:
        return f"phi{chr(39) * int(self.args[1])}({printer._print(self.args[0])})"

    def _latex(self, printer: Printer, exp: str | None = None) -> str:
        power = r"\prime" * int(self.args[1]) + (f" {exp}" if exp else "")
        mark = f"^{{{power.strip()}}}" if power else ""
        return rf"\varphi{mark}\left({printer._print(self.args[0])}\right)"


NAMELESS = "phi"
"""The prefix of the name of a unit whose averages are kept open."""


def with_unit(expr: sp.Expr, activation: str) -> sp.Expr:
    """Return `expr` with the unit called `activation` for every `OpenUnit`."""
    real = phi(activation.removeprefix(NAMELESS), H)
    return expr.replace(
        lambda x: isinstance(x, OpenUnit),
        lambda x: sp.diff(real, H, int(x.args[1])).subs(H, x.args[0]),
    )


def phi(activation: str, x: sp.Expr) -> sp.Expr:
    """Return the hidden unit: ``tanh(x)``, ``erf(x/sqrt(2))`` or ``sign(x)``."""
    if activation.startswith(NAMELESS):
        return OpenUnit(x, 0)
    if activation == "erf":
        return sp.erf(x / sp.sqrt(2))
    return {"tanh": sp.tanh, "sign": sp.sign}[activation](x)


def mean_phi(activation: str, mean: sp.Expr, var: sp.Expr) -> sp.Expr:
    r"""$\mathbb{E}\,\varphi(h)$ over a field of the given mean and variance."""
    return FieldAverage(phi(activation, H), sp.Tuple(mean), sp.Tuple(var))


def mean_phi2(activation: str, mean: sp.Expr, var: sp.Expr) -> sp.Expr:
    r"""$\mathbb{E}\,\varphi(h)^2$; 1 for the sign unit."""
    if activation.endswith("sign"):
        return sp.S.One
    return FieldAverage(phi(activation, H) ** 2, sp.Tuple(mean), sp.Tuple(var))


def mean_slope(activation: str, mean: sp.Expr, var: sp.Expr) -> sp.Expr:
    r"""$\mathbb{E}\,\varphi'(h)$."""
    slope = sp.diff(phi(activation, H), H)
    return FieldAverage(slope, sp.Tuple(mean), sp.Tuple(var))


def mean_product(
    activation: str, means: tuple[sp.Expr, sp.Expr], cov: tuple[sp.Expr, ...]
) -> sp.Expr:
    r"""$\mathbb{E}\,\varphi(h_1)\varphi(h_2)$ over two correlated fields."""
    unit = phi(activation, H) * phi(activation, H2)
    return FieldAverage(unit, sp.Tuple(*means), sp.Tuple(*cov))


def to_averages(expr: sp.Expr) -> sp.Expr:
    """Write every `FieldAverage` of `expr` over standard normals, or in closed form."""
    return expr.replace(
        lambda e: isinstance(e, FieldAverage), lambda e: e.standardised()
    )
