r"""A system as it is printed: fields, named quantities, and short equations.

`Sheet.restored` puts everything back; the tests compare what it gives with the system.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from math import prod

import sympy as sp

from ..models.classes import labels
from ..models.model import Model, suffix
from ..phases.bulk import letter_values
from ..symbols.gaussian import (
    G2,
    Average,
    FieldAverage,
    G,
    H,
    OpenUnit,
    to_averages,
    with_unit,
)
from ..symbols.notation import symbol
from ..symbols.system import Equation, System
from .fields import Fields, find_fields
from .general import ALPHA, BETA, DOTS, Lettering, is_short
from .labels import ClassSum, expanded, over_labels, signs_of, summed, with_labels
from .relations import OBJECTIVE, in_overlaps
from .sums import (
    DELTA,
    DELTA_LETTER,
    MANY,
    N_MINUS,
    N_PLUS,
    TOTAL,
    N,
    Names,
    cost,
    is_average,
    linear,
    named_sums,
    recurring,
    tidy,
    upright,
    written,
)

Rows = dict[tuple[str, int], sp.Expr]
Definitions = dict[sp.Symbol, sp.Expr]
WRONSKIAN = sp.Symbol("W", real=True)
ROWS = sp.Symbol("N", positive=True)


@dataclass
class Sheet:
    """Formulas of a system as they are printed.

    `rows` are its formulas by ``(kind, number)``: steps, the objective, equations,
    observables, solutions, branches. `fields` and `names` are the definitions they use,
    `averages` says what an average's symbol stands for, `given` what other letters do.
    """

    rows: Rows
    fields: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)
    names: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)
    averages: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)
    over: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)
    given: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)
    labelled: bool = False  # the fields are one, H with the label y
    signs: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)  # open, with weights
    known: dict[sp.Symbol, tuple[str, int]] = field(default_factory=dict)
    unit: str = "tanh"  # what a `OpenUnit` of the rows is

    def restored(self, expr: sp.Expr) -> sp.Expr:
        """Return a row of the system with every definition put back."""
        whole = self._averaged(self._named(expanded(expr)))
        used = whole.free_symbols & set(self.known)
        known = {x: self.restored(self.rows[self.known[x]]) for x in used}
        for y, p in self.signs.items():
            up, down = (whole.xreplace({y: sp.Integer(s)}) for s in (1, -1))
            whole = p * up + (1 - p) * down
        return self._given(with_unit(whole.xreplace(known), self.unit))

    def _named(self, expr: sp.Expr) -> sp.Expr:
        for x, value in reversed(self.names.items()):
            expr = expr.xreplace({x: expanded(value)})
        return expr

    def plain(self, expr: sp.Expr) -> sp.Expr:
        """Return a row without the names of what recurs; averages keep theirs."""
        return self._named(expanded(expr))

    def _averaged(self, expr: sp.Expr) -> sp.Expr:
        expr = expr.xreplace(self.over)
        fields = {x: self._named(value) for x, value in self.fields.items()}
        averages = self.averages.items()
        return expr.xreplace({x: self._average(body, fields) for x, body in averages})

    def _average(self, body: sp.Expr, fields: dict[sp.Symbol, sp.Expr]) -> sp.Expr:
        """Return the average of a function of fields, closed where a unit is open."""
        used = [x for x in fields if body.has(x)]
        if body.has(OpenUnit) and len(used) == 1:
            flat = sp.expand(fields[used[0]])
            law = (flat.subs(G, 0),), (flat.coeff(G) ** 2,)
            unit = with_unit(body.xreplace({used[0]: H}), self.unit)
            return to_averages(FieldAverage(unit, *law))
        whole = with_unit(body.xreplace(fields), self.unit)
        return Average(whole, *_variables(body, fields))

    def _given(self, expr: sp.Expr) -> sp.Expr:
        for _ in range(4):
            expr = expr.xreplace(self.given)
        return expr


def _variables(body: sp.Expr, fields: Mapping[sp.Symbol, sp.Expr]) -> list[sp.Symbol]:
    free = body.xreplace(dict(fields)).free_symbols
    return [x for x in (G, G2) if x in free]


def system_rows(system: System) -> Rows:
    """Return the formulas of a system by kind and number."""
    found: Rows = {}
    for i, step in enumerate(system.steps):
        if isinstance(step.formula, sp.Equality):
            found["step", i] = step.formula.rhs
        elif isinstance(step.formula, sp.Expr):
            found["step", i] = step.formula
    if system.objective is not None:
        found["objective", 0] = system.objective
    if system.kind != "stationary":
        found |= _numbered("equation", system.equations)
    found |= _numbered("observable", system.observables)
    found |= _numbered("solution", system.solution)
    for i, branch in enumerate(system.branches):
        found["branch objective", i] = branch.objective
        found |= _numbered(f"branch {i}", branch.equations)
    return found


def _numbered(kind: str, equations: tuple[Equation, ...]) -> Rows:
    return {(kind, i): eq.rhs for i, eq in enumerate(equations)}


def make_sheet(system: System, schedule: Lettering, model: Model | None) -> Sheet:
    """Return a system, derived with functions for its schedule, ready to be printed."""
    sheet = Sheet(system_rows(system), given=dict(schedule.back))
    sheet.unit = sheet.unit if model is None else model.autoencoder.activation
    sheet.rows = {k: _velocity(sheet, schedule, x) for k, x in sheet.rows.items()}
    logs = {} if model is None else _log_odds(model)
    sheet.given |= {h: sp.log(x) / 2 for x, h in logs.items()}
    swap = {sp.log(x): 2 * h for x, h in logs.items()}
    sheet.rows = {k: x.xreplace(swap) for k, x in sheet.rows.items()}
    _spell_units(sheet, model)
    _name_fields(sheet, system)
    if model is not None:
        _open_labels(sheet, model)
    _count(sheet)
    _traditional(sheet)
    if model is not None:
        _over_labels(sheet, model)
    _name_sums(sheet, system)
    return sheet


def _velocity(sheet: Sheet, schedule: Lettering, expr: sp.Expr) -> sp.Expr:
    r"""Write letters for the schedule, and $W = \alpha\dot\beta - \dot\alpha\beta$."""
    expr, (a, b) = schedule.lettered(expr), DOTS
    if expr.has(a) and expr.has(b):
        whole = sp.simplify((ALPHA * b - a * BETA).subs(schedule.back))
        name = WRONSKIAN if whole.is_Add else whole
        for value, short in (
            (ALPHA * b - a * BETA, name),
            (b - a * BETA / ALPHA, name / ALPHA),
        ):
            expr = written(expr, value, short)
        if expr.has(WRONSKIAN):
            sheet.given[WRONSKIAN] = ALPHA * b - a * BETA
    return schedule.shortened(expr)


def _spell_units(sheet: Sheet, model: Model | None) -> None:
    """Write tanh and sign out where no average of them is taken, and note letters."""
    if model is None:
        return
    sheet.given |= {x: e for x, e in letter_values(model).items() if _any(sheet, x)}
    averaged = any(x.has(Average) for x in sheet.rows.values())
    if sheet.unit != "erf" and not averaged and _any(sheet, OpenUnit):
        sheet.rows = {k: with_unit(x, sheet.unit) for k, x in sheet.rows.items()}


def _any(sheet: Sheet, what: type | sp.Basic) -> bool:
    return any(x.has(what) for x in sheet.rows.values())


def _log_odds(model: Model) -> dict[sp.Expr, sp.Symbol]:
    return {
        f.p / (1 - f.p): sp.Symbol(f"h{suffix(model, j)}", real=True)
        for j, f in enumerate(model.target.features, 1)
    }


def _name_fields(sheet: Sheet, system: System) -> None:
    """Name fields; a minimum's are written in the overlaps that follow from it."""
    found = find_fields(sheet.rows.values())
    steps = find_fields([x for (k, _), x in sheet.rows.items() if k == "step"])
    if system.kind == "stationary" and steps.named:
        simple = {
            eq.lhs: value
            for i, eq in enumerate(system.observables)
            if not (value := sheet.rows["observable", i]).has(Average)
        }
        known = {x: e.xreplace(simple) for x, e in steps.named.items()}
        rest = [x for (k, _), x in sheet.rows.items() if k != "step"]
        minimum = find_fields(rest, known)
        if set(minimum.named) == set(known):
            sheet.given |= simple
            found = Fields(
                steps.named, steps.bodies | minimum.bodies, steps.short | minimum.short
            )
    sheet.fields, sheet.averages = dict(found.named), dict(found.bodies)
    sheet.rows = {k: found.write(x) for k, x in sheet.rows.items()}


