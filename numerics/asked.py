"""The first argument of `solve`, `learn`, `sweep` and their like, whatever was given.

Each takes a model or a limit with the values of its parameters, or a spec, or the path
of a spec file, which have them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, shown
from ..theory.models.spec import Spec, load_spec, spec_of
from .codegen.snapshot import PrintedLimit, limit_of

if TYPE_CHECKING:
    from ..theory.derive import Limit


SCALE = re.compile(r"^scale(?=(_\d+)?$)")  # of a spec; `rho` in formulas


@dataclass(frozen=True)
class Asked:
    """A limit and the values of its parameters, in the form that a function needs."""

    values: dict[str, Any]
    given: Any

    @property
    def printed(self) -> Limit | PrintedLimit:
        """The limit for numbers, which is not derived if the cache folder knows it."""
        return known_limit(self.given) if isinstance(self.given, Spec) else self.given

    @property
    def limit(self) -> Limit:
        """The limit with its equations."""
        if isinstance(self.given, PrintedLimit):
            raise _wrong(self.given)
        if not isinstance(self.given, Spec):
            return self.given
        from .codegen.known import derive

        key = ("equations", repr(self.given.structure))
        return _once(key, lambda: derive(self.given.model))

    @property
    def spec(self) -> Spec:
        """The spec; for a limit it is written, or `ModelError` says why it is not."""
        if isinstance(self.given, Spec):
            return self.given
        return spec_of(self.limit.model, self.values)


def asked(given: Any, values: Mapping[str, Any] | None = None) -> Asked:
    """Return a limit with its values from a model, a limit, a spec or a spec's path.

    The values that are given beside a spec replace those in it. Raises `ModelError` if
    it is none of these, or the spec has no such value, and `StoreError` if the spec
    file cannot be read.
    """
    values = {SCALE.sub("rho", k): x for k, x in (values or {}).items()}
    if isinstance(given, str | Path):
        given = load_spec(given)
    if isinstance(given, Spec):
        spec = given.replace(**values) if values else given
        return Asked(spec.values, spec)
    if isinstance(given, PrintedLimit):
        return Asked(values, given)
    from ..theory.derive import Limit
    from ..theory.models.model import Model
    from .codegen.known import derive

    if isinstance(given, Model):
        return Asked(values, derive(given))
    if isinstance(given, Limit):
        return Asked(values, given)
    raise _wrong(given)


def _wrong(given: Any) -> ModelError:
    return ModelError(
        "The first argument must be a spec, the path of a spec file, or a model or a "
        f"limit whose values are given by name, but is {shown(given)}. Take "
        "`default_spec()`, or `derive(Model(two_modes()))` with `p=0.8, sigma=1, "
        "kappa=2`."
    )


_LIMITS: dict[tuple[str, str], Any] = {}
_DERIVING = threading.Lock()


def known_limit(spec: Spec) -> PrintedLimit:
    """Return the limit of a spec, derived at most once in a process."""
    return _once(("numbers", repr(spec.structure)), lambda: limit_of(spec))


def _once(key: tuple[str, str], make: Callable[[], Any]) -> Any:
    """Return what a call with this key has made, or made now."""
    with _DERIVING:
        if key not in _LIMITS:
            _LIMITS[key] = make()
        return _LIMITS[key]
