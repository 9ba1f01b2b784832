"""The first chapters of a derivation: the model, and the rules of averages."""

from __future__ import annotations

import sympy as sp

from ..models.classes import has_patterns
from ..models.model import Feature, Interpolant, Model, Target, norm, suffix
from ..naming.by_feature import Row, norms
from ..naming.general import ALPHA, BETA
from ..naming.sums import DELTA_LETTER
from ..phases.denoiser import Denoiser
from ..symbols.gaussian import FieldAverage, H, phi, to_averages
from .blocks import Piece, display, head, sentence
from .equations import defined_once


def setting_pieces(model: Model) -> list[Piece]:
    """The chapter of the model: target, interpolant, network, Bayes denoiser."""
    return [
        head("Setting"),
        *target(model.target),
        *interpolant(model.interpolant),
        *autoencoder(model),
        *_bayes(model, len(model.target.features) > 1),
    ]


def target(record: Target) -> list[Piece]:
    """The target: a sum over features, and the norms of their means."""
    several = len(record.features) > 1
    said = (
        "The target is `x1 = sum_j S_j mu_j + sigma z` with independent signs, "
        "`P(S_j = +1) = p_j`, orthogonal means `mu_j` and `z ~ N(0, I)`. A formula in "
        "`j` holds for each feature (of a window), one in `j` and `k` for each two. "
        "The means have"
        if several
        else "The target is `x1 = S mu + sigma z` with a sign `S`, "
        "`P(S = +1) = p`, a mean `mu` and `z ~ N(0, I)`, where"
    )
    sizes = {f"_{j}" if several else "": norm(x) ** 2 for j, x in _numbered(record)}
    return [sentence(said), *(display(f"|mu{j}|^2", x) for j, x in sizes.items())]


def _numbered(record: Target) -> list[tuple[int, Feature]]:
    return list(enumerate(record.features, 1))


def interpolant(record: Interpolant) -> list[Piece]:
    """The coefficients of noise and data."""
    return [
        sentence("The interpolant is `x = alpha x0 + beta x1` with `x0 ~ N(0, I)` and"),
        display("alpha", record.alpha),
        display("beta", record.beta),
    ]


_PHI = {"tanh": "phi = tanh", "erf": "phi(h) = erf(h/sqrt(2))", "sign": "phi = sign"}


def autoencoder(model: Model) -> list[Piece]:
    """The network, what it is trained on, and the loss."""
    auto, several = model.autoencoder, len(model.target.features) > 1
    bias = " + b_j" if auto.bias else ""
    unit = f"u_j phi(w_j.x/sqrt(d){bias})"
    unit = f"sum_j {unit}" if several else unit.replace("_j", "")
    tied = "`u` is tied to `w`" if auto.tied else "`u` and `w` are free"
    return [
        sentence(
            f"The autoencoder at each time is `f(x) = c x + {unit}` with "
            f"`{_PHI[auto.activation]}` and {'a' if auto.bias else 'no'} bias; {tied}. "
            f"It is trained on {_data(model)}: the loss at a time, {over(model)}, is"
        ),
        loss(model),
    ]


def over(model: Model) -> str:
    """Return in words what the loss is a sum or an average over."""
    if not model.data.samples:
        return "averaged over the target"
    draws = " and their noise draws" if model.data.frozen_noise else ""
    return f"a sum over the samples{draws}"


def loss(model: Model) -> Piece:
    """The loss (L1)."""
    if not model.data.samples:
        return display("loss", "E|x1 - f(x)|^2", "L1")
    scale = "alpha^2 " if model.interpolant.explodes else ""
    error = "|x1 - f(x)|^2" if model.data.frozen_noise else "E|x1 - f(x)|^2"
    ridges = f"ridge_u |u|^2 + ridge_w {scale}|w|^2"
    return display("loss", f"sum_i {error} + {ridges}", "L1")