def _count(sheet: Sheet) -> None:
    """Write ``n_plus + n_minus`` for ``n`` where the classes are counted."""
    both = [x for x in (*sheet.rows.values(), *sheet.fields.values()) if x.has(N_PLUS)]
    if not both:
        return
    sheet.given[N_MINUS] = N - N_PLUS
    swap = {N: TOTAL}
    sheet.rows = {k: x.xreplace(swap) for k, x in sheet.rows.items()}
    sheet.fields = {k: x.xreplace(swap) for k, x in sheet.fields.items()}


def _traditional(sheet: Sheet) -> None:
    r"""Write $\Delta$ for $\alpha^2 + \sigma^2\beta^2$ before anything is expanded."""
    if any(x.has(DELTA) for x in (*sheet.rows.values(), *sheet.fields.values())):
        sheet.names[DELTA_LETTER] = DELTA
        sheet.rows = {k: _with_delta(x, DELTA_LETTER) for k, x in sheet.rows.items()}


def _with_delta(expr: sp.Expr, name: sp.Symbol) -> sp.Expr:
    """Write `name` for Delta, and for a number times it."""
    found = {}
    for node in expr.atoms(sp.Add):
        size = node.coeff(ALPHA**2)
        if size.is_Number and size != 0 and sp.expand(node - size * DELTA) == 0:
            found[node] = size * name
    return written(expr.xreplace(found), DELTA, name)


