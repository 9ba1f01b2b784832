"""The text on a mixture of modes that a document puts before its phases."""

from __future__ import annotations

import sympy as sp

from ..models.model import Model, Modes
from ..models.modes import Level, Parting
from ..phases.denoiser import Denoiser
from ..phases.loss import ALPHA, BETA
from ..symbols.indexed import DIRECTION, MODE, OTHER, over_directions, over_modes
from ..symbols.system import Step
from .posterior import LOADING, POSTERIOR, exact_scales

Chapters = dict[str, tuple[Step, ...]]


def chapters(model: Model, target: Modes) -> Chapters:
    """The setting and the tree of decisions, by heading."""
    return {"Setting": setting(model), "Tree of decisions": tree(target)}


def setting(model: Model) -> tuple[Step, ...]:
    """The target, the interpolant, the network and the exact denoiser."""
    bayes, scales, size = exact_scales(model, Denoiser(model, ALPHA, BETA))
    delta = sp.Symbol("Delta", real=True)
    field, posterior = scales.posterior()
    mean = sp.IndexedBase("mu")
    product = over_directions(LOADING[MODE, DIRECTION] * LOADING[OTHER, DIRECTION])
    vector = sp.Symbol("x")
    push = over_modes(mean[MODE] * POSTERIOR[MODE])
    denoiser = (bayes.skip * vector + bayes.residual_gain * push).subs(
        bayes.delta, delta
    )
    who = "`n_k` samples of mode k" if model.data.samples else "the population"
    return (
        _say(
            "The target is `x1 = mu_k + sigma z` with probability `p_k`, one of `K` "
            "modes, `z ~ N(0, I)`. Its means have in orthonormal directions `e_j` the "
            "projections",
            mean[MODE, DIRECTION],
            LOADING[MODE, DIRECTION] * size,
        ),
        _say(
            "with any loadings `L_kj`: within one exponent the products of means are, "
            "in units of `d^(1 - 2 delta)`,",
            sp.IndexedBase("C")[MODE, OTHER],
            product,
        ),
        _say(
            "The interpolant is `x = alpha x0 + beta x1` with `x0 ~ N(0, I)` and",
            sp.Symbol("alpha"),
            model.interpolant.alpha,
        ),
        _say("and", sp.Symbol("beta"), model.interpolant.beta),
        Step(
            "The autoencoder at each time is `f(x) = c x + sum_k u_k softmax_k("
            f"w_k.x/sqrt(d) + b_k)`, trained on {who}. Given the mode, `(x1, x)` is "
            "Gaussian; with `Delta` the variance of a coordinate of `x`,",
            _equal(delta, bayes.delta),
        ),
        _say(
            "and `y_j = e_j.x`, the log posterior of mode `k` is, up to a shift,",
            field.lhs,
            field.rhs.subs(bayes.delta, delta),
            field.label,
        ),
        Step("", _equal(posterior.lhs, posterior.rhs), posterior.label),
        _say("and the denoiser `E[x1|x]` is", sp.Symbol("f"), denoiser, "D1"),
    )


def tree(target: Modes) -> tuple[Step, ...]:
    """The tree of decisions: the modes that part, window by window."""
    head = (
        "Modes that differ in a direction part where its signal-to-noise ratio is "
        "`O(1)`; modes that differ in later directions (larger exponents) only count "
        "as one until then, with their weights added; modes that an earlier window "
        "parted are no rivals any more."
    )
    return (Step(head), *(Step(f"- {_level(x)}") for x in target.levels))


def _level(level: Level) -> str:
    parts = " and ".join(parting_text(branch) for branch in level.branches)
    where = ", ".join(map(str, level.directions))
    many = "directions" if len(level.directions) > 1 else "direction"
    return f"exponent {level.exponent} ({many} {where}): {parts}"


def parting_text(branch: Parting) -> str:
    """``(1, 2) | (3)``: the groups of a branch."""
    return " | ".join(f"({', '.join(map(str, group))})" for group in branch)


def _say(text: str, left: sp.Expr, right: sp.Expr, label: str | None = None) -> Step:
    return Step(text, _equal(left, right), label)


def _equal(left: sp.Expr, right: sp.Expr) -> sp.Equality:
    return sp.Eq(left, right, evaluate=False)
