"""Cached `derive`: solving a known model skips its derivation."""

from __future__ import annotations

from typing import Any

from ...theory import derive as engine
from ...theory.models.model import Model, Modes
from .cache import remembered
from .snapshot import key_of


class Known(engine.Limit):
    """A limit that can be derived, and is when its dilation or phases are read."""

    def __init__(self, model: Model, *parts: Any, **more: Any) -> None:
        vars(self).update({"model": model, **more})
        vars(self).update(zip(("dilation", "phases"), parts, strict=False))

    def __getattr__(self, name: str) -> Any:
        if name not in ("dilation", "phases"):
            return super().__getattr__(name)  # type: ignore[misc]
        real = self.derived()
        vars(self).update(dilation=real.dilation, phases=real.phases)
        return vars(self)[name]

    def derived(self) -> engine.Limit:
        """Return the limit, derived now if it has not been in this process."""
        held = vars(self)
        if "_derived" not in held:
            held["_derived"] = engine.derive(self.model)
        return held["_derived"]


def derive(model: Model) -> engine.Limit:
    """Find the windows of `model`; every system of every phase is derived from there.

    The cache folder remembers that a model can be derived, and what `dilaton.solve`
    needs of its limit, so that a second process solves it without deriving it anew.

    Raises
    ------
    ModelError
        When `model` is none, or its schedule does not lead from noise to data.
    DerivationError
        Naming the expression, the limit and what to supply, when the engine cannot
        resolve a window or a limit.

    Examples
    --------
    >>> from dilaton import Model, derive, two_modes
    >>> limit = derive(Model(two_modes()))
    >>> [phase.name for phase in limit.phases]
    ['weights', 'variance']
    >>> limit.phase("weights").learned["omega"]
    kappa*s
    """
    if not isinstance(model, Model):
        return engine.derive(model)  # says what is wrong
    if isinstance(model.target, Modes):
        return engine.derive(model)  # in indexed form, which is done at once
    found: list[engine.Limit] = []

    def names() -> str:
        found.append(engine.derive(model))
        return " ".join(phase.name for phase in found[0].phases)

    remembered(f"{key_of(model)}\nphases", names)
    known = Known(model)
    vars(known).update(zip(("_derived",), found, strict=False))
    return known