def _open_labels(sheet: Sheet, model: Model) -> None:
    """Take averages over the label too where it was left open."""
    weights = [f.p for f in model.target.features]
    signs = dict(zip(labels(len(weights)), weights, strict=True))
    if any(x.has(*signs) for x in sheet.fields.values()):
        sheet.rows = {
            k: with_labels(x, signs, sheet.averages) for k, x in sheet.rows.items()
        }
        sheet.signs, sheet.labelled = signs, True


def _over_labels(sheet: Sheet, model: Model) -> None:
    """Average over the label as well, where the modes enter with their weights."""
    for j, feature in enumerate(model.target.features, 1):
        if not isinstance(feature.p, sp.Symbol):
            continue
        if any(x.has(feature.p) for x in sheet.rows.values()) and sheet.fields:
            sheet.rows = _plain_sums(sheet)
        found = over_labels(sheet.rows, feature.p, suffix(model, j))
        if found is not None:
            sheet.rows, sheet.over = found[0], sheet.over | found[1]
            sheet.labelled = True


def _plain_sums(sheet: Sheet) -> Rows:
    """Name what recurs and has no average, before averages are collected."""
    names = Names(dict(sheet.names), {str(x) for x in sheet.names})
    rows = recurring(sheet.rows, names, 4, averages=False)
    sheet.names = names.defined
    return rows


