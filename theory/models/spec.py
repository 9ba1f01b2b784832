"""The spec file: a model and its numbers in TOML, checked key by key.

Reading a spec loads neither sympy nor numpy; the symbolic `Spec.model` is built when
it is first asked for.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import product
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ModelError, StoreError, did_you_mean, printable, shown
from ...numbers import RULES, Bounds
from .modes import (
    check_apart,
    check_gram,
    check_loadings,
    check_weights,
    factored,
    levels,
)

if TYPE_CHECKING:
    from .model import Model, Modes

LARGEST_FILE = 65_536  # bytes; a spec has a few hundred
MOST_PARTS = 32  # of a dotted key: tomllib takes a time quadratic in them
MOST_FEATURES = 8
MOST_COUNTED = 4


SECTIONS = ("target", "interpolant", "dilation", "data", "network")
KINDS = ("two-modes", "product", "modes")
ACTIVATIONS = ("tanh", "erf", "sign")
FRACTION = re.compile(r"0|[0-9]{1,4}/[1-9][0-9]{0,3}", re.ASCII)
FEATURES = "Write one table `[[target.features]]` for each feature."
NETWORK = {"activation": "tanh", "tied": False, "bias": True}


@dataclass(frozen=True)
class Spec:
    """A model with its numbers, as read from a spec file and checked.

    Attributes
    ----------
    text
        The TOML text.
    tables
        Its content, complete and in one spelling: floats are floats, schedules are
        normalised and ``[network]`` is filled in.
    """

    text: str
    tables: Mapping[str, Mapping[str, Any]] = field(repr=False)

    @property
    def kind(self) -> str:
        """``"two-modes"``, ``"product"`` or ``"modes"``."""
        return self.tables["target"]["kind"]

    @property
    def population(self) -> bool:
        """Whether the training set is infinite."""
        return self.tables["data"]["n"] == "inf"

    @property
    def frozen_noise(self) -> bool:
        """Whether a finite training set keeps a finite number of noise draws."""
        return not self.population and self.tables["data"]["noise_draws"] != "inf"

    @property
    def values(self) -> dict[str, Any]:
        """The finite numbers, by the names of the notation table.

        A product target has ``p_1, rho_1, p_2, ...``, modes have their weights ``p_1,
        p_2, ...`` (loadings are structure); a list of kappas gives
        ``kappa_1, kappa_2, ...``. The samples of a product target are counted by
        sign, ``n_pp, n_pm, ...``, where there are any. What is infinite (the
        population, fresh noise) is structure of the model and has no number.
        """
        target, data = self.tables["target"], self.tables["data"]
        numbers: dict[str, float] = {}
        if self.kind == "two-modes":
            numbers["p"] = target["p"]
        for j, feature in enumerate(target.get("features", ()), 1):
            numbers |= {f"p_{j}": feature["p"], f"rho_{j}": feature["scale"]}
        numbers |= {f"p_{k}": x for k, x in enumerate(target.get("weights", ()), 1)}
        numbers["sigma"] = target["sigma"]
        numbers |= _numbered("kappa", self.tables["dilation"]["kappa"])
        numbers |= {k: v for k, v in data.items() if v != "inf" and k != "counts"}
        if "counts" in data:
            del numbers["n"]
            numbers |= {_count_name(k): v for k, v in self._counts.items() if v}
        return numbers

    @property
    def structure(self) -> dict[str, Any]:
        """The part that the derivation depends on: everything but the numbers."""
        target = self.tables["target"]
        features = target.get("features", ())
        own = {"exponents": [str(f["exponent"]) for f in features]}
        return {
            "kind": self.kind,
            **(_placed(target) if self.kind == "modes" else own),
            **self.tables["interpolant"],
            "samples": not self.population,
            "frozen_noise": self.frozen_noise,
            "empty": [k for k, v in self._counts.items() if not v],
            **self.tables["network"],
        }

    @property
    def _counts(self) -> dict[str, int]:
        """The samples by the signs of their features, or by mode; else none."""
        counts = self.tables["data"].get("counts", {})
        if isinstance(counts, list):
            return {str(k): x for k, x in enumerate(counts, 1)}
        return counts

    @property
    def digest(self) -> str:
        """A short hash of the content; spaces, order and comments do not matter."""
        return _digest(self.tables)

    @cached_property
    def model(self) -> Model:
        """The symbolic model, built on first use."""
        return _model(self.structure)

    def replace(self, **values: float | str) -> Spec:
        """Return a copy with other numbers, checked again.

        Names are those of `values`; ``n="inf"`` drops the keys that go with samples,
        and going back to samples needs all of them. A new ``n_pm`` changes `n`. The
        weights of modes must sum to 1 afterwards; their loadings are ``L_1_2`` (mode 1,
        direction 2).

        Examples
        --------
        >>> default_spec().replace(p=0.6, kappa=3).values["p"]
        0.6
        """
        tables = json.loads(json.dumps(self.tables))
        for name, value in values.items():
            _put(tables, name, _plain(name, value), self.values)
        return parse_spec(to_toml(tables))


def load_spec(path: str | Path) -> Spec:
    """Read and check a spec file.

    Raises
    ------
    StoreError
        When the file cannot be read.
    ModelError
        When a key is missing, unknown or has a value it may not have.
    """
    if not isinstance(path, str | os.PathLike):
        raise StoreError(
            f"A spec file must be given by its path, but {shown(path)} is given. Write "
            'it as in `load_spec("my.toml")`, or take `default_spec()`.'
        )
    return parse_spec(_read(Path(path)), str(path))


def default_spec() -> Spec:
    """Return the paper's setting: two modes, p = 0.8, 128 samples with fresh noise."""
    return load_spec(Path(__file__).with_name("default.toml"))


