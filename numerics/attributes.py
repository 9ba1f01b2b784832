"""The attributes of a variable of a result, kept in a file too.

Each has a `long_name`, its `order_in_d` and, where an equation fixes it, its `label`;
an overlap has its `definition`. What differs between phases is told phase by phase:
``weights: (W3); variance: (V2)``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .codegen.snapshot import PrintedPhase


class _Result(NamedTuple):
    """A variable that no phase fixes: its meaning, and whose labels it has."""

    meaning: str
    order: str = "O(1)"
    of: tuple[str, ...] = ()


_DECIDED = ("share_plus", "nu", "Y")
_SHARES = ("share", "pi")
_RESULTS = {
    "t": _Result("dilated time", "[0, 1]"),
    "s": _Result("time inside the phase", "[0, 1]"),
    "phase": _Result("the phase a time lies in", ""),
    "feature": _Result("feature of the target, counted from 1", ""),
    "mode": _Result("mode of the target, counted from 1", ""),
    "nu0": _Result("starting point of nu"),
    "share_plus": _Result(
        "generated share of the + mode after its window", "[0, 1]", _DECIDED
    ),
    "share_plus_error": _Result("bound on the error of that share", "O(1)", _DECIDED),
    "final_share_plus": _Result(
        "generated share of the + mode at the end", "[0, 1]", _DECIDED
    ),
    "final_share_plus_error": _Result(
        "bound on the error of the share at the end", "O(1)", _DECIDED
    ),
    "symmetric": _Result("whether samples of a class stay alike at the minimum"),
    "split_gain": _Result("how much lower the loss is where they part"),
    "shares": _Result("generated share of each mode", "[0, 1]", _SHARES),
    "shares_error": _Result("bound on the error of those shares", "O(1)", _SHARES),
    "mode_mean": _Result("mean of a mode along its own, at the end", "O(1)", ("M",)),
    "bulk_variance": _Result("variance of a coordinate at the end", "O(1)", ("V",)),
    "status": _Result("how a row ended", ""),
    "reason": _Result("why a row is not ok", ""),
    "branch": _Result("which minimum is the lowest: 0 the closed one, 1 the other"),
    "switch": _Result("s below which the closed minimum is the lowest", "[0, 1]"),
    "minima": _Result("minima that the search at s = 1 found"),
    "pieces": _Result("intervals of s on which one minimum is the lowest"),
    "residual": _Result("largest slope of the loss at the minimum"),
    "eigenvalue": _Result("smallest eigenvalue of the Hessian at the minimum"),
}


def attributes(name: str, phases: Sequence[PrintedPhase] = ()) -> dict[str, str]:
    """Return the attributes of a variable of a result that was solved in `phases`."""
    own = {x.name: x.told[name] for x in phases if name in x.told}
    if own:
        keys = dict.fromkeys(key for told in own.values() for key in told)
        return {k: _by_phase({p: x[k] for p, x in own.items() if k in x}) for k in keys}
    result = _RESULTS.get(name)
    if result is None:
        return _parameter(name)
    found = {"long_name": result.meaning, "order_in_d": result.order}
    labels = _labels(result.of, phases)
    found |= {"label": labels} if labels else {}
    return {k: x for k, x in found.items() if x}


def _by_phase(texts: Mapping[str, str]) -> str:
    alike = len(set(texts.values())) == 1
    parts = (text if alike else f"{phase}: {text}" for phase, text in texts.items())
    return next(parts) if alike else "; ".join(parts)


def _labels(names: Sequence[str], phases: Sequence[PrintedPhase]) -> str:
    """Return the labels of the first of `names`, of every feature, that are told."""
    for name in names:
        found = [
            told["label"]
            for phase in phases
            for key, told in phase.told.items()
            if re.fullmatch(rf"{name}(_\d+)?", key) and "label" in told
        ]
        if found:
            return ", ".join(dict.fromkeys(found))
    return ""


def _parameter(name: str) -> dict[str, str]:
    """Return what the notation table says of a parameter, an axis of a sweep."""
    from ..theory.symbols.notation import TABLE

    row: Any = TABLE.get(name) or TABLE.get(re.sub(r"_(\d+|[pm]+)$", "", name))
    return {"long_name": row.meaning, "order_in_d": row.order} if row else {}
