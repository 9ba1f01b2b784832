r"""The empirical law: the exact denoiser of finitely many samples, before any training.

Given $x_t$, the sample it came from is $x_1^i$ with the probability

$$
w_i \propto \exp\left(\frac{\beta\, x\cdot x_1^i - \beta^2|x_1^i|^2/2}{\alpha^2}\right),
$$

exactly. From it follow $E[x_1|x_t]$, U-turns, and the posterior of a sample's class,
whose window needs neither a network nor a path back: there the classes' free energies
balance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import ModelError, ShapeError, shown
from ...numerics.codegen.parameters import whole_number
from .arrays import floats, on_cpu
from .interpolants import LINEAR_PATH, NumericInterpolant, as_interpolant, check_times
from .training_times import Times
from .uturn import BATCH, Curve, times_for, turning_points

LEAST_NOISE = 1e-6
"""The noise for which time 1 is taken: all weight is on the nearest sample."""


@dataclass(frozen=True, eq=False)
class EmpiricalLaw:
    """The law of finitely many `samples` (n, ...), each as likely as the others.

    They are a tensor on any device; integers and half precision are computed with in
    floats. Noise is that of the interpolant `path`.
    """

    samples: Tensor
    path: NumericInterpolant = LINEAR_PATH

    def __post_init__(self) -> None:
        shape = tuple(getattr(self.samples, "shape", ()))
        if len(shape) < 2 or 0 in shape:
            raise ShapeError(
                "`samples` must be a tensor of at least one sample, with the samples "
                f"along its first axis, but has shape {shape}."
            )
        if not isinstance(self.samples, Tensor):
            raise ModelError(
                "`samples` must be a tensor, but is of type "
                f"{type(self.samples).__name__}. Pass `torch.as_tensor(samples)`."
            )
        if not torch.isfinite(self.samples).all():
            raise ModelError(
                "`samples` must be finite, but has NaN or infinity. Clean it."
            )
        object.__setattr__(self, "path", as_interpolant(self.path))

    @cached_property
    def _rows(self) -> Tensor:
        return floats(self.samples).flatten(1)

    @cached_property
    def _squares(self) -> Tensor:
        return self._rows.square().sum(1) / 2

    def weights(self, x: Tensor, t: float) -> Tensor:
        r"""Probabilities $w_i$ of the samples, shape (batch, n); at 1, of the nearest.

        Raises `ShapeError` for an `x` of another shape than the samples.
        """
        self._check_shape(x)
        (t,) = check_times([t], "t")
        alpha, beta = max(self.path.alpha(t), LEAST_NOISE), self.path.beta(t)
        fit = beta * (x.flatten(1) @ self._rows.T) - beta**2 * self._squares
        return torch.softmax(fit / alpha**2, 1)

    def denoiser(self, x: Tensor, t: float) -> Tensor:
        """$E[x_1|x_t=x]$, of the shape of `x`; at the data end, `x` over beta."""
        self._check_shape(x)
        if self.path.alpha(t) <= 0:
            return x / self.path.beta(t)
        return (self.weights(x, t) @ self._rows).reshape(x.shape)

    def class_posterior(self, x: Tensor, t: float, labels: Any) -> Tensor:
        """Probability of each class, shape (batch, classes); classes in sorted order.

        Raises `ShapeError` or `ModelError` unless each sample has one label.
        """
        _, known = self._classes(labels)
        where = torch.as_tensor(known, device=x.device)
        one_hot = torch.nn.functional.one_hot(where).to(self._rows.dtype)
        return self.weights(x, t) @ one_hot

    def _classes(self, labels: Any) -> tuple[np.ndarray, np.ndarray]:
        """The classes, sorted, and the number of each sample's among them."""
        return np.unique(
            _check_labels(labels, len(self.samples), "labels"), return_inverse=True
        )

    def _check_shape(self, x: Any) -> None:
        own, given = tuple(self.samples.shape[1:]), tuple(x.shape[1:])
        flat = len(own) == 1 or len(given) == 1
        if own != given and not (flat and math.prod(own) == math.prod(given)):
            raise ShapeError(
                f"`x` must hold samples of shape {own}, as the law has, but theirs is "
                f"{given}. Bring the axes into one order."
            )

    def class_curve(
        self,
        labels: Any,
        times: Times | None = None,
        *,
        generator: Any,
        turned: Tensor | None = None,
        turned_labels: Any = None,
        batch: int = BATCH,
    ) -> Curve:
        """Return how often a U-turn of the exact law would change the class.

        The result of an exact U-turn is a draw of the posterior, so the chance of a
        change is one minus the posterior probability of the sample's own class.
        `labels` are the classes of the samples, (n,): whole numbers, booleans or
        strings. The `times` increase in [0, 1); they are `default_times` when not
        given. Noised are the samples `turned`, whose classes are among those of the
        law, or the law's own.
        """
        whole_number("batch", batch)
        x1 = floats(self.samples if turned is None else turned)
        if (turned is None) != (turned_labels is None):
            raise ModelError(
                "`turned` and `turned_labels` go together, but one of them is not "
                "given. Pass both, or neither to turn the law's own samples."
            )
        given = labels if turned is None else turned_labels
        own = _check_labels(
            given, len(x1), "labels" if turned is None else "turned_labels"
        )
        column = _columns(own, self._classes(labels)[0])
        t = times_for(times, x1, self.path, float(x1.square().mean()))
        changed = np.zeros((len(t), len(x1)))
        for i, part, x in turning_points(x1, t, self.path, generator, batch):
            kept = self.class_posterior(x, float(t[i]), labels).cpu().numpy()
            changed[i, part] = 1 - kept[np.arange(len(kept)), column[part]]
        return Curve(t, changed, own, self.path)


def _check_labels(labels: Any, count: int, name: str) -> np.ndarray:
    """One label for each sample, which floats are only when they are whole."""
    known = on_cpu(labels)
    if known.shape != (count,):
        one_hot = known.ndim == 2 and known.shape[1] > 1
        remedy = "Take their argmax." if one_hot else "Give one label each, in a row."
        raise ShapeError(
            f"`{name}` must hold one class for each of {count} samples, but has shape "
            f"{known.shape}. {remedy}"
        )
    if known.dtype.kind == "f" and not (known == np.round(known)).all():
        wrong = known[known != np.round(known)][0]
        raise ModelError(
            f"`{name}` must hold classes, but has {wrong:g}. Cut scores into classes "
            "first."
        )
    return known.astype(int) if known.dtype.kind == "f" else known


def _columns(own: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The number of each sample's class among those that the law has."""
    missing = ~np.isin(own, classes)
    if missing.any():
        raise ModelError(
            f"The classes of the turned samples must be among those of the law, but "
            f"{shown(own[missing][0].item())} is not among {shown(classes.tolist())}. "
            "Label both alike."
        )
    return np.searchsorted(classes, own)
