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
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ModelError, StoreError, did_you_mean, printable, shown
from ...files import at_home
from ...mistakes import Answering
from .tables import checked_tables, count_name, placed

if TYPE_CHECKING:
    from .model import Model

LARGEST_FILE = 65_536  # bytes; a spec has a few hundred
MOST_PARTS = 32  # of a dotted key: tomllib takes a time quadratic in them


@dataclass(frozen=True)
class Spec(Answering):
    """A model with its numbers, as read from a spec file and checked.

    `text` is the TOML text, `tables` its content, complete and in one spelling: floats
    are floats, schedules are normalised and ``[network]`` is filled in.
    """

    text: str
    tables: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        """Return the number that `values` has under this name."""
        if name not in (values := self.values):
            raise _no_number(name, values)
        return values[name]

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
        counts = self.tables["data"].get("counts", {})
        return {
            name: table[key]
            for name, (table, key) in places(self.tables).items()
            if table[key] != "inf" and name[0] != "L"
            if not (table is counts and not table[key]) and not (name == "n" and counts)
        }

    @property
    def structure(self) -> dict[str, Any]:
        """The part that the derivation depends on: everything but the numbers."""
        target = self.tables["target"]
        features = target.get("features", ())
        own = {"exponents": [str(f["exponent"]) for f in features]}
        return {
            "kind": self.kind,
            **(placed(target) if self.kind == "modes" else own),
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
        text = json.dumps(self.tables, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

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

        >>> default_spec().replace(p=0.6, kappa=3).values["p"]
        0.6
        """
        tables = json.loads(json.dumps(self.tables))
        for name, value in values.items():
            _put(tables, name, _plain(name, value), self.values)
        return parse_spec(to_toml(tables))


def load_spec(path: str | Path) -> Spec:
    """Read and check a spec file.

    Raises `StoreError` when the file cannot be read, and `ModelError` when a key is
    missing, unknown or has a value it may not have.
    """
    if not isinstance(path, str | os.PathLike):
        raise StoreError(
            f"A spec file must be given by its path, but {shown(path)} is given. Write "
            'it as in `load_spec("my.toml")`, or take `default_spec()`.'
        )
    return parse_spec(_read(at_home(path)), str(path))


def default_spec() -> Spec:
    """Return the paper's setting: two modes, p = 0.8, 128 samples with fresh noise."""
    return load_spec(Path(__file__).with_name("default.toml"))


def parse_spec(text: str, source: str = "the spec") -> Spec:
    """Check the text of a spec file; see `load_spec`."""
    if len(text) > LARGEST_FILE:
        raise _too_long(source, f"{len(text)}")
    try:
        keys = (x for x in text.splitlines() if not x.lstrip().startswith("#"))
        if any(x.partition("=")[0].count(".") > MOST_PARTS for x in keys):
            raise RecursionError
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        reason = "too deeply nested" if deep else printable(str(error))
        raise ModelError(
            f"A spec must be TOML, but {source} is not: {reason}. Put text "
            "in quotes, numbers as 0.8 and `true` without a capital; the README has an "
            "example."
        ) from None
    return Spec(text, checked_tables(raw))


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


# --------------------------------------------------------------- other forms of a spec


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
    if name == "n" and value == "inf":
        tables["data"] = {"n": "inf"}
    elif name in ("n", "n_plus", "noise_draws", "ridge_u", "ridge_w"):
        tables["data"][name] = value
    elif name == "kappa":
        tables["dilation"]["kappa"] = value
    elif name in (held := places(tables)):
        table, key = held[name]
        table[key] = value
        if table is (counts := tables["data"].get("counts")):
            each = counts if isinstance(counts, list) else [*counts.values()]
            if all(type(x) is int for x in each):
                tables["data"]["n"] = sum(each)
    else:
        raise _no_number(name, known)


def _no_number(name: object, known: Mapping[str, Any]) -> ModelError:
    return ModelError(
        f"The numbers of this spec are {', '.join(known)}, but "
        f"`{printable(str(name))}` is given{did_you_mean(name, known)}"
    )


def places(tables: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return where each number of a spec stands, by name: its table and its key there.

    The names are those of `Spec.values`, and ``L_1_2`` for the loadings of modes.
    """
    target, data = tables["target"], tables["data"]
    found: dict[str, tuple[Any, Any]] = {}
    if target["kind"] == "two-modes":
        found["p"] = target, "p"
    for j, feature in enumerate(target.get("features", ()), 1):
        found |= {f"p_{j}": (feature, "p"), f"rho_{j}": (feature, "scale")}
    found |= _listed("p", target.get("weights", ()))
    for k, row in enumerate(target.get("loadings", ()), 1):
        found |= _listed(f"L_{k}", row)
    found["sigma"] = target, "sigma"
    kappa = tables["dilation"]["kappa"]
    one = {"kappa": (tables["dilation"], "kappa")}
    found |= _listed("kappa", kappa) if isinstance(kappa, list) else one
    found |= {k: (data, k) for k in data if k != "counts"}
    counts = data.get("counts", {})
    if isinstance(counts, list):
        return found | _listed("n", counts)
    return found | {count_name(k): (counts, k) for k in counts}


def _listed(name: str, values: Any) -> dict[str, tuple[Any, int]]:
    return {f"{name}_{i + 1}": (values, i) for i, _ in enumerate(values)}


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


def spec_of(model: Model, values: Mapping[str, Any]) -> Spec:
    """Return the spec of a model with values of its parameters; the inverse of `model`.

    Raises `ModelError` for a value that a spec refuses, and for a model that no spec
    describes, as one with symbols of its own.
    """
    kappas = [values[k] for k in sorted(values) if k.startswith("kappa_")]
    data = {k: values[k] for k in ("n", "n_plus", "ridge_u", "ridge_w") if k in values}
    data["noise_draws"] = values.get("noise_draws", "inf")
    unit, counts = model.autoencoder, _counted(model.target, values)
    tables = {
        "target": _target_table(model.target, values) | {"sigma": values.get("sigma")},
        "interpolant": {
            x: str(getattr(model.interpolant, x)) for x in ("alpha", "beta")
        },
        "dilation": {"kappa": values.get("kappa", kappas)},
        "data": data | counts if model.data.samples else {"n": "inf"},
        "network": {x: getattr(unit, x) for x in ("activation", "tied", "bias")},
    }
    found = Spec("", checked_tables(_plain_tables(tables)))
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


def _target_table(target: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the target as a spec has it, without its `sigma`."""
    from .model import Modes, two_modes

    if isinstance(target, Modes):
        return {
            "kind": "modes",
            "weights": [values.get(f"p_{k}") for k, _ in enumerate(target.loadings, 1)],
            "loadings": [list(row) for row in target.loadings],
            "exponents": [str(e) for e in target.exponents],
        }
    if target == two_modes():
        return {"kind": "two-modes", "p": values.get("p")}
    if not hasattr(target, "features"):
        raise _no_spec()
    features = [
        {"p": values.get(f"p_{j}"), "scale": values.get(f"rho_{j}")}
        | {"exponent": str(feature.exponent)}
        for j, feature in enumerate(target.features, 1)
    ]
    return {"kind": "product", "features": features}


def _counted(target: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts by mode or by signs, with their sum, if there are any."""
    counts: Any
    if "n_1" in values and hasattr(target, "loadings"):
        counts = [values.get(f"n_{k}", 0) for k, _ in enumerate(target.loadings, 1)]
        return {"n": sum(counts), "counts": counts}
    names = [k for k in values if re.fullmatch("n_[pm]+", k)]
    if not names:
        return {}
    size = len(names[0]) - 2
    patterns = ["".join(x) for x in product("+-", repeat=size)]
    counts = {x: _plain("counts", values.get(count_name(x), 0)) for x in patterns}
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
            structure["samples"], structure["frozen_noise"], tuple(structure["empty"])
        ),
    )
