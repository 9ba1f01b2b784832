"""Softmax networks at finite d against the limit of modes."""

import numpy as np
import pytest
import torch
from dilaton.errors import DerivationError, ModelError, StoreError
from dilaton.show import plots
from dilaton.theory.models.spec import parse_spec
from dilaton.torchcheck.networks.softmax import draw, modes_of, readout, train_softmax
from dilaton.torchcheck.study import modes_cell
from dilaton.torchcheck.study.cells import Trial
from dilaton.torchcheck.study.compare import compare
from dilaton.torchcheck.study.converge import converge, limit_curves, train_cells
from dilaton.torchcheck.study.plan import Plan

from ...cases import THREE_MODES

THREE = parse_spec(THREE_MODES)
TOLERANCE = 1e-8


def trained(d, tau, seed=0):
    data = draw(THREE.model, THREE.values, d, np.array([tau]), seed, 2**12)
    made = train_softmax(data, seed, tolerance=TOLERANCE, max_iterations=500)
    return data, made


def test_the_best_network_is_the_bayes_denoiser_of_its_dimension():
    """At d = 1000 the exact coefficients, not the limit's: up to the sampled noise."""
    d, tau = 1000, 2 / 1000**0.5
    _, made = trained(d, tau)
    assert made.gradient_norm.max() <= TOLERANCE
    spread = (1 - tau) ** 2 + tau**2
    kept = (1 - tau) ** 2 / spread
    noise = 0.02  # 4096 draws of scrambled Sobol points, a few standard deviations
    assert np.abs(made.u[0].numpy() / d**0.5 - kept * np.eye(3)).max() < noise
    slope = made.slope[0].numpy()
    wanted = tau * d**0.5 / spread * (np.eye(3) - 1 / 3)
    assert np.abs(slope - slope.mean(0) - wanted).max() < 5 * noise
    b = made.b[0].numpy()
    log = np.log([0.5, 0.3, 0.2])
    assert np.abs(b - b.mean() - log + log.mean()).max() < 5 * noise
    assert abs(float(made.c[0]) - tau / spread) < noise / d**0.5


def test_a_correction_that_no_study_of_modes_has_is_refused():
    rule = "shows no correction, for none is predicted, but `correction` is False"
    with pytest.raises(ModelError, match=rule):
        converge(THREE, [200, 400, 800], 2, correction=False)


def test_the_readout_is_the_minimum_of_the_loss_written_out():
    """Loss of sampled rows in plain torch: no (c, u) near the found one is lower."""
    d = 50
    data = draw(THREE.model, THREE.values, d, np.array([0.2]), 3, 2**8)
    generator = torch.Generator().manual_seed(1)
    slope = torch.randn((1, 3, 3), generator=generator, dtype=torch.float64)
    b = torch.randn((1, 3), generator=generator, dtype=torch.float64)
    c, u, loss = readout(data, slope, b)

    def written(c, u):
        field = data.y[0] @ slope[0].T + b[0]
        rest = data.target[0] - c * data.y[0] - torch.softmax(field, -1) @ u
        mean = (data.p[:, None] * (rest**2).sum(-1)).sum() / data.y.shape[2]
        alpha, beta = data.alpha[0], data.beta[0]
        bulk = (1 - c * beta) ** 2 + c**2 * alpha**2
        return mean / d + (1 - 3 / d) * bulk

    low = written(c[0], u[0])
    assert abs(low - loss[0]) < 1e-12
    for change in (1e-3, -1e-3):
        assert written(c[0] + change, u[0]) > low
        assert written(c[0], u[0] + change) > low


def test_units_are_matched_to_modes():
    _, made = trained(300, 1.5 / 300**0.5, seed=4)
    far = np.abs(made.u[0].numpy() / 300**0.5 - np.eye(3))
    assert far.max() < 0.35


PLAN = Plan((300, 1000, 3000), 3, times=(1.0,), paths=0, tolerance=TOLERANCE)