def published_spec() -> Spec:
    """Return the published experiment: d = 5000, 80 times, kappa = 6."""
    return load_spec(Path(__file__).with_name("published.toml"))


def parse_spec(text: str, source: str = "the spec") -> Spec:
    """Check the text of a spec file; see `load_spec`."""
    if len(text) > LARGEST_FILE:
        raise _too_long(source, f"{len(text)}")
    try:
        if any(_key_parts(line) > MOST_PARTS for line in text.splitlines()):
            raise RecursionError
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        reason = "too deeply nested" if deep else printable(str(error))
        raise ModelError(
            f"A spec must be TOML, but {source} is not: {reason}. Start from the "
            "example in the README."
        ) from None
    return Spec(text, _checked(raw))


def _key_parts(line: str) -> int:
    """How many parts a dotted key has at most, if the line has one."""
    return 0 if line.lstrip().startswith("#") else line.partition("=")[0].count(".")


def _too_long(source: object, size: str) -> ModelError:
    return ModelError(
        f"A spec must be at most {LARGEST_FILE} characters long, but {source} has "
        f"{size}. Give the spec file, not its data."
    )


def _read(path: Path) -> str:
    try:
        if path.is_fifo() and path.parent not in (Path("/dev"), Path("/dev/fd")):
            raise OSError(errno.EINVAL, "it is a pipe; give a file, or /dev/stdin")
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        fact = getattr(error, "strerror", None) or str(error)
        raise StoreError(
            f"The spec file must be readable, but `{printable(str(path))}` is not "
            f"({fact}). Check its name and permissions."
        ) from None
    if len(content) > LARGEST_FILE:
        raise _too_long(path, f"{len(content)} or more")
    return _decoded(path, content)


