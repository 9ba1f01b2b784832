r"""Training sets: samples of the target, in full or by coordinates in their span.

Everything that matters to training happens in the span of the training samples. In
an orthonormal basis of it a sample has n + 1 coordinates instead of d, and exactly
the same functions apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy.special import gammaincinv
from torch import Tensor

from ..errors import ModelError, did_you_mean
from ..theory.model import Model

Embedding = Literal["span", "full"]
Values = Mapping[str, float]

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
    r"""Training samples $x_1^i = s_i\mu + \sigma z^i$, or the population's two modes.

    Attributes
    ----------
    d
        The dimension; $|\mu|^2 = d$.
    mu
        Shape (k,). With ``embedding="full"`` k = d; else coordinates in the span.
    labels
        $s_i$, shape (n,); ``(1, -1)`` for a population.
    x1
        Shape (n, k): samples; for a population the means $\pm\mu$.
    weights
        Shape (n,): ones, or $(p, 1-p)$ for a population.
    sigma
        The spread of a mode.
    samples
        `False` for a population, whose noise $z$ is averaged over.
    x0
        Frozen noise draws, shape (T, n, noise_draws, k), or `None` when fresh.
    """

    d: int
    mu: Tensor
    labels: Tensor
    x1: Tensor
    weights: Tensor
    sigma: float
    samples: bool = True
    x0: Tensor | None = None

    @property
    def z(self) -> Tensor:
        """The samples' noise, shape (n, k)."""
        return (self.x1 - self.labels[:, None] * self.mu) / self.sigma

    @property
    def norms(self) -> Tensor:
        r"""$|\mu|$, shape (1,)."""
        return self.mu.norm()[None]

    @property
    def axes(self) -> Tensor:
        """The unit vector along the mean, shape (1, k)."""
        return self.mu[None] / self.mu.norm()

    @property
    def known(self) -> Tensor:
        """Vectors whose span holds all that a network learns from fresh noise."""
        return torch.cat([self.mu[None], self.x1]) if self.samples else self.mu[None]

    @property
    def rows(self) -> float:
        """Number of terms in the loss: n, n times `noise_draws`, or 1."""
        draws = 1 if self.x0 is None else self.x0.shape[2]
        return float(self.weights.sum()) * draws

    @property
    def full(self) -> bool:
        """Whether vectors are given by all their d coordinates."""
        return self.mu.shape[0] == self.d


def value(values: Values, name: str) -> float:
    """Return a number by name; raise `ModelError` when it was not given."""
    if name not in values:
        raise ModelError(
            f"Training needs `{name}`, but the values given are "
            f"{', '.join(sorted(values))}{did_you_mean(name, values)} "
            "There are no defaults."
        )
    return values[name]


def _check_size(model: Model, values: Values, d: int) -> None:
    target = model.target
    if len(target.features) != 1 or target.features[0].exponent != 0:
        raise ModelError(
            "A training set is drawn for the two-modes target, but this one has "
            f"{len(target.features)} features with exponents "
            f"{', '.join(str(f.exponent) for f in target.features)}. "
            "Use `dilaton.two_modes()`, or the population with `train_units`."
        )
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
    r"""Draw `n` samples with exactly `n_plus` of label +1, and frozen noise if asked.

    With ``embedding="span"`` the draw is made in the basis that starts with
    $\mu/|\mu|$ and goes on through the samples: there the noise matrix is lower
    triangular, Gaussian off the diagonal and $\chi_{d-i}$ on it (Bartlett), which has
    exactly the law of n samples in dimension d, at a cost that does not know d.

    One seed draws the same normals and quantiles at every d, so that the fluctuations
    at different d are aligned and cancel when they are extrapolated.

    Parameters
    ----------
    model
        `model.data` says whether there are samples and whether the noise is frozen.
    values
        `sigma`, then `p` for a population, else `n` and `n_plus`, and `noise_draws`
        when the noise is frozen.
    d
        The dimension.
    seed
        Fixes the draw, together with the embedding.
    times
        Number of times that frozen noise is drawn for.
    embedding
        ``"span"``, or ``"full"`` for all d coordinates.
    dtype, device
        Of the tensors.

    References
    ----------
    Bartlett, Proc. R. Soc. Edinburgh 53, 260 (1934).
    """
    _check_size(model, values, d)
    random = generator(seed, "data")
    if not model.data.samples:
        data = _population(values, d, 1 if embedding == "span" else d)
        return _to(data, dtype, device)
    n, n_plus = int(value(values, "n")), int(value(values, "n_plus"))
    if not 0 <= n_plus <= n or n < 1:
        raise ModelError(
            f"`n_plus` must lie between 0 and `n` = {n}, but is {n_plus}. It is the "
            "number of samples with label +1."
        )
    draws = int(value(values, "noise_draws")) if model.data.frozen_noise else 0
    labels = torch.ones(n, dtype=torch.float64)
    labels[n_plus:] = -1
    if embedding == "full":
        noise = torch.randn(n, d, generator=random, dtype=torch.float64)
        direction = torch.randn(d, generator=random, dtype=torch.float64)
        mu = direction * (d**0.5 / direction.norm())
        x0 = torch.randn(times, n, draws, d, generator=random, dtype=torch.float64)
    else:
        noise, x0 = _bartlett(d, n, draws, times, random)
        mu = torch.zeros(noise.shape[1], dtype=torch.float64)
        mu[0] = d**0.5
    sigma = values["sigma"]
    data = TrainingSet(
        d=d,
        mu=mu,
        labels=labels,
        x1=labels[:, None] * mu + sigma * noise,
        weights=torch.ones(n, dtype=torch.float64),
        sigma=sigma,
        x0=x0 if draws else None,
    )
    return _to(data, dtype, device)


