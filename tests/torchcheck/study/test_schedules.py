"""The published experiment at reduced size, its ridges, and the undilated schedule."""

import json
import sys
from pathlib import Path

import dilaton
import numpy as np
import pytest
import torch
from dilaton.face import cli
from dilaton.torchcheck.networks.train import train
from dilaton.torchcheck.networks.training_set import draw_training_set
from dilaton.torchcheck.study import schedules
from dilaton.torchcheck.study.schedules import (
    Experiment,
    Schedule,
    Training,
    compare_schedules,
    run_schedule,
)

from ...cases import only
from ...oracles import two_mode_minimum

FILE = Path(dilaton.theory.models.__file__).with_name("published.toml")
SPEC = dilaton.load_spec(FILE)
SMALL = SPEC.replace(n=16, n_plus=13, ridge_u=0.2, ridge_w=0.2)

DECAY = 1e-5  # the published weight decay
SAMPLED = ("kappa", "n", "n_plus", "sigma", "ridge_u", "ridge_w")
SIGMAS = 5.0  # standard errors of a generated share
LIKE_SCIPY = 1e-4  # BFGS stops where its differences are rounding


def ridge_from_weight_decay(decay, *, d, times, samples=1):
    r"""The ridge that a weight decay in the optimiser means.

    An optimiser with weight decay $l$ minimises its loss plus $\frac l2(|u|^2+|w|^2)$.
    Where its loss is the squared error averaged over d coordinates and T times, the
    squared error of one time, summed, meets l d T/2, and n times as much where the loss
    is averaged over n samples too.
    """
    return decay * d * times * samples / 2


def test_the_spec_is_the_published_experiment():
    ridge = ridge_from_weight_decay(DECAY, d=Experiment.d, times=Experiment.times)
    assert SPEC.values == {
        "p": 0.8,
        "sigma": 1.0,
        "kappa": 2.0,
        "n": 128,
        "n_plus": 102,
        "ridge_u": ridge,
        "ridge_w": ridge,
    }


