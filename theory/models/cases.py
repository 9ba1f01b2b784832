r"""The cases of the theory: `case_of` decides once which one a model is.

| case | trained on | network | what is learned in a feature window |
|---|---|---|---|
| `BAYES` | the population | a tanh unit with a bias per feature | (D1) itself |
| `POPULATION` | the population | any other single unit | a minimum, `u` eliminated |
| `TWO_MODES` | n samples of two modes | a single unit | a minimum, `u` eliminated |
| `CLASSES` | samples of a product mixture | a smooth unit per feature | a minimum |
| `FROZEN` | samples with frozen noise draws | untied units | labels alone: degenerate |

Ask ``case_of(model) is Case.FROZEN`` in place of looking at the fields of a model; the
derivation that serves each role in each case is in `theory.phases.roles`.
"""

from __future__ import annotations

from enum import Enum
from functools import cache

import sympy as sp

from ...errors import DerivationError
from .classes import MOST_UNITS, has_patterns
from .model import Model


class Case(Enum):
    """The case of a model; see the module's table."""

    BAYES = "bayes"
    POPULATION = "population"
    TWO_MODES = "two-modes"
    CLASSES = "classes"
    FROZEN = "frozen"


@cache
def case_of(model: Model) -> Case:
    """Return the case of `model`; raise `DerivationError` where none is derived."""
    auto, data = model.autoencoder, model.data
    if not data.samples and auto.activation.endswith("tanh") and auto.bias:
        return Case.BAYES
    if data.samples:
        _check_exponents(model)
    if has_patterns(model):
        _check_units(model)
    elif len(model.target.features) > 1:
        raise DerivationError(
            "With several features the engine derives the population with a tanh unit "
            f"and a bias for each, but the model has activation {auto.activation!r} "
            f"and bias {auto.bias}. Use one feature, or tanh units with a bias."
        )
    _check_undetermined(model)
    if data.frozen_noise:
        return Case.FROZEN
    if has_patterns(model):
        return Case.CLASSES
    return Case.TWO_MODES if data.samples else Case.POPULATION


def _check_exponents(model: Model) -> None:
    r"""Refuse samples of features that are resolved after the samples' own noises.

    The products of samples are, per dimension, $\rho_1 s_is_k + \sigma^2\delta_{ik} +
    d^{-2\delta}\rho_2 s'_is'_k + d^{-1/2}\sigma^2 g_{ik}$ with $g_{ik}$ of order 1, so
    that a split $S$ of the samples gains $d^{-2\delta}\rho_2(S\cdot s')^2 +
    d^{-1/2}\sigma^2 S^TgS$ over others.
    """
    for j, feature in enumerate(model.target.features, 1):
        if feature.exponent != 0:
            raise DerivationError(
                "With n samples a feature needs exponent 0: a sample's own noise has "
                "norm sqrt(d) and is resolved at tau ~ d^(-1/2), before feature "
                f"{j} with exponent {feature.exponent}. There a unit can fit any "
                "split of the samples at the same leading loss; the labels change it "
                f"by O(d^(-{2 * feature.exponent})) alone, the chance overlaps of the "
                f"noises by O(d^(-1/2)). {_which_split(feature.exponent)} "
                'Set the exponent to 0, or n = "inf".'
            )


def _which_split(exponent: sp.Rational) -> str:
    """Say which split of the samples a unit ends with as `d` grows."""
    if exponent < sp.Rational(1, 4):
        return (
            "The labels win as d grows, at a rate that needs the loss at both orders; "
            "only the first is derived."
        )
    if exponent == sp.Rational(1, 4):
        return (
            "These are of one order: which split is learned stays a matter of chance "
            "at any d, and no equation has it."
        )
    return "Chance decides as d grows: the split has nothing to do with the feature."


def _check_units(model: Model) -> None:
    """Refuse the product mixtures whose n samples have no derived limit."""
    features = model.target.features
    if len(features) > MOST_UNITS:
        raise DerivationError(
            f"With n samples the engine derives up to {MOST_UNITS} features of one "
            f"exponent, 2^K classes of samples with K overlaps each, but the model has "
            f'{len(features)} features. Use fewer features, or n = "inf".'
        )
    if model.autoencoder.activation == "sign":
        raise DerivationError(
            "With n samples of a product mixture the engine derives tanh or erf units, "
            "whose products are smooth functions of two correlated fields, but the "
            "model has activation 'sign'. Use a smooth unit, or kind = \"two-modes\"."
        )


def _check_undetermined(model: Model) -> None:
    """A sign unit does not see the size of `w`; a tied `u` is that size."""
    auto, data = model.autoencoder, model.data
    if auto.activation == "sign" and (auto.tied or (data.samples and not auto.bias)):
        raise DerivationError(
            "A sign unit is derived untied, and with a bias where there are samples: "
            f"the size of w must not matter, but the model has tied {auto.tied}, bias "
            f"{auto.bias} and samples {data.samples}. Use a tanh or an erf unit."
        )
    if auto.tied and data.frozen_noise:
        raise DerivationError(
            "With frozen noise the labels are fitted by a w that is not along u, but "
            'the network is tied. Untie it, or set noise_draws = "inf".'
        )
