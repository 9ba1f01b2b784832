"""The derivation as a document: text, Markdown, LaTeX or JSON, from one list of blocks.

Nothing here states a result of its own: every formula is printed from the limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import sympy as sp

from ..limit import Limit, Phase
from ..models.classes import has_patterns
from ..models.model import D, Model, norm
from ..phases.denoiser import exact_denoiser
from ..symbols.gaussian import G2, Average, G
from ..symbols.latex import equation, inline, latex, left_side, plain, prose
from ..symbols.notation import symbol
from ..symbols.system import Equation, Step, System
from ..windows.dilation import Segment, T
from ..windows.search import power_law

Form = Literal["text", "latex", "markdown", "json"]


@dataclass(frozen=True)
class Block:
    """A heading (with its level), a paragraph, or a formula with its label."""

    kind: Literal["heading", "text", "formula"]
    text: str = ""
    lhs: sp.Basic | str | None = None
    rhs: sp.Basic | None = None
    label: str | None = None
    level: int = 1


def render(limit: Limit, form: Form) -> str:
    """Print the derivation of `limit`; `form` is text, latex, markdown or json."""
    if form == "json":
        return json.dumps(summary(limit), indent=2)
    printers = {"text": _text, "markdown": _markdown, "latex": _latex}
    return printers[form](blocks(limit))


# ----------------------------------------------------------------------- the contents


def blocks(limit: Limit) -> list[Block]:
    """The derivation, line by line."""
    if limit.story:
        found = [
            b for x, steps in limit.story.items() for b in (_head(x), *_told(steps))
        ]
    else:
        found = [*_setting(limit.model), *_windows(limit)]
    found += _dilation(limit)
    for phase in limit.phases:
        found += _phase(limit.model, phase)
    for system in limit.exact.values():
        found += _system(system, _EXACT[system.name])
    return [*found, *_status(limit)]


def _head(text: str, level: int = 1) -> Block:
    return Block("heading", text, level=level)


def _say(text: str) -> Block:
    return Block("text", text)


def _formula(lhs: sp.Basic | str, rhs: sp.Basic, label: str | None = None) -> Block:
    return Block("formula", lhs=lhs, rhs=rhs, label=label)


def _setting(model: Model) -> list[Block]:
    auto = model.autoencoder
    bayes = exact_denoiser(model)
    found = [
        _head("Setting"),
        _say(
            "The target is `x1 = sum_j s_j mu_j + sigma z` with independent signs, "
            "`P(s_j = +1) = p_j`, orthogonal means and `z ~ N(0, I)`. The squared "
            "norms are"
        ),
    ]
    for j, feature in enumerate(model.target.features, 1):
        found.append(_formula(f"|mu_{j}|^2", norm(feature) ** 2))
    found += [
        _say("The interpolant is `x = alpha x0 + beta x1` with `x0 ~ N(0, I)` and"),
        _formula("alpha", model.interpolant.alpha),
        _formula("beta", model.interpolant.beta),
        _say(
            "The autoencoder at each time is `f(x) = c x + sum_j u_j "
            f"phi(w_j.x/sqrt(d) + b_j)` with `phi = {auto.activation}`, "
            f"{'a bias' if auto.bias else 'no bias'}, u and w "
            f"{'tied' if auto.tied else 'free'}, trained on {_data(model)}."
        ),
        _say(
            "Given the signs, `(x1, x)` is Gaussian: the regression of `x1` on `x` "
            "has the coefficient"
        ),
        _formula("c", bayes.skip, "D1"),
        _say(
            "and half the log-odds of sign `j` are `k_j y_j + h_j` in the projection "
            "`y_j` of `x` on the unit vector along `mu_j`, with"
        ),
    ]
    for j, feature in enumerate(model.target.features, 1):
        found.append(_formula(f"k_{j}", bayes.slope(j)))
        found.append(_formula(f"h_{j}", feature.log_odds))
    found.append(
        _say(
            "The posterior factorises over orthogonal means and independent signs, so "
            "`E[x1|x] = c x + (1 - c beta) sum_j mu_j tanh(k_j y_j + h_j)`, exactly, "
            "and the velocity is `b = (alpha'/alpha) x + (beta' - alpha' beta/alpha) "
            "E[x1|x]` (D2)."
        )
    )
    return found


def _data(model: Model) -> str:
    data = model.data
    if not data.samples:
        return "the population (`n = infinity`)"
    noise = (
        "`noise_draws` frozen noise draws each" if data.frozen_noise else "fresh noise"
    )
    if has_patterns(model):
        return f"samples counted by the signs of their features, n_p..., with {noise}"
    return f"`n` samples, `n_plus` of them in the + mode, with {noise}"


def _windows(limit: Limit) -> list[Block]:
    model = limit.model
    found = [
        _head("Windows of time"),
        _say("The coefficients follow power laws near both ends of time."),
    ]
    for end in ("0", "1"):
        where = "`tau -> 0`" if end == "0" else "`tau -> 1`, with `x = 1 - tau`"
        found.append(_say(f"As {where}:"))
        for name in ("alpha", "beta"):
            law = power_law(getattr(model.interpolant, name), end, name)
            x = sp.Symbol("tau" if end == "0" else "x", positive=True)
            value = D**law.size * law.factor * x**law.order
            found.append(_formula(name, value))
    found.append(
        _say(
            "Sign `j` is decided where the signal-to-noise ratio `Lambda_j = beta^2 "
            "|mu_j|^2/(alpha^2 + sigma^2 beta^2)` is `O(1)`, and the bulk variance is "
            "set where `beta/alpha` is `O(1)`. Balancing the powers of `d`:"
        )
    )
    return found + [_say(_window_text(p)) for p in limit.phases]


def _window_text(phase: Phase) -> str:
    window = phase.window
    place = (
        "`tau = O(1)`"
        if window.exponent == 0
        else f"`{window.variable} ~ d^(-{window.exponent})`"
    )
    what = [*phase.subjects]
    what += ["the bulk variance"] if window.variance else []
    verb = "is decided" if window.features else "is set"
    return f"- {' and '.join(what) or 'nothing'} {verb} at {place}"


def _size(power: sp.Expr) -> str:
    return "1" if power == 0 else f"`d^({power})`"


def _dilation(limit: Limit) -> list[Block]:
    count = len(limit.phases)
    found = [
        _head("Dilation"),
        _say(
            "Each window gets an equal share of the dilated time `t`; inside a phase "
            "the time is `s` in `[0, 1]`, and `tau` is linear in it."
        ),
    ]
    for i, segment in enumerate(limit.dilation.segments):
        low, high = sp.Rational(i, count), sp.Rational(i + 1, count)
        found.append(_say(f"For `{low} <= t <= {high}` ({segment.name}):"))
        found.append(_formula(symbol("tau"), _in_t(segment, i, count), f"T{i + 1}"))
    return found


def _in_t(segment: Segment, i: int, count: int) -> sp.Expr:
    return segment.tau(count * T - i)


_EXACT = {
    "exact/sampling": "Exact flow of the Bayes velocity at dimension d",
    "exact/mse": "Exact mean squared error at dimension d",
    "tied/training": "Exact training flow of the tied score network",
}
_TITLES = {
    "learned": "What is learned",
    "sampling": "Sampling flow",
    "projected": "Sampling flow, reduced to one dimension",
    "training": "Training flow at a fixed s",
    "mse": "Mean squared error per dimension",
    "correction": "Leading correction of what is learned at finite d",
}


def _phase(model: Model, phase: Phase) -> list[Block]:
    window = phase.window
    found = [
        _head(f"Phase {phase.name}"),
        _say(
            f"Here {_window_text(phase)[2:]}. Inside it, in units of "
            f"{_size(window.alpha_size)} and {_size(window.beta_size)},"
        ),
        _formula("alpha", window.alpha),
        _formula("beta", window.beta),
    ]
    for system in phase.systems:
        found += _system(system, _TITLES[system.name.split("/")[1]], level=2)
    return found


def _system(system: System, title: str, level: int = 1) -> list[Block]:
    found = [_head(title, level), *_told(system.steps)]
    found += _equations(system)
    for branch in system.branches:
        found.append(
            _say(f"A closed minimum competes (`w = 0`, the unit is {branch.name}):")
        )
        found.append(_formula(f"J_{branch.name}", branch.objective))
        found += [_formula(e.lhs, e.rhs, e.label) for e in branch.equations]
    if system.solution:
        found.append(_say("Solved in closed form:"))
        found += [_formula(e.lhs, e.rhs, e.label) for e in system.solution]
    return abbreviated(found)


def _told(steps: tuple[Step, ...]) -> list[Block]:
    """The lines of a derivation, each with the formula it led to."""
    found = []
    for step in steps:
        found += [_say(step.text)] if step.text else []
        if isinstance(step.formula, sp.Equality):
            found.append(_formula(step.formula.lhs, step.formula.rhs, step.label))
        elif step.formula is not None:
            name = "loss" if (step.label or " ")[0] in "LK" else "value"
            found.append(_formula(name, step.formula, step.label))
    return found


def _equations(system: System) -> list[Block]:
    if system.kind == "stationary":
        return _stationarity(system)
    flow = system.kind == "flow"
    head = f"Flow in `{system.time}`; on the left, derivatives with respect to it:"
    found = [_say(head)] if flow else []
    for eq in system.equations:
        found.append(_formula(f"{eq.lhs}'" if flow else eq.lhs, eq.rhs, eq.label))
    found += [_say("and with it")] if system.observables else []
    return found + [_formula(e.lhs, e.rhs, e.label) for e in system.observables]


def _stationarity(system: System) -> list[Block]:
    found = [
        _say("What stays unknown minimises"),
        _formula("J", system.objective),
        _say(
            "Every derivative of `J` vanishes; averages are differentiated by (G2), "
            "and --format json prints the result in full."
        ),
    ]
    for eq in system.equations:
        found.append(_formula(f"dJ/d{eq.lhs}", sp.S.Zero, eq.label))
    found.append(_say("The other overlaps follow:"))
    return found + [_formula(e.lhs, e.rhs, e.label) for e in system.observables]


def abbreviated(found: list[Block]) -> list[Block]:
    """Name the fields that averages are taken over: H1, H2, ... defined up front."""
    nodes = {
        node
        for block in found
        if block.rhs is not None
        for node in block.rhs.atoms(Average)
    }
    inner = {f.args[0] for node in nodes for f in node.atoms(*_UNITS) if f.has(G, G2)}
    fields = {
        arg: sp.Symbol(f"H{i}")
        for i, arg in enumerate(sorted(inner, key=sp.default_sort_key), 1)
    }
    short = {
        node: sp.Symbol(f"E[{sp.sstr(node.integrand.subs(fields))}]") for node in nodes
    }
    named = [
        replace(b, rhs=b.rhs.xreplace(short)) if b.rhs is not None else b for b in found
    ]
    if not fields:
        return named
    heads = [_say("Write the Gaussian fields (`g` a standard normal) as")]
    heads += [_formula(str(name), arg) for arg, name in fields.items()]
    return [named[0], *heads, *named[1:]]


_UNITS = (sp.tanh, sp.erf, sp.sign)


def _status(limit: Limit) -> list[Block]:
    lines = [
        f"- ({label}) {system.name}: `{', '.join(names)}`: {status}"
        for system in limit.systems
        for label, names, status in _claims(system)
    ]
    return [_head("Status"), *map(_say, lines)]


def _claims(system: System) -> list[tuple[str, list[str], str]]:
    """First label, quantities and status of each group of equations alike."""
    groups: dict[str, list[Equation]] = {}
    for eq in system.equations + system.observables + system.solution:
        groups.setdefault(_status_of(eq), []).append(eq)
    return [
        (eqs[0].label, list(dict.fromkeys(str(e.lhs) for e in eqs)), status)
        for status, eqs in groups.items()
    ]


def _status_of(eq: Equation) -> str:
    rate = f", relative error `O({sp.sstr(eq.rate)})`" if eq.rate is not None else ""
    return f"{eq.status}{rate}"


def summary(limit: Limit) -> dict:
    """The limit as plain data: phases with their equations, and the dilation."""
    count = len(limit.phases)
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
                "t": [i / count, (i + 1) / count],
                "tau": sp.sstr(_in_t(segment, i, count)),
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


# ------------------------------------------------------------------------ the printers


def system_latex(system: System) -> str:
    """The labelled equations of `system`, aligned; averages are abbreviated."""
    rows = [
        _aligned(block)
        for block in abbreviated([_say(""), *_equations(system)])
        if block.kind == "formula"
    ]
    body = " \\\\\n".join(rows)
    return f"$$\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n$$"


def _aligned(block: Block) -> str:
    mark = rf" && \text{{({block.label})}}" if block.label else ""
    return f"{left_side(block.lhs)} &= {latex(block.rhs)}{mark}"


def limit_html(limit: Limit) -> str:
    """The phases of `limit` as a table, with its dilation."""
    rows = [
        f"<tr><td>{phase.name}</td><td>{_typeset(_window_text(phase)[2:])}</td>"
        f"<td>{', '.join(s.name.split('/')[1] for s in phase.systems)}</td></tr>"
        for phase in limit.phases
    ]
    head = "<tr><th>phase</th><th>window</th><th>systems</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>{limit.dilation._repr_latex_()}"


def _typeset(text: str, words: Callable[[str], str] = str) -> str:
    return prose(text, lambda x: f"${inline(x)}$", words)


def _text(found: list[Block]) -> str:
    lines = []
    for block in found:
        if block.kind == "heading":
            mark = "=" if block.level == 1 else "-"
            lines += ["", block.text, mark * len(block.text)]
        elif block.kind == "text":
            lines.append(plain(block.text))
        else:
            label = f"   ({block.label})" if block.label else ""
            lines.append(f"    {block.lhs} = {sp.sstr(block.rhs)}{label}")
    return "\n".join(lines).strip() + "\n"


def _markdown(found: list[Block]) -> str:
    lines = []
    for block in found:
        if block.kind == "heading":
            lines += ["", f"{'#' * (block.level + 1)} {block.text}", ""]
        elif block.kind == "text":
            text = _typeset(block.text, _escaped)
            lines += [text, *([""] if text[0] != "-" else [])]
        else:
            tag = rf" \tag{{{block.label}}}" if block.label else ""
            lines += [
                "$$",
                equation(block.lhs, block.rhs) + tag,
                "$$",
                "",
            ]
    return "# Derivation\n" + "\n".join(lines).rstrip() + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("_", r"\_").replace("*", r"\*")


def _latex(found: list[Block]) -> str:
    lines = [
        r"\documentclass{article}",
        r"\usepackage{amsmath,amssymb,breqn}",
        r"\begin{document}",
    ]
    for block in found:
        if block.kind == "heading":
            lines.append(rf"\{'sub' * (block.level - 1)}section*{{{block.text}}}")
        elif block.kind == "text":
            text = block.text.removeprefix("- ")
            lines += [_typeset(text, _tex_text), ""]
        else:
            number = f"[number={{{block.label}}}]" if block.label else ""
            env = "dmath" if block.label else "dmath*"
            body = f"{left_side(block.lhs)} = {latex(block.rhs)}"
            lines += [rf"\begin{{{env}}}{number}", body, rf"\end{{{env}}}"]
    return "\n".join([*lines, r"\end{document}", ""])


def _tex_text(text: str) -> str:
    return (
        re.sub(r"([_#%&$])", r"\\\1", text)
        .replace("^", r"\textasciicircum{}")
        .replace("<", "$<$")
        .replace(">", "$>$")
        .replace("|", "$|$")
    )
