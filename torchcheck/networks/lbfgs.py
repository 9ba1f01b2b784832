"""Minimise many independent smooth functions at once (batched L-BFGS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

RowObjective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From points (T, K) to values (T,) and gradients (T, K), row by row."""

_MEMORY = 20  # curvature pairs that are kept
_ARMIJO = 1e-4  # share of the linear decrease that a step must bring
_ROUNDING = 1e-14  # relative size below which two values count as equal
_HALVINGS = 30  # a step shorter than 2^-30 of the full one is no step
_STRIDE = 4.0  # growth of the step over stretches that bend down
_SHORT = 1e-4  # a step this short says that the curvature pairs mislead


def only_new_rows(part: Callable[[Tensor], RowObjective]) -> RowObjective:
    """An objective that computes only the rows whose points are new.

    `part` returns the objective of the rows with the given numbers. Rows that are
    finished, or whose step is found, then cost nothing while others go on.
    """
    known: list[Tensor] = []

    def objective(x: Tensor) -> tuple[Tensor, Tensor]:
        if not known:
            known.extend((x, *part(torch.arange(len(x), device=x.device))(x)))
        rows = (x != known[0]).any(1).nonzero()[:, 0]
        values, grads = known[1].clone(), known[2].clone()
        if len(rows):
            values[rows], grads[rows] = part(rows)(x[rows])
        known[:] = x.clone(), values, grads
        return values.clone(), grads.clone()

    return objective


class Minimum(NamedTuple):
    """The ends of the rows: points (T, K), values (T,), gradient norms (T,)."""

    point: Tensor
    value: Tensor
    gradient_norm: Tensor


def minimise_rows(
    objective: RowObjective,
    start: Tensor,
    *,
    tolerance: float,
    max_iterations: int,
    longest: float = float("inf"),
) -> Minimum:
    r"""Minimise every row of `start` by L-BFGS until its gradient norm is small.

    Rows are independent problems: each has its own curvature pairs and its own step
    length, so a hard row never slows an easy one. A row stops at $|\nabla| \le$
    `tolerance`, or when no step decreases it any more (then its norm says so). The
    first try of a step is at most `longest`: where the function is nearly flat,
    curvature pairs would send a row out of all bounds. Source: Liu and Nocedal,
    Mathematical Programming 45, 503 (1989).
    """
    x = start.clone()
    value, grad = objective(x)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    live = grad.norm(dim=1) > tolerance
    stride = torch.ones_like(value)
    for _ in range(max_iterations):
        if not live.any():
            break
        direction = -_two_loops(grad, pairs)
        slope = (direction * grad).sum(1)
        bad = ~(slope < 0)
        direction[bad] = -grad[bad]
        slope[bad] = -(grad[bad] ** 2).sum(1)
        step = stride / grad.norm(dim=1).clamp(min=1.0) if not pairs else stride
        step = step.minimum(longest / direction.norm(dim=1).clamp(min=1e-300))
        (new, new_value, new_grad), length = _search(
            objective, (x, value, grad), direction, slope, step, live
        )
        misled = live & (length < _SHORT)
        known = _forget(pairs, misled)
        bowl = _remember(pairs, new - x, new_grad - grad, ~misled)
        # where the function bends down no step is long enough: stride out
        stride = torch.where(bowl | misled, 1.0, _STRIDE * stride)
        x, value, grad = new, new_value, new_grad
        live &= ((length > 0) | known) & (grad.norm(dim=1) > tolerance)
    return Minimum(x, value, grad.norm(dim=1))


def _two_loops(grad: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Apply the inverse Hessian that the pairs (step, change, 1/product) imply."""
    result = grad.clone()
    weights = []
    for step, change, rho in reversed(pairs):
        weight = rho * (step * result).sum(1)
        weights.append(weight)
        result = result - weight[:, None] * change
    if pairs:
        result = result * _scale(pairs)[:, None]
    for (step, change, rho), weight in zip(pairs, reversed(weights), strict=True):
        back = rho * (change * result).sum(1)
        result = result + (weight - back)[:, None] * step
    return result


def _scale(pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Inverse curvature along each row's latest pair (1 for a row without any)."""
    scale = torch.zeros_like(pairs[0][2])
    for _, change, rho in reversed(pairs):
        fresh = (scale == 0) & (rho > 0)
        norm = (change**2).sum(1).clamp(min=torch.finfo(change.dtype).tiny)
        scale = torch.where(fresh, 1 / (rho * norm).clamp(min=1e-300), scale)
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def _forget(pairs: list[tuple[Tensor, Tensor, Tensor]], rows: Tensor) -> Tensor:
    """Drop what `rows` have learned; return which of them knew anything."""
    known = torch.zeros_like(rows)
    for _, _, rho in pairs:
        known |= rows & (rho > 0)
        rho[rows] = 0
    return known


def _remember(
    pairs: list[tuple[Tensor, Tensor, Tensor]],
    step: Tensor,
    change: Tensor,
    rows: Tensor,
) -> Tensor:
    """Append a pair for `rows` with positive curvature; return which those are."""
    product = (step * change).sum(1)
    floor = 1e-12 * step.norm(dim=1) * change.norm(dim=1)
    good = rows & (product > floor)
    rho = torch.where(good, 1 / torch.where(good, product, torch.ones_like(product)), 0)
    pairs.append((step, change, rho))
    if len(pairs) > _MEMORY:
        del pairs[0]
    return good


def _search(
    objective: RowObjective,
    here: tuple[Tensor, Tensor, Tensor],
    direction: Tensor,
    slope: Tensor,
    step: Tensor,
    live: Tensor,
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Halve each row's step until it decreases; return (T,) lengths of the steps.

    Beside them stand points (T, K), values (T,) and gradients (T, K), as in `here`.
    """
    x, value, grad = here
    best, best_value, best_grad = x.clone(), value.clone(), grad.clone()
    todo = live.clone()
    for _ in range(_HALVINGS):
        trial = torch.where(todo[:, None], x + step[:, None] * direction, best)
        trial_value, trial_grad = objective(trial)
        good = trial_value <= value + _ARMIJO * step * slope
        flat = (trial_value - value).abs() <= _ROUNDING * value.abs()
        good |= flat & (trial_grad.norm(dim=1) < grad.norm(dim=1))
        good &= todo & torch.isfinite(trial_value)
        best[good], best_value[good] = trial[good], trial_value[good]
        best_grad[good] = trial_grad[good]
        todo &= ~good
        if not todo.any():
            break
        step = torch.where(todo, step / 2, step)
    length = torch.where(live & ~todo, step, 0.0)
    return (best, best_value, best_grad), length