@pytest.mark.parametrize(
    "averaged", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_weight_decay_is_this_ridge(averaged):
    """At our minimum the gradient of the optimiser's own objective vanishes."""
    n, d, times, decay = 6, 40, np.array([0.1, 0.3]), 0.004
    ridge = ridge_from_weight_decay(
        decay, d=d, times=len(times), samples=n if averaged else 1
    )
    values = {"sigma": 1.0, "n": n, "n_plus": 4, "ridge_u": ridge, "ridge_w": ridge}
    model = SPEC.model
    data = draw_training_set(model, values, d, 0, embedding="full")
    found = train(model, values, times, d, 0, data=data).network
    u, w = (x.clone().requires_grad_() for x in (found.u[:, 0], found.w[:, 0]))
    g = torch.Generator().manual_seed(0)
    gradients = []
    for _ in range(40):
        x0 = torch.randn(2, 2000, n, d, generator=g, dtype=torch.float64)
        tau = torch.from_numpy(times)[:, None, None, None]
        x = (1 - tau) * x0 + tau * data.x1
        field = torch.einsum("tk,tank->tan", w, x) / d**0.5 + found.b[:, :, None]
        phi = torch.tanh(field)[..., None]
        f = found.c[:, None, None, None] * x + phi * u[:, None, None, :]
        error = ((data.x1 - f) ** 2).mean((0, 1, 3))
        loss = error.mean() if averaged else error.sum()
        gradients.append(torch.stack(torch.autograd.grad(loss, (u, w))))
    mean = torch.stack(gradients).mean(0)
    noise = torch.stack(gradients).std(0) / 40**0.5
    weights = torch.stack([found.u[:, 0], found.w[:, 0]])
    total = mean + decay * weights
    # 160 components, each within five standard errors of zero
    assert ((total / noise).abs() < 5).all()
    wrong = mean + 2 * decay * weights
    assert ((wrong / noise).abs() > 5).any()


def called(words, monkeypatch, capsys):
    """What a command prints, run in this process."""
    monkeypatch.setattr(sys, "argv", ["dilaton", *map(str, words)])
    monkeypatch.setattr("warnings.showwarning", None)  # put back afterwards
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    return capsys.readouterr().out


def test_reduced_experiment_follows_its_limit(tmp_path, monkeypatch, capsys):
    """By its command, which does the work once for both of its forms."""
    monkeypatch.setattr("dilaton.show.plots.save", only("png"))
    (tmp_path / "my.toml").write_text(SMALL.text)
    words = ["schedules", tmp_path / "my.toml", "-o", tmp_path, "--d", 2000]
    words += ["--times", 16, "--dims", "100,200", "--paths", 2000]
    made = []

    def noted(*given):
        made.append(real(*given))
        return made[0]

    real = schedules.write_experiment
    monkeypatch.setattr(schedules, "write_experiment", noted)
    said = called(words, monkeypatch, capsys)
    assert said.startswith("In the limit: share_plus 0.")
    monkeypatch.setattr(schedules, "write_experiment", lambda *_: made[0])
    (answer,), said = made, called([*words, "--json"], monkeypatch, capsys)
    stored = json.loads((tmp_path / "published.json").read_text())
    assert json.loads(said) == stored
    assert [row["d"] for row in stored["schedules"]] == 4 * [100] + 4 * [200]
    assert stored["experiment"]["times"] == 16
    assert stored["experiment"]["d"] == 2000
    assert stored["settings"]["method"] == "averaged"
    for stem in ("shares", "overlaps"):
        assert (tmp_path / f"{stem}.png").stat().st_size > 1000
    late = slice(3, 8)  # the window's later half, where the finite branch is settled
    for name in ("m", "omega", "b"):
        gap = answer["overlaps"][name][late] - answer["curves"][name][late]
        # 2/sqrt(d) is the size of the next order at this dimension
        assert np.abs(gap).max() < 4 / 2000**0.5, name
    made, limit = answer["experiment"], answer["limit"]
    gap = abs(made["share_plus"] - limit["share_plus"])
    assert gap < SIGMAS * made["stderr"]
    assert limit["mode_mean"] == pytest.approx(16 / 16.2, abs=1e-6)
    assert limit["bulk_variance"] == pytest.approx(15.4 / 16.2, abs=1e-6)
    values = {name: SMALL.values[name] for name in SAMPLED}
    for i in range(3, 8):
        x, _ = two_mode_minimum((i + 0.5) / 8, values, (1.0, 0.6))
        found = [answer["curves"][name][i] for name in ("omega", "b")]
        assert found == pytest.approx(x, abs=LIKE_SCIPY)


def test_the_share_is_lost_without_the_dilation():
    found = compare_schedules(SMALL, (400, 400_000), 24, paths=3000, seed=1)
    read = {"dilated": "share_plus", "undilated": "final_share_plus"}
    rows = {
        (row["schedule"], row["rule"], row["d"]): row[read[row["schedule"]]]
        for row in found
    }
    assert rows["undilated", "left", 400_000] > 0.995
    assert rows["undilated", "left", 400] < 0.97
    for d in (400, 400_000):
        for rule in ("left", "midpoint"):
            assert abs(rows["dilated", rule, d] - 13 / 16) < 0.05
    lost = abs(rows["undilated", "midpoint", 400_000] - 13 / 16)
    assert lost > abs(rows["undilated", "midpoint", 400] - 13 / 16)
    assert lost > 0.08


def test_sampled_training_runs_the_same_experiment():
    schedule = Schedule(True, "midpoint", 4)
    made = run_schedule(SMALL, 200, schedule, 100, 0, Training("sampled", 5))
    assert made.trained.data.full
    assert made.rows[0]["gradient_norm"] > 1e-3  # five steps: said, not hidden
