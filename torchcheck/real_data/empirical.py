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

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import ModelError, ShapeError, shown
from ...numerics.codegen.parameters import whole_number
from .arrays import floats, normal_like, on_cpu
from .denoisers import default_times
from .interpolants import LINEAR_PATH, NumericInterpolant, check_times
from .training_times import Times
from .uturn import BATCH, Curve


@dataclass(frozen=True, eq=False)
class EmpiricalLaw:
    r"""The law of finitely many samples, each as likely as the others.

    Attributes
    ----------
    samples : Tensor, shape (n, ...)
        On any device; integers and half precision are computed with in floats.
    path : NumericInterpolant
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
        if not isinstance(self.path, NumericInterpolant):
            raise ModelError(
                "`path` must be the interpolant between noise and data, but is "
                f"{shown(self.path)}. Labels belong to the U-turn's `feature`."
            )

    @cached_property
    def _rows(self) -> Tensor:
        return floats(self.samples).flatten(1)

    @cached_property
    def _squares(self) -> Tensor:
        return self._rows.square().sum(1) / 2

    def weights(self, x: Tensor, t: float) -> Tensor:
        r"""Probabilities $w_i$ of the samples, shape (batch, n), at a time below 1."""
        alpha, beta = self.path.alpha(t), self.path.beta(t)
        fit = beta * (x.flatten(1) @ self._rows.T) - beta**2 * self._squares
        return torch.softmax(fit / alpha**2, 1)

    def denoiser(self, x: Tensor, t: float) -> Tensor:
        """$E[x_1|x_t=x]$, of the shape of `x`; at the data end, `x` over beta."""
        if self.path.alpha(t) <= 0:
            return x / self.path.beta(t)
        return (self.weights(x, t) @ self._rows).reshape(x.shape)

    def class_posterior(self, x: Tensor, t: float, labels: Any) -> Tensor:
        """Probability of each class in `labels` (0, 1, ...), shape (batch, classes)."""
        known = torch.as_tensor(on_cpu(labels), device=x.device).long()
        one_hot = torch.nn.functional.one_hot(known).to(self._rows.dtype)
        return self.weights(x, t) @ one_hot

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
        r"""How often a U-turn of the exact law changes the class, without turning.

        The result of an exact U-turn is a draw of the posterior, so the chance of a
        change is one minus the posterior probability of the sample's own class.

        Parameters
        ----------
        labels
            Classes 0, 1, ... of the samples, shape (n,).
        times
            Increasing, in [0, 1); `default_times` when not given.
        turned, turned_labels
            The samples that are noised; the law's own when left out.
        """
        whole_number("batch", batch)
        x1 = floats(self.samples if turned is None else turned)
        own = on_cpu(labels if turned is None else turned_labels)
        d = x1[0].numel()
        t = check_times(default_times(d, self.path) if times is None else times)
        changed = np.zeros((len(t), len(x1)))
        for i, part, x in self._noised(x1, t, generator, batch):
            kept = self.class_posterior(x, float(t[i]), labels).cpu().numpy()
            changed[i, part] = 1 - kept[np.arange(len(kept)), own[part]]
        return Curve(t, changed, own, self.path)

    def _noised(
        self, x1: Tensor, t: np.ndarray, generator: Any, batch: int
    ) -> Iterator[tuple[int, slice, Tensor]]:
        for i, now in enumerate(map(float, t)):
            alpha, beta = self.path.alpha(now), self.path.beta(now)
            for k in range(0, len(x1), batch):
                part = slice(k, k + batch)
                noise = normal_like(x1[part], generator)
                yield i, part, beta * x1[part] + alpha * noise