def _name_sums(sheet: Sheet, system: System) -> None:
    taken = {str(x) for x in (*system.unknowns, *system.inputs, *system.parameters)}
    names = Names(dict(sheet.names), taken | {str(x) for x in sheet.names})
    keyed = _keyed(sheet.rows, system)
    if system.kind == "stationary" and len(sheet.fields) < FIELDS:
        keyed, sheet.known = in_overlaps(keyed, system, names)
    if system.kind == "closed":
        sheet.known = {
            eq.lhs: ("equation", i)
            for i, eq in enumerate(system.equations)
            if _any(sheet, eq.lhs)
        }
    keyed = _rows_counted(_counted(keyed, sheet, names), names)
    many = len(sheet.fields) >= FIELDS and system.kind == "stationary"
    keyed, held = _held(keyed) if many else (keyed, {})
    rows = named_sums(keyed, names)
    rows = {k: x.xreplace(held) for k, x in zip(sheet.rows, rows.values(), strict=True)}
    sheet.fields = {x: _field(str(x), e, names) for x, e in sheet.fields.items()}

    def shown(expr: sp.Expr) -> sp.Expr:
        return summed(written(expr, TOTAL, N))

    sheet.rows = {k: shown(x) for k, x in rows.items()}
    sheet.names = {k: shown(x) for k, x in names.defined.items()}
    sheet.fields = {k: written(x, TOTAL, N) for k, x in sheet.fields.items()}
    _in_observables(sheet, system)
    _growth(sheet)
    _spare_names(sheet)
    for part in (sheet.rows, sheet.names, sheet.fields):
        part |= {k: upright(_complements(_split_off(x))) for k, x in part.items()}


FIELDS = 4
"""Fields from which on sums over the classes are taken before any name is given."""


def _counted(rows: dict, sheet: Sheet, names: Names) -> dict:
    r"""Write ``n`` and $T_{jk} = \sum_y n_y y_j y_k$ for counts of several features.

    What needs other sums of the counts stays as it is.
    """
    counts = {x for row in rows.values() for x in row.free_symbols if COUNT(str(x))}
    if not counts:
        return rows
    total = sheet.given[N] = sp.Add(*counts)
    pairs, swap = _contrasts(counts)

    def whole(node: sp.Expr) -> sp.Expr:
        if any(map(is_average, node.free_symbols)):
            return node
        flat = sp.expand(node.xreplace(swap))
        return node if flat.atoms(sp.Dummy) else flat

    def short(row: sp.Expr) -> sp.Expr:
        found = row.replace(lambda e: e.is_Add and e.has(*counts), whole)
        return written(found, total, N)

    found = {k: short(x) for k, x in rows.items()}
    used = [x for x in pairs if any(row.has(x) for row in found.values())]
    names.defined |= {x: pairs[x] for x in used}
    return found


def _contrasts(counts: Iterable[sp.Symbol]) -> tuple[Definitions, Definitions]:
    """Return sums over classes of the products of two signs, and counts in all such."""
    signs = {x: signs_of(str(x)[2:]) for x in counts}
    numbers = range(len(next(iter(signs.values()))))
    pairs: Definitions = {}
    swap: Definitions = dict.fromkeys(signs, sp.S.Zero)
    if len(signs) < 2 ** len(numbers):  # a class is empty
        return {}, {x: sp.Dummy() for x in signs}
    sizes = range(len(numbers) + 1)
    for some in (x for k in sizes for x in combinations(numbers, k)):
        letter = N if not some else sp.Dummy()
        size = {x: prod(y[k] for k in some) for x, y in signs.items()}
        if len(some) == 2:
            letter = sp.Symbol(f"T_{some[0] + 1}_{some[1] + 1}", real=True)
            pairs[letter] = sp.Add(*(sign * x for x, sign in size.items()))
        swap = {x: e + size[x] * letter / len(signs) for x, e in swap.items()}
    return pairs, swap


def _rows_counted(rows: dict, names: Names) -> dict:
    """Write `ROWS` for the number of rows, ``n*noise_draws``."""
    pair = (N, symbol("noise_draws"))

    def named(term: sp.Expr) -> sp.Expr:
        powers = term.as_powers_dict()
        size = min(powers.get(x, 0) for x in pair)
        return term * (ROWS / sp.Mul(*pair)) ** size if size > 0 else term

    found = {k: x.replace(lambda e: e.is_Mul, named) for k, x in rows.items()}
    if any(x.has(ROWS) for x in found.values()):
        names.defined[ROWS] = sp.Mul(*pair)
    return found


