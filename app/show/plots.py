"""Figures in one style: legible, colour-blind-safe (Okabe-Ito), vector.

Every function takes plain arrays and returns a `matplotlib.figure.Figure`; nothing
touches pyplot's global state.
"""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

COLOURS = (
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # green
    "#CC79A7",  # purple
    "#E69F00",  # orange
    "#56B4E9",  # sky
    "#000000",
)
GREY = "#7f7f7f"
MARKERS = "osD^vP*X"
HUGE = 100.0
"""A curve that reaches this multiple of its median is drawn on a compressed axis."""
LARGE = 100_000  # dimensions from here on are powers of ten in print
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "text.usetex": False,
    "font.size": 9.5,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "image.cmap": "cividis",
    "svg.fonttype": "path",
    "svg.hashsalt": "dilaton",
    "pdf.fonttype": 42,
}
Row = Mapping[str, Any]
Histogram = Mapping[str, Sequence[float]]  # density, edges


def ours() -> dict[str, Any]:
    """Return the project's style with its colours and dashes, for lines of results."""
    from cycler import cycler

    dashes = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
    cycle = cycler(color=COLOURS) + cycler(linestyle=dashes)
    return STYLE | {"axes.prop_cycle": cycle}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in the project's style; matplotlib loads when it runs."""

    @wraps(draw)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        with _matplotlib().rc_context(STYLE):
            return draw(*args, **kwargs)

    return within


def _matplotlib() -> Any:
    """Import matplotlib; a backend in MPLBACKEND that it does not know is left out.

    Figures here need no backend.
    """
    try:
        import matplotlib
    except ValueError:
        for name in [x for x in sys.modules if x.split(".")[0] == "matplotlib"]:
            del sys.modules[name]  # what was loaded before the backend was read
        with _without("MPLBACKEND"):
            import matplotlib
    return matplotlib


@contextmanager
def _without(name: str) -> Iterator[None]:
    kept = os.environ.pop(name, None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ[name] = kept


@styled
def new_figure(rows: int, columns: int, width: float, height: float) -> Any:
    """Return a figure and its axes, shape (rows, columns), in the project's style."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _panels(
    count: int, most: int, width: float, height: float, below: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels, at most so many beside one another."""
    columns = min(most, max(1, count))
    rows = math.ceil(max(1, count) / columns)
    figure, axes = new_figure(rows, columns, width * columns, height * rows + below)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, list(axes.flat[:count])


def _through_time(ax: Axes, boundaries: Sequence[float]) -> None:
    """Mark the phases of the dilated time, and show it whole."""
    for t in boundaries:
        ax.axvline(t, color=GREY, lw=0.8, ls=":")
    ax.set_xlim(-0.02, 1.02)
    compress(ax)
    _not_too_near(ax)


def save(figure: Figure, stem: Path) -> None:
    """Write `figure` as PNG, PDF and SVG, without dates, laid out once."""
    for suffix in ("png", "pdf", "svg"):
        stem.with_suffix(f".{suffix}").write_bytes(rendered(figure, suffix))
        figure.set_layout_engine("none")


@styled
def rendered(figure: Figure, form: str) -> bytes:
    """Return `figure` as the bytes of a png, pdf or svg file."""
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(form)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=undated)
    return buffer.getvalue()


@styled
def overlaps(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    population: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    dots: Sequence[Row],
    titles: Mapping[str, str],
    boundaries: Sequence[float],
) -> Figure:
    """Overlaps through the dilated time, trained networks on the limiting curves.

    `curves` and `population` hold (t, value) by quantity; `dots` are rows with
    quantity, d, t, mean and stderr; `titles` names the panels in their order;
    `boundaries` are the times between phases.
    """
    figure, axes = _panels(len(titles), 4, 2.6, 2.3, 0.6)
    dims = sorted({row["d"] for row in dots})
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        ax.set_title(title)
        if name in population:
            ax.plot(*population[name], color=GREY, ls="--", lw=1.3, label="population")
        if name in curves:
            ax.plot(*curves[name], color="black", label="limit")
        _dots(ax, [row for row in dots if row["quantity"] == name], dims)
        _through_time(ax, boundaries)
    for ax in axes[-4:]:  # the lowest of each column
        ax.set_xlabel("dilated time $t$")
    _shared_legend(figure, axes)
    return figure


def _not_too_near(ax: Axes) -> None:
    """Show a constant as one, beside zero, not its last digits."""
    low, high = ax.dataLim.intervaly
    size = max(abs(low), abs(high))
    if high - low < 1e-3 * size:
        ax.set_ylim(min(1.1 * low, -0.1 * size), max(1.1 * high, 0.1 * size))


