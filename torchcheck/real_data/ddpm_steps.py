r"""Training times as a DDPM draws them: steps k, with $t_k = \sqrt{\bar\alpha_k}$.

Uniform steps are not uniform times. What restores the loss of uniform steps is
$1/(K p_k)$, with $p_k$ the probability of step k, and not one over the density of t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ModelError, ShapeError
from ...numerics.codegen.parameters import whole_number
from .adapters import check_alphas_cumprod
from .arrays import as_array, check_numpy_generator, is_torch, like
from .interpolants import VARIANCE_PRESERVING_PATH, same_interpolant
from .training_times import TrainingTimes


@dataclass(frozen=True, eq=False)
class StepDistribution:
    """The `probabilities` (K,) of the steps of a DDPM in training; step 0 is data."""

    probabilities: np.ndarray

    @classmethod
    def of(cls, times: TrainingTimes, alphas_cumprod: Any) -> StepDistribution:
        """Give each step the mass of the times that are nearer to it than to others.

        Raises `ModelError` for times of another path than the variance-preserving one,
        on which the times of a DDPM are.
        """
        _check_training_times(times)
        t = np.sqrt(check_alphas_cumprod(alphas_cumprod))
        ends = np.concatenate([[1.0], (t[1:] + t[:-1]) / 2, [0.0]])
        below = np.interp(ends, times.knots, times.cdf)
        return cls(below[:-1] - below[1:])

    def sample(self, n: int, generator: Any) -> Any:
        """Draw `n` steps: an array, or a tensor for a `torch.Generator`."""
        whole_number("n", n)
        if is_torch(generator):
            import torch

            p = torch.tensor(self.probabilities, device=generator.device)
            return torch.multinomial(p, n, replacement=True, generator=generator)
        check_numpy_generator(generator)
        return generator.choice(len(self.probabilities), n, p=self.probabilities)

    def weights(self, k: Any) -> Any:
        """Importance weights of the steps `k`: the loss is that of uniform steps.

        Raises `ModelError` for a step that is never drawn, and for what is no step.
        """
        steps = as_array(k)
        last = len(self.probabilities) - 1
        wrong = ~((steps >= 0) & (steps <= last) & (steps == np.round(steps)))
        if wrong.any():
            raise ModelError(
                f"`k` must hold steps, whole numbers from 0 to {last}, but has "
                f"{steps[wrong][0]:g}. The weights of times are those of "
                "`TrainingTimes.weights`."
            )
        p = self.probabilities[steps.astype(int)]
        if (np.asarray(p) <= 0).any():
            raise ModelError(
                "Importance weights need every step to be drawn, but some are never "
                "drawn. Lower the mass of the window."
            )
        return like(1 / (len(self.probabilities) * p), k)

    def expectation(self, values: Any) -> float:
        """The mean of one value for each step over the steps that are drawn."""
        known = as_array(values)
        if known.shape != self.probabilities.shape:
            raise ShapeError(
                "`values` must hold one value for each step, shape "
                f"{self.probabilities.shape}, but has shape {known.shape}."
            )
        return float(self.probabilities @ known)


def _check_training_times(times: Any) -> None:
    if not isinstance(times, TrainingTimes):
        raise ModelError(
            "`times` must be a TrainingTimes, but is of type "
            f"{type(times).__name__}. Make one, as by `TrainingTimes.window(found, "
            "mass=0.5)`."
        )
    if times.path and not same_interpolant(times.path, VARIANCE_PRESERVING_PATH):
        raise ModelError(
            "`times` must be those of the variance-preserving path, where t is the "
            "root of alpha-bar, but these are of another. Measure with `from_ddpm`, or "
            "pass `path=VARIANCE_PRESERVING_PATH` where times are made."
        )
