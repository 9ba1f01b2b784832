"""The blocks of one system: its definitions, the steps, and its equations."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import sympy as sp

from ..models.model import Model
from ..modes.posterior import NORMALS
from ..naming.by_feature import Row, by_class, by_feature, norms
from ..naming.every_feature import EveryFeature, every_feature
from ..naming.fields import MARK, alone_of, grouped
from ..naming.general import Lettering
from ..naming.indexed import indexed_sheet
from ..naming.labels import Y, in_order, remarked, unified
from ..naming.letters import Letters
from ..naming.sheet import NUMBERED, Sheet, make_sheet
from ..symbols.gaussian import G2, G
from ..symbols.indexed import DIRECTION
from ..symbols.plain import plain_name
from ..symbols.system import Equation, Step, System
from .blocks import Piece, display, head, item, joined, sentence, spans

Sizes = Mapping[str, sp.Expr]
"""Norms of the means of several features, by their numbers."""


def system_blocks(
    system: System,
    own: System,
    schedule: Lettering,
    model: Model | None,
    heading: Piece,
    letters: Letters | None = None,
) -> list[Piece]:
    """Return a system as blocks.

    `system` is derived with functions for the schedule; `own` is the model's, whose
    labels are printed. `letters` are those that the document used before.
    """
    sheet = make_sheet(system, schedule, model)
    told_before = set() if letters is None else letters.put_in(sheet)
    if whole := every_feature(sheet, own):
        return [heading, *_of_features(whole, own)]
    sizes = norms(model)
    defined = _definitions(sheet, told_before, sizes)
    return [heading, *defined, *_formulas(sheet, own, defined, sizes)]


def _of_features(whole: EveryFeature, own: System) -> list[Piece]:
    """Return the training flow of several features, a row for all pairs of them."""
    every = [eq.label for eq in own.equations]
    found = [
        sentence(
            "For the features `j`, `k`, `l` of this window, over which sums are, write "
            "the Gaussian field, with `g` a standard normal, another in each field, "
            "and `y_k` the signs of a sample (`E` averages over all of these), as"
        ),
        display("H_j", whole.field),
        sentence(PAIRS),
        display("Cov(H_j, H_k)", sp.Symbol("r_j_k")),
        sentence(
            "For `k = j` an overlap is that of one feature, as `m_j`; `q` and `r` are "
            "symmetric. Write also"
        ),
        *(display(x, value) for x, value in whole.named.items()),
        *told(own.steps),
        sentence(f"The flow, a dot for the derivative in `{own.time}`:"),
    ]
    first = {str(eq.lhs).partition("_")[0]: eq.label for eq in reversed(own.equations)}
    for x, rate in whole.rates.items():
        name = str(x).partition("_")[0]
        found.append(display(f"{x}'", rate, first[name]))
    text = f"Written out for each `j` and `k`, these are {spans(every)}."
    return [*found, sentence(text)]


def indexed_blocks(
    system: System, model: Model | None, title: str, level: int = 1
) -> list[Piece]:
    """Return a system of modes as blocks."""
    sheet = indexed_sheet(system, model)
    names = [display(x, value) for x, value in sheet.names.items()]
    about = "Write"
    if any(value.has(NORMALS[DIRECTION]) for value in sheet.names.values()):
        about = "Write, for a sample of mode `i` and with `g` standard normals,"
    written = [sentence(about), *names] if names else []
    return [head(title, level), *written, *_formulas(sheet, system, written, {})]


def _formulas(
    sheet: Sheet, own: System, defined: list[Piece], sizes: Sizes
) -> list[Piece]:
    """The steps and the equations, which are told from definitions before them."""
    at_once = defined and own.kind == "closed" and not own.steps
    return [
        *([sentence("With these,")] if at_once else _steps(sheet, own)),
        *_equations(sheet, own, sizes),
        *_branches(sheet, own, sizes),
        *_solution(sheet, own, sizes),
    ]


def told(steps: tuple[Step, ...]) -> list[Piece]:
    """Return the lines of a derivation, each with the formula it led to."""
    found: list[Piece] = []
    for step in steps:
        listed = step.text.startswith("- ")
        said = item(step.text[2:]) if listed else sentence(step.text)
        found += [said] if step.text else []
        if isinstance(step.formula, sp.Equality):
            found.append(display(step.formula.lhs, step.formula.rhs, step.label))
        elif step.formula is not None:
            name = "loss" if (step.label or " ")[0] in "LK" else "value"
            found.append(display(name, step.formula, step.label))
    return found


# ------------------------------------------------------------------------- definitions


def _definitions(
    sheet: Sheet, told_before: set[sp.Symbol], sizes: Sizes
) -> list[Piece]:
    found: list[Piece] = []
    fields = _fields(sheet, sizes)
    if fields:
        found.append(sentence(_fields_text(sheet)))
        found += fields
    names = [x for x in sheet.names if str(x) != "Delta" and x not in told_before]
    if names:
        found.append(sentence("Write also" if fields else "Write"))
        found += defined_once([Row(x, sheet.names[x]) for x in names], sizes)
    return found


def defined_once(rows: list[Row], sizes: Sizes) -> list[Piece]:
    """Return definitions, one for all features where they are alike."""
    return [display(row.lhs, row.rhs) for row in by_feature(rows, sizes)]


def _fields_text(sheet: Sheet) -> str:
    alone = alone_of(sheet.fields)
    shown = {x: e for x, e in sheet.fields.items() if x not in alone}
    normal = "`g` a standard normal" + (", another in each field," if alone else "")
    if any(G2 in value.free_symbols for value in shown.values()):
        normal = "`g` and `g2` standard normals"
    fields = "fields" if len(grouped(shown)) > 1 else "field"
    if sheet.labelled:
        label = "`y = +-1` the label (the sign of the mode, with its weight"
        if sheet.signs:
            seen = set().union(*(e.free_symbols for e in shown.values()))
            names = joined([f"`{y}`" for y in sheet.signs if y in seen])
            label = f"{names} the signs of a sample (with their weights"
        return (
            f"Write the Gaussian {fields}, with {normal} and {label}; `E` averages "
            "over both), as"
        )
    most = max(map(len, grouped(shown)))
    label = {
        1: "",
        2: " and `y` the class of a sample, `y = +-1`",
        4: " and `y = (y_1, y_2)` the class of a sample, its signs",
    }.get(most, " and `y = (y_1, y_2, ...)` the class of a sample, its signs")
    return f"Write the Gaussian {fields}, with {normal}{label}, as"


def _fields(sheet: Sheet, sizes: Sizes) -> list[Piece]:
    """Return the fields, a family in one formula where its members are alike."""
    rows: list[Row] = []
    alone = alone_of(sheet.fields)
    shown = {x: e for x, e in sheet.fields.items() if x not in alone}
    for group in grouped(shown):
        whole = _family(group, sheet)
        rows += [Row(x, sheet.fields[x]) for x in group] if whole is None else [whole]
    found, pairs = defined_once(rows, sizes), _covariances(sheet, alone)
    return found + ([sentence(PAIRS), *pairs] if pairs else [])


PAIRS = "jointly Gaussian given the signs, with"


def _covariances(sheet: Sheet, alone: dict[sp.Symbol, sp.Symbol]) -> list[Piece]:
    """Return the covariance of each two fields that an average is over."""
    found: dict[str, sp.Expr] = {}
    for body in sheet.averages.values():
        inside = body.free_symbols & set(sheet.fields)
        for first, second in product(inside - set(alone), inside & set(alone)):
            slopes = (sheet.fields[x].coeff(G) for x in (first, second))
            names = (MARK.sub("", str(x)) for x in (first, alone[second]))
            found[f"Cov({', '.join(names)})"] = sp.Mul(*slopes)
    return [display(lhs, rhs) for lhs, rhs in sorted(found.items())]


def _mark(x: sp.Symbol) -> str:
    return str(x).rsplit("_", 1)[-1]


def _family(group: list[sp.Symbol], sheet: Sheet) -> Row | None:
    by_mark = {_mark(x): sp.expand(sheet.fields[x]) for x in group}
    classes = all(m in ("plus", "minus") or not set(m) - set("pm") for m in by_mark)
    if len(group) < 2 or not classes:
        return None
    marks = in_order(by_mark)
    whole = unified([by_mark[m] for m in marks], marks)
    if whole is None or any(sp.expand(remarked(whole, m) - by_mark[m]) for m in marks):
        return None
    stem = str(group[0]).removesuffix(f"_{_mark(group[0])}")
    name = stem if sheet.labelled else f"{stem}_either"
    return Row(sp.Symbol(name, real=True), whole)


# ------------------------------------------------------------------------------- steps


def _steps(sheet: Sheet, own: System) -> list[Piece]:
    """Return the steps; what they fix is named by the labels of the equations below."""
    labels_of = {eq.lhs: eq.label for eq in own.observables + own.equations}
    found: list[Piece] = []
    pending: tuple[str, list[str]] | None = None
    for i, step in enumerate(own.steps):
        fixed = _fixed(step, labels_of)
        if fixed and pending and step.text == "and":
            pending[1].append(fixed)
            continue
        found += _told(pending)
        pending = (step.text, [fixed]) if fixed else None
        if not fixed:
            found += _step(step, i, sheet)
    return found + _told(pending)


def _fixed(step: Step, labels_of: dict[sp.Symbol, str]) -> str:
    if not isinstance(step.formula, sp.Equality) or step.label:
        return ""
    return labels_of.get(step.formula.lhs, "")


def _told(pending: tuple[str, list[str]] | None) -> list[Piece]:
    if pending is None:
        return []
    return [sentence(f"{pending[0].rstrip(',')} {spans(pending[1])}.")]


def _step(step: Step, i: int, sheet: Sheet) -> list[Piece]:
    found = [sentence(step.text)] if step.text else []
    if isinstance(step.formula, sp.Equality):
        rhs = sheet.rows["step", i]
        return [*found, display(step.formula.lhs, rhs, step.label)]
    if step.formula is not None and step.label:
        found.append(display("loss", sheet.rows["step", i], step.label))
    return found


# --------------------------------------------------------------------------- equations


def _equations(sheet: Sheet, own: System, sizes: Sizes) -> list[Piece]:
    if own.kind == "stationary":
        return _stationarity(sheet, own, sizes)
    flow = own.kind == "flow"
    found = (
        [sentence(f"The flow, a dot for the derivative in `{own.time}`:")]
        if flow
        else []
    )
    found += _printed(sheet, "equation", own.equations, sizes, "'" if flow else "")
    more = _printed(sheet, "observable", own.observables, sizes)
    if more and more[0].kind == "formula":
        found.append(sentence("and with it"))
    return found + more


def _printed(
    sheet: Sheet,
    kind: str,
    equations: tuple[Equation, ...],
    sizes: Sizes,
    dot: str = "",
) -> list[Piece]:
    """Return formulas; what is zero, or not determined, is told in a sentence."""
    every = [
        Row(eq.lhs, sheet.rows[kind, i], eq.label) for i, eq in enumerate(equations)
    ]
    rows = by_feature(by_class(every, _numbered(sheet)), sizes)
    rows, alike = (rows, []) if dot else _first_of_each(rows)
    zero = [] if dot else [row for row in rows if row.rhs == 0]
    free = [row for row in rows if row.rhs is sp.nan]
    shown = [row for row in rows if row not in zero and row not in free]
    found = [
        display(f"{row.lhs}{dot}" if dot else row.lhs, row.rhs, row.label)
        for row in shown
    ]
    found += _of_others(shown)
    for first, others in alike:
        found.append(_told_of(others, "is", "are", f"equal to `{first.lhs}`"))
    if zero:
        found.append(_told_of(zero, "vanishes", "vanish"))
    if free:
        found.append(_told_of(free, "is", "are", "not determined"))
    return found


def _numbered(sheet: Sheet) -> dict[sp.Symbol, sp.Expr]:
    return {x: e for x, e in sheet.names.items() if NUMBERED.fullmatch(str(x))}


def _named(rows: list[Row]) -> str:
    return joined([f"`{plain_name(str(row.lhs))}`" for row in rows])


def _told_of(rows: list[Row], one: str, many: str, rest: str = "") -> Piece:
    """Return a sentence that says the same of several quantities."""
    names = _named(rows)
    verb = " ".join(filter(None, (many if len(rows) > 1 else one, rest)))
    labels = sorted((x for row in rows for x in row.labels), key=_place)
    return sentence(f"{names} {verb}: {spans(labels)}.")


def _place(label: str) -> list[int]:
    return [int(x) for x in label[1:].split(".")]


def _of_others(rows: list[Row]) -> list[Piece]:
    """Say which labels formulas in `j` have for the features after the first."""
    labels: dict[str, list[str]] = {}
    for number, label in (x for row in rows for x in row.others):
        labels.setdefault(number, []).append(label)
    if not labels:
        return []
    verb = "this is" if sum(map(len, labels.values())) == 1 else "these are"
    said = []
    for number, own in labels.items():
        which = "the other classes" if number == Y else f"`j = {number}`"
        said.append(" ".join(filter(None, (f"for {which}", verb, spans(own)))))
        verb = ""
    return [sentence(f"F{joined(said)[1:]}.")]


def _first_of_each(rows: list[Row]) -> tuple[list[Row], list[tuple[Row, list[Row]]]]:
    """Return one row of those with one formula, and which rows are like it."""
    groups: dict[sp.Expr, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.rhs, []).append(row)
    many = {e: x for e, x in groups.items() if len(x) > 2 and not e.is_Atom}
    kept = [x for x in rows if x.rhs not in many or x is many[x.rhs][0]]
    return kept, [(x[0], x[1:]) for x in many.values()]


def _stationarity(sheet: Sheet, own: System, sizes: Sizes) -> list[Piece]:
    every = [Row(eq.lhs, sp.S.Zero) for eq in own.equations]
    unknown = _named(by_feature(by_class(every, {}), sizes))
    found = [
        sentence(f"What is left, {unknown}, minimises"),
        display("J", sheet.rows["objective", 0]),
        *_slopes(own),
    ]
    found.append(sentence("The other overlaps follow:"))
    return found + _printed(sheet, "observable", own.observables, sizes)


MANY = 6  # slopes of a minimum from which on they are told, not printed one by one


def _slopes(own: System) -> list[Piece]:
    start = "so that, averages being differentiated by (G2) and (G3),"
    if len(own.equations) < MANY:
        shown = [display(f"dJ/d{x.lhs}", sp.S.Zero, x.label) for x in own.equations]
        return [sentence(start), *shown]
    which = spans([eq.label for eq in own.equations])
    return [sentence(f"{start} its slope in each of them vanishes: {which}.")]


def _branches(sheet: Sheet, own: System, sizes: Sizes) -> list[Piece]:
    found: list[Piece] = []
    for i, branch in enumerate(own.branches):
        found.append(
            sentence(f"A closed minimum competes, in which the unit is {branch.name}:")
        )
        found.append(display(f"J_{branch.name}", sheet.rows["branch objective", i]))
        found += _printed(sheet, f"branch {i}", branch.equations, sizes)
    return found


def _solution(sheet: Sheet, own: System, sizes: Sizes) -> list[Piece]:
    if not own.solution:
        return []
    rows = _printed(sheet, "solution", own.solution, sizes)
    return [sentence("In closed form,"), *rows]
