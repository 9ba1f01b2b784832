r"""Definitions of the printed overlaps for a model, with their powers of d.

An overlap is an inner product over powers of the norms: $m_j = u_j\cdot\mu_j/|\mu_j|^2$
and $\omega_j = w_j\cdot\mu_j/(\sqrt d\,|\mu_j|)$ in units of the noise, so that each is
O(1). The table is printed from the model's norms and from the windows' powers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import sympy as sp

from ..limit import Limit, Phase
from ..models.model import D, Model, norm
from ..naming.by_feature import OWN, J, K, mean_norm, norms, with_norms
from ..phases.denoiser import HALF
from ..phases.loss import gain
from ..symbols.latex import plain_prose, typed
from ..symbols.notation import SHIFT, TABLE
from ..symbols.system import Equation, System


@dataclass(frozen=True)
class Definition:
    """A printed quantity: its symbol, what it is, in words, and where that holds."""

    symbol: sp.Symbol
    value: sp.Expr | None
    meaning: str
    phases: tuple[str, ...]


def definitions(limit: Limit, systems: Iterable[System]) -> list[Definition]:
    """Return the quantities of a limit's equations, each as this model has it."""
    found: dict[tuple, list[str]] = {}
    order: dict[tuple, tuple] = {}
    for phase in limit.phases:
        mine = (x for x in systems if x.name.startswith(f"{phase.name}/"))
        for x in _quantities(mine):
            value, words = _defined(x, limit.model, phase)
            key = (str(x), value, words)
            found.setdefault(key, []).append(phase.name)
            order[key] = (x, value, words)
    return [
        Definition(x, value, words, tuple(found[key]))
        for key, (x, value, words) in order.items()
    ]


def of_each_feature(found: list[Definition], model: Model) -> list[Definition]:
    """Return definitions of several features written once, for features `j` and `k`."""
    sizes = norms(model)
    if not sizes:
        return found
    alike: dict[sp.Symbol, list[tuple[Definition, Definition]]] = {}
    for old in found:
        new = _with_letters(old, sizes)
        alike.setdefault(new.symbol, []).append((old, new))
    rows: list[Definition] = []
    for pairs in alike.values():
        news = [new for _, new in pairs]
        if len({(x.value, x.meaning) for x in news}) > 1:
            rows += [old for old, _ in pairs]
            continue
        where = dict.fromkeys(phase for x in news for phase in x.phases)
        rows.append(replace(news[0], phases=tuple(where)))
    return rows


def _with_letters(row: Definition, sizes: Mapping[str, sp.Expr]) -> Definition:
    r"""Return a definition with $|\mu|$, and letters for features and for a class."""
    base, numbers = _parsed(str(row.symbol))
    order = list(dict.fromkeys(map(str, numbers))) if base in OWN else []
    letters = dict(zip(order, (J, K), strict=False))

    def named(x: sp.Symbol) -> sp.Symbol:
        name = re.sub(r"_(\d+)", lambda m: f"_{letters.get(m[1], m[1])}", str(x))
        return sp.Symbol(re.sub(r"_[pm]{2,}$", "_y", name), **x.assumptions0)

    value = row.value
    if value is not None:
        value = with_norms(value, sizes)
        value = value.xreplace({x: named(x) for x in value.free_symbols})
    return replace(row, symbol=named(row.symbol), value=value)


def facts_of(phase: Phase) -> dict[str, dict[str, str]]:
    """Say of each quantity of a phase what it is, for results: plain text."""
    found: dict[str, dict[str, str]] = {}
    for system in (phase.learned, phase.sampling, phase.projected):
        rows = system.equations + system.observables + system.solution if system else ()
        for eq in rows:
            name = str(eq.lhs).partition("[")[0]
            about = _told(name, eq, phase)
            found.setdefault(name, {k: x for k, x in about.items() if x})
    return found


def _told(name: str, eq: Equation, phase: Phase) -> dict[str, str]:
    row = TABLE.get(name) or TABLE[_parsed(name)[0]]
    value, words = _defined(eq.lhs, phase.model, phase)
    if phase.groups is not None:
        words = row.meaning
    return {
        "long_name": plain_prose(words),
        "definition": "" if value is None else typed(value),
        "order_in_d": row.order,
        "label": f"({eq.label})",
    }


def _quantities(systems: Iterable[System]) -> list[sp.Symbol]:
    names: dict[sp.Symbol, None] = {}
    for system in systems:
        for eq in system.equations + system.observables + system.solution:
            if not str(eq.lhs).endswith(SHIFT):
                names[eq.lhs] = None
    return list(names)


def _defined(x: sp.Symbol, model: Model, phase: Phase) -> tuple[sp.Expr | None, str]:
    """Return the definition of a quantity and its meaning in words."""
    if phase.groups is not None:
        return _of_modes(str(x).partition("[")[0], phase)
    base, numbers = _parsed(str(x))
    two = len(set(numbers)) > 1
    words = (_OF_TWO.get(base) if two else None) or _MEANING.get(base)
    words = words or TABLE.get(str(x), TABLE[base]).meaning
    if base == "g":  # of a class
        count = sp.Symbol(f"n{str(x).removeprefix(base)}", positive=True)
        size = sp.sqrt(D) * D**phase.window.alpha_size * sp.sqrt(count)
        return _dot("z", "X") / size, words
    if str(x) in ("a", "e"):
        words += ", times its sign"
    rule = _RULES.get(base)
    if rule is None or (base in ("omega", "r", "v") and not phase.features):
        return (_hat(model, phase) if base == "c_hat" else None), words
    j, k = (*numbers, 1, 1)[:2] if numbers else (1, 1)
    k = k if len(numbers) > 1 else j
    number = f"_{j}" if numbers else "_j" if len(model.target.features) > 1 else ""
    other = f"_{k}" if numbers else number
    sizes = {
        "u": norm(model.target.features[j - 1]),
        "mu": norm(model.target.features[k - 1]),
        "d": sp.sqrt(D),
    }
    if number == "_j":
        sizes |= {"u": mean_norm(J), "mu": mean_norm(J)}
    value = rule(sizes, D**phase.window.alpha_size, number, other)
    return (sp.Symbol(f"S{number}") * value if str(x) in ("a", "e") else value), words


