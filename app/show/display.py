r"""How results show themselves: figures of a trajectory or a sweep, in a notebook too.

Importing this module gives every `xarray.Dataset` the accessor ``.dilaton``; `solve`
and `sweep` import it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..errors import ModelError, did_you_mean, shown
from . import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_OVERLAPS = ("status", "reason", "branch")


def axis_label(name: str) -> str:
    """A quantity as a figure names it: ``$m_{2}$`` for ``m_2``, else in words."""
    from ..theory.symbols.latex import latex_name
    from ..theory.symbols.notation import TABLE

    base = re.sub(r"(_(\d+|[pm]+))+$", "", name)
    known = name in TABLE or base in TABLE
    return f"${latex_name(name)}$" if known else name.replace("_", " ")


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
                f"{shown(self._data.attrs['json'])}. Take it from the result as it was."
            )
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The quantities that `plot` can draw."""
        if "phase" in self._data.coords and "phase" not in self._data.dims:
            found = [n for n, x in self._data.data_vars.items() if "t" in x.dims]
        else:
            found = [str(n) for n in self._data.data_vars]
        numeric = (str(n) for n in found if self._data[n].dtype.kind == "f")
        return tuple(n for n in numeric if n not in NOT_OVERLAPS)

    def plot(self, *names: str) -> Figure:
        """Draw a result; a notebook shows the figure, `savefig` writes it.

        A trajectory has a panel for each overlap against the dilated time, with the
        phases marked. A sweep over one axis is a line, over two a map.

        Parameters
        ----------
        *names
            Which quantities (all overlaps; `share_plus` for a sweep). They
            tab-complete in ``.names``.
        """
        self.about  # noqa: B018 raises when this is no result
        for name in names:
            if name not in self.names:
                raise ModelError(
                    f"This result can draw {', '.join(self.names)}, but `{name}` was "
                    f"asked for{did_you_mean(str(name), self.names)}"
                )
        swept = [x for x in self._data.sizes if x not in ("t", "nu0", "feature")]
        if swept:
            return in_notebooks(_sweep_figure(self._data, swept, names))
        for name in ("t", "phase"):
            if name not in self._data.coords or self._data[name].dims != ("t",):
                raise ModelError(
                    "A trajectory is drawn along its coordinates `t` and `phase`, but "
                    f"this one has no times with a `{name}`. Keep them: choose times "
                    "as in `isel(t=[0, 1])`."
                )
        return in_notebooks(_trajectory_figure(self._data, names or self.names))


def plot(result: xr.Dataset, *names: str) -> Figure:
    """Draw a trajectory or a sweep; the same as ``result.dilaton.plot(*names)``."""
    if not isinstance(result, xr.Dataset):
        raise ModelError(
            "`plot` takes a result of `dilaton.solve` or of a sweep, but was given "
            f"{shown(result)}. Read one from a file with `xarray.open_dataset`."
        )
    return Shown(result).plot(*names)


def in_notebooks(figure: Figure) -> Figure:
    """Return `figure`, which a notebook then shows as SVG."""
    shown = plots.rendered
    setattr(figure, "_repr_svg_", lambda: shown(figure, "svg").decode())  # noqa: B010
    return figure


@plots.styled
def _trajectory_figure(data: xr.Dataset, names: tuple[str, ...]) -> Figure:
    drawn = [n for n in names if np.isfinite(data[n].values).any()]
    t = data["t"].values
    curves = {n: plots.broken(t, data[n].values) for n in drawn if data[n].ndim == 1}
    changes = data["phase"].values[1:] != data["phase"].values[:-1]
    figure = plots.overlaps(
        curves, {}, [], {n: axis_label(n) for n in drawn}, t[1:][changes].tolist()
    )
    axes = dict(zip(drawn, figure.axes, strict=False))
    for name in drawn:
        if data[name].ndim == 2:
            for row in data[name].values.T:
                axes[name].plot(*plots.broken(t, row), color=plots.COLOURS[0], lw=1)
    return figure


def _by_feature(values: xr.DataArray) -> list[xr.DataArray]:
    """Return a quantity, or what it is for each feature, as ``share_plus_1``."""
    if "feature" not in values.dims:
        return [values]
    return [
        values.sel(feature=j).rename(f"{values.name}_{j}")
        for j in values["feature"].values
    ]


@plots.styled
def _sweep_figure(data: xr.Dataset, swept: list[Any], names: tuple[str, ...]) -> Figure:
    chosen = [x for n in names or ("share_plus",) for x in _by_feature(data[n])]
    width = 5.6 * len(chosen)
    figure, axes = plots.new_figure(1, len(chosen), width, 4.0)
    for ax, values in zip(axes.flat, chosen, strict=True):
        last = {x: -1 for x in values.dims if x not in swept[:2]}
        values = values.isel(last)
        ax.set_title(axis_label(str(values.name)))
        ax.set_xlabel(axis_label(str(swept[0])))
        if len(swept) == 1:
            ax.plot(values[swept[0]], values, color=plots.COLOURS[0], marker="o")
        else:
            plots.field(figure, ax, values.transpose(swept[1], swept[0]))
            ax.set_ylabel(axis_label(str(swept[1])))
    return figure
