"""The page of a report: its figures, its tables, and what it says first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..show import plots
from ..show.display import axis_label
from ..torchcheck.study.figures import distances
from . import page
from .doctor import built_with

if TYPE_CHECKING:
    from xarray import Dataset

    from .report_run import Run

PANELS = ("m", "q", "c", "c_hat", "omega", "b", "r", "v")
FAMILIES = ("m", "omega", "b", "c_hat", "c")
FLAT = 0.1
"""A distance beyond this, in units of the limit, that does not fall with d is told."""

MOST_CARDS = 4
"""Features or modes that have a card each; more have the table alone."""

Row = Mapping[str, Any]
Figures = dict[str, tuple[Any, str]]


def _limits(curves: Dataset) -> list[tuple[float, float]]:
    """The generated shares with their errors."""
    name = "shares" if "shares" in curves else "share_plus"
    pairs = (np.ravel(curves[x].values).tolist() for x in (name, f"{name}_error"))
    return list(zip(*pairs, strict=True))


def _made(run: Run, k: int) -> list[Row]:
    """Rows of what networks generated along feature, or in mode, `k`."""
    rows = [x for x in run.found.shares if x.get("feature", x.get("mode", 1)) == k]
    return [{"share_plus": row.get("share"), **row} for row in rows]


# ------------------------------------------------------------------------- figures


def report_figures(run: Run) -> Figures:
    """Return figures and captions by file name."""
    draw = _families if run.spec.kind == "modes" else _overlaps
    made: Figures = {"overlaps": (draw(run), _overlaps_caption(run))}
    if run.plan:
        made["convergence"] = _convergence(run)
        made["shares"] = _share_figure(run)
    if run.laws:
        made |= _law_figures(run)
    return made


def _boundaries(run: Run) -> list[float]:
    count = len(run.limit.phases)
    return [i / count for i in range(1, count)]


def _overlaps(run: Run) -> Any:
    names = _panels(run)
    other = {} if run.spec.population else _lines(run.population_curves, names)
    titles = {name: axis_label(name) for name in names}
    lines = _lines(run.curves, names)
    return plots.overlaps(lines, other, run.found.dots, titles, _boundaries(run))


def _lines(curves: Dataset, names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Return (t, value) by quantity, with gaps between phases.

    In the bulk all features share one `m` and one `q`.
    """
    t, found = curves["t"].values, {}
    for name in (x for x in names if x in curves):
        values, base = curves[name].values, _base(name)
        if base != name and base in curves:
            values = np.where(np.isnan(values), curves[base].values, values)
        found[name] = plots.broken(t, values, curves["phase"].values)
    return found


def _panels(run: Run) -> list[str]:
    """Return what is drawn: the overlaps of `PANELS`, for each feature."""
    learned = {name for p in run.limit.phases for name in p.learned.names}
    order = {name: i for i, name in enumerate(PANELS)}
    shown = [x for x in learned if _base(x) in order and x in run.curves]
    own = {_base(x) for x in shown if _base(x) != x}
    kept = [x for x in shown if x not in own]
    return sorted(kept, key=lambda x: (order[_base(x)], x))


def _base(name: str) -> str:
    """``m`` of ``m_1``: a quantity without its feature."""
    return re.sub(r"(_\d+)+$", "", name)


def _families(run: Run) -> Any:
    """Overlaps of modes: a panel a quantity, a line for each mode and direction."""
    t, phase, lines = run.curves["t"].values, run.curves["phase"].values, {}
    for name in (x for x in FAMILIES if x in run.curves):
        values = run.curves[name].values
        lines[name] = {
            tuple(i + 1 for i in place): plots.broken(
                t, values[(slice(None), *place)], phase
            )
            for place in np.ndindex(values.shape[1:])
        }
    indices = [re.findall(r"\d+", row["quantity"]) for row in run.found.dots]
    dots = [
        row | {"quantity": _base(row["quantity"]), "index": tuple(map(int, index))}
        for row, index in zip(run.found.dots, indices, strict=True)
    ]
    titles = {name: axis_label(name) for name in lines}
    return plots.mode_overlaps(lines, dots, titles, _boundaries(run))


def _overlaps_caption(run: Run) -> str:
    words = "Order parameters through the dilated time, phase after phase."
    if run.spec.kind == "modes":
        words += " A colour for each mode, dashes for the direction."
    if run.plan:
        words += (
            f" Dots: networks trained at each `d` ({run.plan.seeds} training sets, "
            "one standard error); lines: the limit."
        )
    return words


