"""The derivation as a list of blocks, and in every form: one document, one printer.

Nothing here states a result of its own: every formula is printed from the limit.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from itertools import count
from typing import Literal

import sympy as sp

from ..limit import Limit, Phase
from ..models.model import TAU, D, Model
from ..naming.general import (
    Lettering,
    general_exact,
    general_phase,
    model_schedule,
    phase_schedule,
)
from ..naming.letters import Letters
from ..symbols.latex import typed
from ..symbols.notation import symbol
from ..symbols.system import Equation, System
from ..windows.dilation import Segment, T
from ..windows.search import Window, power_law
from .blocks import Piece, display, head, item, joined, sentence, spans
from .definitions import Definition, definitions, of_each_feature
from .equations import indexed_blocks, system_blocks, told
from .markdown import markdown
from .setting import loss, over, rule_pieces, setting_pieces, velocity
from .tex import fragment, tex
from .text import text

Form = Literal["text", "latex", "fragment", "markdown", "json"]


def render(limit: Limit, form: Form) -> str:
    """Print the derivation of `limit` as text, LaTeX, Markdown or JSON.

    ``fragment`` is LaTeX without a preamble, to paste into a paper: each labelled
    equation can be referred to, as ``dilaton:W3``.
    """
    if form == "json":
        return json.dumps(summary(limit), indent=2)
    printers = {"text": text, "markdown": markdown, "latex": tex, "fragment": fragment}
    return printers[form](blocks(limit))


# ----------------------------------------------------------------------- the contents


def blocks(limit: Limit) -> list[Piece]:
    """The derivation, line by line; it is written down once for the same systems."""
    return list(_blocks(limit, tuple(_printed(limit))))


@lru_cache(maxsize=16)
def _blocks(limit: Limit, systems: tuple[System, ...]) -> list[Piece]:
    if limit.story:  # modes of any means: their systems are in indexed form
        return [*_indexed(limit), *_status(systems)]
    found, letters = (
        [*setting_pieces(limit.model), *rule_pieces(limit.model)],
        Letters(),
    )
    for name in limit.own_exact:
        letters.new_chapter()
        found += exact_blocks(limit, name, letters)
    found += [*_windows(limit), *_dilation(limit), *_table(limit, systems)]
    for phase in limit.phases:
        letters.new_chapter()
        found += _phase(limit.model, phase, letters)
    return [*_losses_in_order(found), *_status(systems)]


def exact_blocks(limit: Limit, name: str, letters: Letters) -> list[Piece]:
    """One of the systems that need no limit, as a chapter."""
    system, own, title = general_exact(limit)[name], limit.exact[name], EXACT[name]
    schedule = model_schedule(limit)
    return system_blocks(system, own, schedule, limit.model, head(title), letters)


def _printed(limit: Limit) -> list[System]:
    """The systems of a document; its training flows are derived for print alone."""
    found = [s for phase in limit.phases for s in _roles(phase).values()]
    return found + [limit.exact[x] for x in limit.own_exact]


def _roles(phase: Phase) -> dict[str, System]:
    """The systems of a phase by their roles, as they are printed."""
    if phase.groups is not None:
        return {x.name.split("/")[1]: x for x in phase.systems}
    general = {"training": general_phase(phase).training}
    names = [x for x in TITLES if x != "correction" or phase.learned.kind == "closed"]
    found = {x: general.get(x) or getattr(phase, x) for x in names}
    return {x: system for x, system in found.items() if system is not None}


def _indexed(limit: Limit) -> list[Piece]:
    """The derivation for modes: its own chapters, and systems with indices."""
    found: list[Piece] = []
    for chapter, steps in limit.story.items():
        found += [head(chapter), *told(steps)]
        if chapter == "Setting":
            said = f"The loss at a time, {over(limit.model)}, is"
            found += [sentence(said), loss(limit.model), *velocity(limit.model)]
    found += [*_dilation(limit), *_table(limit, limit.systems)]
    for phase in limit.phases:
        found += _phase_head(phase)
        for system in phase.systems:
            title = TITLES[system.name.split("/")[1]]
            found += indexed_blocks(system, limit.model, title, level=2)
    for name in limit.own_exact:  # its posterior is that of the setting
        system = replace(limit.exact[name], observables=())
        found += indexed_blocks(system, limit.model, EXACT[name])
    return found


def _losses_in_order(found: list[Piece]) -> list[Piece]:
    """Number the losses as they come: a window with closed forms prints none."""
    numbers = count(1)
    return [
        replace(b, label=f"L{next(numbers)}") if (b.label or " ")[0] == "L" else b
        for b in found
    ]


def _windows(limit: Limit) -> list[Piece]:
    model = limit.model
    found = [head("Windows of time")]
    for end in ("0", "1"):
        where = f"As `tau -> {end}`, the interpolant follows the power laws"
        found.append(sentence(where))
        for name in ("alpha", "beta"):
            law = power_law(getattr(model.interpolant, name), end, name)
            x = TAU if end == "0" else 1 - TAU
            value = D**law.size * law.factor * x**law.order
            found.append(display(name, value, relation="~"))
    j = "_j" if len(model.target.features) > 1 else ""
    found.append(
        sentence(
            f"The sign `S{j}` is decided where the signal-to-noise ratio `Lambda{j} = "
            f"beta^2 |mu{j}|^2/Delta` is `O(1)`, and the bulk variance is set where "
            "`beta/alpha` is `O(1)`. Balancing the powers of `d`:"
        )
    )
    return found + [item(window_text(p)) for p in limit.phases]


def window_text(phase: Phase) -> str:
    """The decisions of a window, and where it is."""
    window = phase.window
    place = (
        "`tau = O(1)`"
        if window.exponent == 0
        else f"`{window.variable} ~ d^(-{window.exponent})`"
    )
    subjects = list(phase.subjects)
    if phase.groups is None and len(phase.model.target.features) == 1:
        subjects = ["the sign `S`"] * len(subjects)
    if len(subjects) > 1 and all(x.startswith("feature ") for x in subjects):
        numbers = [x.removeprefix("feature ") for x in subjects]
        subjects = [f"features {joined(numbers)}"]
    what = subjects + ["the bulk variance"] * window.variance
    if not what:
        return f"nothing is decided at {place}"
    verb = "are" if len(phase.subjects) + window.variance > 1 else "is"
    done = "decided" if phase.subjects else "set"
    return f"{joined(what)} {verb} {done} at {place}"


def _size(power: sp.Expr) -> str:
    return "1" if power == 0 else f"`d^({power})`"


def _dilation(limit: Limit) -> list[Piece]:
    phases = len(limit.phases)
    found = [
        head("Dilation"),
        sentence(
            "Each window gets an equal share of the dilated time `t`; inside a phase "
            "the time is `s` in `[0, 1]`, and `tau` is linear in it."
        ),
    ]
    for i, segment in enumerate(limit.dilation.segments):
        low, high = sp.Rational(i, phases), sp.Rational(i + 1, phases)
        found.append(sentence(f"For `{low} <= t <= {high}` (phase {segment.name}):"))
        found.append(display(symbol("tau"), _in_t(segment, i, phases), f"T{i + 1}"))
    return found


def _in_t(segment: Segment, i: int, phases: int) -> sp.Expr:
    return segment.shown(phases * T - i)


def _table(limit: Limit, systems: tuple[System, ...]) -> list[Piece]:
    """The overlaps of the equations below, defined for this model."""
    found = of_each_feature(definitions(limit, systems), limit.model)
    several = len(limit.phases) > 1
    rows = [("quantity", "definition", "what it is", *(("phase",) if several else ()))]
    for alike, names in _alike(found):
        value, meaning, phases = alike
        shown = f"`{typed(value)}`" if value is not None else ""
        where = (", ".join(phases),) if several else ()
        ends = names if len(names) < 3 else (names[0], names[-1])
        joint = ", " if len(names) < 3 else ", ..., "
        rows.append((joint.join(f"`{x}`" for x in ends), shown, meaning, *where))
    return [
        head("Overlaps"),
        sentence(
            "Every quantity of the equations below is `O(1)` as `d` grows; the powers "
            "of `d` are in its definition. `u`, `w`, `b` and `c` are the network's, "
            "`X` is the sample that is generated."
        ),
        Piece("table", rows=tuple(rows)),
    ]


def _alike(found: list[Definition]) -> list[tuple[tuple, list[sp.Symbol]]]:
    """Group quantities by their definition, which those of all classes share."""
    groups: dict[tuple, list[sp.Symbol]] = {}
    for d in found:
        groups.setdefault((d.value, d.meaning, d.phases), []).append(d.symbol)
    return list(groups.items())


EXACT = {
    "sampling": "Exact flow of the Bayes velocity at dimension d",
    "mse": "Exact mean squared error at dimension d",
    "tied": "Exact training flow of the tied score network",
}
TITLES = {
    "learned": "What is learned",
    "sampling": "Sampling flow",
    "projected": "Sampling flow along the hidden units",
    "training": "Training flow at a fixed s",
    "mse": "Mean squared error per dimension",
    "correction": "Leading correction of what is learned at finite d",
}


def _phase_head(phase: Phase) -> list[Piece]:
    return [head(f"Phase {phase.name}"), *phase_pieces(phase, "Here")]


def phase_pieces(phase: Phase, start: str) -> list[Piece]:
    """The decisions of a phase, and the interpolant inside."""
    return [
        sentence(f"{start} {window_text(phase)}. {_units(phase.window)}"),
        display("alpha", phase.window.alpha),
        display("beta", phase.window.beta),
    ]


def _phase(model: Model, phase: Phase, letters: Letters) -> list[Piece]:
    schedule, general = phase_schedule(phase), general_phase(phase)
    found = _phase_head(phase)
    for role, system in _roles(phase).items():
        corrected = role == "correction"
        shown = system if corrected else getattr(general, role)
        plain = Lettering(sp.S.One, sp.S.One, schedule.time)
        used = plain if corrected else schedule
        title = head(TITLES[role], 2)
        found += system_blocks(shown, system, used, model, title, letters)
    return found


def _units(window: Window) -> str:
    sizes = {"alpha": window.alpha_size, "beta": window.beta_size}
    scaled = [f"`{x}` in units of {_size(e)}" for x, e in sizes.items() if e != 0]
    units = f", with {joined(scaled)}," if scaled else ""
    return f"Inside the window{units} the interpolant is"


def _status(systems: tuple[System, ...]) -> list[Piece]:
    lines = [
        f"{spans([eq.label for eq in eqs])} {_chapter(system)}: "
        f"{', '.join(dict.fromkeys(f'`{e.lhs}`' for e in eqs))}: {status}"
        for system in systems
        for status, eqs in _claims(system).items()
    ]
    return [head("Status"), *map(item, lines)]


def _chapter(system: System) -> str:
    """Return where the equations of a system stand, in words."""
    part, role = system.name.split("/")
    exact = EXACT.get("tied" if part == "tied" else role, "")
    title = exact if part in ("exact", "tied") else TITLES[role]
    where = "" if title == exact else f"phase {part}, "
    return f"{where}{title[0].lower()}{title[1:]}"


def _claims(system: System) -> dict[str, list[Equation]]:
    """Equations by what is claimed of them."""
    groups: dict[str, list[Equation]] = {}
    for eq in system.equations + system.observables + system.solution:
        groups.setdefault(_status_of(eq), []).append(eq)
    return groups


def _status_of(eq: Equation) -> str:
    if eq.rate is None:
        return eq.status
    power = sp.sstr(-sp.log(eq.rate.subs(D, sp.E)))
    return f"{eq.status}, relative error `O(d^(-{power}))`"


def summary(limit: Limit) -> dict:
    """The limit as plain data: phases with their equations, and the dilation."""
    parts = len(limit.phases)
    return {
        "phases": [
            {
                "name": phase.name,
                "features": list(phase.features),
                **({} if phase.groups is None else {"groups": phase.groups}),
                "variable": phase.variable,
                "exponent": float(phase.exponent),
                "equations": [_row(s, e) for s in phase.systems for e in _all(s)],
            }
            for phase in limit.phases
        ],
        "dilation": [
            {
                "phase": segment.name,
                "t": [i / parts, (i + 1) / parts],
                "tau": sp.sstr(_in_t(segment, i, parts)),
            }
            for i, segment in enumerate(limit.dilation.segments)
        ],
        "exact": [_row(s, e) for s in limit.exact.values() for e in _all(s)],
    }


def _all(system: System) -> tuple[Equation, ...]:
    return system.equations + system.observables + system.solution


def _row(system: System, eq: Equation) -> dict:
    flow = system.kind == "flow" and eq in system.equations
    gradient = system.kind == "stationary" and eq in system.equations
    lhs = f"{eq.lhs}'" if flow else f"dJ/d{eq.lhs}" if gradient else str(eq.lhs)
    return {
        "label": eq.label,
        "system": system.name,
        "lhs": lhs,
        "rhs": sp.sstr(eq.rhs),
        "status": eq.status,
    }
