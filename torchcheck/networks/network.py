r"""The autoencoder at finite dimension, one parameter set a time, and its overlaps.

$f(x) = c\,x + \sum_k u_k\,\varphi(w_k\cdot x/\sqrt d + b_k)$ with one hidden unit a
feature, all times in one batch. The two-modes target has one feature and one unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...errors import ModelError, ShapeError
from ...theory.models.classes import mark, pair

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


@dataclass(frozen=True)
class Network:
    r"""A network of K hidden units with its own parameters a time.

    `c` is the skip, (T,), `b` the biases, (T, K), and `u`, `w` are the readouts and
    weights, (T, K, k): with ``k == d`` the vectors themselves, with ``k < d`` their
    coordinates in an orthonormal basis of a subspace that holds them (see
    `draw_training_set`). The dimension `d` sets the scale $1/\sqrt d$ of the fields;
    `activation` is ``"tanh"`` or ``"erf"``.
    """

    d: int
    c: Tensor
    u: Tensor
    w: Tensor
    b: Tensor
    activation: str = "tanh"

    def __post_init__(self) -> None:
        check_activation(self.activation)
        steps, units, _ = self.u.shape
        shapes = {"c": (steps,), "b": (steps, units), "w": tuple(self.u.shape)}
        for name, shape in shapes.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ShapeError(
                    f"`{name}` must have shape {shape}, but has shape {found}. `u` "
                    "sets (T, K, k)."
                )

    @property
    def width(self) -> int:
        """Number of coordinates."""
        return self.u.shape[2]

    def __call__(self, x: Tensor) -> Tensor:
        """Denoise `x` of shape (T, B, k), each time with its own parameters."""
        bias = self.b[:, None, :]
        fields = torch.baddbmm(bias, x, self.w.transpose(1, 2) / self.d**0.5)
        phi = activation(self.activation, fields)
        return self.c[:, None, None] * x + phi @ self.u

    def overlaps(self, data: TrainingSet) -> Overlaps:
        r"""Measure the overlaps of unit j with feature k, as arrays over times.

        $m_{jk} = u_j\cdot\mu_k/(|\mu_j||\mu_k|)$,
        $\omega_{jk} = w_j\cdot\mu_k/(\sqrt d|\mu_k|)$,
        $q_{jk} = u_j\cdot u_k/(|\mu_j||\mu_k|)$, $r_{jk} = w_j\cdot w_k/d$, called
        ``m_1`` for j = k = 1 and ``m_1_2`` for j = 1, k = 2;
        $v_j = u_j\cdot w_j/(\sqrt d|\mu_j|)$, $b_j$; and `c`. With samples also the
        mean over those of each sign pattern of $u_j\cdot z^i/d$ (``a_1_pm``),
        $w_j\cdot z^i/d$ (``zeta_1_pm``) and, with frozen noise, $u_j\cdot x_0/d$
        (``e_1_pm``). Units are free to exchange features and to change sign, so each
        feature is given one of them first, see `matched`.

        Those of the two modes have the names of the theory without numbers: `m`,
        ``zeta_plus``, with $\hat c = \sqrt d\,c$ and the means over all samples of
        $s_i u\cdot z^i/d$ (`a`) and $s_i u\cdot x_0^{ij}/d$ (`e`) besides.
        """
        if self.width != data.means.shape[1]:
            raise ShapeError(
                "`network` and `data` must use the same coordinates, but they have "
                f"{self.width} and {data.means.shape[1]}. Pass the training set that "
                "the network was trained on."
            )
        units = self.matched(data)
        found = {"c": self.c} | units._with_means(data)
        if data.samples:
            found |= units._with_noises(data)
        if not data.numbered:
            known = (name for name in found if not name.startswith("e_"))
            found = {_plain(name): found[name] for name in known}
            found |= {"c_hat": self.d**0.5 * self.c} | units._labelled(data)
        return {name: x.detach().cpu().numpy() for name, x in found.items()}

    def _with_means(self, data: TrainingSet) -> dict[str, Tensor]:
        """Overlaps with the means, and of the units among each other."""
        u, w = self.u / data.norms[:, None], self.w / self.d**0.5
        count = range(1, u.shape[1] + 1)
        products = {"m": (u, data.axes), "omega": (w, data.axes), "q": (u, u)}
        found = {}
        for name, (x, y) in (products | {"r": (w, w)}).items():
            table = x @ y.transpose(-1, -2)
            for j, k in product(count, count):
                if y.ndim == 2 or j <= k:
                    found[str(pair(name, j, k))] = table[:, j - 1, k - 1]
        for j in count:
            found[f"v_{j}"] = (u[:, j - 1] * w[:, j - 1]).sum(1)
            found[f"b_{j}"] = self.b[:, j - 1]
        return found

    def _with_noises(self, data: TrainingSet) -> dict[str, Tensor]:
        """Overlaps with the noise of each sign pattern, averaged over its samples."""
        noises = {"a": self.u @ data.z.T / self.d, "zeta": self.w @ data.z.T / self.d}
        if data.x0 is not None:
            noises["e"] = self.u @ data.x0.mean(2).transpose(1, 2) / self.d
        found = {}
        for signs in torch.unique(data.signs, dim=0):
            mine = (data.signs == signs).all(1)
            tail = mark(tuple(signs.int().tolist()))
            for name, x in noises.items():
                for j in range(x.shape[1]):
                    found[f"{name}_{j + 1}_{tail}"] = x[:, j, mine].mean(1)
        return found

    def _labelled(self, data: TrainingSet) -> dict[str, Tensor]:
        """Overlaps of the readout with noises times their labels, over all samples."""
        if not data.samples:
            return {}
        found = {"a": self.u[:, 0] @ data.z.T @ data.labels / (self.d * len(data.x1))}
        if data.x0 is not None:
            mean = data.x0.mean(2).transpose(1, 2) @ data.labels / len(data.x1)
            found["e"] = (self.u[:, 0] * mean).sum(1) / self.d
        return found

    def matched(self, data: TrainingSet) -> Network:
        r"""The same function with unit j the one that sees feature j.

        The units are permuted at each time so that their $|\omega|$ add up to the
        most, and (u, w, b) is turned into -(u, w, b) where $\omega_j < 0$.
        """
        from scipy.optimize import linear_sum_assignment

        seen = self.w @ data.axes.T  # (T, unit, feature)
        found = [
            linear_sum_assignment(-abs(x.T))[1] for x in seen.detach().cpu().numpy()
        ]
        order = torch.as_tensor(np.array(found), device=self.w.device)
        rows = torch.arange(len(order), device=order.device)[:, None]
        features = torch.arange(order.shape[1], device=order.device)
        sign = torch.where(seen[rows, order, features] < 0, -1.0, 1.0).to(self.w)
        return replace(
            self,
            u=sign[:, :, None] * self.u[rows, order],
            w=sign[:, :, None] * self.w[rows, order],
            b=sign * self.b[rows, order],
        )


def _plain(name: str) -> str:
    """The name that an overlap of unit 1 has where there is one unit."""
    first, *rest = name.split("_")
    signs = {"p": "plus", "m": "minus"}
    return "_".join([first, *(signs[x] for x in rest if x != "1")])