def compress(ax: Axes) -> None:
    """Draw what grows beyond all bounds on an axis that is linear near zero alone."""
    import numpy as np

    every = [np.abs(np.asarray(x.get_ydata(), float)) for x in ax.get_lines()]
    values = np.concatenate([x[np.isfinite(x)] for x in every] or [[]])
    values = values[values > 0]
    if len(values) and values.max() > HUGE * np.median(values):
        unit = 10.0 ** round(math.log10(np.median(values)))
        ax.set_yscale("symlog", linthresh=unit)
        low, high = ax.dataLim.intervaly
        ax.set_ylim(2 * low - 0.3 * unit, 2 * high)


def broken(t: Any, value: Any, phase: Any = None) -> tuple[Any, Any]:
    """Return a curve with a gap where a phase ends: it changes, or `t` repeats."""
    import numpy as np

    t, value = np.asarray(t, float), np.array(value, float)
    value[~np.isfinite(value)] = np.nan
    ends = np.diff(t) <= 0
    if phase is not None:
        ends |= np.asarray(phase)[1:] != np.asarray(phase)[:-1]
    breaks = np.flatnonzero(ends) + 1
    return np.insert(t, breaks, np.nan), np.insert(value, breaks, np.nan)


def _dots(ax: Axes, rows: Sequence[Row], dims: Sequence[int]) -> None:
    for i, d in enumerate(dims):
        mine = [row for row in rows if row["d"] == d]
        if mine:
            ax.errorbar(
                [row["t"] for row in mine],
                [row["mean"] for row in mine],
                [row["stderr"] for row in mine],
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                ls="none",
                elinewidth=1,
                alpha=0.9,
                label=f"trained, $d={_dimension(d)}$",
            )


def _shared_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    found: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) < 2:
        return
    figure.legend(
        found.values(),
        found.keys(),
        loc="outside lower center",
        ncols=min(6, max(1, len(found))),
    )


@styled
def convergence(
    errors: Sequence[Row], fits: Sequence[Row], titles: Mapping[str, str]
) -> Figure:
    """Distance from the limit against dimension, with fitted slopes.

    `errors` are rows with phase, quantity, d, error and maybe `corrected`, the distance
    that a predicted correction leaves; `fits` rows with phase, quantity, slope,
    slope_low, slope_high and the `rate` expected. `titles` names what is drawn.
    """
    sloping = [fit for fit in fits if math.isfinite(fit["slope"])]
    phases = [fit["phase"] for fit in sloping if fit["quantity"] in titles]
    phases = list(dict.fromkeys(phases))
    figure, axes = _panels(len(phases), 1, 6.8, 3.4)
    for ax, phase in zip(axes, phases, strict=True):
        ax.set_title(f"phase {phase}")
        ax.set_yscale("log")
        _dimension_axis(ax, [row["d"] for row in errors])
        mine = [f for f in fits if f["phase"] == phase and f["quantity"] in titles]
        for i, fit in enumerate(f for f in mine if math.isfinite(f["slope"])):
            _error_line(ax, i, fit, errors, titles)
        drawn = [row for row in errors if row["phase"] == phase]
        _guide(ax, drawn, {fit["rate"] for fit in fits if fit["phase"] == phase})
        if any("corrected" in row for row in drawn):
            name = "less the predicted\ncorrection"
            ax.plot([], [], color=GREY, marker="o", mfc="none", ls="none", label=name)
        ax.set_ylabel("distance from the limit")
        ax.legend(title="slope", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _error_line(
    ax: Axes, i: int, fit: Row, errors: Sequence[Row], titles: Mapping[str, str]
) -> None:
    key = (fit["phase"], fit["quantity"])
    mine = [row for row in errors if (row["phase"], row["quantity"]) == key]
    d = [row["d"] for row in mine]
    value = [row["error"] for row in mine]
    label = (
        f"{titles[fit['quantity']]}: {fit['slope']:.2f} "
        f"[{fit['slope_low']:.2f}, {fit['slope_high']:.2f}]"
    )
    colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
    ax.plot(d, value, color=colour, marker=marker, ls="none")
    left = [(row["d"], row["corrected"]) for row in mine if "corrected" in row]
    for point in left:
        ax.plot(*point, color=colour, marker=marker, mfc="none", ls="none")
    middle = sum(
        math.log(e) - fit["slope"] * math.log(x) for x, e in zip(d, value, strict=True)
    )
    line = [math.exp(middle / len(d)) * x ** fit["slope"] for x in d]
    ax.plot(d, line, color=colour, lw=1.2)
    ax.plot([], [], color=colour, marker=marker, lw=1.2, label=label)


def _dimension(d: float) -> str:
    """A dimension in LaTeX: a large round one as a power of ten."""
    power = math.floor(math.log10(d) + 1e-9)
    front = round(d / 10**power, 6)
    if d < LARGE or front != round(front):
        return f"{d:,}".replace(",", "{,}") if d >= 10_000 else str(d)
    return rf"{'' if front == 1 else f'{front:.0f}' + chr(92) + 'cdot '}10^{{{power}}}"


def _dimension_axis(ax: Axes, dims: Sequence[int]) -> None:
    """A logarithmic axis with a tick at each dimension."""
    ticks = sorted(set(dims))
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"${_dimension(d)}$" for d in ticks], minor=False)
    ax.set_xticks([], minor=True)
    ax.tick_params(axis="x", labelrotation=45 if len(ticks) > 4 else 0)
    ax.set_xlabel("dimension $d$")


