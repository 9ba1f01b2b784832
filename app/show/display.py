r"""How results show themselves: figures of a trajectory or a sweep, in a notebook too.

Importing this module gives every `xarray.Dataset` the accessor ``.dilaton``. With
``import dilaton`` it is imported as soon as xarray is there.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from ..errors import ModelError, did_you_mean, shown
from . import drawing, plots
from .drawing import axis_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Shown", "axis_label", "in_notebooks", "plot"]

NOT_OVERLAPS = ("status", "reason", "branch")
OURS: Literal["dilaton"] = "dilaton"
"""The style that `plot` knows by name: the project's."""
Style = Literal["dilaton"] | None


@xr.register_dataset_accessor("dilaton")
class Shown:
    """The figures and the metadata of a result.

    >>> import dilaton
    >>> limit = dilaton.derive(dilaton.Model(dilaton.two_modes()))
    >>> traj = dilaton.solve(limit, s=[0, 1], rtol=1e-8, atol=1e-8, p=0.8, sigma=1,
    ...                      kappa=2)
    >>> traj.dilaton.about["values"]["kappa"]
    2.0
    """

    def __init__(self, data: xr.Dataset) -> None:
        self._data = data

    @property
    def about(self) -> dict[str, Any]:
        """Parameters, solver settings and model, from the ``json`` attribute."""
        if "json" not in self._data.attrs:
            raise ModelError(
                "A result of `dilaton.solve` or of a sweep has its metadata in the "
                "attribute `json`, but this dataset has none. Plot it with xarray."
            )
        try:
            found = json.loads(self._data.attrs["json"])
        except (TypeError, ValueError):
            found = None
        if not isinstance(found, dict):
            raise ModelError(
                "The attribute `json` of a result must be a table in JSON, but is "
                f"{shown(self._data.attrs['json'])}. Copy it from the original result."
            )
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The quantities that `plot` can draw."""
        if "phase" in self._data.coords and not drawing.swept(self._data):
            found = [n for n, x in self._data.data_vars.items() if "t" in x.dims]
        else:
            found = [str(n) for n in self._data.data_vars]
        numeric = (str(n) for n in found if self._data[n].dtype.kind == "f")
        return tuple(n for n in numeric if n not in NOT_OVERLAPS)

    def plot(
        self,
        *quantities: str,
        names: Sequence[str] = (),
        ax: Axes | None = None,
        axes: Any = None,
        style: Style = None,
    ) -> Any:
        r"""Draw a result: in the style of matplotlib's current settings, or in ours.

        A trajectory has a panel for each quantity against the dilated time, with a
        curve for each feature or mode; curves are broken where a phase ends, for a
        quantity may have another scale in the next. A sweep over one axis is a line,
        over two a map.

        Parameters
        ----------
        *quantities, names
            Which quantities, one by one or as a list (all overlaps; the generated
            shares for a sweep). ``"m"`` stands for every ``m_1``, ``m_1_2``, ... They
            tab-complete in ``.names``.
        ax
            One of your axes, on which all of them are drawn.
        axes
            Your axes, one for each panel: an array or a list.
        style
            ``"dilaton"`` for the project's style (Okabe-Ito colours, DejaVu Sans).

        Returns
        -------
        Figure or Axes
            A new figure, which a notebook shows and `savefig` writes; or what was
            given as `ax` or `axes`.

        Raises
        ------
        ModelError
            For a name that there is none of, too few axes, or more than two swept ones.
        """
        self.about  # noqa: B018 raises when this is no result
        if style not in (None, OURS):
            raise ModelError(
                f"`style` must be `{OURS}` or left out for matplotlib's own settings, "
                f"but is {shown(style)}. Set others by `matplotlib.pyplot.style.use`."
            )
        chosen = self._chosen([*quantities, *names])
        with _settings(style):
            found = _drawn(self._data, chosen, ax, axes)
            if ax is None and axes is None:
                found.draw_without_rendering()  # so that ticks have these settings
                return in_notebooks(found, style)
        return ax if ax is not None else axes

    def _chosen(self, asked: list[str]) -> list[str]:
        """Return the variables that were asked for by name or by quantity."""
        known = self.names
        families = drawing.panels(known)
        if not asked:
            asked = list(known) if not drawing.swept(self._data) else _usual(families)
        found: dict[str, None] = {}
        for name in asked:
            mine = families.get(name, [name] if name in known else [])
            if not mine:
                near = did_you_mean(str(name), [*known, *families])
                raise ModelError(
                    f"This result can draw {', '.join(known)}, but `{name}` was "
                    f"asked for{near}"
                )
            found |= dict.fromkeys(mine)
        return list(found)


def _usual(families: dict[str, list[str]]) -> list[str]:
    """Return what a sweep is drawn of, if nothing is asked for."""
    shares = (x for x in families if x in ("share_plus", "shares"))
    return [next(shares, next(iter(families)))] if families else []


def plot(
    result: xr.Dataset,
    *quantities: str,
    names: Sequence[str] = (),
    ax: Axes | None = None,
    axes: Any = None,
    style: Style = None,
) -> Any:
    """Draw a trajectory or a sweep; the same as ``result.dilaton.plot(...)``."""
    if not isinstance(result, xr.Dataset):
        raise ModelError(
            "`plot` takes a result of `dilaton.solve` or of a sweep, but was given "
            f"{shown(result)}. Read one from a file with `xarray.open_dataset`."
        )
    return Shown(result).plot(*quantities, names=names, ax=ax, axes=axes, style=style)


@contextmanager
def _settings(style: Style) -> Iterator[None]:
    """Draw in our style, or leave matplotlib's settings as they are."""
    if style is None:
        yield
        return
    import matplotlib as mpl

    with mpl.rc_context(plots.ours()):
        yield


