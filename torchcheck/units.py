r"""Networks with one hidden unit a feature, for product mixtures.

$f(x) = c\,x + \sum_k u_k\,\varphi(w_k\cdot x/\sqrt d + b_k)$, all times in one batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError, ShapeError
from .draws import Embedding, generator, value
from .network import activation, check_activation, check_shapes

if TYPE_CHECKING:
    from ..theory.model import Model


@dataclass(frozen=True)
class Population:
    r"""The modes $\sum_j s_j\mu_j$ of a product mixture, with orthogonal means.

    Attributes
    ----------
    d
        The dimension.
    means
        $\mu_j$, shape (J, k). With ``embedding="full"`` k = d; else coordinates in a
        subspace that has one spare direction for each unit.
    signs
        Every combination of signs, shape (S, J) with S = 2^J.
    weights
        Their probabilities, shape (S,).
    sigma
        The spread of a mode.
    """

    d: int
    means: Tensor
    signs: Tensor
    weights: Tensor
    sigma: float
    samples: bool = False
    x0: None = None

    @property
    def norms(self) -> Tensor:
        r"""$|\mu_j|$, shape (J,)."""
        return self.means.norm(dim=1)

    @property
    def axes(self) -> Tensor:
        """The unit vectors along the means, shape (J, k)."""
        return self.means / self.norms[:, None]

    @property
    def sizes(self) -> Tensor:
        r"""$|\mu_j|/\sqrt d$: how large a feature is per coordinate, shape (J,)."""
        return self.norms / self.d**0.5

    @property
    def known(self) -> Tensor:
        """Vectors whose span holds all that a network learns."""
        return self.means

    @property
    def rows(self) -> float:
        """Number of terms in the loss."""
        return 1.0

    @property
    def full(self) -> bool:
        """Whether vectors are given by all their d coordinates."""
        return self.means.shape[1] == self.d


def is_product(model: Model) -> bool:
    """Whether quantities are numbered by feature, as in ``m_1``."""
    return str(model.target.features[0].p) != "p"


def draw_population(
    model: Model,
    values: Mapping[str, float],
    d: int,
    seed: int,
    *,
    embedding: Embedding = "span",
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> Population:
    r"""Return the modes of a product mixture, $|\mu_j|^2 = \rho_j d^{1-2\delta_j}$.

    Training sees the means, and what the starting weights have beside them: one
    direction a unit. In an orthonormal basis of these 2J directions exactly the same
    functions apply as in all d coordinates.

    Parameters
    ----------
    model
        A product target; the population.
    values
        `sigma`, and ``p_j``, ``rho_j`` of every feature.
    d
        The dimension; at least 2J.
    seed
        Of the means' directions in the full embedding.
    embedding
        ``"span"``, or ``"full"`` for all d coordinates.
    dtype, device
        Of the tensors.
    """
    features = model.target.features
    count = len(features)
    _check(model, d, count)
    width = 2 * count
    frame = torch.eye(count, width, dtype=torch.float64)
    if embedding == "full":
        random = generator(seed, "data")
        drawn = torch.randn(d, count, generator=random, dtype=torch.float64)
        frame = torch.linalg.qr(drawn)[0].T
    norms = [
        (value(values, f"rho_{j}") * float(d) ** float(1 - 2 * f.exponent)) ** 0.5
        for j, f in enumerate(features, 1)
    ]
    shares = [value(values, f"p_{j + 1}") for j in range(count)]
    plus = torch.tensor(shares, dtype=torch.float64)
    signs = torch.tensor(list(product((1.0, -1.0), repeat=count)), dtype=torch.float64)
    weights = torch.where(signs > 0, plus, 1 - plus).prod(1)
    place = {"dtype": dtype, "device": device}
    return Population(
        d=d,
        means=(torch.tensor(norms, dtype=torch.float64)[:, None] * frame).to(**place),
        signs=signs.to(**place),
        weights=weights.to(**place),
        sigma=value(values, "sigma"),
    )


def _check(model: Model, d: int, count: int) -> None:
    if model.data.samples or model.autoencoder.tied:
        raise ModelError(
            "Networks with several units are trained untied on the population, but the "
            f"model has samples {model.data.samples} and tied "
            f'{model.autoencoder.tied}. Set n = "inf" and tied = false.'
        )
    if d < 2 * count:
        raise ModelError(
            f"{count} means and as many weights need d >= {2 * count}, but d is {d}. "
            "Raise d."
        )


@dataclass(frozen=True)
class Units:
    r"""A network of K hidden units with its own parameters a time.

    Attributes
    ----------
    d
        The dimension, which sets the scale $1/\sqrt d$ of the fields.
    c
        Skip, shape (T,).
    u, w
        Readouts and weights, shape (T, K, k).
    b
        Biases, shape (T, K).
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
        steps, units, _ = self.u.shape
        shapes = {"c": (steps,), "b": (steps, units), "w": tuple(self.u.shape)}
        check_shapes(self, shapes, "(T, K, k)")

    @property
    def width(self) -> int:
        """Number of coordinates."""
        return self.u.shape[2]

    def __call__(self, x: Tensor) -> Tensor:
        """Denoise `x` of shape (T, B, k), each time with its own parameters."""
        fields = x @ self.w.transpose(1, 2) / self.d**0.5 + self.b[:, None, :]
        return self.c[:, None, None] * x + activation(self.activation, fields) @ self.u

    def unit(self, i: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Parameters at the time `i`: (), (K, k), (K, k), (K,)."""
        return self.c[i], self.u[i], self.w[i], self.b[i]

    def at(self, i: int) -> Units:
        """The network of the single time `i`, with T = 1."""
        pick = slice(i, i + 1)
        return replace(
            self, c=self.c[pick], u=self.u[pick], w=self.w[pick], b=self.b[pick]
        )

    def overlaps(self, data: Population) -> dict[str, np.ndarray]:
        r"""Measure the overlaps of unit j with feature j, as arrays over times.

        $m_j = u_j\cdot\mu_j/|\mu_j|^2$, $q_j = |u_j|^2/|\mu_j|^2$,
        $\omega_j = w_j\cdot\mu_j/(\sqrt d|\mu_j|)$, $r_j = |w_j|^2/d$,
        $v_j = u_j\cdot w_j/(\sqrt d|\mu_j|)$, $b_j$; and `c`. Units are free to
        exchange features and to change sign, so each feature is given one of them
        first, see `matched`.
        """
        if self.width != data.means.shape[1]:
            raise ShapeError(
                "`network` and `data` must use the same coordinates, but they have "
                f"{self.width} and {data.means.shape[1]}. Pass the population that the "
                "network was trained on."
            )
        units = self.matched(data)
        u = units.u / data.norms[:, None]
        w = units.w / self.d**0.5
        by_unit = {
            "m": (u * data.axes).sum(2),
            "omega": (w * data.axes).sum(2),
            "b": units.b,
            "q": (u * u).sum(2),
            "r": (w * w).sum(2),
            "v": (u * w).sum(2),
        }
        found = {
            f"{name}_{j + 1}": x[:, j]
            for name, x in by_unit.items()
            for j in range(x.shape[1])
        }
        return {k: x.detach().cpu().numpy() for k, x in ({"c": self.c} | found).items()}

    def matched(self, data: Population) -> Units:
        """The same function with unit j the one whose `w` points along feature j.

        The units are permuted at each time so that the cosines add up to the most, and
        (u, w, b) is turned into -(u, w, b) where the cosine is negative.
        """
        from scipy.optimize import linear_sum_assignment

        norms = self.w.norm(dim=2, keepdim=True).clamp(min=1e-300)
        cosines = (self.w / norms) @ data.axes.T  # (T, unit, feature)
        found = [
            linear_sum_assignment(-abs(x.T))[1] for x in cosines.detach().cpu().numpy()
        ]
        order = torch.as_tensor(np.array(found), device=self.w.device)
        rows = torch.arange(len(order), device=order.device)[:, None]
        features = torch.arange(order.shape[1], device=order.device)
        sign = torch.where(cosines[rows, order, features] < 0, -1.0, 1.0).to(self.w)
        return replace(
            self,
            u=sign[:, :, None] * self.u[rows, order],
            w=sign[:, :, None] * self.w[rows, order],
            b=sign * self.b[rows, order],
        )