def _convergence(run: Run) -> tuple[Any, str]:
    fits, words = _furthest(run), ""
    if len(fits) < len(run.found.fits):
        words = " Of each quantity that has an index: the one furthest from its limit."
    titles = {fit["quantity"]: axis_label(fit["quantity"]) for fit in fits}
    figure = plots.convergence(distances(run.found.dots), fits, titles)
    return figure, (
        "Distance between trained networks and the limit against `d`: root mean "
        "square over times and training sets, with the fitted slope and its 95 % "
        "bootstrap interval. Dashed: the expected rate." + words
    )


def _furthest(run: Run) -> list[Row]:
    """The fits that are drawn: of modes, one a quantity and phase."""
    fits = [x for x in run.found.fits if math.isfinite(x["slope"])]
    if run.spec.kind != "modes":
        known = set(_panels(run))
        return [x for x in run.found.fits if x["quantity"] in known]
    far = _far(run)
    best: dict[tuple[str, str], Row] = {}
    for fit in sorted(fits, key=lambda x: far[x["phase"], x["quantity"]]):
        best[fit["phase"], _base(fit["quantity"])] = fit
    return list(best.values())


def _far(run: Run) -> dict[tuple[str, str], float]:
    """The distances from the limit at the largest d, by phase and quantity."""
    last = max((x["d"] for x in run.found.dots), default=0)
    rows = (x for x in distances(run.found.dots) if x["d"] == last)
    return {(x["phase"], x["quantity"]): x["error"] for x in rows}


def _share_figure(run: Run) -> tuple[Any, str]:
    panels = {}
    realised = [] if run.spec.population else run.realised
    for k, name in enumerate(run.subjects):
        levels = {"target": run.weights[k], "limit": _limits(run.curves)[k][0]}
        if realised:
            levels["share in the training set"] = realised[k]
        title = (
            f"share of {name}" if run.spec.kind == "modes" else "share of the + mode"
        )
        title += f", {name}" if name.startswith("feature") else ""
        panels[title] = (_made(run, k + 1), levels)
    cells = len(run.limit.phases) * (run.plan.cells if run.plan else 0)
    later = " (fewer where trained on sampled noise)" if run.found.sampled else ""
    return plots.share_panels(panels), (
        "Shares that trained networks generate, with the dilation and without, all "
        f"with {cells} networks in time{later}."
    )


def _law_figures(run: Run) -> Figures:
    laws = run.laws
    tables = laws.get("features", [laws])
    rows = [
        {k: _legible(v) for k, v in x.items() if k in ("decided", "finished")}
        | {"target": (x["target"]["nu"], x["target"]["density"])}
        for x in tables
    ]
    titles = [_captions(x["shares"]) for x in tables]
    panels = [x["undilated"] for x in tables]
    return {
        "laws": (
            plots.laws(rows),
            f"What the networks generate at {_at(laws)}, against the limit of the "
            "networks' law and against the target.",
        ),
        "undilated": (
            plots.undilated(panels, titles),
            f"Finished samples at {_at(laws)}: as many networks, spread over the "
            "dilated time or evenly over `tau`. Without the dilation the weights are "
            "lost; how depends on the rule. (The figure below reads the share when "
            "the mode is decided, this one at the end.)",
        ),
    }


def _legible(curves: Mapping[str, Any]) -> dict[str, Any]:
    """The same under names whose dimension is grouped in thousands."""
    number = re.compile(r"\d+$")
    return {number.sub(lambda x: f"{int(x[0]):,}", k): v for k, v in curves.items()}


def _captions(shares: Mapping[str, float]) -> dict[str, str]:
    words = {k: k.replace(" ", ", ", 1) + " rule" * (" " in k) for k in shares}
    return {k: f"{words[k]}\n{100 * x:.1f} % in the + mode" for k, x in shares.items()}


# ------------------------------------------------------------------------- the page


def page_parts(
    run: Run, shown: Mapping[str, str], derivation: str, aside: str
) -> list[str]:
    """Return the sections; `derivation` and `aside`, the population's, are typeset."""
    folded = page.to_open("The same for the population (n = ∞)", aside) if aside else ""
    sections: dict[str, Sequence[str]] = {
        "Model": [page.code(run.spec.text)],
        "Derivation": [derivation, folded],
        "Order parameters": [shown["overlaps"]],
        "Generated sample": _sampling(run),
    }
    if run.plan:
        sections |= _network_sections(run, shown)
    if run.digits is not None:
        said = [page.paragraph(run.digits["text"]), *run.digits["pictures"]]
        sections["Real images"] = said
    anchors = {x: x.lower().replace(" ", "_") for x in sections}
    links = "".join(f'<a href="#{y}">{x}</a>' for x, y in anchors.items())
    found = [page.section(anchors[x], x, *parts) for x, parts in sections.items()]
    cards = page.cards(_cards(run))
    return [*_headline(run), cards, f"<nav>{links}</nav>", *found, _footer(run)]


