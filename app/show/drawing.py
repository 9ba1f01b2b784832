"""Figures of results: curves through the phases, lines and maps of a sweep.

Nothing here chooses a colour or a width: they are those of matplotlib's settings, the
user's own or, where it was asked for, the project's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..errors import ModelError
from . import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OF_TIME = ("t", "nu0", "mode", "direction", "feature")
"""Dimensions of a result that no sweep made."""
FEW, MANY = 4, 12
"""Curves that a legend names inside a panel, and beside it if the figure makes room;
more have none."""
CONSTANT = 1e-3
"""Relative spread below which values are drawn as a constant."""
WIDE, HIGH = 3.3, 2.5  # inches of a panel


def quantity_of(name: str) -> str:
    """The quantity of a variable: ``m`` of ``m_1_2``, ``zeta`` of ``zeta_plus``."""
    if "share_plus" in name:
        return re.sub(r"_\d+$", "", name)
    return re.sub(r"(_(\d+|[pm]+|plus|minus))+$", "", name)


def axis_label(name: str) -> str:
    """A quantity as a figure names it: ``$m_{2}$`` for ``m_2``, else in words."""
    from ..theory.symbols.latex import latex_name
    from ..theory.symbols.notation import TABLE

    known = name in TABLE or quantity_of(name) in TABLE
    return f"${latex_name(name)}$" if known else name.replace("_", " ")


def swept(data: xr.Dataset) -> list[str]:
    """The axes of a sweep that have more than one value; none for a trajectory."""
    return [str(x) for x, size in data.sizes.items() if x not in OF_TIME and size > 1]


def panels(names: Sequence[str]) -> dict[str, list[str]]:
    """Variables by the panel they share, one for each quantity."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(quantity_of(name), []).append(name)
    return found