def _guide(ax: Axes, errors: Sequence[Row], rates: Iterable[float]) -> None:
    """Dashed lines that fall as d to minus each rate expected in a phase."""
    d = sorted({row["d"] for row in errors})
    if len(d) < 2:
        return
    top = 1.6 * max(row["error"] for row in errors if row["d"] == d[0])
    for rate in sorted(rates):
        line = [top * (x / d[0]) ** -rate for x in d]
        power = Fraction(rate).limit_denominator(12)
        ax.plot(d, line, color=GREY, ls="--", lw=1, label=f"$d^{{-{power}}}$")


@styled
def laws(features: Sequence[Row]) -> Figure:
    r"""The generated distribution against the target, a row for each feature.

    Left: $\hat\mu\cdot X$ when the weights are decided (`decided`), as histograms of
    the networks' samples (first) and of their limit, with `target`, (value, density) of
    the interpolant's own law. Right: finished samples in units of $|\mu|$ (`finished`,
    first) and draws of the target.
    """
    count = len(features)
    figure, axes = new_figure(count, 2, 9.4, 0.4 + 3.2 * count)
    for j, (row, (left, right)) in enumerate(zip(features, axes, strict=True), 1):
        mean, end = _along(j, count)
        _histograms(left, row["decided"])
        left.plot(*row["target"], color=COLOURS[1], ls="--", label="target")
        left.set_title(f"when it is decided: {mean}")
        left.set_ylabel("density")
        _histograms(right, row["finished"], second=COLOURS[1])
        right.set_title(f"at the end: {end}")
        for ax in (left, right):
            ax.legend(fontsize=8, loc="upper left")
            ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
    return figure


def _along(j: int, count: int) -> tuple[str, str]:
    """A sample along feature `j` of `count`, and the same in units of its mean."""
    if count == 1:
        return r"$\nu=\mu\cdot X/\sqrt{d}$", r"$\mu\cdot X/d$"
    mean = rf"\mu_{j}\cdot X/|\mu_{j}|"
    return rf"$\nu_{j}={mean}$", f"${mean}^2$"


def _histograms(
    ax: Axes, found: Mapping[str, Histogram], second: str = "black"
) -> None:
    for i, (label, row) in enumerate(found.items()):
        style: dict[str, Any] = {"color": second, "lw": 1.5}
        if i == 0:
            style = {"color": COLOURS[5], "fill": True}
        ax.stairs(row["density"], row["edges"], label=label, **style)


def shares(rows: Sequence[Row], levels: Mapping[str, float]) -> Figure:
    """The generated share of the + mode against d, dilated and not.

    `rows` have schedule, rule, d, share_plus and stderr, for trained networks;
    `levels` are drawn as lines: the target's share and the limit's.
    """
    return share_panels({"share of the + mode": (rows, levels)})


@styled
def share_panels(
    panels: Mapping[str, tuple[Sequence[Row], Mapping[str, float]]],
) -> Figure:
    """Generated shares against d, a panel for each, called by its share.

    Each has its rows and its levels, as `shares` describes them.
    """
    figure, axes = _panels(len(panels), 2, 6.4 if len(panels) == 1 else 5.5, 3.6)
    for ax, (name, (rows, levels)) in zip(axes, panels.items(), strict=True):
        _share_panel(ax, rows, levels)
        ax.set_ylabel(name)
    return figure


def _share_panel(ax: Axes, rows: Sequence[Row], levels: Mapping[str, float]) -> None:
    kinds = list(dict.fromkeys((row["schedule"], row["rule"]) for row in rows))
    for i, kind in enumerate(kinds):
        mine = [row for row in rows if (row["schedule"], row["rule"]) == kind]
        ax.errorbar(
            [row["d"] for row in mine],
            [row["share_plus"] for row in mine],
            [row["stderr"] for row in mine],
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            lw=1.2,
            label=f"{kind[0]}, {kind[1]} rule",
        )
    for i, (label, level) in enumerate(levels.items()):
        colour, style = (COLOURS[1], "--") if i == 0 else ("black", "-:"[i > 1])
        ax.axhline(level, color=colour, ls=style, lw=1.2, label=f"{label}, {level:.4f}")
    _dimension_axis(ax, [row["d"] for row in rows])
    low = min([*(row["share_plus"] for row in rows), *levels.values()])
    ax.set_ylim(max(-0.05, min(0.4, low - 0.1)), 1.05)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