def _decoded(path: Path, content: bytes) -> str:
    """Return UTF-8 as text, without the mark that some editors put in front."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise StoreError(
            f"A spec file must be text in UTF-8, but line {line} of `{path}` has the "
            f"byte 0x{content[error.start]:02x}, which is none. Save it as UTF-8."
        ) from None


# ---------------------------------------------------------------- one table at a time


def _checked(raw: dict[str, Any]) -> dict[str, dict[str, Any]]:
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


def _placed(target: Mapping[str, Any]) -> dict[str, Any]:
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
        return len(levels(*_placed(target).values()))
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
        return _n_plus(raw, n)
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
        raise _wrong("data.counts", raw, f"a list of {modes}, one a mode", "Add some.")
    counts = [_number(f"data.counts[{k}]", x, rule) for k, x in enumerate(raw, 1)]
    if sum(counts) != n:
        raise ModelError(
            f"`data.counts` must add up to `data.n` = {n}, but the sum is "
            f"{sum(counts)}. Change one of them."
        )
    return counts


def _n_plus(raw: dict[str, Any], n: int) -> int:
    n_plus = _number("data.n_plus", raw["n_plus"], RULES["n_plus"])
    if n_plus >= n:
        both = RULES["n_plus"].remedy
        raise _wrong("data.n_plus", n_plus, f"at most n - 1 = {n - 1}", both)
    return n_plus


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
    if sum(counts.values()) != n:
        raise ModelError(
            f"`data.counts` must add up to `data.n` = {n}, but the sum is "
            f"{sum(counts.values())}. Change one of them."
        )
    for j in range(size):
        if len({x[j] for x, count in counts.items() if count}) < 2:
            raise ModelError(
                f"`data.counts` must show both signs of every feature, but all {n} "
                f"samples have one sign of feature {j + 1}. Without the other it "
                "cannot be learned: move a sample."
            )
    return counts


def _count_name(pattern: str) -> str:
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
                f"network.{key}", full[key], "true or false", "Without quotes."
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
            raise _missing(where, key)


def _missing(where: str, key: str) -> ModelError:
    rule = RULES.get(key)
    remedy = f" It is {rule.words}." if rule else ""
    return ModelError(
        f"{_table(where)} must give `{_dotted(where, key)}`, but it is missing; there "
        f"are no default values. Add it.{remedy}"
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
        raise _wrong(where, value, rule.words, rule.remedy)
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


# --------------------------------------------------------------- other forms of a spec


def _numbered(name: str, value: Any) -> dict[str, float]:
    if not isinstance(value, list):
        return {name: value}
    return {f"{name}_{i}": x for i, x in enumerate(value, 1)}


def _plain(name: str, value: Any) -> Any:
    """Return a number of any library as Python's own; lists of numbers, and text."""
    if isinstance(value, list | tuple):
        return [_plain(name, x) for x in value]
    if isinstance(value, bool | str):
        return value
    try:
        if isinstance(value, Real):
            number = float(value)
            return int(value) if isinstance(value, Integral) else number
    except OverflowError:
        pass
    raise ModelError(
        f"`{name}` must be a number that a spec may have, but is {shown(value)}. Give "
        "one real number for each name."
    )


def _put(tables: dict[str, Any], name: str, value: Any, known: Mapping) -> None:
    """Set the entry of `tables` that `Spec.values` calls `name`."""
    base, _, index = name.rpartition("_")
    data = ("n", "n_plus", "noise_draws", "ridge_u", "ridge_w")
    modes = tables["target"]["kind"] == "modes"
    if modes and _put_mode(tables, name, value):
        return
    if name == "n" and value == "inf":
        tables["data"] = {"n": "inf"}
    elif name in data:
        tables["data"][name] = value
    elif name == "kappa":
        tables["dilation"]["kappa"] = value
    elif name in map(_count_name, tables["data"].get("counts", ())):
        counts = tables["data"]["counts"]
        counts[name[2:].replace("p", "+").replace("m", "-")] = value
        whole = all(type(x) is int for x in counts.values())
        tables["data"]["n"] = sum(counts.values()) if whole else tables["data"]["n"]
    elif name not in known:
        raise ModelError(
            f"The numbers of this spec are {', '.join(known)}, but "
            f"`{printable(name)}` is given{did_you_mean(name, known)}"
        )
    elif base == "kappa":
        tables["dilation"]["kappa"][int(index) - 1] = value
    elif base in ("p", "rho"):
        key = "scale" if base == "rho" else "p"
        tables["target"]["features"][int(index) - 1][key] = value
    else:
        tables["target"][name] = value


def _put_mode(tables: dict[str, Any], name: str, value: Any) -> bool:
    """Set a weight, a loading or a count of modes; return whether the name is one."""
    base, *index = name.split("_")
    target, data = tables["target"], tables["data"]
    places = {"p": target["weights"], "n": data.get("counts", [])}
    row = places.get(base, target.get("loadings", []) if base == "L" else [])
    if not index or not all(re.fullmatch(r"[1-9][0-9]{0,2}", i) for i in index):
        return False
    for i in index[:-1]:
        row = row[int(i) - 1] if int(i) <= len(row) else []
    last = int(index[-1])
    if len(index) != (2 if base == "L" else 1) or last > len(row):
        return False
    row[last - 1] = value
    if base == "n":
        whole = all(type(x) is int for x in row)
        data["n"] = sum(row) if whole else data["n"]
    return True