def _headline(run: Run) -> list[str]:
    """Say what was done, and first of all what was not."""
    title = "Derive, solve, confirm"
    first, done = [], ", integrated, and compared with networks of finite dimension"
    if run.reason:
        title, done = "Derive, solve; not confirmed", " and integrated"
        first = [page.notice("No networks were trained.", run.reason)]
    lead = (
        f"The phases of a dilated flow model: derived symbolically{done}. Every number "
        "here was computed by this run."
    )
    return [f"<h1>{title}</h1>", *first, f'<p class="lead">{lead}</p>']


def _cards(run: Run) -> list[tuple[str, str]]:
    names, limits = run.subjects, _limits(run.curves)
    shown = range(len(names) if len(names) <= MOST_CARDS else 0)
    values = [
        (page.with_error(*limits[k]), f"{_share(names[k])} generated, limit")
        for k in shown
        if math.isfinite(limits[k][0])
    ]
    if not run.plan:
        return values
    for k in shown:
        last = _last(run, k + 1)
        text = f"{_share(names[k])} generated by networks, {_at(last)}"
        values.append((page.with_error(last["share_plus"], last["stderr"]), text))
    stuck = _stuck(run)
    moving = [x for x in run.found.fits if x not in stuck]
    known = [x["slope"] for x in moving if math.isfinite(x["slope"])]
    expected = sorted({-x["rate"] for x in run.found.fits}, reverse=True)
    rates = page.signed(" or ".join(f"{x:.3g}" for x in expected))
    text = f"median slope of the error in `d` (expected {rates})"
    values.append((_two(float(np.median(known))) if known else "-", text))
    text = "verdict: the limit against networks extrapolated to infinite `d`"
    return [*values, (run.found.verdict, text)]


def _share(name: str) -> str:
    if name.startswith("mode"):
        return f"share of {name}"
    return f"share of the + mode{' of ' if name else ''}{name}"


def _last(run: Run, k: int) -> Row:
    """The row of the dilated networks of the largest dimension."""
    kinds = ("dilated", "midpoint")
    rows = [x for x in _made(run, k) if (x["schedule"], x["rule"]) == kinds]
    return max(rows, key=lambda x: x["d"])


def _at(row: Row) -> str:
    """The dimension of a row, which does not break over lines; typeset in prose."""
    return f"`d`\u00a0=\u00a0{row['d']:,}"


def _sampling(run: Run) -> list[str]:
    """The generated sample in numbers: a row for each feature or mode."""
    names = [x or "the + mode" for x in run.subjects]
    rows: dict[str, list[Any]] = {"share of": names, "target": run.weights}
    if not run.spec.population:
        rows["training set"] = [page.with_error(x) for x in run.realised]
    rows["limit"] = [page.with_error(*x) for x in _limits(run.curves)]
    if not run.spec.population:
        pairs = _limits(run.population_curves)
        rows["limit, population"] = [page.with_error(*x) for x in pairs]
    if run.plan:
        last = [_last(run, k + 1) for k in range(len(names))]
        pairs = [(x["share_plus"], x["stderr"]) for x in last]
        title = f"networks, {_at(last[0])}"
        rows[title] = [page.with_error(*x) for x in pairs]
    means = np.ravel(run.curves["mode_mean"].values).tolist()
    rows["mean at the end, limit"] = [page.with_error(x) for x in means]
    bulk = page.with_error(float(np.ravel(run.curves["bulk_variance"].values)[0]))
    words = f"Bulk variance at the end, in the limit: {bulk}."
    if len(names) > 1 and run.spec.kind == "product":
        words = f"For each feature, the share of its + mode. {words}"
    said = f"<p>{page.typeset_prose(COUNTED)}</p>" if run.plan else ""
    return [page.paragraph(words), page.rows_table(rows), said]


COUNTED = (
    "The error of a share of networks is that of counting samples: what steps of "
    "finite length leave is not in it. The command dilaton converge tells that, by "
    "networks on half as many cells."
)


def _network_sections(run: Run, shown: Mapping[str, str]) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {"Error against dimension": _rates(run, shown)}
    if "laws" in shown:
        found["Generated law"] = [shown["laws"]]
    others = [shown[x] for x in ("undilated", "shares") if x in shown]
    found["Without dilation"] = [*others, page.rows_table(_share_rows(run))]
    if run.found.sampled:
        found["Networks trained on sampled noise"] = [_sampled(run)]
    return found


