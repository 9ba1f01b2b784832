"""Exports, run through the packages that they are for; skipped where absent."""

import importlib.util
from itertools import pairwise

import numpy as np
import pytest
from dilaton import derive
from dilaton.errors import ModelError
from dilaton.numerics.codegen.parameters import complete
from dilaton.numerics.times import exports
from dilaton.numerics.times.time_grid import make_grid
from dilaton.theory.models.spec import parse_spec

from ...cases import POPULATION

LANDED = 1e-6  # float32 levels, which a shift magnifies
SPEC = parse_spec(POPULATION).replace(kappa=3.0)
LIMIT = derive(SPEC.model)
GRIDS = ["dilated", "log-snr", "uniform", "shift:sqrt(d)", "lipschitz"]
D, P = 1e4, 0.8


def needs(name):
    found = importlib.util.find_spec(name) is not None
    return pytest.mark.skipif(not found, reason=f"`{name}` is not installed")


def grid(text):
    return make_grid(text, LIMIT, complete(LIMIT, SPEC.values) | {"d": D})


def flow_match(**config):
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**config)


CONFIGS = [
    ({"shift": 3.0}, None),
    ({"shift": 1.0}, None),
    ({"use_dynamic_shifting": True}, 1.15),
    ({"use_dynamic_shifting": True, "time_shift_type": "linear"}, 2.5),
]


@needs("diffusers")
@pytest.mark.parametrize("text", GRIDS)
@pytest.mark.parametrize(("config", "mu"), CONFIGS)
def test_a_scheduler_steps_on_the_grid(text, config, mu):
    made, scheduler = grid(text), flow_match(**config)
    sigmas = exports.scheduler_sigmas(made, 20, scheduler.config, mu)
    scheduler.set_timesteps(sigmas=sigmas, mu=mu)
    landed = scheduler.sigmas.numpy()
    np.testing.assert_allclose(landed, 1 - made.numpy(20), atol=LANDED)
    if config.get("shift") != 1.0 and text in ("dilated", "uniform"):
        scheduler.set_timesteps(sigmas=(1 - made.numpy(20)[:-1]).tolist(), mu=mu)
        missed = np.abs(scheduler.sigmas.numpy() - (1 - made.numpy(20))).max()
        assert missed > 0.1  # what a naive export misses by


@needs("diffusers")
def test_a_terminal_level_takes_the_last_place():
    scheduler = flow_match(shift=3.0, shift_terminal=0.02)
    made = grid("dilated")
    sigmas = exports.scheduler_sigmas(made, 20, scheduler.config)
    scheduler.set_timesteps(sigmas=sigmas)
    wanted = 1 - made.numpy(20)
    wanted[-2] = 0.02
    np.testing.assert_allclose(scheduler.sigmas.numpy(), wanted, atol=LANDED)
    with pytest.raises(ModelError, match="terminal level must be below"):
        exports.scheduler_sigmas(made, 20, {"shift_terminal": 0.3})


@needs("diffusers")
def test_a_scheduler_samples_the_mixture_on_the_grid():
    """diffusers' own step, with the exact velocity: the table's numbers."""
    import torch

    scheduler, made = flow_match(shift=3.0), grid("dilated")
    scheduler.set_timesteps(sigmas=exports.scheduler_sigmas(made, 20, scheduler.config))
    x = start(1, 40_000)
    for i, t in enumerate(scheduler.timesteps):
        tau = 1 - scheduler.sigmas[i].double()
        x = scheduler.step(-velocity(x, tau), t, x).prev_sample.double()
    check(x)
    assert isinstance(x, torch.Tensor)


def start(seed, count):
    """Draws of x0: along the mean, and four directions orthogonal to it."""
    import torch

    made = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, generator=made, dtype=torch.float64)


def velocity(x, tau):
    """The exact velocity of the mixture at dimension D, sigma = 1, linear path."""
    import torch

    size, delta = D**0.5, (1 - tau) ** 2 + tau**2
    mean = torch.zeros_like(x)
    field = tau * size / delta * x[:, 0] + np.log(P / (1 - P)) / 2
    mean[:, 0] = size * torch.tanh(field)
    guess = tau / delta * (x - tau * mean) + mean
    return (guess - x) / (1 - tau)


def check(x):
    share = float((x[:, 0] > 0).double().mean())
    error = (share * (1 - share) / len(x)) ** 0.5  # .0019 at 40,000 draws
    assert abs(share - 0.817) < max(0.005, 2 * error)
    assert abs(float(x[:, 1:].std()) - 0.884) < 0.005  # its error is .0016


