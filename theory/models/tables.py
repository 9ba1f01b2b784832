"""The tables of a spec, key by key: what each may hold, and the message otherwise."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import product
from typing import Any

from ...errors import ModelError, did_you_mean, printable
from ...numbers import RULES, Bounds
from .modes import (
    check_apart,
    check_gram,
    check_loadings,
    check_weights,
    factored,
    levels,
)

MOST_FEATURES = 8
MOST_COUNTED = 4
SECTIONS = ("target", "interpolant", "dilation", "data", "network")
KINDS = ("two-modes", "product", "modes")
ACTIVATIONS = ("tanh", "erf", "sign")
FRACTION = re.compile(r"0|[0-9]{1,4}/[1-9][0-9]{0,3}", re.ASCII)
FEATURES = "Write one table `[[target.features]]` for each feature."
NETWORK = {"activation": "tanh", "tied": False, "bias": True}


def checked_tables(raw: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tables of a spec with every key checked, or raise `ModelError`."""
    _keys(raw, "", SECTIONS, required=SECTIONS[:-1])
    for name in SECTIONS:
        if not isinstance(raw.get(name, {}), dict):
            raise _wrong(name, raw[name], f"a table, `[{name}]`", "Give it its keys.")
    target = _target(raw["target"])
    return {
        "target": target,
        "interpolant": _interpolant(raw["interpolant"]),
        "dilation": _dilation(raw["dilation"], target),
        "data": _data(raw["data"], target),
        "network": _network(raw.get("network", {}), target["kind"]),
    }


def _target(raw: dict[str, Any]) -> dict[str, Any]:
    every = ("kind", "p", "sigma", "features", "weights", "loadings", "exponents")
    if "kind" not in raw:
        _keys(raw, "target", every, required=("kind",))
    kind = _choice("target.kind", raw["kind"], KINDS)
    if kind == "two-modes":
        _keys(raw, "target", ("kind", "p", "sigma"))
        return {"kind": kind, **_numbers(raw, "target", ("p", "sigma"))}
    if kind == "modes":
        return _modes(raw)
    _keys(raw, "target", ("kind", "sigma", "features"))
    features = raw["features"]
    if not isinstance(features, list):
        raise _wrong("target.features", features, "a list of tables", FEATURES)
    if not 1 <= len(features) <= MOST_FEATURES:
        raise ModelError(
            f"`target.features` must list 1 to {MOST_FEATURES} features, but lists "
            f"{len(features)}. {FEATURES}"
        )
    return {
        "kind": kind,
        **_numbers(raw, "target", ("sigma",)),
        "features": [_feature(f, j) for j, f in enumerate(features, 1)],
    }


def _modes(raw: dict[str, Any]) -> dict[str, Any]:
    shape = "gram" if "gram" in raw and "loadings" not in raw else "loadings"
    _keys(raw, "target", ("kind", "weights", shape, "exponents", "sigma"))
    weights = check_weights("target.weights", raw["weights"])
    where, given = f"target.{shape}", raw[shape]
    if shape == "gram":
        rows = check_gram(where, given, len(weights))
        width, what = 1, "a Gram matrix is of means of one size"
        placed = factored(where, rows)
    else:
        placed = rows = check_loadings(where, given, len(weights))
        width, what = len(rows[0]), "one for each column of the loadings"
    exponents = raw["exponents"]
    if not isinstance(exponents, list) or len(exponents) != width:
        raise _wrong(
            "target.exponents", exponents, f"a list of {width} ({what})", "Add or drop."
        )
    found = [_exponent(f"target.exponents[{j}]", e) for j, e in enumerate(exponents, 1)]
    check_apart(placed, found if shape == "loadings" else found * len(placed[0]))
    return {
        "kind": "modes",
        "weights": weights,
        shape: rows,
        "exponents": found,
        **_numbers(raw, "target", ("sigma",)),
    }


def placed(target: Mapping[str, Any]) -> dict[str, Any]:
    """The loadings of modes, a row each, and the exponents of their columns."""
    if "loadings" in target:
        return {"loadings": target["loadings"], "exponents": target["exponents"]}
    rows = factored("target.gram", target["gram"])
    return {"loadings": rows, "exponents": target["exponents"] * len(rows[0])}


def _feature(raw: Any, j: int) -> dict[str, Any]:
    where = f"target.features[{j}]"
    if not isinstance(raw, dict):
        raise _wrong(where, raw, "a table with p, scale and exponent", "Write one.")
    _keys(raw, where, ("p", "scale", "exponent"))
    return {
        **_numbers(raw, where, ("p", "scale")),
        "exponent": _exponent(f"{where}.exponent", raw["exponent"]),
    }