def _rates(run: Run, shown: Mapping[str, str]) -> list[str]:
    fits = run.found.fits
    rows: dict[str, list[Any]] = {
        "phase": [x["phase"] for x in fits],
        "quantity": [f"`{x['quantity']}`" for x in fits],
        "slope": [_two(x["slope"]) for x in fits],
        "95 % interval": [
            f"{_two(x['slope_low'])} to {_two(x['slope_high'])}"
            if math.isfinite(x["slope"])
            else "exact within rounding"
            for x in fits
        ],
        "smallest error seen": [_percent(x["resolution"]) for x in fits],
        "verdict": [x["verdict"] for x in fits],
    }
    table = page.rows_table(rows)
    if len(fits) > len(PANELS) * 3:
        table = page.to_open(f"All {len(fits)} comparisons", table)
    return [shown["convergence"], *_flat(run), table]


def _stuck(run: Run) -> list[Row]:
    """The fits of quantities whose distance from the limit does not fall."""
    far = _far(run)
    return [
        x
        for x in run.found.fits
        if x["slope"] > -x["rate"] / 2
        and far.get((x["phase"], x["quantity"]), 0) > FLAT * abs(x["limit"])
    ]


def _flat(run: Run) -> list[str]:
    """Name the quantities that networks leave off short of: their loss is flat there.

    A saturated unit costs almost nothing where it is wrong, so that descent stops.
    """
    stuck = [f"`{x['quantity']}` ({x['phase']})" for x in _stuck(run)]
    if not stuck:
        return []
    said = (
        f"The distance of {', '.join(stuck)} does not fall with `d`. At a late time of "
        "a wide window a unit is saturated. What the loss could still gain in its "
        "weight and bias is then below `10^(-9)`, to which averages are taken, so that "
        "descent stops short of the minimum and no other start or step could tell "
        "where it is. The verdict rests on the times at which the networks reach it; a "
        "smaller `kappa` leaves more of them."
    )
    return [f"<p>{page.typeset_prose(said)}</p>"]


def _two(value: float) -> str:
    return page.signed(f"{value:.2f}") if math.isfinite(value) else "-"


def _percent(size: float) -> str:
    return f"{100 * size:.2g} %" if math.isfinite(size) else "-"


def _share_rows(run: Run) -> dict[str, list[Any]]:
    names = run.subjects
    every = [(name, x) for k, name in enumerate(names) for x in _made(run, k + 1)]
    shares = [page.with_error(x["share_plus"], x["stderr"]) for _, x in every]
    rows: dict[str, list[Any]] = {
        "schedule": [x["schedule"] for _, x in every],
        "rule": [x["rule"] for _, x in every],
        "`d`": [f"{x['d']:,}" for _, x in every],
        "share": shares,
    }
    if len(names) > 1:
        rows = {"": [name for name, _ in every], **rows}
    for key in ("mode_mean", "bulk_variance"):
        if all(key in x for _, x in every):
            rows[key.replace("_", " ")] = [f"{x[key]:.3f}" for _, x in every]
    return rows


def _sampled(run: Run) -> str:
    """Compare training on sampled noise with the exact average on the same data."""
    rows = run.found.sampled
    table: dict[str, list[Any]] = {"`d`": [], "phase": [], "quantity": [], "rms": []}
    for key in dict.fromkeys((r["d"], r["phase"], r["quantity"]) for r in rows):
        mine = [r for r in rows if (r["d"], r["phase"], r["quantity"]) == key]
        far = [r["mean"] - r["exact"] for r in mine if abs(r["exact"]) < 15]
        if far and key[2] in run.limit.phase(key[1]).learned.names:
            for name, value in zip(table, (*key[:2], f"`{key[2]}`"), strict=False):
                table[name].append(value)
            table["rms"].append(f"{np.sqrt(np.mean(np.square(far))):.2g}")
    steps = run.plan.sampled_steps if run.plan else 0
    said = (
        f"Adam for {steps} steps with fresh noise at each, as practitioners train. "
        "The distance is to the exact minimum on the same training set: what remains "
        "is the optimiser's, not the limit's."
    )
    return page.paragraph(said) + page.rows_table(table)


def _footer(run: Run) -> str:
    spent = ", ".join(f"{k} {v:.1f} s" for k, v in run.seconds.items())
    built = ", ".join(f"{k} {v}" for k, v in built_with().items())
    return (
        f"<footer>dilaton {__version__}, seed {run.seed}, spec {run.spec.digest}. "
        f"{spent}. {built}. Every number is in run.json, the trajectories in "
        "data/*.nc, the equations in equations.tex.</footer>"
    )
