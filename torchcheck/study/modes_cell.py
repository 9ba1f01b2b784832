r"""One cell of a convergence study of modes: softmax networks, trained and measured.

Quantities are ``m_k_j``, ``omega_k_j``, ``b_k`` (the last two less their mean over the
units), `c_hat` or `c`, and ``shares_k`` of generated samples.
"""

from __future__ import annotations

import numpy as np
import torch

from ...numerics.modes.evaluate import by_entry
from ...theory.models.spec import Spec
from ..networks.softmax import SoftmaxNetworks, draw, modes_of, train_softmax
from ..networks.step_grid import StepRule, coefficients, phase_times
from .cells import Trial, kappas
from .plan import StudyPhase, phases

Cell = dict[str, np.ndarray]
LAST = 1 - 1e-12  # the velocity has no value at the end itself
SAMPLING_DRAWS = 2**12  # for networks that generate samples: counts have errors too
DRAWS = 2**15  # of the noise: what is sampled of an overlap is then about 1e-4


def modes_cell(trial: Trial, draws: int) -> Cell:
    """Train at the plan's times of every phase and measure; generate samples."""
    cell, norms = {}, []
    for part in phases(trial.spec.model):
        taus = trial.taus(part)
        if not taus.size:
            continue
        networks = _trained(trial, taus, draws)
        norms.append(networks.gradient_norm)
        for name, values in measured_overlaps(trial.spec, part, networks).items():
            cell[f"{part.name}/{name}"] = values
    cell["gradient_norm"] = np.concatenate(norms)
    if trial.plan.paths:
        cell |= generated_shares(trial)
    return cell


def _trained(trial: Trial, taus: np.ndarray, draws: int) -> SoftmaxNetworks:
    spec, plan = trial.spec, trial.plan
    data = draw(spec.model, spec.values, trial.d, taus, trial.seed, draws)
    most = plan.max_iterations
    return train_softmax(
        data, trial.seed, tolerance=plan.tolerance, max_iterations=most
    )


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


def generated_shares(trial: Trial) -> Cell:
    """Shares of samples at the end of the window, by midpoint steps; what they cost."""
    cells = trial.plan.cells
    fine, coarse = (
        carried_shares(trial, window_edges(trial, count), "midpoint")
        for count in (cells, cells // 2)
    )
    found: Cell = {}
    for k, (one, other) in enumerate(zip(fine, coarse, strict=True), 1):
        found[f"sample/shares_{k}"] = np.array([one])
        found[f"step/shares_{k}"] = np.array([abs(one - other) / 3])
    return found


def window_edges(trial: Trial, cells: int) -> np.ndarray:
    """The ends of equal steps through the window in which the modes part."""
    spec = trial.spec
    name = next(x.name for x in phases(spec.model) if x.window.features)
    s = np.linspace(0, 1, cells + 1)
    return phase_times(spec.model, kappas(spec), trial.d, name, s)


def carried_shares(trial: Trial, edges: np.ndarray, rule: StepRule) -> np.ndarray:
    r"""Train networks for the steps between `edges` and count what they generate.

    The `plan.paths` samples are counted to the nearest mean at the last edge.
    Returns the shares of the modes, (K,).
    """
    spec, d = trial.spec, trial.d
    asked = edges[:-1] if rule == "left" else (edges[1:] + edges[:-1]) / 2
    networks = _trained(trial, asked, SAMPLING_DRAWS)
    found = coefficients(spec.model.interpolant, asked, d)
    target = modes_of(spec.model)
    exponents = np.array([float(e) for e in target.exponents])
    means = torch.tensor(np.array(target.loadings, float) * d ** (0.5 - exponents))
    generator = torch.Generator().manual_seed(trial.seed + 1_000_003)
    both = np.array([0.0, min(edges[-1], LAST)])
    ends = coefficients(spec.model.interpolant, both, d)
    shape = (trial.plan.paths, means.shape[1])
    y = ends.alpha[0] * torch.randn(shape, generator=generator, dtype=torch.float64)
    for i, step in enumerate(np.diff(edges)):

        def speed(x: torch.Tensor, i: int = i) -> torch.Tensor:
            skip = found.gamma[i] + found.zeta[i] * networks.c[i]
            return skip * x + found.zeta[i] * networks.denoised(i, x)

        y = y + step * speed(y if rule == "left" else y + step / 2 * speed(y))
    near = torch.cdist(y, ends.beta[1] * means).argmin(1)
    return torch.bincount(near, minlength=len(means)).numpy() / trial.plan.paths