def _bayes(model: Model, several: bool) -> list[Piece]:
    bayes = Denoiser(model, ALPHA, BETA)
    j = "_j" if several else ""
    found = [
        sentence(
            f"Given the sign{'s' if several else ''}, `(x1, x)` is Gaussian. With "
            "`Delta` the variance of a coordinate of `x`, and "
            f"`h{j}` half the log-odds of a sign,"
        ),
        display(DELTA_LETTER, bayes.delta),
    ]
    every, sizes = _numbered(model.target), norms(model)
    names = {i: sp.Symbol(f"h{suffix(model, i)}", real=True) for i, _ in every}
    found += defined_once([Row(names[i], x.log_odds) for i, x in every], sizes)
    posterior = f"mu{j} tanh(k{j} nu{j} + h{j})"
    posterior = f"sum_j {posterior}" if several else posterior
    found += [
        sentence(
            f"the Bayes denoiser is, with `nu{j}` the projection of `x` on the unit "
            f"vector along `mu{j}`,"
        ),
        display("E[x1|x]", f"c x + (1 - c beta) {posterior}", "D1"),
        display("c", bayes.skip.subs(bayes.delta, DELTA_LETTER)),
    ]
    slopes = {i: bayes.slope(i).subs(bayes.delta, DELTA_LETTER) for i, _ in every}
    names = {i: sp.Symbol(f"k_{i}" if several else "k") for i, _ in every}
    found += defined_once([Row(names[i], slopes[i]) for i, _ in every], sizes)
    return found + velocity(model)


def velocity(model: Model) -> list[Piece]:
    """The velocity that sampling integrates (D2)."""
    start = "alpha(0)^2 I" if model.interpolant.explodes else "I"
    return [
        sentence(
            f"Sampling integrates the velocity from `X ~ N(0, {start})` at `tau = 0`,"
        ),
        display("X'", "(alpha'/alpha) X + (beta' - alpha' beta/alpha) f(X)", "D2"),
    ]


def _data(model: Model) -> str:
    data = model.data
    if not data.samples:
        return "the population (`n = infinity`)"
    noise = (
        "`noise_draws` frozen noise draws each"
        if data.frozen_noise
        else "fresh noise at each step"
    )
    if has_patterns(model):
        return (
            "`n` samples, counted by the signs of their features (`n_pm` of them have "
            f"the signs `+` and `-`), with {noise}"
        )
    return (
        "`n` samples, `n_plus` of them in the `+` mode and `n_minus = n - n_plus` in "
        f"the `-` mode, with {noise}"
    )


def rule_pieces(model: Model) -> list[Piece]:
    """The rules that equations are derived by, labelled."""
    return [
        head("Rules"),
        sentence(
            "`g` is a standard normal and `E` averages over it. For a field "
            "`H = xi + sqrt(R) g` of mean `xi` and variance `R`, Price's theorem gives "
            "the derivatives of averages:"
        ),
        display("E[F(H)]", "int F(xi + sqrt(R) g) e^(-g^2/2) dg/sqrt(2 pi)", "G1"),
        display("dE[F(H)]/d xi", "E[F'(H)]", "G2"),
        display("dE[F(H)]/dR", "E[F''(H)]/2", "G3"),
        sentence("A unit whose field diverges saturates:"),
        display("phi(H)", "sign(xi)", "G4"),
        *_closed_averages(model),
        sentence(
            "Vectors that descend a loss of their overlaps, with rate `d/2`, move the "
            "Gram matrix `Q` by"
        ),
        display("Q'", "-(Pi Q + Q Pi^T)/2", "G5"),
        sentence(
            "where `Pi_ij` is the slope of the loss in `Q_ij`, twice that for `i = j`, "
            "in the rows of what is trained, and zero in those of the data."
        ),
    ]


def _closed_averages(model: Model) -> list[Piece]:
    """Averages of the unit that have closed forms, or what its slope is."""
    unit, (mean, size) = model.autoencoder.activation, sp.symbols("xi R", positive=True)
    if unit == "tanh":
        return [
            sentence("The slope of the unit is"),
            display("phi'(H)", "1 - phi(H)^2"),
        ]
    law = (mean,), (size,)
    closed = [
        display(f"E[phi{mark}(H)]", to_averages(FieldAverage(slope, *law)))
        for mark, slope in (("", phi(unit, H)), ("'", sp.diff(phi(unit, H), H)))
    ]
    square = [display("phi(H)^2", sp.S.One)] if unit == "sign" else []
    return [sentence("Averages of this unit have closed forms,"), *closed, *square]