@pytest.fixture(scope="module")
def cells():
    return train_cells(THREE, PLAN, draws=2**12)


def test_a_quick_study_of_three_modes(cells):
    """Errors of what has a d^(-1/2) correction fall so; no limit is contradicted."""
    study = compare(PLAN, THREE, limit_curves(THREE, PLAN), cells)
    assert study.gradient_norm <= 10 * TOLERANCE
    assert study.verdict in ("consistent", "undecided")
    fits = {(x["phase"], x["quantity"]): x for x in study.fits}
    for name in ("c_hat", "omega_1_1", "omega_3_3"):
        assert -0.75 < fits["weights", name]["slope"] < -0.35
    assert fits["weights", "c_hat"]["verdict"] == "consistent"


def test_the_bulk_is_measured_at_its_own_time():
    """Where tau = O(1) a population's networks are the limit's at any d: tau = s."""
    plan = Plan((100, 200, 300), 3, times=(0.5, 0.75), paths=0, tolerance=TOLERANCE)
    cell = modes_cell.modes_cell(Trial(THREE, plan, 100, 0), 2**8)
    limit = limit_curves(THREE, plan)["variance"]
    for name in ("c", "m_1_1"):  # up to modes 10 widths apart
        np.testing.assert_allclose(cell[f"variance/{name}"], limit[name], rtol=1e-5)
        assert abs(np.diff(limit[name])) > 0.1


def test_a_wrong_limit_is_called_inconsistent(cells):
    """Ten per cent in the skip: the named oracle has teeth."""
    curves = limit_curves(THREE, PLAN)
    curves["weights"]["c_hat"] = 1.1 * curves["weights"]["c_hat"]
    assert compare(PLAN, THREE, curves, cells).verdict == "inconsistent"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_study_of_three_modes_with_six_seeds():
    """Rates of every overlap; each, ten per cent off, is inconsistent."""
    dims = (300, 1000, 3000, 10_000)
    found = converge(THREE, dims, 6, times=(0.5, 1.0), paths=0)
    assert found.verdict == "consistent"
    slopes = [
        x["slope"]
        for x in found.fits
        if x["quantity"].startswith(("omega", "c_hat")) and x["phase"] == "weights"
    ]
    assert -0.65 < np.median(slopes) < -0.35
    # ten per cent in any overlap would have been seen
    assert max(x["resolution"] for x in found.fits) < 0.1


def test_other_targets_are_refused(tmp_path):
    text = THREE_MODES.replace("[[1, 0, 0], [0, 1, 0]", "[[1, 0, 1], [1, 0, -1]")
    tree = parse_spec(
        text.replace("exponents = [0, 0, 0]", 'exponents = [0, 0, "1/4"]')
    )
    with pytest.raises(DerivationError, match="modes that part in one window"):
        modes_of(tree.model)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "x").write_text("")
    with pytest.raises(StoreError, match="writes to a new folder or continues its own"):
        converge(
            THREE, (50, 70, 100), 3, times=(1.0,), paths=0, output=tmp_path / "old"
        )


def test_a_study_of_modes_goes_on_from_its_cells(tmp_path, monkeypatch):
    """The second run trains nothing; it writes the numbers and the figures."""
    asked = {"times": (1.0,), "paths": 0, "draws": 2**8, "output": tmp_path / "study"}
    with monkeypatch.context() as patch:
        patch.setattr("dilaton.torchcheck.study.converge.draw_study", lambda *_: None)
        first = converge(THREE, (50, 70, 100), 3, **asked)
    (tmp_path / "study" / "converge.json").unlink()
    monkeypatch.setattr(modes_cell, "train_softmax", None)
    monkeypatch.setattr(plots, "rendered", lambda *_: b"")
    again = converge(THREE, (50, 70, 100), 3, **asked)
    assert again.rows == first.rows
    names = {x.name for x in (tmp_path / "study").iterdir()}
    assert {"cells", "converge.json", "overlaps.png", "convergence.png"} <= names