@needs("flow_matching")
def test_flow_matching_samples_under_the_dilated_time():
    """A velocity of the linear path, transformed: 20 equal Euler steps in t."""
    import torch
    from flow_matching.path.scheduler import CondOTScheduler, ScheduleTransformedModel
    from flow_matching.solver import ODESolver
    from flow_matching.utils import ModelWrapper

    class Exact(ModelWrapper):
        def forward(self, x, t, **extras):
            return velocity(x, t)

    made = grid("dilated")
    model = ScheduleTransformedModel(
        Exact(None), CondOTScheduler(), exports.grid_scheduler(made)
    )
    even = torch.linspace(0, 1, 21, dtype=torch.float64)
    solver = ODESolver(velocity_model=model)
    end = solver.sample(
        x_init=start(0, 40_000), step_size=None, method="euler", time_grid=even
    )
    check(end)
    plain = ODESolver(velocity_model=Exact(None)).sample(
        x_init=start(0, 40_000),
        step_size=None,
        method="euler",
        time_grid=torch.tensor(made.numpy(20)),
    )
    np.testing.assert_allclose(plain.numpy(), end.numpy(), rtol=1e-4, atol=1e-3)
    uniform = ODESolver(velocity_model=Exact(None)).sample(
        x_init=start(0, 4000), step_size=None, method="euler", time_grid=even
    )
    assert float((uniform[:, 0] > 0).double().mean()) > 0.99


@needs("flow_matching")
def test_a_grid_scheduler_inverts_its_ratio():
    import torch

    made = exports.grid_scheduler(grid("dilated"))
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    at = made(t)
    back = made.snr_inverse(at.alpha_t / at.sigma_t)
    np.testing.assert_allclose(back.numpy(), t.numpy(), atol=1e-9)


@needs("torchcfm")
def test_torchcfm_trains_at_the_grids_times():
    import torch
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    made = grid("dilated")
    t = torch.tensor(exports.draw_times(made, 1000, np.random.default_rng(0)))
    x0, x1 = start(0, 1000), start(1, 1000)
    matcher = ConditionalFlowMatcher(sigma=0.0)
    back, x, u = matcher.sample_location_and_conditional_flow(x0, x1, t=t)
    assert torch.equal(back, t)
    torch.testing.assert_close(x, t[:, None] * x1 + (1 - t[:, None]) * x0)
    torch.testing.assert_close(u, x1 - x0)
    inside = float((t < 3 / D**0.5).double().mean())
    assert abs(inside - 0.5) < 0.05  # half of the times, 3 standard errors


@needs("diffusers")
def test_ddpm_timesteps_are_taken_by_the_scheduler():
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler()
    made = grid("dilated")
    held = scheduler.alphas_cumprod.numpy()
    steps = exports.diffusion_timesteps(made, 20, held)
    scheduler.set_timesteps(timesteps=steps)
    assert scheduler.timesteps.tolist() == steps
    assert all(a > b for a, b in pairwise(steps))
    tau = made.numpy(20)[10:-1]  # the window of the weights is near the last step
    ratio = np.sqrt(held[steps[10:]] / (1 - held[steps[10:]]))
    np.testing.assert_allclose(ratio, tau / (1 - tau), rtol=0.02)


def test_levels_of_k_diffusion():
    made = grid("dilated")
    levels = exports.karras_sigmas(made, 20, 1e3)
    tau = made.numpy(20)
    np.testing.assert_allclose(levels[1:], 1 / tau[1:] - 1, rtol=1e-12)
    assert (levels[0], levels[-1]) == (1e3, 0)
    with pytest.raises(ModelError, match="above the grid's other noise levels"):
        exports.karras_sigmas(made, 20, 80.0)


def test_what_a_scheduler_would_replace_is_refused():
    with pytest.raises(ModelError, match="`use_karras_sigmas` replaces them"):
        exports.scheduler_sigmas(grid("dilated"), 20, {"use_karras_sigmas": True})
    with pytest.raises(ModelError, match="needs `mu`"):
        exports.scheduler_sigmas(grid("dilated"), 20, {"use_dynamic_shifting": True})
    with pytest.raises(ModelError, match="at most the 10 of training"):
        exports.diffusion_timesteps(grid("uniform"), 20, np.linspace(0.9, 0.1, 10))
