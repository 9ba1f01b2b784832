r"""Learning times: how long a weight takes under a density of training times."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...errors import ModelError
from ...theory.models.model import TAU, Model
from ...theory.times.densities import loss_weight
from ...theory.times.held import bulk_training, direction_training, weight_training
from .nodes import TimeNodes, curve, gauss_legendre
from .training_mean import flow_under, time_mean

POINTS = 24  # nodes of the integral over the bias; it is analytic in log |p - P|

LEAST = 1e-10
"""The shortest distance from p at which a weight is learned: less is rounding."""


def check_within(within: float) -> None:
    """Raise `ModelError` unless a weight can be known that well."""
    if not LEAST <= within < 0.5:
        raise ModelError(
            f"`within` must be between {LEAST:g} and 1/2, the distance from p at which "
            f"a weight counts as learned, but is {within:g}. 0.02 is a good start."
        )


def check_loss(
    model: Model, loss: str, tau: np.ndarray, point: Mapping[str, float]
) -> None:
    """Raise `ModelError` for a formula of a loss weight that is negative, or always 0.

    The named weights are positive.
    """
    if loss.strip().partition(":")[0] != "formula":
        return
    values = curve(loss_weight(loss, model.interpolant), TAU)(tau, point)
    values = np.broadcast_to(values, tau.shape)
    least = int(np.argmin(values))
    if values[least] < 0 or not values.any():
        raise ModelError(
            "A loss weight must be positive, or 0 at some times, but "
            f"`{loss}` is {values[least]:.3g} at tau = {tau[least]:.3g}"
            f"{' and everywhere' if not values.any() else ''}. Take its square, or "
            "`data` for the weight 1."
        )


def bias_path(p: float, within: float) -> tuple[np.ndarray, np.ndarray]:
    r"""Return biases from 0 to where $P=\mathrm{sigmoid}(2b)$ is `within` of p.

    With the weights of an integral over them: Gauss-Legendre in $\log|p - P|$.
    """
    x, w = gauss_legendre(POINTS)
    side = np.sign(p - 0.5)
    low, high = np.log(within), np.log(abs(p - 0.5))
    away = np.exp(high + (low - high) * x)
    share = p - side * away
    db = (high - low) * w * away / (2 * share * (1 - share))
    return np.log(share / (1 - share)) / 2, side * db


def learning_time(
    model: Model, j: int, loss: str, nodes: TimeNodes, point: Mapping[str, float]
) -> float:
    r"""Return the training time in which the weight of feature `j` is learned. (R17)

    $w_j = \mu_j$ is held and the bias starts at 0; the weight is learned when
    $\mathrm{sigmoid}(2b)$ is within ``point["within"]`` of $p_j$:

    $$ t = \int \frac{db}{\int\rho\,\dot b\,d\tau} . $$

    Exact at every `d`. Infinite where the mean rate is below the smallest number.
    """
    p, within = point[str(model.target.features[j - 1].p)], point["within"]
    if abs(p - 0.5) <= within:
        return 0.0
    b, db = bias_path(p, within)
    system = flow_under(weight_training, model, loss, j)
    mean = time_mean(system, nodes, point, [0.0], [np.array([0.0, b[-1]])])
    (speed,) = mean([b])
    with np.errstate(divide="ignore"):
        return float(np.sum(db / speed))


def bulk_time(
    model: Model, loss: str, nodes: TimeNodes, point: Mapping[str, float]
) -> float:
    r"""Return the time in which the error of the learned variance falls by e. (R18)

    The inverse of $\int\rho\lambda\,\alpha^4\beta^2/\Delta^3\,d\tau$, close to
    $\sigma^2$: what a density costs beside what it gains.
    """
    true = point["sigma"] ** 2
    system = flow_under(bulk_training, model, loss)
    mean = time_mean(system, nodes, point, [true], [2 * true])
    slope = mean([true], "jacobian")
    return float(-1 / np.squeeze(slope))


def direction_time(
    model: Model, j: int, loss: str, nodes: TimeNodes, point: Mapping[str, float]
) -> float:
    r"""Return the time in which $|w_\perp|^2$ of unit `j` falls by e at its end. (R28)

    Unlike a weight, a direction is not learned before the window, from pure noise.
    """
    system = flow_under(direction_training, model, loss, j)
    mean = time_mean(system, nodes, point, [1.0], [[1.0]])
    with np.errstate(divide="ignore"):
        return float(-1 / np.squeeze(mean([1.0])))
