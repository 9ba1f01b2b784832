r"""Training sets: samples of the target, in full or by coordinates in their span.

Everything that matters to training happens in the span of the training samples. In
an orthonormal basis of it a sample has n + 1 coordinates instead of d, and exactly
the same functions apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.special import gammaincinv
from torch import Tensor

from ...errors import ModelError, did_you_mean
from ...theory.models.classes import classes_of, every_pattern, has_patterns, mark
from ...theory.models.model import Model, Modes, suffix

Embedding = Literal["span", "full"]
Values = Mapping[str, float]

_TENSORS = ("means", "signs", "x1", "weights")
_PURPOSES = {"data": 1, "noise": 2, "init": 3, "sampling": 4}


def generator(seed: int, purpose: str, device: str = "cpu") -> torch.Generator:
    """Return the random generator of one purpose, independent of the other ones.

    Purposes are ``data``, ``noise``, ``init`` and ``sampling``: drawing more of one
    never changes another.
    """
    entropy = np.random.SeedSequence([seed, _PURPOSES[purpose]]).generate_state(2)
    made = torch.Generator(device=device)
    made.manual_seed(int(entropy[0]) << 31 ^ int(entropy[1]))
    return made


@dataclass(frozen=True)
class TrainingSet:
    r"""Samples $x_1^i = \sum_k s_{ik}\mu_k + \sigma z^i$, or the population's modes.

    `means` holds the orthogonal $\mu_k$, (K, k), with k = d or the dimension of their
    span; for two modes K = 1 and $|\mu|^2 = d$. `signs` holds $s_{ik}$, (n, K), and
    `x1` the samples, (n, k), of `weights` (n,) one; for a population every combination
    of signs, the modes' means, and their probabilities: `samples` is `False` then, and
    the noise $z$ of spread `sigma` is averaged over. `x0` are frozen noise draws, (T,
    n, noise_draws, k), or `None` when fresh; `numbered` tells whether names carry the
    numbers of features, as those of a product do.
    """

    d: int
    means: Tensor
    signs: Tensor
    x1: Tensor
    weights: Tensor
    sigma: float
    samples: bool = True
    x0: Tensor | None = None
    numbered: bool = False

    @property
    def mu(self) -> Tensor:
        """The first mean, shape (k,)."""
        return self.means[0]

    @property
    def labels(self) -> Tensor:
        """The signs of the first feature, shape (n,)."""
        return self.signs[:, 0]

    @property
    def z(self) -> Tensor:
        """The samples' noise, shape (n, k)."""
        return (self.x1 - self.signs @ self.means) / self.sigma

    @property
    def norms(self) -> Tensor:
        r"""$|\mu_k|$, shape (K,)."""
        return self.means.norm(dim=1)

    @property
    def axes(self) -> Tensor:
        """The unit vectors along the means, shape (K, k)."""
        return self.means / self.norms[:, None]

    @property
    def sizes(self) -> Tensor:
        r"""$|\mu_k|/\sqrt d$: how large a feature is per coordinate, shape (K,)."""
        return self.norms / self.d**0.5

    @property
    def reach(self) -> Tensor:
        r"""How far from the origin each unit sees: $|\mu_k|$, or a sample, (K,)."""
        if not self.samples:
            return self.norms
        return self.x1.norm(dim=1).max().expand(len(self.means))

    @property
    def spread(self) -> float:
        r"""The spread of the data around a row of `x1`: $\sigma$, or 0 for samples."""
        return 0.0 if self.samples else self.sigma

    @property
    def known(self) -> Tensor:
        """Vectors whose span holds all that a network learns from fresh noise."""
        return torch.cat([self.means, self.x1]) if self.samples else self.means

    @property
    def rows(self) -> float:
        """Number of terms in the loss: n, n times `noise_draws`, or 1."""
        draws = 1 if self.x0 is None else self.x0.shape[2]
        return float(self.weights.sum()) * draws

    @property
    def full(self) -> bool:
        """Whether vectors are given by all their d coordinates."""
        return self.means.shape[1] == self.d

    def double(self) -> TrainingSet:
        """The same in double precision, as the exact average needs."""
        return _to(self, torch.float64, str(self.x1.device))


