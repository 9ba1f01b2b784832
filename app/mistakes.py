"""Answers to whoever asks for a name, or gives an argument, that is not there."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .errors import ArgumentError, did_you_mean, shown
from .numbers import bounds_of


class Answering:
    """A record that says where a thing is to whoever asks for it in the wrong place."""

    def __init_subclass__(cls, **more: Any) -> None:
        """Let public methods explain the arguments that they do not take."""
        super().__init_subclass__(**more)
        for name, method in [*vars(cls).items()]:
            if isinstance(method, FunctionType) and name[0] != "_":
                setattr(cls, name, _explained(method))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> None:
            """Raise `AttributeError`: what there is, what was asked for, and where."""
            if name.startswith("_") or hasattr(type(self), name):
                object.__getattribute__(self, name)  # raises what it did before
            kind, known = _public(type(self)), _names(self)
            raise AttributeError(
                f"`{kind}` has {', '.join(known)}, but `{name}` was asked for"
                f"{_place(self, name, kind) or did_you_mean(name, known)}"
            )


def _public(kind: type) -> str:
    """Return the name by which people know a class."""
    import dilaton

    names = [k.__name__ for k in kind.__mro__]
    return next((x for x in names if x in dilaton.__all__), names[0])


def _names(record: Any) -> list[str]:
    return sorted(x for x in {*dir(type(record)), *vars(record)} if x[0] != "_")


def _place(record: Any, name: str, kind: str) -> str:
    """Return where a name is found, as a remedy: in a part, a function, or `solve`."""
    me = kind.lower()
    if (me, name) in OTHERS:
        return f". Write `{OTHERS[me, name]}`."
    if name in _quantities(record):
        return f'. Write `{me}["{name}"]`.'
    for key, part in vars(record).items():
        if name in _quantities(part) and key[0] != "_":
            return f'. Write `{me}.{key}["{name}"]`.'
        one, at = (part[0], "[0]") if isinstance(part, tuple) and part else (part, "")
        if isinstance(one, Answering) and name in _names(one):
            return f". Write `{me}.{key}{at}.{name}`."
    takes = {"limit": WHOLE, "spec": WHOLE}.get(_first(name), (_first(name),))
    if me in takes:
        return f". Write `dilaton.{name}({me}, ...)`."
    return f". {GIVEN.format(name)}" if bounds_of(name) else ""


PRINTS = "dilaton derive SPEC --format latex"
OTHERS = {
    ("limit", "latex"): PRINTS,
    ("limit", "to_latex"): PRINTS,
    ("limit", "plot"): "dilaton.solve(limit, ...).dilaton.plot()",
    ("spec", "plot"): "dilaton.solve(spec, ...).dilaton.plot()",
    ("system", "lambdify"): 'dilaton.make_kernel(system, "numpy")',
    ("system", "rhs"): "system[system.names[0]]",
    ("system", "subs"): "system[system.names[0]].subs(...)",
}
"""Remedies for names of other libraries, by the record and the name."""

WHOLE = ("model", "limit", "spec")


def _first(name: str) -> str:
    """Return the name of the first argument of a public function, if it is one."""
    import dilaton

    found = getattr(dilaton, name) if name in dilaton.__all__ else None
    return next(iter(signature(found).parameters), "") if callable(found) else ""


def _quantities(record: Any) -> Any:
    """Return the names that a record has in brackets."""
    if isinstance(record, dict):
        return record
    for key in ("names", "values"):
        if isinstance(getattr(type(record), key, None), property):
            return getattr(record, key)
    return ()


GIVEN = "It is a number: give it to `solve`, by name, as in `{}=...`."


def explained(call: Any) -> Any:
    """Return a public function that explains arguments which it does not take.

    A record is returned as it is, after its making has learned to explain them.
    """
    if isinstance(call, type) and issubclass(call, Answering):
        call.__init__ = _explained(call.__init__)  # type: ignore[method-assign]
    if not isinstance(call, FunctionType):
        return call
    found = _explained(call)
    found.__module__ = __package__  # where it is found again, by pickle for one
    return found


def _explained(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def told(*given: Any, **named: Any) -> Any:
        try:
            return call(*given, **named)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # from inside
            raise _misuse(call, given, named) from None

    return told


def _misuse(
    call: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]
) -> ArgumentError:
    """Return the error of a call whose arguments do not fit: rule, fact, remedy."""
    takes = [*signature(call).parameters.values()]
    if takes and takes[0].name == "self":
        takes, given = takes[1:], given[1:]
    name = call.__qualname__.removesuffix(".__init__")
    known = [p.name for p in takes if p.kind is not Parameter.VAR_KEYWORD]
    free = len(known) < len(takes)
    plain = [p.name for p in takes if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    needed = [x.name for x in takes if x.default is Parameter.empty and x.name in known]
    rule = f"`{name}` takes {', '.join(known) or 'numbers' * free or 'no arguments'}"
    rule += " and numbers by name" if free and known else ""
    absent = [x for x in needed[len(given) :] if x not in named]
    written = [x if x in plain else f"{x}=..." for x in needed] + ["p=0.8"] * free
    remedy = f". Write it as in `{name}({', '.join(written)})`."
    if stray := [x for x in named if x not in known and not free]:
        fact = f"`{stray[0]}` is given"
        remedy = _elsewhere(stray[0], name, known) or did_you_mean(stray[0], known)
    elif len(given) > len(plain):
        fact = f"{shown(given[len(plain)])} is given without a name"
        remedy = remedy if known or free else _HOLDS_NONE
    elif absent:
        fact = f"`{absent[0]}` is missing"
    else:
        fact = f"`{next(x for x in plain[: len(given)] if x in named)}` is given twice"
    return ArgumentError(f"{rule}, but {fact}{remedy}")


_HOLDS_NONE = ". Numbers are given to `solve`, by name, as in `p=0.8`."


def _elsewhere(name: str, called: str, known: list[str]) -> str:
    """Return where an argument belongs: in a record, in a table, or in `solve`."""
    from . import Autoencoder, Data, Interpolant, Model

    for kind in (Model, Autoencoder, Data, Interpolant):
        if name in vars(kind)["__dataclass_fields__"] and kind.__name__ != called:
            return f". Write `{kind.__name__}({name}=...)`."
    if name in known or not bounds_of(name):
        return ""
    table = next((x for x in ("params", "columns") if x in known), "")
    remedy = f'Write `{table}={{"{name}": ...}}`.' if table else GIVEN.format(name)
    return f". {remedy}"