def _held(rows: dict) -> tuple[dict, dict[sp.Symbol, sp.Expr]]:
    """Return rows with a letter for each sum of averages over classes, and the sums."""
    held: dict[sp.Expr, sp.Symbol] = {}

    def letter(node: sp.Expr) -> sp.Expr:
        if not any(map(is_average, node.free_symbols)):
            return expanded(node)
        return held.setdefault(node, sp.Dummy("sum", real=True))

    def whole(row: sp.Expr) -> sp.Expr:
        return summed(row).replace(lambda e: isinstance(e, ClassSum), letter)

    found = {k: whole(x) for k, x in rows.items()}
    return found, {x: e for e, x in held.items()}


COUNT = re.compile(r"n_[pm]+").fullmatch


def _in_observables(sheet: Sheet, system: System) -> None:
    """Write the overlaps of a minimum for names and sums that are their values."""
    if system.kind != "stationary":
        return
    for i, eq in enumerate(system.observables):
        key = ("observable", i)
        row = sheet.rows[key]
        value = sheet.names.get(row, row)
        swap = {x: eq.lhs for x, e in sheet.names.items() if value in (x, e)}
        swap = {x: y for x, y in swap.items() if NUMBERED.fullmatch(str(x))}
        near = {k: e.xreplace(swap) for k, e in sheet.rows.items()}
        if value.is_Add:
            near[OBJECTIVE] = written(near[OBJECTIVE], value, eq.lhs)
        near[key] = value
        if swap or near[OBJECTIVE] != sheet.rows[OBJECTIVE]:
            sheet.rows, sheet.known[eq.lhs] = near, key
            names = {k: e for k, e in sheet.names.items() if k not in swap}
            sheet.names = {k: e.xreplace(swap) for k, e in names.items()}


def _growth(sheet: Sheet) -> None:
    r"""Write $\gamma$ for $\dot V/(2V)$, the growth of a variance $V$.

    $V$ is Delta, or what a name says in the squares of $\alpha$ and $\beta$.
    """
    dots = [sheet.given.get(x, x) for x in DOTS]
    shown = [e if is_short(x, e) else x for x, e in zip(DOTS, dots, strict=True)]
    for x, value in sheet.names.items():
        slopes = [sp.diff(value, letter) / 2 for letter in (ALPHA, BETA)]
        half = sp.Add(*(a * b for a, b in zip(slopes, shown, strict=True)))
        squares = (
            value.has(ALPHA) and value.has(BETA) and not sp.diff(value, ALPHA, BETA)
        )
        if not (value.is_Add and half.is_Add and squares):
            continue
        named = [k for k, e in sheet.names.items() if e in (half, -half)]
        swap = {k: GROWTH * x * (sheet.names[k] / half) for k in named}
        rows = {
            k: written(e.xreplace(swap), half, GROWTH * x)
            for k, e in sheet.rows.items()
        }
        if sum(e.has(GROWTH) for e in rows.values()) > 1:
            sheet.rows = rows
            sheet.names = {k: e for k, e in sheet.names.items() if k not in named}
            sheet.names[GROWTH] = half / x
            return


GROWTH = sp.Symbol("gamma", real=True)


def _split_off(expr: sp.Expr) -> sp.Expr:
    """Return a ratio of which some terms have no denominator as these and the rest."""
    if expr.is_Add:
        return sp.Add(*map(_split_off, expr.args))
    top, bottom = sp.fraction(expr)
    sums = [x for x in sp.Mul.make_args(top) if x.is_Add]
    if bottom.is_Number or len(sums) != 1:
        return expr
    if any(map(is_average, sums[0].free_symbols)):
        return expr
    rate = sp.Mul(*(x for x in sp.Mul.make_args(top) if x != sums[0])) / bottom
    terms = [rate * x for x in sums[0].args]
    free = [x for x in terms if sp.fraction(x)[1].is_Number]
    if not free or len(free) == len(terms):
        return expr
    rest = sp.Add(*(x for x in sums[0].args if rate * x not in free))
    return sp.Add(*free, rate * rest)