def value(values: Values, name: str) -> float:
    """Return a number by name; raise `ModelError` when it was not given."""
    if name not in values:
        raise ModelError(
            f"Training needs `{name}`, but the values given are "
            f"{', '.join(sorted(values))}{did_you_mean(name, values)} "
            "There are no defaults."
        )
    return values[name]


def _check_size(values: Values, d: int) -> None:
    if not d >= 2:
        raise ModelError(f"`d` must be at least 2, but is {d}. Raise it.")
    sigma = value(values, "sigma")
    if not sigma > 0:
        raise ModelError(f"`sigma` must be positive, but is {sigma}. Raise it.")


def draw_training_set(
    model: Model,
    values: Values,
    d: int,
    seed: int,
    *,
    times: int = 1,
    embedding: Embedding = "span",
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> TrainingSet:
    r"""Draw as many samples of each sign as asked for, and frozen noise if asked.

    With ``embedding="span"`` the draw is made in the basis that starts with the
    $\mu_k/|\mu_k|$ and goes on through the samples: there the noise matrix is lower
    triangular, Gaussian off the diagonal and $\chi_{d-i}$ on it (Bartlett, Proc. R.
    Soc. Edinburgh 53, 260, 1934), which has exactly the law of n samples in dimension
    d, at a cost that does not know d. For a product mixture one spare direction a unit
    follows, for what a start has beside. ``"full"`` draws all d coordinates.

    One seed draws the same normals and quantiles at every d, so that the fluctuations
    at different d are aligned and cancel when they are extrapolated.

    `values` holds `sigma`, then `p` for a population, else `n` and `n_plus`, and
    `noise_draws` when the noise is frozen, which is drawn for so many `times`. For a
    product mixture it holds `rho_k` of every feature, then `p_k`, or the numbers of
    samples by their signs, ``n_pp``, ``n_pm``, ...
    """
    if isinstance(model.target, Modes):
        raise ModelError(
            "Training takes two modes or a product mixture, whose features are signs, "
            "but the target is of kind `modes`. Use `derive`, `solve`, `mse`, `steps` "
            "or `sweep`."
        )
    _check_size(values, d)
    signs, weights = (_samples if model.data.samples else _modes)(model, values)
    size = Size(
        d,
        means=signs.shape[1],
        samples=len(signs) if model.data.samples else 0,
        draws=int(value(values, "noise_draws")) if model.data.frozen_noise else 0,
        times=times,
        spare=signs.shape[1] if suffix(model, 1) else 0,
    )
    draw = _in_full if embedding == "full" else _bartlett
    frame, noise, x0 = draw(size, generator(seed, "data"))
    means = _norms(model, values, d)[:, None] * frame
    x1 = signs @ means
    x1[: len(noise)] += values["sigma"] * noise
    data = TrainingSet(
        d=d,
        means=means,
        signs=signs,
        x1=x1,
        weights=weights,
        sigma=values["sigma"],
        samples=model.data.samples,
        x0=x0 if size.draws else None,
        numbered=bool(suffix(model, 1)),
    )
    return _to(data, dtype, device)


def _norms(model: Model, values: Values, d: int) -> Tensor:
    r"""$|\mu_k| = \sqrt{\rho_k}\,d^{1/2-\delta_k}$, shape (K,)."""
    found = []
    for feature in model.target.features:
        free = feature.rho.free_symbols
        rho = value(values, str(feature.rho)) if free else float(feature.rho)
        found.append((rho * float(d) ** float(1 - 2 * feature.exponent)) ** 0.5)
    return torch.tensor(found, dtype=torch.float64)


def _modes(model: Model, values: Values) -> tuple[Tensor, Tensor]:
    """Every combination of signs, from ``++`` on, and their probabilities."""
    features = model.target.features
    plus = torch.tensor(
        [value(values, str(f.p)) for f in features], dtype=torch.float64
    )
    signs = torch.tensor(every_pattern(len(features)), dtype=torch.float64)
    return signs, torch.where(signs > 0, plus, 1 - plus).prod(1)


def _samples(model: Model, values: Values) -> tuple[Tensor, Tensor]:
    """The signs of every sample, in order of their patterns, and unit weights."""
    if has_patterns(model):
        counts = {
            c: int(value(values, f"n_{mark(c)}")) for c in classes_of(model).patterns
        }
    else:
        n, n_plus = int(value(values, "n")), int(value(values, "n_plus"))
        if not 0 <= n_plus <= n or n < 1:
            raise ModelError(
                f"`n_plus` must lie between 0 and `n` = {n}, but is {n_plus}. It is "
                "the number of samples with label +1."
            )
        counts = {(1,): n_plus, (-1,): n - n_plus}
    signs = [list(c) for c, count in counts.items() for _ in range(count)]
    found = torch.tensor(signs, dtype=torch.float64)
    return found, torch.ones(len(found), dtype=torch.float64)


class Size(NamedTuple):
    """The number of vectors that are drawn, and of their dimensions."""

    d: int
    means: int
    samples: int
    draws: int
    times: int
    spare: int

    @property
    def own(self) -> int:
        """Frozen noise draws of one time."""
        return self.samples * self.draws

    def check(self, width: int) -> int:
        """Return `width`; raise `ModelError` when d is smaller."""
        if self.d < width:
            raise ModelError(
                "The span of the means, the samples, their noise draws and a spare "
                f"direction for each of several units needs d > {width - 1}, but d is "
                f"{self.d}. Raise d, or use the full embedding."
            )
        return width


def _in_full(size: Size, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Means' directions, samples' noise and frozen noise in all d coordinates."""
    d, like = size.d, {"generator": random, "dtype": torch.float64}
    size.check(size.means)
    noise = torch.randn(size.samples, d, **like)
    frame = torch.eye(size.means, d, dtype=torch.float64)
    if size.samples:
        basis, scale = torch.linalg.qr(torch.randn(size.means, d, **like).T)
        frame = (basis * torch.sign(torch.diagonal(scale))).T
    shape = (size.times, size.samples, size.draws, d)
    return frame, noise, torch.randn(shape, **like)


def _bartlett(size: Size, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The draws of `_in_full`, in coordinates of the vectors' own span."""
    d, n, own, first = size.d, size.samples, size.own, size.means + size.samples
    width = size.check(first + own + size.spare)

    def triangle(size: int, freedom: int) -> Tensor:
        below = torch.randn(size, size, generator=random, dtype=torch.float64).tril(-1)
        shape = (freedom - np.arange(size)) / 2
        level = torch.rand(size, generator=random, dtype=torch.float64).numpy()
        # quantiles, not rejection: one seed then gives nearby draws at nearby d
        chi = np.sqrt(2 * gammaincinv(shape, level))
        return below + torch.diag(torch.from_numpy(chi))

    frame = torch.eye(size.means, width, dtype=torch.float64)
    noise = torch.zeros(n, width, dtype=torch.float64)
    like = {"generator": random, "dtype": torch.float64}
    noise[:, : size.means] = torch.randn(n, size.means, **like)
    noise[:, size.means : first] = triangle(n, d - size.means)
    x0 = torch.zeros(size.times, own, width, dtype=torch.float64)
    x0[:, :, :first] = torch.randn(size.times, own, first, **like)
    for i in range(size.times if own else 0):
        x0[i, :, first : first + own] = triangle(own, d - first)
    return frame, noise, x0.reshape(size.times, n, size.draws, width)


def _to(data: TrainingSet, dtype: torch.dtype, device: str) -> TrainingSet:
    def move(x: Tensor) -> Tensor:
        return x.to(dtype=dtype, device=device)

    moved = {name: move(getattr(data, name)) for name in _TENSORS}
    return replace(data, **moved, x0=None if data.x0 is None else move(data.x0))


def in_span(data: TrainingSet) -> TrainingSet:
    """Rotate a full training set into the span of its vectors (fresh noise only)."""
    if data.x0 is not None:
        raise ModelError(
            "A training set with frozen noise has another span at every time, so it is "
            'not rotated. Draw it with `embedding="span"` or train it in full.'
        )
    count = len(data.means)
    noises = data.z if data.samples else data.z[:0]
    _, triangular = torch.linalg.qr(torch.cat([data.means, noises]).T)
    signs = torch.sign(torch.diagonal(triangular))
    inside = (triangular * signs[:, None]).T.contiguous()
    x1 = data.signs @ inside[:count]
    if data.samples:
        x1 = x1 + data.sigma * inside[count:]
    return replace(data, means=inside[:count], x1=x1)
