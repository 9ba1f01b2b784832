r"""One cell of a convergence study of modes: softmax networks, trained and measured.

Quantities are ``m_k_j``, ``omega_k_j``, ``b_k`` (the last two less their mean over the
units), `c_hat` or `c`, and ``shares_k`` of generated samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ...numerics.modes.evaluate import by_entry
from ..networks.grid import StepRule, coefficients, phase_times
from ..networks.softmax import SoftmaxNetworks, draw, modes_of, train_softmax
from .cells import kappas
from .plan import Plan, StudyPhase, phases

if TYPE_CHECKING:
    from ...theory.models.spec import Spec

Cell = dict[str, np.ndarray]
LAST = 1 - 1e-12  # the velocity has no value at the end itself
SAMPLING_DRAWS = 2**12  # for networks that generate samples: counts have errors too
DRAWS = 2**15  # of the noise: what is sampled of an overlap is then about 1e-4


def modes_cell(spec: Spec, plan: Plan, d: int, seed: int, draws: int) -> Cell:
    """Train at the plan's times of every phase and measure; generate samples."""
    cell, norms = {}, []
    for part in phases(spec.model):
        taus = _taus(spec, part, d, plan.inside(part))
        if not taus.size:
            continue
        networks = _trained(spec, plan, d, taus, seed, draws)
        norms.append(networks.gradient_norm)
        for name, values in measured_overlaps(spec, part, networks).items():
            cell[f"{part.name}/{name}"] = values
    cell["gradient_norm"] = np.concatenate(norms)
    if plan.paths:
        cell |= generated_shares(spec, plan, d, seed)
    return cell


def _trained(
    spec: Spec, plan: Plan, d: int, taus: np.ndarray, seed: int, draws: int
) -> SoftmaxNetworks:
    data = draw(spec.model, spec.values, d, taus, seed, draws)
    return train_softmax(
        data, seed, tolerance=plan.tolerance, max_iterations=plan.max_iterations
    )


def _taus(spec: Spec, part: StudyPhase, d: int, s: np.ndarray) -> np.ndarray:
    """Times of the interpolant at times inside a phase."""
    return phase_times(spec.model, kappas(spec), d, part.name, s)


def measured_overlaps(
    spec: Spec, part: StudyPhase, networks: SoftmaxNetworks
) -> dict[str, np.ndarray]:
    """Overlaps of networks in the units of a phase, a name for each entry."""
    target, d = modes_of(spec.model), networks.d
    exponents = np.array([float(e) for e in target.exponents])
    rows = {"m": networks.u.numpy() / d ** (0.5 - exponents)}
    c = networks.c.numpy()
    if not part.window.features:
        return by_entry({"c": c, **rows})
    size = float(d) ** float(part.window.alpha_size)
    gain = d ** (0.5 - float(exponents[part.window.features[0] - 1]))
    slope, b = networks.slope.numpy() * size, networks.b.numpy()
    rows |= {"omega": slope - slope.mean(1, keepdims=True)}
    rows |= {"b": b - b.mean(1, keepdims=True)}
    return by_entry({"c_hat": c * gain * size, **rows})


def generated_shares(spec: Spec, plan: Plan, d: int, seed: int) -> Cell:
    """Shares of samples at the end of the window, by midpoint steps; what they cost."""
    fine = _generated(spec, plan, d, seed, plan.cells)
    coarse = _generated(spec, plan, d, seed, plan.cells // 2)
    found: Cell = {}
    for k, (one, other) in enumerate(zip(fine, coarse, strict=True), 1):
        found[f"sample/shares_{k}"] = np.array([one])
        found[f"step/shares_{k}"] = np.array([abs(one - other) / 3])
    return found


def _generated(spec: Spec, plan: Plan, d: int, seed: int, cells: int) -> np.ndarray:
    return carried_shares(spec, plan, d, seed, window_edges(spec, d, cells), "midpoint")


def window_edges(spec: Spec, d: int, cells: int) -> np.ndarray:
    """The ends of equal steps through the window in which the modes part."""
    part = next(x for x in phases(spec.model) if x.window.features)
    return _taus(spec, part, d, np.linspace(0, 1, cells + 1))


def carried_shares(
    spec: Spec, plan: Plan, d: int, seed: int, edges: np.ndarray, rule: StepRule
) -> np.ndarray:
    r"""Train networks for the steps between `edges` and count what they generate.

    The `plan.paths` samples are counted to the nearest mean at the last edge.
    Returns the shares of the modes, (K,).
    """
    asked = edges[:-1] if rule == "left" else (edges[1:] + edges[:-1]) / 2
    networks = _trained(spec, plan, d, asked, seed, SAMPLING_DRAWS)
    found = coefficients(spec.model.interpolant, asked, d)
    target = modes_of(spec.model)
    exponents = np.array([float(e) for e in target.exponents])
    means = torch.tensor(np.array(target.loadings, float) * d ** (0.5 - exponents))
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    start = float(coefficients(spec.model.interpolant, np.zeros(1), d).alpha[0])
    shape = (plan.paths, means.shape[1])
    y = start * torch.randn(shape, generator=generator, dtype=torch.float64)
    for i, step in enumerate(np.diff(edges)):
        rate, drive = found.gamma[i], found.zeta[i]

        def speed(x: torch.Tensor, i: int = i, rate=rate, drive=drive) -> torch.Tensor:
            skip = rate + drive * networks.c[i]
            return skip * x + drive * networks.denoised(i, x)

        y = y + step * speed(y if rule == "left" else y + step / 2 * speed(y))
    near = torch.cdist(y, _beta(spec, edges[-1], d) * means).argmin(1)
    return torch.bincount(near, minlength=len(means)).numpy() / plan.paths


def _beta(spec: Spec, tau: float, d: int) -> float:
    """The size of the data at a time, which may be the last."""
    last = np.array([min(tau, LAST)])
    return float(coefficients(spec.model.interpolant, last, d).beta[0])