def _exponent(where: str, value: Any) -> str:
    """Return an exponent in [0, 1/2) as the text of an exact fraction."""
    words = 'a number in [0, 1/2), or a fraction such as "1/3"'
    remedy = (
        "The mean has squared norm rho d^(1 - 2 exponent): at 1/2 the modes are no "
        "farther apart than the noise of one coordinate."
    )
    known = type(value) is int or (type(value) is float and math.isfinite(value))
    if not known and not (isinstance(value, str) and FRACTION.fullmatch(value)):
        raise _wrong(where, value, words, remedy)
    fraction = Fraction(str(value))
    if not 0 <= fraction < Fraction(1, 2) or fraction.denominator > 10_000:
        raise _wrong(where, value, words, remedy)
    return str(fraction)


def _interpolant(raw: dict[str, Any]) -> dict[str, str]:
    from .schedule import canonical, check_schedule_text

    _keys(raw, "interpolant", ("alpha", "beta"))
    check_schedule_text(raw["alpha"], raw["beta"], "interpolant.")
    return {key: canonical(raw[key]) for key in ("alpha", "beta")}


def _dilation(raw: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    _keys(raw, "dilation", ("kappa",))
    kappa = raw["kappa"]
    if not isinstance(kappa, list):
        return {"kappa": _number("dilation.kappa", kappa, RULES["kappa"])}
    windows = _window_count(target)
    if len(kappa) != windows:
        raise ModelError(
            f"`dilation.kappa` must be one number or a list of {windows}, one for each "
            f"window, but is a list of {len(kappa)}. Features with one exponent share "
            "a window."
        )
    return {
        "kappa": [
            _number(f"dilation.kappa[{i}]", k, RULES["kappa"])
            for i, k in enumerate(kappa, 1)
        ]
    }


def _window_count(target: dict[str, Any]) -> int:
    if target["kind"] == "modes":
        return len(levels(*placed(target).values()))
    return len({f["exponent"] for f in target.get("features", [{"exponent": "0"}])})


def _data(raw: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    split = "n_plus" if target["kind"] == "two-modes" else "counts"
    finite = (split, "noise_draws", "ridge_u", "ridge_w")
    _keys(raw, "data", ("n", *finite), required=("n",))
    if raw["n"] == "inf":
        for key in finite:
            if key in raw:
                raise ModelError(
                    f'`data.{key}` must be left out when `data.n` is "inf", but it is '
                    f"{_show(raw[key])}. Remove it, or give a finite n."
                )
        return {"n": "inf"}
    n = _number("data.n", raw["n"], RULES["n"])
    _keys(raw, "data", ("n", *finite))
    known = _split(raw, n, target)
    draws = raw["noise_draws"]
    if draws != "inf":
        draws = _number("data.noise_draws", draws, RULES["noise_draws"])
    ridges = _numbers(raw, "data", ("ridge_u", "ridge_w"))
    return {"n": n, split: known, "noise_draws": draws, **ridges}


def _split(raw: dict[str, Any], n: int, target: dict[str, Any]) -> Any:
    """How the samples divide: `n_plus`, counts by sign pattern, or counts by mode."""
    if target["kind"] == "two-modes":
        n_plus, rule = raw["n_plus"], RULES["n_plus"]
        if _number("data.n_plus", n_plus, rule) >= n:
            words = f"at most n - 1 = {n - 1}"
            raise _wrong("data.n_plus", n_plus, words, rule.remedy)
        return n_plus
    if target["kind"] == "modes":
        return _mode_counts(raw["counts"], n, len(target["weights"]))
    return _counts(raw["counts"], n, target)


def _mode_counts(raw: Any, n: int, modes: int) -> list[int]:
    """Return how many samples each mode has; every mode needs one."""
    rule = RULES["n_plus"]._replace(
        words="a whole number from 1 to 10^9",
        remedy="Without samples a mode cannot be learned: leave it out.",
    )
    if not isinstance(raw, list) or len(raw) != modes:
        raise _wrong(
            "data.counts", raw, f"a list of {modes}, one for each mode", "Add."
        )
    counts = [_number(f"data.counts[{k}]", x, rule) for k, x in enumerate(raw, 1)]
    _check_total(counts, n)
    return counts


def _check_total(counts: Iterable[int], n: int) -> None:
    total = sum(counts)
    if total != n:
        raise ModelError(
            f"`data.counts` must add up to `data.n` = {n}, but the sum is {total}. "
            "Change one of them."
        )


def _counts(raw: Any, n: int, target: dict[str, Any]) -> dict[str, int]:
    """Return how many samples have each sign pattern; every pattern must be given."""
    size = len(target["features"])
    if size > MOST_COUNTED:
        raise ModelError(
            f"`data.counts` is read for at most {MOST_COUNTED} features, whose signs "
            f"have {2**MOST_COUNTED} patterns, but there are {size} features. "
            'Use fewer, or n = "inf".'
        )
    patterns = ["".join(x) for x in product("+-", repeat=size)]
    if not isinstance(raw, dict):
        example = ", ".join(f'"{x}" = ...' for x in patterns)
        raise _wrong("data.counts", raw, "a table of counts by sign", f"{{{example}}}.")
    _keys(raw, "data.counts", patterns)
    rule = RULES["count"]
    counts = {x: _number(f"data.counts.{x}", raw[x], rule) for x in patterns}
    _check_total(counts.values(), n)
    for j in range(size):
        if len({x[j] for x, count in counts.items() if count}) < 2:
            raise ModelError(
                f"`data.counts` must show both signs of every feature, but all {n} "
                f"samples have one sign of feature {j + 1}. Without the other it "
                "cannot be learned: move a sample."
            )
    return counts


def count_name(pattern: str) -> str:
    """``n_pm`` for ``+-``."""
    return "n_" + pattern.replace("+", "p").replace("-", "m")


def _network(raw: dict[str, Any], kind: str) -> dict[str, Any]:
    _keys(raw, "network", tuple(NETWORK), required=())
    full = NETWORK | raw
    if kind == "modes" and full != NETWORK:
        key = next(k for k in full if full[k] != NETWORK[k])
        raise ModelError(
            "Modes are learned by softmax units with biases, so `[network]` must be "
            f"left out, but `network.{key}` is {_show(full[key])}. Remove it."
        )
    _choice("network.activation", full["activation"], ACTIVATIONS)
    for key in ("tied", "bias"):
        if not isinstance(full[key], bool):
            raise _wrong(
                f"network.{key}", full[key], "true or false", "Omit the quotes."
            )
    return full


# ------------------------------------------------------------------- keys and values


def _keys(
    raw: dict[str, Any],
    where: str,
    known: Iterable[str],
    required: Iterable[str] | None = None,
) -> None:
    known = tuple(known)
    for key in raw:
        if key not in known:
            raise ModelError(
                f"{_table(where)} has the keys {', '.join(known)}, but "
                f"`{_dotted(where, printable(key)[:60])}` is "
                f"given{did_you_mean(key, known)}"
            )
    for key in known if required is None else required:
        if key not in raw:
            rule = RULES.get(key)
            raise ModelError(
                f"{_table(where)} must give `{_dotted(where, key)}`, but it is "
                "missing; there are no default values. Add it."
                + (f" It is {rule.words}." if rule else "")
            )


def _table(where: str) -> str:
    return f"The table `[{where}]`" if where else "A spec"


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _numbers(raw: dict[str, Any], where: str, keys: Iterable[str]) -> dict[str, Any]:
    return {key: _number(f"{where}.{key}", raw[key], RULES[key]) for key in keys}


def _number(where: str, value: Any, rule: Bounds) -> Any:
    """Return `value` as an int (where the rule wants a whole number) or a float."""
    fits = type(value) is int or (type(value) is float and not rule.whole)
    if not fits or not rule.hold(value):
        quoted = isinstance(value, str) and re.fullmatch(r"[-+.\de]*\d[-+.\de]*", value)
        raise _wrong(
            where,
            value,
            rule.words,
            "Write it without quotes." if quoted else rule.remedy,
        )
    return value if rule.whole else float(value)


def _choice(where: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        hint = did_you_mean(value, choices) if isinstance(value, str) else "."
        raise ModelError(
            f"`{where}` must be one of {', '.join(choices)}, but is "
            f"{_show(value)}{hint}"
        )
    return value


def _wrong(where: str, value: Any, words: str, remedy: str) -> ModelError:
    return ModelError(f"`{where}` must be {words}, but is {_show(value)}. {remedy}")


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = printable(f'"{value}"' if isinstance(value, str) else str(value))
    return text if len(text) <= 60 else text[:57] + "..."
