"""The papers that equations rest on, by the function that wrote the equation."""

from __future__ import annotations

from collections.abc import Iterable

from .symbols.system import System

SETTING = ("Aranguri2024", "Aranguri2025")
"""Papers that every limit rests on: phases, and dilations of time."""

SOURCES: dict[str, tuple[str, ...]] = {
    "theory.phases.weights": ("Aranguri2024", "Cui2023"),
    "theory.phases.stationary": ("Aranguri2024", "Cui2023", "Price1958"),
    "theory.phases.sampling": ("Aranguri2024",),
    "theory.phases.training_flow": ("Price1958",),
    "theory.phases.finite_d": (),
    "theory.phases.bulk": ("Aranguri2024", "Cui2023"),
    "theory.phases.denoiser": ("Aranguri2025",),
    "theory.phases.tied_score": ("Klinger2026",),
    "theory.modes.posterior": (),
    "theory.modes.systems": (),
    "theory.modes.modes_bulk": ("Cui2023",),
}
"""Papers by the module that an equation's `source` names; the rest is derived here."""

ENTRIES: dict[str, dict[str, str]] = {
    "dilaton": {
        "author": "{The dilaton developers}",
        "title": "dilaton: derive, solve and confirm the phases of dilated diffusion "
        "models",
    },
    "Aranguri2024": {
        "author": "Aranguri, Santiago and Insulla, Francesco",
        "title": "Phase-aware training schedule simplifies learning in flow-based "
        "generative models",
        "year": "2024",
        "eprint": "2412.07972",
    },
    "Cui2023": {
        "author": r"Cui, Hugo and Krzakala, Florent and Vanden-Eijnden, Eric and "
        r"Zdeborov{\'a}, Lenka",
        "title": "Analysis of learning a flow-based generative model from limited "
        "sample complexity",
        "year": "2023",
        "eprint": "2310.03575",
    },
    "Aranguri2025": {
        "author": r"Aranguri, Santiago and Biroli, Giulio and M{\'e}zard, Marc and "
        "Vanden-Eijnden, Eric",
        "title": "Optimizing noise schedules of generative models in high dimensions",
        "year": "2025",
        "eprint": "2501.00988",
    },
    "Klinger2026": {
        "author": r"Klinger and Urfin, Rapha{\"e}l and Biroli, Giulio and "
        r"Gabri{\'e}, Marylou",
        "year": "2026",
        "note": "On the training dynamics of a tied score network at one noise level; "
        "the title is to be filled in",
    },
    "Price1958": {
        "author": "Price, Robert",
        "title": "A useful theorem for nonlinear devices having {Gaussian} inputs",
        "journal": "IRE Transactions on Information Theory",
        "volume": "4",
        "number": "2",
        "pages": "69--72",
        "year": "1958",
    },
}
"""The references, by their BibTeX keys."""


def bibtex(systems: Iterable[System], version: str) -> str:
    """Return BibTeX of the software and of the papers that `systems` rest on.

    Before each entry a comment names the equations that rest on it.
    """
    given = list(systems)
    used: dict[str, list[str]] = {
        "dilaton": ["every equation: derived and checked here"]
    }
    used |= {key: ["the phases and the dilation"] for key in SETTING}
    for system in given:
        for key, labels in _resting(system).items():
            used.setdefault(key, []).append(f"{system.name} {_span(labels)}")
    return "\n".join(_entry(key, rows, version) for key, rows in used.items())


def _resting(system: System) -> dict[str, list[str]]:
    """The labels of a system's equations by the paper that they rest on."""
    found: dict[str, list[str]] = {}
    for eq in system.equations + system.observables + system.solution:
        for key in SOURCES.get(eq.source.partition(":")[0], ()):
            labels = found.setdefault(key, [])
            labels += [] if eq.label in labels else [eq.label]
    return found


def _span(labels: list[str]) -> str:
    """Return the first and the last label of each letter."""
    ends: dict[str, list[str]] = {}
    for label in labels:
        ends[label[0]] = [*ends.get(label[0], [])[:1], f"({label})"]
    return ", ".join("-".join(pair) for pair in ends.values())


def _entry(key: str, rows: list[str], version: str) -> str:
    fields = dict(ENTRIES[key])
    if key == "dilaton":
        fields["version"] = version
    if "eprint" in fields:
        address = f"https://arxiv.org/abs/{fields['eprint']}"
        fields |= {"archivePrefix": "arXiv", "url": address}
    kind = "article" if "journal" in fields else "misc"
    lines = [f"% {row}" for row in rows]
    lines += [f"@{kind}{{{key},"]
    lines += [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([*lines, "}", ""])
