"""A scheduler's configuration: shifts, exponents, and training beside sampling."""

import json
import math

import pytest
from dilaton import Model, derive, two_modes
from dilaton.errors import ModelError
from dilaton.numerics.times.checker import (
    check_config,
    exponent,
    read_config,
    training_map,
)

LIMIT = derive(Model(two_modes()))
FLUX = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
    "shift": 3.0,
}
SD3 = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
DIGITS = 5e-4  # published to three


def about(found, word):
    return [f for f in found if f["about"] == word]


def test_published_exponents():
    assert exponent(3, 16) == pytest.approx(0.792, abs=DIGITS)
    (_, r16) = about(check_config(SD3, LIMIT), "resolution")
    assert r16["value"] == pytest.approx(0.792, abs=DIGITS)
    assert "16 times the tokens" in r16["says"]
    between, alone = about(check_config(FLUX, LIMIT), "resolution")
    assert between["value"] == pytest.approx(0.469, abs=DIGITS)
    assert alone["value"] == pytest.approx(0.830, abs=DIGITS)


def test_a_dynamic_shift_at_a_number_of_tokens():
    shifts = about(check_config(FLUX, LIMIT, tokens=1024), "shift")
    mu = 0.5 + (1024 - 256) / 3840 * 0.65
    values = [f["value"] for f in shifts]
    assert values[:3] == pytest.approx([math.exp(x) for x in (0.5, 1.15, mu)])
    assert "static shift 3 is not applied" in shifts[3]["says"]


def test_the_smallest_level_is_shifted_twice():
    (twice,) = about(check_config(SD3, LIMIT), "twice")
    once = 3e-3 / 1.002
    assert twice["value"] == pytest.approx(3 * once / (1 + 2 * once))
    pytest.importorskip("diffusers", reason="`diffusers` is not installed")
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(20)
    assert float(scheduler.sigmas[-2]) == pytest.approx(twice["value"], rel=1e-4)
    assert not about(check_config(SD3 | {"shift": 1.0}, LIMIT), "twice")


def test_training_and_sampling_are_compared_by_window():
    train = {"weighting_scheme": "logit_normal", "logit_mean": 0.0, "logit_std": 1.0}
    assert training_map(SD3, train) == "logit-normal:0.0:1.0+shift:3.0"
    weights, variance = about(check_config(SD3, LIMIT, train), "windows")
    assert weights["value"] is False
    assert "exp(-log(d)**2/8)" in weights["says"]
    assert variance["value"] is True
    same = check_config(SD3, LIMIT, {"weighting_scheme": "none"})
    assert all(f["value"] for f in about(same, "windows"))


def test_a_training_that_shifts_again():
    found = check_config(SD3, LIMIT, {"shift": 2.0})
    (_, twice) = about(found, "twice")
    assert twice["value"] == 6
    assert training_map(SD3, {"shift": 2.0}) == "uniform+shift:6.0"
    assert len(about(check_config(FLUX, LIMIT, {"shift": 2.0}), "twice")) == 0


def test_terminal_and_other_schedulers():
    (last,) = about(check_config(SD3 | {"shift_terminal": 0.02}, LIMIT), "terminal")
    assert last["value"] == 0.02
    (other,) = check_config({"_class_name": "DDPMScheduler"}, LIMIT)
    assert "does not shift" in other["says"]


def test_a_multistep_scheduler_shifts_flow_levels_once():
    config = {
        "_class_name": "UniPCMultistepScheduler",
        "use_flow_sigmas": True,
        "flow_shift": 5.0,
    }
    found = check_config(config, LIMIT)
    assert about(found, "shift")[0]["value"] == 5
    assert not about(found, "twice")
    (first, _) = about(found, "resolution")
    assert first["value"] == pytest.approx(2 * math.log(5) / math.log(4))


@pytest.mark.parametrize(
    ("config", "train", "words"),
    [
        ({"shift": "3"}, None, "`shift` must be a positive number, but is '3'"),
        ({"shift": -1}, None, "must be a positive number"),
        ({"use_dynamic_shifting": True}, None, "needs `base_image_seq_len`"),
        (FLUX | {"max_image_seq_len": 256}, None, "must differ"),
        ({"a": 1}, None, "must have `_class_name`, `shift` or their like, but has a"),
        (SD3, {"weighting_scheme": "logit_norml"}, "did you mean `logit_normal`"),
        (SD3, {"logit_std": 0}, "`logit_std` must be a positive"),
        (SD3, {"weighting_scheme": "mode", "mode_scale": 5}, "between -1 and"),
    ],
)
def test_what_is_no_configuration_is_refused(config, train, words):
    with pytest.raises(ModelError, match=words):
        check_config(config, LIMIT, train)


def test_a_file_that_is_no_object_is_refused(tmp_path):
    path = tmp_path / "scheduler_config.json"
    path.write_text("[1]")
    with pytest.raises(ModelError, match="must be a JSON object"):
        read_config(path)
    path.write_text(json.dumps(SD3))
    assert read_config(path) == SD3


def test_a_number_of_tokens_is_spoken_of_once():
    shifts = about(check_config(FLUX, LIMIT, tokens=4096), "shift")
    assert len({x["says"] for x in shifts}) == len(shifts)