def to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Write tables as a spec file."""
    lines: list[str] = []
    for section, table in tables.items():
        lines.append(f"[{section}]")
        lists = [(k, v) for k, v in table.items() if k == "features"]
        lines += [f"{k} = {_toml(v)}" for k, v in table.items() if k != "features"]
        for key, rows in lists:
            for row in rows:
                lines += ["", f"[[{section}.{key}]]"]
                lines += [f"{k} = {_toml(v)}" for k, v in row.items()]
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items())
        return f"{{{pairs}}}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def spec_of(model: Model, values: Mapping[str, Any]) -> Spec:
    """Return the spec of a model with values of its parameters; the inverse of `model`.

    Raises `ModelError` for a value that a spec refuses, and for a model that no spec
    describes, as one with symbols of its own.
    """
    from .model import Modes, two_modes

    if not hasattr(model.target, "features"):
        raise _no_spec()
    two, counts = model.target == two_modes(), _counted(values)
    features = [
        {"p": values.get(f"p_{j}"), "scale": values.get(f"rho_{j}")}
        | {"exponent": str(feature.exponent)}
        for j, feature in enumerate(model.target.features, 1)
    ]
    kappas = [values[k] for k in sorted(values) if k.startswith("kappa_")]
    data = {k: values[k] for k in ("n", "n_plus", "ridge_u", "ridge_w") if k in values}
    data["noise_draws"] = values.get("noise_draws", "inf")
    unit = model.autoencoder
    tables: dict[str, dict[str, Any]] = {
        "target": {"kind": "two-modes", "p": values.get("p")}
        if two
        else {"kind": "product", "features": features},
        "interpolant": {
            "alpha": str(model.interpolant.alpha),
            "beta": str(model.interpolant.beta),
        },
        "dilation": {"kappa": values.get("kappa", kappas)},
        "data": data | counts if model.data.samples else {"n": "inf"},
        "network": {"activation": unit.activation, "tied": unit.tied},
    }
    tables["target"]["sigma"] = values.get("sigma")
    tables["network"]["bias"] = unit.bias
    if isinstance(model.target, Modes):
        tables |= _tables_of_modes(model.target, values)
    found = Spec("", _checked(_plain_tables(tables)))
    found = Spec(to_toml(found.tables), found.tables)
    if found.model != model or any(found.values.get(k) != values[k] for k in values):
        raise _no_spec()
    return found


def _no_spec() -> ModelError:
    return ModelError(
        "A model must be one that a spec can describe, but this one is not: its "
        "symbols, data or parameters differ from those of the spec. Write the spec "
        "and give that."
    )


def _tables_of_modes(target: Modes, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the target, and the data of samples, as a spec has them."""
    modes = range(1, len(target.loadings) + 1)
    own: dict[str, Any] = {
        "kind": "modes",
        "weights": [values.get(f"p_{k}") for k in modes],
        "loadings": [list(row) for row in target.loadings],
        "exponents": [str(e) for e in target.exponents],
        "sigma": values.get("sigma"),
    }
    if "n_1" not in values:
        return {"target": own}
    counts = [values.get(f"n_{k}", 0) for k in modes]
    data = {k: values[k] for k in ("ridge_u", "ridge_w") if k in values}
    data["noise_draws"] = values.get("noise_draws", "inf")
    return {"target": own, "data": data | {"n": sum(counts), "counts": counts}}


def _counted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of counts by sign, with their sum, if there are any."""
    names = [k for k in values if re.fullmatch("n_[pm]+", k)]
    if not names:
        return {}
    size = len(names[0]) - 2
    patterns = ["".join(x) for x in product("+-", repeat=size)]
    counts = {x: _plain("counts", values.get(_count_name(x), 0)) for x in patterns}
    return {"n": sum(counts.values()), "counts": counts}


def _plain_tables(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return tables without what is missing, every number as Python's own."""

    def plain(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: plain(k, v) for k, v in value.items() if v is not None}
        if isinstance(value, list):
            return [plain(name, x) for x in value]
        return _plain(name, value)

    return plain("", tables)


def _model(structure: Mapping[str, Any]) -> Model:
    import sympy as sp

    from .model import Autoencoder, Data, Interpolant, Model, modes, product, two_modes
    from .schedule import parse_schedule

    exponents = [sp.Rational(e) for e in structure["exponents"]]
    targets = {
        "two-modes": two_modes,
        "product": lambda: product(*exponents),
        "modes": lambda: modes(structure["loadings"], exponents),
    }
    return Model(
        target=targets[structure["kind"]](),
        interpolant=Interpolant(
            *(parse_schedule(structure[key], key) for key in ("alpha", "beta"))
        ),
        autoencoder=Autoencoder(
            structure["activation"], structure["tied"], structure["bias"]
        ),
        data=Data(
            structure["samples"],
            structure["frozen_noise"],
            tuple(structure["empty"]),
        ),
    )