def _population(values: Values, d: int, width: int) -> TrainingSet:
    p = value(values, "p")
    mu = torch.zeros(width, dtype=torch.float64)
    mu[0] = d**0.5
    return TrainingSet(
        d=d,
        mu=mu,
        labels=torch.tensor([1.0, -1.0], dtype=torch.float64),
        x1=torch.stack([mu, -mu]),
        weights=torch.tensor([p, 1 - p], dtype=torch.float64),
        sigma=values["sigma"],
        samples=False,
    )


def _bartlett(
    d: int, n: int, draws: int, times: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Coordinates of n Gaussian vectors, and of frozen ones, in their own span."""
    own = n * draws
    if d < 1 + n + own:
        raise ModelError(
            f"The span of {n + own} vectors and the mean needs d > {n + own}, but d is "
            f"{d}. Raise d, or use the full embedding."
        )

    def triangle(size: int, freedom: int) -> Tensor:
        below = torch.randn(size, size, generator=random, dtype=torch.float64).tril(-1)
        shape = (freedom - np.arange(size)) / 2
        level = torch.rand(size, generator=random, dtype=torch.float64).numpy()
        # quantiles, not rejection: one seed then gives nearby draws at nearby d
        chi = np.sqrt(2 * gammaincinv(shape, level))
        return below + torch.diag(torch.from_numpy(chi))

    noise = torch.zeros(n, 1 + n + own, dtype=torch.float64)
    noise[:, 0] = torch.randn(n, generator=random, dtype=torch.float64)
    noise[:, 1 : n + 1] = triangle(n, d - 1)
    x0 = torch.zeros(times, own, 1 + n + own, dtype=torch.float64)
    shared = torch.randn(times, own, n + 1, generator=random, dtype=torch.float64)
    x0[:, :, : n + 1] = shared
    for i in range(times if own else 0):
        x0[i, :, n + 1 :] = triangle(own, d - 1 - n)
    return noise, x0.reshape(times, n, draws, 1 + n + own)


def _to(data: TrainingSet, dtype: torch.dtype, device: str) -> TrainingSet:
    def move(x: Tensor) -> Tensor:
        return x.to(dtype=dtype, device=device)

    return replace(
        data,
        mu=move(data.mu),
        labels=move(data.labels),
        x1=move(data.x1),
        weights=move(data.weights),
        x0=None if data.x0 is None else move(data.x0),
    )


def in_span(data: TrainingSet) -> TrainingSet:
    """Rotate a full training set into the span of its vectors (fresh noise only)."""
    if data.x0 is not None:
        raise ModelError(
            "A training set with frozen noise has another span at every time, so it is "
            'not rotated. Draw it with `embedding="span"` or train it in full.'
        )
    if not data.samples:
        mu = data.mu.new_zeros(1)
        mu[0] = data.d**0.5
        return replace(data, mu=mu, x1=torch.stack([mu, -mu]))
    vectors = torch.cat([data.mu[None], data.z])
    _, triangular = torch.linalg.qr(vectors.T)
    signs = torch.sign(torch.diagonal(triangular))
    inside = (triangular * signs[:, None]).T.contiguous()
    mu, z = inside[0], inside[1:]
    return replace(data, mu=mu, x1=data.labels[:, None] * mu + data.sigma * z)
