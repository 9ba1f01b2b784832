r"""The autoencoder at finite dimension, one parameter set a time, and its overlaps.

$f(x) = c\,x + u\,\varphi(w\cdot x/\sqrt d + b)$, all times in one batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from ...errors import ModelError, ShapeError

if TYPE_CHECKING:
    from .training_set import TrainingSet

Overlaps = dict[str, np.ndarray]
"""Name to values at the times, shape (T,)."""


def activation(name: str, x: Tensor) -> Tensor:
    r"""$\varphi(x)$: ``tanh``, or ``erf`` meaning $\mathrm{erf}(x/\sqrt 2)$."""
    return torch.tanh(x) if name == "tanh" else torch.erf(x / 2**0.5)


def check_activation(name: str) -> str:
    """Return `name`, or raise `ModelError` when networks cannot be trained with it."""
    if name not in ("tanh", "erf"):
        raise ModelError(
            "A network is trained with `tanh` or `erf`, but the activation is "
            f"`{name}`, which has no gradient. Train `tanh` at large d: its limit in "
            "the variance phase is the sign."
        )
    return name


def check_shapes(
    network: object, shapes: dict[str, tuple[int, ...]], means: str
) -> None:
    """Refuse parameters that do not fit `u`, whose shape `means` these numbers."""
    for name, shape in shapes.items():
        found = tuple(getattr(network, name).shape)
        if found != shape:
            raise ShapeError(
                f"`{name}` must have shape {shape}, but has shape {found}. `u` sets "
                f"{means}."
            )


@dataclass(frozen=True)
class Network:
    r"""$f(x) = c\,x + u\,\varphi(w\cdot x/\sqrt d + b)$ with its own parameters a time.

    Attributes
    ----------
    d
        The dimension, which sets the scale $1/\sqrt d$ of the field.
    c, b
        Skip and bias, shape (T,).
    u, w
        Readout and weights, shape (T, k). With ``k == d`` these are the vectors
        themselves; with ``k < d`` their coordinates in an orthonormal basis of a
        subspace that holds them (see `draw_training_set`).
    activation
        ``"tanh"`` or ``"erf"``.
    """

    d: int
    c: Tensor
    u: Tensor
    w: Tensor
    b: Tensor
    activation: str = "tanh"

    def __post_init__(self) -> None:
        check_activation(self.activation)
        steps, width = self.u.shape
        shapes = {"c": (steps,), "b": (steps,), "w": (steps, width)}
        check_shapes(self, shapes, "(T, k)")

    @property
    def parameters(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(c, u, w, b)``."""
        return self.c, self.u, self.w, self.b

    def field(self, x: Tensor) -> Tensor:
        r"""$w\cdot x/\sqrt d + b$ for `x` of shape (T, B, k); returns (T, B)."""
        w = self.w[:, :, None] / self.d**0.5
        return torch.baddbmm(self.b[:, None, None], x, w)[:, :, 0]

    def __call__(self, x: Tensor) -> Tensor:
        """Denoise `x` of shape (T, B, k), each time with its own parameters."""
        phi = activation(self.activation, self.field(x))
        return self.c[:, None, None] * x + phi[:, :, None] * self.u[:, None, :]

    @property
    def width(self) -> int:
        """Number of coordinates."""
        return self.u.shape[1]

    def unit(self, i: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Parameters at the time `i`, a unit a row: (), (1, k), (1, k), (1,)."""
        pick = slice(i, i + 1)
        return self.c[i], self.u[pick], self.w[pick], self.b[pick]

    def at(self, i: int) -> Network:
        """The network of the single time `i`, with T = 1."""
        pick = slice(i, i + 1)
        return replace(
            self, c=self.c[pick], u=self.u[pick], w=self.w[pick], b=self.b[pick]
        )

    def overlaps(self, data: TrainingSet) -> Overlaps:
        r"""Measure the overlaps, by the theory's names, as arrays over times.

        $m = u\cdot\mu/|\mu|^2$, $\omega = w\cdot\mu/(\sqrt d|\mu|)$,
        $q = |u|^2/d$, $r = |w|^2/d$, $v = u\cdot w/d$, $\hat c = \sqrt d\,c$; with a
        finite training set also the mean over the samples of either label of
        $w\cdot z^i/d$ (`zeta_plus`, `zeta_minus`) and $u\cdot z^i/d$ (`a_plus`,
        `a_minus`), the mean of $s_i u\cdot z^i/d$ (`a`) and, with frozen noise, of
        $s_i u\cdot x_0^{ij}/d$ (`e`).
        """
        if self.width != data.mu.shape[0]:
            raise ShapeError(
                "`network` and `data` must use the same coordinates, but they have "
                f"{self.width} and {data.mu.shape[0]}. Pass the training set that "
                "the network was trained on."
            )
        d, mu = self.d, data.mu
        c, u, w, b = self.parameters
        norm = float(mu.norm())
        out = {
            "c": c,
            "c_hat": d**0.5 * c,
            "b": b,
            "m": u @ mu / norm**2,
            "omega": w @ mu / (d**0.5 * norm),
            "q": (u * u).sum(1) / d,
            "r": (w * w).sum(1) / d,
            "v": (u * w).sum(1) / d,
        }
        if data.samples:
            out |= _noise_overlaps(self, data)
        return {name: x.detach().cpu().numpy() for name, x in out.items()}


class Measured(Protocol):
    """A network that knows its overlaps."""

    def overlaps(self, data: TrainingSet) -> Overlaps: ...


def measure(network: Measured, data: TrainingSet) -> Overlaps:
    r"""Measure the overlaps of a network, by the theory's names, as arrays over times.

    Parameters
    ----------
    network
        Trained parameters at T times.
    data
        The training set they come from.

    Returns
    -------
    dict of ndarray
        Each of shape (T,). A quantity that the data do not define is left out.
    """
    return network.overlaps(data)


def _noise_overlaps(network: Network, data: TrainingSet) -> dict[str, Tensor]:
    d, s = network.d, data.labels
    with_w, with_u = network.w @ data.z.T / d, network.u @ data.z.T / d
    out = {"a": (s * with_u).mean(1)}
    for sign, name in ((1, "plus"), (-1, "minus")):
        mine = s == sign
        if mine.any():
            out[f"zeta_{name}"] = with_w[:, mine].mean(1)
            out[f"a_{name}"] = with_u[:, mine].mean(1)
    if data.x0 is not None:
        out["e"] = torch.einsum("tk,tnjk,n->t", network.u, data.x0, s) / (
            d * data.x0.shape[1] * data.x0.shape[2]
        )
    return out
