"""The time grid of a scheduler's configuration, beside the times of a training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ModelError, did_you_mean, shown
from ...files import at_home
from ...theory.grids.kept_windows import judge_grid, size_text
from ...theory.limit import Limit
from .exports import applied_shift, dynamic_mu

Finding = dict[str, Any]
"""A finding: what it is ``about``, what it ``says``, and its ``value`` or `None`."""

NUMBERS = {
    "shift": "positive",
    "flow_shift": "positive",
    "base_shift": "real",
    "max_shift": "real",
    "base_image_seq_len": "positive",
    "max_image_seq_len": "positive",
    "shift_terminal": "real",
    "num_train_timesteps": "positive",
    "logit_mean": "real",
    "logit_std": "positive",
    "mode_scale": "real",
}
SCHEMES = ("logit_normal", "mode", "none", "sigma_sqrt", "cosmap")
RATIOS = (4, 16)
LARGEST = 1_000_000  # characters of a configuration


def check_config(
    config: Mapping[str, Any],
    limit: Limit,
    train: Mapping[str, Any] | None = None,
    tokens: float | None = None,
) -> list[Finding]:
    r"""Say what shift a scheduler applies, and where it and a training disagree.

    `config` is the ``scheduler_config.json`` of a flow-matching scheduler of diffusers,
    or of a multistep one that has ``use_flow_sigmas`` and ``flow_shift``. Sampling and
    training are compared in the windows of `limit`. `train` has the training's
    ``weighting_scheme``, ``logit_mean``, ``logit_std``, ``mode_scale`` and ``shift``,
    as diffusers' training scripts name them; a dynamic shift is asked for at a number
    of image `tokens`.

    Returns findings about ``shift``, ``terminal``, ``twice``, ``resolution`` and
    ``windows``, each with what it says.
    """
    _check_known(config)
    _numbers(config)
    if config.get("use_flow_sigmas") and config.get("flow_shift") is not None:
        config = {"shift": config["flow_shift"], "shifted_once": True}
    elif not str(config.get("_class_name", "FlowMatch")).startswith("FlowMatch"):
        text = f"{config['_class_name']} does not shift the noise levels of a flow."
        return [_finding("shift", text, 1.0)]
    dynamic = bool(config.get("use_dynamic_shifting"))
    found = _dynamic(config, tokens) if dynamic else _static(config)
    if last := config.get("shift_terminal"):
        text = f"The levels are stretched so that the last one before 0 is {last:g}."
        found.append(_finding("terminal", text, float(last)))
    if train is not None:
        _numbers(train)
        most = tokens or config.get("max_image_seq_len")
        mu = dynamic_mu(config, most) if dynamic and most else None
        factor = applied_shift(config, mu)
        found += _trained_twice(config, train) + _windows(config, train, factor, limit)
    return found


def _finding(about: str, says: str, value: Any = None) -> Finding:
    return {"about": about, "says": says, "value": value}


def _check_known(config: Mapping[str, Any]) -> None:
    if not {"_class_name", "use_dynamic_shifting", *NUMBERS} & set(config):
        raise ModelError(
            "A scheduler's configuration must have `_class_name`, `shift` or their "
            f"like, but has {', '.join(map(str, config))[:60] or 'nothing'}. Give the "
            "`scheduler_config.json` of a model."
        )


def _numbers(config: Mapping[str, Any]) -> None:
    for key, kind in NUMBERS.items():
        value = config.get(key)
        if value is None:
            continue
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not math.isfinite(value) or (kind == "positive" and value <= 0):
            raise ModelError(
                f"`{key}` must be a {kind} number, but is {shown(value)}. Correct the "
                "configuration."
            )


def _static(config: Mapping[str, Any]) -> list[Finding]:
    a = applied_shift(config, None)
    found = [_finding("shift", f"A static shift a = {a:g} divides beta/alpha.", a)]
    if a == 1:
        return found
    return (
        found
        + ([] if config.get("shifted_once") else [_shifted_twice(config, a)])
        + [
            _finding(
                "resolution",
                f"a = {a:g} at {n} times the tokens at which a = 1 is right goes with "
                f"r = {exponent(a, n):.3f}; at every further {n}-fold, a grows by "
                f"{a:g}.",
                exponent(a, n),
            )
            for n in RATIOS
        ]
    )


def _shifted_twice(config: Mapping[str, Any], a: float) -> Finding:
    """Say that a scheduler shifts the levels that it made shifted already."""
    total = float(config.get("num_train_timesteps") or 1000)
    once = a / total / (1 + (a - 1) / total)
    twice = a * once / (1 + (a - 1) * once)
    text = (
        "Without `sigmas`, `set_timesteps` shifts levels whose smallest one is shifted "
        f"already: 1/{total:g} becomes {once:.3g}, then {twice:.3g}. Pass `sigmas`."
    )
    return _finding("twice", text, twice)


def exponent(factor: float, ratio: float) -> float:
    r"""Return $r = 1 - 2\delta$ of $a = (m/n)^{r/2}$ for `factor` a at `ratio` m/n."""
    return 2 * math.log(factor) / math.log(ratio)


def _dynamic(config: Mapping[str, Any], tokens: float | None) -> list[Finding]:
    for key in ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift"):
        if config.get(key) is None:
            raise ModelError(
                f"A dynamic shift needs `{key}`, but the configuration lacks it. Add "
                "it, as the scheduler has it."
            )
    few, many = config["base_image_seq_len"], config["max_image_seq_len"]
    if few == many:
        raise ModelError(
            "The anchors of a dynamic shift must differ, but `base_image_seq_len` and "
            f"`max_image_seq_len` are both {few}. Correct one."
        )
    asked = dict.fromkeys([few, many] + ([] if tokens is None else [tokens]))
    found = []
    for n in asked:
        mu = dynamic_mu(config, n)
        a = applied_shift(config, mu)
        text = f"At {n:g} tokens mu = {mu:.4g}: a dynamic shift a = {a:.4g}."
        found.append(_finding("shift", text, a))
    first, last = found[0]["value"], found[1]["value"]
    if config.get("shift", 1.0) not in (None, 1, 1.0):
        text = f"The static shift {config['shift']:g} is not applied beside it."
        found.append(_finding("shift", text, float(config["shift"])))
    between, alone = exponent(last / first, many / few), exponent(last, many / few)
    text = f"Between {few:g} and {many:g} tokens the shift grows with r = {between:.3f}"
    found.append(_finding("resolution", text + ".", between))
    text = f"If a = 1 is right at {few:g} tokens, that at {many:g} has r = {alone:.3f}"
    return [*found, _finding("resolution", text + ".", alone)]


def _trained_twice(
    config: Mapping[str, Any], train: Mapping[str, Any]
) -> list[Finding]:
    own = 1.0 if config.get("use_dynamic_shifting") else applied_shift(config, None)
    more = float(train.get("shift") or 1.0)
    if own == 1 or more == 1:
        return []
    text = (
        f"Training times are shifted twice, by a = {own * more:g}: `timesteps` of the "
        f"scheduler have its {own:g} already, and the training adds {more:g}."
    )
    return [_finding("twice", text, own * more)]


def training_map(config: Mapping[str, Any], train: Mapping[str, Any]) -> str:
    """Return the map of time, as text, by which a training draws its times."""
    scheme = str(train.get("weighting_scheme", "none"))
    if scheme not in SCHEMES:
        raise ModelError(
            f"`weighting_scheme` must be one of {', '.join(SCHEMES)}, but is "
            f"{shown(scheme)}{did_you_mean(scheme, SCHEMES)}"
        )
    own = 1.0 if config.get("use_dynamic_shifting") else applied_shift(config, None)
    factor = own * float(train.get("shift") or 1.0)
    mean, spread = train.get("logit_mean", 0.0), train.get("logit_std", 1.0)
    first = {
        "logit_normal": f"logit-normal:{mean}:{spread}",
        "mode": f"mode:{train.get('mode_scale', 1.29)}",
    }.get(scheme, "uniform")
    return f"{first}+shift:{factor}"


def _windows(
    config: Mapping[str, Any], train: Mapping[str, Any], factor: float, limit: Limit
) -> list[Finding]:
    text = training_map(config, train)
    sampling, training = (judge_grid(limit, x) for x in (f"shift:{factor}", text))
    pairs = zip(sampling, training, strict=True)
    found = []
    for steps, times in pairs:
        same = steps.share == times.share
        verb = "agree" if same else "do not put their mass in the same window"
        says = (
            f"{steps.phase}: sampling (shift:{factor:.4g}) and training ({text}) "
            f"{verb}: shares {size_text(steps.share)} and {size_text(times.share)}."
        )
        found.append(_finding("windows", says, same))
    return found


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the JSON object in a file; raise `ModelError` where there is none."""
    text = at_home(path).read_text(encoding="utf-8", errors="replace")
    try:
        found = json.loads(text) if len(text) <= LARGEST else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ModelError(
            f"A configuration must be a JSON object, but `{path}` is not. Give the "
            "file that `save_pretrained` writes."
        )
    return found