def new_panels(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels, in the settings that hold now."""
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    size = WIDE * columns + 0.4, HIGH * rows + 0.5
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.set_visible(False)
    return figure, list(axes[:count])


# ------------------------------------------------------------------------ trajectories


def draw_trajectory(ax: Axes, data: xr.Dataset, names: Sequence[str]) -> None:
    """Draw quantities against the dilated time, a curve for each unit or mode."""
    t, phase = data["t"].values, data["phase"].values
    curves = [x for name in names for x in _curves(data[name])]
    named: set[str] = set()
    for label, values, style in curves:
        name = "_" if label in named else label  # one entry of a legend for each
        ax.plot(*plots.broken(t, values, phase), label=name, **style)
        named.add(label)
    _mark_windows(ax, data, scale_by_phase(data[names[0]]) if len(names) == 1 else {})
    ax.set_xlabel("dilated time $t$")
    _named(ax, names, len(named))
    _settled(ax, (0.0, 1.0))


Curve = tuple[str, np.ndarray, dict[str, Any]]


def _curves(values: xr.DataArray) -> Iterator[Curve]:
    """Yield the curves of a variable, each with its name; empty ones are left out."""
    name = str(values.name)
    rest = [x for x in values.dims if x != "t"]
    array = values.transpose("t", *rest).values
    fan = rest == ["nu0"]
    for index in np.ndindex(array.shape[1:]):
        column = array[(slice(None), *index)]
        if not np.isfinite(column).any():
            continue
        number = "" if fan else "".join(f"_{i + 1}" for i in index)
        yield axis_label(name + number), column, _style(index, fan)


def _style(index: tuple[int, ...], fan: bool) -> dict[str, Any]:
    """A colour for each mode and dashes for each direction; one for starting points."""
    from matplotlib.colors import to_hex  # at once, by the cycle that holds now

    if fan:
        return {"color": to_hex("C0"), "linewidth": 1.0}
    dashes = ("-", "--", ":", "-.")
    style: dict[str, Any] = {"color": to_hex(f"C{index[0]}")} if index else {}
    return style | ({"linestyle": dashes[index[1] % 4]} if len(index) > 1 else {})


def _named(ax: Axes, names: Sequence[str], curves: int) -> None:
    """Name the quantity on its axis, and the curves in a legend if they are several."""
    one = curves < 2
    names = [quantity_of(name) for name in names] if not one else list(names)
    ax.set_ylabel(", ".join(axis_label(x) for x in dict.fromkeys(names)))
    if not one and len(ax.get_lines()) <= MANY + 2:
        room = curves > FEW and ax.figure.get_layout_engine() is not None
        beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
        ax.legend(fontsize="small", **(beside if room else {}))


def _mark_windows(ax: Axes, data: xr.Dataset, told: Mapping[str, str]) -> None:
    """Mark where phases change, and name them above, once, with the scales told."""
    import matplotlib as mpl

    from ..theory.symbols.latex import inline

    if any(child.get_gid() == "phases" for child in ax.child_axes):
        return
    order = list(dict.fromkeys(str(x) for x in data["phase"].values))
    edges = np.arange(len(order) + 1) / len(order)
    for edge in edges[1:-1]:
        width = mpl.rcParams["axes.linewidth"]
        ax.axvline(edge, color="0.5", linestyle=":", linewidth=width, zorder=0.5)
    names = [f"{x}\n${inline(told[x])}$" if x in told else x for x in order]
    above = ax.secondary_xaxis("top")
    above.set_gid("phases")
    above.set_xticks((edges[1:] + edges[:-1]) / 2, names, fontsize="small")
    above.tick_params(length=0, pad=1)
    above.spines["top"].set_visible(False)


def scale_by_phase(values: xr.DataArray) -> dict[str, str]:
    """Return what a quantity is in each phase, where it is not the same in all."""
    parts = str(values.attrs.get("definition", "")).split("; ")
    pairs = [part.partition(": ") for part in parts]
    return {phase: text for phase, mark, text in pairs if mark}


def _settled(ax: Axes, *more: tuple[float, float]) -> None:
    """Show a constant as one: beside zero, not in its last digits."""
    low, high = ax.dataLim.intervaly
    points = [(x, y) for x in (more[0] if more else ()) for y in (low, high)]
    size = max(abs(low), abs(high))
    if high - low <= CONSTANT * size:
        middle = float(np.mean(ax.dataLim.intervalx))
        points += [(middle, 0.0)] if size else [(middle, -1.0), (middle, 1.0)]
    if np.isfinite([low, high]).all():
        ax.update_datalim(points)
        ax.autoscale_view()


# ------------------------------------------------------------------------------ sweeps


def at_most_two(axes: Sequence[str]) -> None:
    """Refuse a sweep over more axes than a page has."""
    if len(axes) > 2:
        raise ModelError(
            f"A sweep is drawn over one axis or two, but this one has {len(axes)}: "
            f"{', '.join(axes)}. Choose a value, as in `.isel({axes[-1]}=0)`."
        )


def fields(values: xr.DataArray, axes: Sequence[str]) -> list[xr.DataArray]:
    """Return a quantity as one array over `axes` for each feature or mode."""
    values = _at_last(values.squeeze([x for x in values.dims if values.sizes[x] == 1]))
    rest = [x for x in values.dims if x not in axes]
    if not rest:
        return [values]
    whole = values.transpose(*axes, *rest)
    found = []
    for index in np.ndindex(*(whole.sizes[x] for x in rest)):
        each = whole.isel(dict(zip(rest, index, strict=True)))
        number = ", ".join(f"{x} {i + 1}" for x, i in zip(rest, index, strict=True))
        found.append(each.assign_attrs(number=number))
    return found


def _told(values: xr.DataArray) -> str:
    """The feature or mode that an array is of, or else the symbol of its quantity."""
    return str(values.attrs.get("number") or axis_label(str(values.name)))


def _at_last(values: xr.DataArray) -> xr.DataArray:
    """Take a quantity at the last time at which it is known."""
    if "t" not in values.dims:
        return values
    known = np.isfinite(values).any([x for x in values.dims if x != "t"]).values
    return values.isel(t=int(np.flatnonzero(known)[-1]) if known.any() else -1)


def _place(values: xr.DataArray) -> str:
    """The time at which a quantity of a sweep is taken."""
    if "s" not in values.coords or values.coords["s"].ndim:
        return ""
    return f"{values.coords['phase'].item()}, s = {values.coords['s'].item():.3g}"


def draw_lines(ax: Axes, axis: str, found: Sequence[xr.DataArray]) -> None:
    """Draw quantities over the one axis of a sweep."""
    several = len(found) > 1
    places = {_place(values) for values in found}
    for values in found:
        label = _told(values)
        if len(places) > 1 and _place(values):
            label += f" ({_place(values)})"
        ax.plot(values[axis], values, marker="o", label=label)
    ax.set_xlabel(axis_label(axis))
    plots.logarithmic(ax, "x", found[0][axis].values)
    ax.set_title(places.pop() if len(places) == 1 else "")
    names = dict.fromkeys(str(x.name) for x in found)
    if len(names) > 1:
        names = dict.fromkeys(quantity_of(name) for name in names)
    ax.set_ylabel(", ".join(map(axis_label, names)))
    if several and len(found) <= MANY:
        ax.legend(fontsize="small")
    _settled(ax)


def draw_map(ax: Axes, axes: Sequence[str], values: xr.DataArray) -> None:
    """Draw a quantity over the two axes of a sweep as a map."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    size = max(abs(low), abs(high))
    limits: Mapping[str, float] = {}
    if high - low <= CONSTANT * size:  # one colour, beside zero
        limits = {"vmin": min(low, 0.0), "vmax": max(high, 0.0) or 1.0}
    words = values.attrs.get("number"), _place(values)
    name = axis_label(str(values.name))
    plots.field(ax.figure, ax, values.transpose(axes[1], axes[0]), name, **limits)
    ax.set_title(", ".join(x for x in words if x))
    ax.set_xlabel(axis_label(axes[0]))
    ax.set_ylabel(axis_label(axes[1]))