def _complements(expr: sp.Expr) -> sp.Expr:
    """Return a sum with ``c*(1 - E[...])`` for a coefficient without its average."""
    flat = sp.expand(expr) if expr.is_Add and len(expr.args) < MANY else expr
    averages = [x for x in flat.free_symbols if is_average(x)] if flat.is_Add else []
    if not averages or not linear(flat):
        return expr
    rest = sp.expand(flat.xreplace(dict.fromkeys(averages, sp.S.Zero)))
    found = []
    for x in sorted(averages, key=str):
        slope = flat.coeff(x)
        if set(sp.Add.make_args(-slope)) <= set(sp.Add.make_args(rest)):
            found.append(-slope * (1 - x))
            rest += slope
        else:
            return expr
    return sp.Add(rest, *found)


NUMBERED = re.compile(r"[KA]_\d+")
SHORT, LONG, SAVED = 3, 25, 6
"""Operations up to which a product is no name, nor any formula used but once, and that
a name for a sum must save."""


def _spare_names(sheet: Sheet) -> None:
    """Put back names that save nothing: what is short, or stands in one place."""
    swap = {x: e for x, e in sheet.names.items() if NUMBERED.fullmatch(str(x))}
    sheet.rows = {k: swap.get(e, e) for k, e in sheet.rows.items()}
    for x in reversed(list(sheet.names)):
        value, every = sheet.names[x], [*sheet.rows.values(), *sheet.fields.values()]
        for y, other in sheet.names.items():
            if y != x and not other.has(x):
                value = written(value, other, y)
        sheet.names[x] = value
        every += [e for y, e in sheet.names.items() if y != x]
        if value.could_extract_minus_sign() and NUMBERED.fullmatch(str(x)):
            value = sheet.names[x] = -value
            for part in (sheet.rows, sheet.names, sheet.fields):
                part |= {k: sp.sympify(e).xreplace({x: -x}) for k, e in part.items()}
        uses = sum(_count_of(x, e) for e in set(every))
        spared = NUMBERED.fullmatch(str(x)) and not _in_sums(x, value, every)
        if uses and not (spared and _saves_nothing(value, uses)):
            continue
        del sheet.names[x]
        for part in (sheet.rows, sheet.names, sheet.fields):
            for key, e in part.items():
                part[key] = sp.sympify(e).xreplace({x: value})


def _saves_nothing(value: sp.Expr, uses: int) -> bool:
    size = cost(value)
    short = size <= SHORT and (value.is_Mul or (uses - 1) * size <= SAVED)
    return short or (uses == 1 and size <= LONG)


def _count_of(x: sp.Symbol, expr: sp.Expr) -> int:
    return sum(node == x for node in sp.preorder_traversal(expr))


def _in_sums(x: sp.Symbol, value: sp.Expr, every: list[sp.Expr]) -> bool:
    """Whether a sum over classes would come to stand in another."""
    if not value.has(ClassSum):
        return False
    return any(s.has(x) for e in every for s in sp.sympify(e).atoms(ClassSum))


def _keyed(rows: Rows, system: System) -> dict:
    """Return rows by what they are for, where that is a symbol of a flow."""
    flow = system.kind == "flow"
    found = {}
    for (kind, i), value in rows.items():
        key = system.equations[i].lhs if flow and kind == "equation" else (kind, i)
        found[key] = value
    return found


def _field(field: str, value: sp.Expr, names: Names) -> sp.Expr:
    """Write a field with names: ``b + sqrt(Lambda)*g + Lambda``."""
    flat = sp.expand(value)
    for x, known in names.defined.items():
        flat = written(flat, known, x)
    for g in (G, G2):
        slope = flat.coeff(g)
        if slope.has(sp.Add) or slope.has(sp.Pow):
            size = tidy(slope**2)
            rest = sp.expand(flat - slope * g)
            known = {e: x for x, e in names.defined.items()}
            if size in known:
                size = known[size]
            elif cost(size) >= 3 and {size, -size} & set(rest.args):
                unit = re.search(r"_\d+", field)
                name = names.add(size, "Lambda" + (unit[0] if unit else ""))
                rest, size = written(rest, size, name), name
            flat = rest + sp.sqrt(size) * g
    return flat
