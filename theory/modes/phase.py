r"""Phases and limits of modes: what `derive` returns for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import sympy as sp

from ...errors import ModelError
from ..limit import Lazy, Limit, Phase
from ..models.model import Model, Modes
from ..models.modes import Level, Parting
from ..phases.bulk import mse as bulk_mse
from ..symbols.system import System
from . import modes_bulk, systems
from .story import Chapters, chapters, parting_text


@dataclass(frozen=True, repr=False)
class ModesPhase(Phase):
    """A phase of a mixture of modes; its systems are in indexed form.

    `groups` are the groups of modes, counted from 1, that each branch of the tree
    parts into here; a branch that stays whole is left out.
    """

    @property
    def subjects(self) -> tuple[str, ...]:
        """The choices that are decided here, in words."""
        return tuple(f"the choice {parting_text(branch)}" for branch in self.groups)

    @property
    def level(self) -> Level | None:
        """The level of the tree that this window decides."""
        levels = target_of(self.model).levels
        mine = (x for x in levels if set(x.directions) == set(self.window.features))
        return next(mine, None)

    @property
    def groups(self) -> tuple[Parting, ...]:
        """The groups that each branch parts into; empty where nothing is decided."""
        return () if self.level is None else self.level.branches

    @cached_property
    def learned(self) -> System:
        """The learned overlaps: closed."""
        if not self.features:
            return self._named(modes_bulk.bulk_learned(self.model, self.window))
        if self.model.data.samples:
            return self._named(modes_bulk.not_derived(self.name))
        return self._named(systems.learned(self.model, self.window))

    @cached_property
    def sampling(self) -> System | None:
        """The flow of a sample's projections, or of its mean and of the bulk."""
        if self.features:
            known = not self.model.data.samples
            flow = systems.sampling(self.model, self.window) if known else None
        else:
            every = len(self.decided) == len(self.model.target.decisions)
            flow = modes_bulk.bulk_sampling(self.model, self.window) if every else None
        return flow and self._named(flow)

    projected = training = correction = None
    """Not derived, or of no use: a flow has as many dimensions as the window.

    Training at a fixed time moves the vectors too; with these held at the means it
    closes: ``limit.exact["tied"]``.
    """

    @cached_property
    def mse(self) -> System:
        """The Bayes error per dimension."""
        if self.window.variance and not self.features:
            return self._named(bulk_mse(self.model, self.window))
        return self._named(systems.bayes_error(self.model, self.window, self._moment))

    @property
    def _moment(self) -> str:
        """Where this window is to the one that decides the directions of exponent 0."""
        first = target_of(self.model).levels[0]
        if first.exponent != 0 or set(first.directions) <= set(self.decided):
            return "after"
        return "in" if self.level == first else "before"


def target_of(model: Model) -> Modes:
    """Return the modes of a model that has them."""
    assert isinstance(model.target, Modes)
    return model.target


@dataclass(frozen=True, repr=False)
class ModesLimit(Limit):
    """The limit of a mixture of modes."""

    @cached_property
    def exact(self) -> Lazy:
        """``sampling`` and ``mse`` of the Bayes denoiser at `d`; ``tied``: of training.

        The last is the flow of the biases of a network for all times (population).
        """
        derive = {"sampling": systems.exact_flow, "mse": systems.exact_mse}
        if not self.model.data.samples:
            derive["tied"] = partial(systems.weights_training, weight=sp.S.One)
        return Lazy(self.model, derive)

    @cached_property
    def story(self) -> Chapters:
        """The text on the model that a document puts before its phases, by heading."""
        return chapters(self.model, target_of(self.model))

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the numbers: weights, spread, scales of windows, samples."""
        modes = range(1, len(target_of(self.model).loadings) + 1)
        kappas = (p.window.kappa for p in self.phases if p.window.kappa is not None)
        names = [f"p_{k}" for k in modes] + ["sigma", *map(str, kappas)]
        if self.model.data.samples:
            names += [f"n_{k}" for k in modes] + ["ridge_u"]
        names += ["noise_draws"] if self.model.data.frozen_noise else []
        return tuple(sorted(names))


def check_network(model: Model) -> None:
    """Refuse hidden units that are no softmax: modes are learned by those."""
    auto = model.autoencoder
    if auto.activation != "tanh" or auto.tied or not auto.bias:
        raise ModelError(
            "Modes are learned by untied softmax units with biases, but the model has "
            f"activation {auto.activation!r}, tied {auto.tied} and bias {auto.bias}. "
            "Leave `autoencoder` out."
        )