@styled
def undilated(
    features: Sequence[Mapping[str, Histogram]], titles: Sequence[Mapping[str, str]]
) -> Figure:
    """Finished samples without the dilation beside those with it.

    A row of panels for each feature, whose `titles` are called as its panels.
    """
    rows, columns = len(features), len(features[0])
    figure, axes = new_figure(rows, columns, 3.1 * columns, 2.9 * rows)
    for j, (panels, line) in enumerate(zip(features, axes, strict=True), 1):
        for ax, (name, row) in zip(line, panels.items(), strict=True):
            ax.stairs(row["density"], row["edges"], color=COLOURS[5], fill=True)
            ax.set_title(titles[j - 1][name])
            ax.set_xlabel(_along(j, rows)[1])
        line[0].set_ylabel("density")
    return figure


@styled
def mode_overlaps(
    curves: Mapping[str, Mapping[tuple[int, ...], tuple[Any, Any]]],
    dots: Sequence[Row],
    titles: Mapping[str, str],
    boundaries: Sequence[float],
) -> Figure:
    """Overlaps of modes: a panel for each quantity, with a line for each mode.

    `curves` hold (t, value) by quantity and index (mode, direction): the mode has its
    colour, the direction its dashes. `dots` are rows with quantity, index, d, t, mean.
    """
    figure, axes = _panels(len(curves), 3, 3.4, 2.6, 0.6)
    dims = sorted({row["d"] for row in dots})
    for ax, (name, lines) in zip(axes, curves.items(), strict=True):
        ax.set_title(titles[name])
        for index, line in lines.items():
            ax.plot(*line, **_member(index))
        for row in (row for row in dots if row["quantity"] == name):
            mark = MARKERS[dims.index(row["d"]) % len(MARKERS)]
            colour = _member(row["index"])["color"]
            ax.plot(row["t"], row["mean"], color=colour, marker=mark, ls="none", ms=4)
        _through_time(ax, boundaries)
        ax.set_xlabel("dilated time $t$")
    _family_key(figure, axes[0], [x for c in curves.values() for x in c], dims)
    return figure


_DASHES = ("-", "--", ":", "-.")


def _member(index: tuple[int, ...]) -> dict[str, Any]:
    """The colour of a mode and the dashes of a direction; black where there is none."""
    if not index:
        return {"color": "black", "lw": 1.5}
    colour = COLOURS[(index[0] - 1) % (len(COLOURS) - 1)]
    dashes = _DASHES[(index[-1] - 1) % len(_DASHES)] if len(index) > 1 else "-"
    return {"color": colour, "ls": dashes, "lw": 1.5}


def _family_key(
    figure: Figure, ax: Axes, indices: Sequence[tuple[int, ...]], dims: Sequence[int]
) -> None:
    """Say what colours, dashes and markers mean, under the panels."""
    modes = sorted({x[0] for x in indices if x})[: len(COLOURS) - 1]
    directions = sorted({x[1] for x in indices if len(x) > 1})[: len(_DASHES)]
    for k in modes:
        ax.plot([], [], **_member((k,)), label=f"mode {k}")
    for j in directions if len(directions) > 1 else ():
        ax.plot([], [], color=GREY, ls=_DASHES[j - 1], label=f"direction {j}")
    for i, d in enumerate(dims):
        mark = MARKERS[i % len(MARKERS)]
        name = f"trained, $d={_dimension(d)}$"
        ax.plot([], [], color=GREY, marker=mark, ls="none", label=name)
    figure.legend(loc="outside lower center", ncols=6)


def field(figure: Any, ax: Axes, values: Any, name: str = "", **limits: Any) -> None:
    """A map of `values`, an `xarray.DataArray` over (vertical, horizontal)."""
    vertical, horizontal = values.dims
    x, y = values[horizontal].values, values[vertical].values
    image = ax.pcolormesh(x, y, values.values, shading="nearest", **limits)
    image.set_rasterized(True)
    ax.grid(False)
    logarithmic(ax, "x", x)
    logarithmic(ax, "y", y)
    figure.colorbar(image, ax=ax, label=name)


def logarithmic(ax: Axes, axis: str, at: Any) -> None:
    """Give an axis a logarithmic scale where its values span more than 30."""
    if len(at) > 2 and at[0] > 0 and at[-1] / at[0] > 30:
        getattr(ax, f"set_{axis}scale")("log")