def in_notebooks(figure: Figure, style: Style = OURS) -> Figure:
    """Return `figure`, which a notebook then shows as SVG."""

    def svg() -> str:
        if style is not None:
            return plots.rendered(figure, "svg").decode()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg")
        return buffer.getvalue().decode()

    setattr(figure, "_repr_svg_", svg)  # noqa: B010
    return figure


def _drawn(data: xr.Dataset, names: list[str], ax: Axes | None, axes: Any) -> Any:
    """Draw on the axes that were given, or on those of a new figure; return that."""
    swept = drawing.swept(data)
    if swept:
        drawing.at_most_two(swept)
        found = [x for name in names for x in drawing.fields(data[name], swept)]
        return _sweep(swept, found, ax, axes)
    for name in ("t", "phase"):
        if name not in data.coords or data[name].dims != ("t",):
            raise ModelError(
                "A trajectory is drawn along its coordinates `t` and `phase`, but "
                f"this one has no times with a `{name}`. Keep them: choose times "
                "as in `isel(t=[0, 1])`."
            )
    names = [n for n in names if np.isfinite(data[n].values).any()] or names
    parts = [names] if ax is not None else list(drawing.panels(names).values())
    figure, places = _places(len(parts), ax, axes)
    for place, part in zip(places, parts, strict=False):
        drawing.draw_trajectory(place, data, part)
        if ax is None and axes is None:
            plots.compress(place)
    return figure


def _sweep(swept: list[str], found: list[xr.DataArray], ax: Any, axes: Any) -> Any:
    """Draw a sweep: a panel for each quantity as lines, for each array as a map."""
    parts = [[x] for x in found]
    if len(swept) == 1:
        by = drawing.panels([str(x.name) for x in found])
        parts = [[x for x in found if x.name in names] for names in by.values()]
        parts = [found] if ax is not None else parts
    figure, places = _places(len(parts), ax, axes)
    for place, part in zip(places, parts, strict=False):
        if len(swept) == 1:
            drawing.draw_lines(place, swept[0], part)
        else:
            drawing.draw_map(place, swept, part[0])
    return figure


def _places(count: int, ax: Axes | None, axes: Any) -> tuple[Any, list[Axes]]:
    """Return where so many panels are drawn."""
    if ax is None and axes is None:
        return drawing.new_panels(count)
    given = list(np.ravel(np.asarray(axes if ax is None else ax, dtype=object)))
    for x in given:
        if not hasattr(x, "get_lines"):
            raise ModelError(
                "`ax` and `axes` must be axes of matplotlib, as `plt.subplots()` "
                f"makes them, but have {shown(x)}. Leave them out for a new figure."
            )
    if (ax is not None and axes is not None) or len(given) < count:
        raise ModelError(
            f"A figure of {count} panels needs `ax`, or `axes` with one for each, but "
            f"was given {len(given)}. Name fewer quantities, or more axes."
        )
    return given[0].figure, given
