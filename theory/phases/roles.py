"""The derivation that serves each role of a phase, in each case of a model.

The one table of its kind: who wants to know how a model is derived looks here, and a
new case is a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..models.cases import Case, case_of
from ..models.model import Model
from ..symbols.system import System
from ..windows.search import Window
from . import bulk, finite_d, sampling, stationary, training_flow, weights

Derivation = Callable[[Model, Window], System]
Following = Callable[[Model, Window, System], System]


@dataclass(frozen=True)
class Roles:
    """The derivations of a feature window; `None` where a role does not exist.

    `sampling` and `correction` follow from what is learned, their last argument.
    """

    learned: Derivation
    sampling: Following | None = None
    projected: Derivation | None = None
    training: Derivation | None = None
    correction: Following | None = None


ONE_UNIT = Roles(
    stationary.learned,
    sampling.population,
    training=training_flow.training,
    correction=finite_d.correction,
)
TABLE = {
    Case.BAYES: replace(ONE_UNIT, learned=weights.bayes_learned),
    Case.POPULATION: ONE_UNIT,
    Case.TWO_MODES: replace(
        ONE_UNIT, sampling=sampling.samples, projected=sampling.projected
    ),
    Case.CLASSES: Roles(stationary.learned, sampling.samples, sampling.projected),
    Case.FROZEN: Roles(bulk.frozen),
}


def roles_of(model: Model) -> Roles:
    """Return the row of a model, without the roles that its network does not have.

    A tied `u` follows `w`: no flow of its own, no expansion. A sign unit has no slope
    to train by. With a tied unit, or one without bias, the field of two modes does not
    keep one direction.
    """
    case, auto = case_of(model), model.autoencoder
    found = TABLE[case]
    if auto.tied:
        found = replace(found, training=None, correction=None)
    if auto.activation.endswith("sign"):
        found = replace(found, training=None)
    if case is Case.TWO_MODES and (auto.tied or not auto.bias):
        found = replace(found, projected=None)
    return found