def _of_modes(name: str, phase: Phase) -> tuple[sp.Expr | None, str]:
    r"""The same for modes: of mode or group `k`, in the direction $e_j$."""
    noise = D**phase.window.alpha_size
    size = D ** (HALF - sp.Symbol("delta_j"))
    values = {
        "m": _dot("u_k", "e_j") / size,
        "omega": noise * _dot("w_k", "e_j") / sp.sqrt(D),
        "y": _dot("e_j", "X") / noise,
        "a": _dot("u_k", "z") / D,
        "e": _dot("u_k", "x0") / D,
        "M": _dot("mu_k", "X") / sp.Symbol("|mu_k|^2"),
    }
    if name == "c_hat" and phase.features:
        first = phase.model.target.decisions[phase.features[0]]
        return D ** (HALF - first) * noise * sp.Symbol("c"), _MEANING[name]
    return values.get(name), _IN_MODES.get(name) or _MEANING.get(
        name, TABLE[name].meaning
    )


def _parsed(name: str) -> tuple[str, list[int]]:
    marks = re.search(r"_(plus|minus|[pm]+)$", name)
    if marks and name.startswith("share"):
        marks = None
    rest = name[: marks.start()] if marks else name
    numbers = [int(i) for i in re.findall(r"_(\d+)", rest)]
    base = re.sub(r"(_\d+)+$", "", rest)
    return base, numbers


def _dot(left: str, right: str) -> sp.Symbol:
    return sp.Symbol(f"{left}.{right}" if left != right else f"|{left}|^2")


_RULES = {
    "m": lambda s, x, j, k: _dot(f"u{j}", f"mu{k}") / (s["u"] * s["mu"]),
    "omega": lambda s, x, j, k: x * _dot(f"w{j}", f"mu{k}") / (s["d"] * s["mu"]),
    "q": lambda s, x, j, k: _dot(f"u{j}", f"u{k}") / (s["u"] * s["mu"]),
    "r": lambda s, x, j, k: x**2 * _dot(f"w{j}", f"w{k}") / D,
    "v": lambda s, x, j, k: x * _dot(f"u{j}", f"w{j}") / (s["d"] * s["u"]),
    "a": lambda s, x, j, k: _dot(f"u{j}", "z") / D,
    "e": lambda s, x, j, k: _dot(f"u{j}", "x0") / D,
    "zeta": lambda s, x, j, k: x * _dot(f"w{j}", "z") / D,
    "nu": lambda s, x, j, k: _dot(f"mu{j}", "X") / (s["u"] * x),
    "M": lambda s, x, j, k: _dot(f"mu{j}", "X") / s["u"] ** 2,
}
_MEANING = {
    "m": "overlap of `u` with a mean",
    "omega": "overlap of `w` with a mean",
    "q": "squared norm of `u`",
    "r": "squared norm of `w`",
    "v": "overlap of `u` with `w`",
    "a": "overlap of `u` with the noise `z` of a sample",
    "zeta": "overlap of `w` with the noise `z` of a sample",
    "e": "overlap of `u` with a frozen noise draw `x0`",
    "nu": "projection of the sample on a mean, in units of the noise",
    "M": "projection of the sample on a mean, in units of the mean",
    "c_hat": "skip strength in the window",
    "g": "projection of the sample on `z`, the summed noises of a class",
    "share_plus": "probability that `nu` is positive",
    "mse": "mean squared error of the Bayes denoiser per dimension",
    "mse_jump": "drop of that error at `tau = 0+` without dilation",
    "Y": "projection of the sample on a combination of class means that `w` is made of",
    "F": "what the flow adds to `nu`",
    "Gamma": "variance of `Y` at the start",
    "V": "variance of a coordinate orthogonal to the means",
}
_OF_TWO = {
    "m": "overlap of `u` with the mean of another feature",
    "omega": "overlap of `w` with the mean of another feature",
    "q": "overlap of two `u`",
    "r": "overlap of two `w`",
    "Gamma": "covariance of two `Y` at the start",
}


_IN_MODES = {
    "m": "overlap of `u` with a direction",
    "omega": "overlap of `w` with a direction, less its mean over the groups",
    "b": "bias of the unit, less its mean over the groups",
    "a": "overlap of `u` with the noise `z` of a sample of its mode",
    "e": "overlap of `u` with a frozen noise draw `x0` of its mode",
    "y": "projection of the sample on a direction, in units of the noise",
    "M": "projection of the sample on the mean of its mode, in units of the mean",
    "V": "variance of a coordinate orthogonal to the means",
}


def _hat(model: Model, phase: Phase) -> sp.Expr | None:
    if not phase.features:
        return None
    first = gain(model.target.features[phase.features[0] - 1])
    return D ** (first + phase.window.alpha_size) * sp.Symbol("c")
