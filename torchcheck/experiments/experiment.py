"""The experiment: find a feature's window, then train there and train uniformly.

From scratch, at equal budgets and with equal seeds, networks are trained at uniform
times and at times concentrated in the window; what is compared is the distance between
the share of the classes that they generate and the share in their training set.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...errors import StoreError
from ...files import at_home, code_digest, write_atomic
from .settings import MAIN_ARMS, ExperimentSettings, times_of_arm
from .subjects import make_subject

FORMAT = 1
LEVEL = 0.05
"""A difference is seen when the paired p is below, and the interval excludes 1."""
ENOUGH = 10
"""Seeds below which a verdict is called an indication."""


@dataclass(frozen=True)
class Folder:
    """Finished parts of one experiment; each a JSON file with its checksum.

    It is not the chunk store of a sweep: a part has a name and nested rows in place of
    a number and arrays, and people read the files. Both are written by `write_atomic`.
    """

    root: Path

    def open(self, plan: ExperimentSettings) -> Folder:
        """Create the folder, or continue in it.

        Raises `StoreError` when it holds another experiment or other files.
        """
        code = code_digest("torchcheck.experiments", "torchcheck.real_data")
        about = {"format": FORMAT, "dilaton": __version__, "sources": code}
        text = json.dumps(about | {"plan": asdict(plan)}, indent=1)
        manifest = self.root / "plan.json"
        if manifest.exists():
            if manifest.read_bytes() != text.encode():
                raise StoreError(
                    f"`{self.root}` holds another experiment, or one of other code: "
                    "its `plan.json` differs. Choose a new folder, or repeat the same "
                    "options to continue there."
                )
        elif self.root.exists() and any(
            entry.suffix != ".tmp" for entry in self.root.iterdir()
        ):
            raise StoreError(
                f"`{self.root}` must be a new or empty folder, or one that this "
                "command began, but has other files. Choose a new one."
            )
        else:
            write_atomic(manifest, text.encode())
        return self

    def part(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return a part: read if it is there and whole, else computed and written."""
        path = self.root / "parts" / f"{name}.json"
        if path.exists():
            try:
                return _checked(path.read_text())
            except (ValueError, KeyError, TypeError):
                print(
                    f"Note: `{path}` is damaged; computing it again.", file=sys.stderr
                )
        value = json.dumps(compute())
        digest = hashlib.sha256(value.encode()).hexdigest()
        write_atomic(path, f'{{"sha256": "{digest}", "value": {value}}}'.encode())
        return json.loads(value)


def _checked(text: str) -> Any:
    """The value of a part's file; `ValueError` if its checksum differs."""
    held = json.loads(text)
    found = hashlib.sha256(json.dumps(held["value"]).encode()).hexdigest()
    if held["sha256"] != found:
        raise ValueError("checksum")
    return held["value"]


# ---------------------------------------------------------------- the verdict


def compare_errors(
    uniform: Sequence[float], window: Sequence[float], *, draws: int = 4000
) -> dict[str, Any]:
    """Compare errors at equal seeds: factor, its interval, a paired test, a verdict.

    The factor is mean over mean; its 95 % interval is by bootstrap over the seeds,
    pairs kept; the test is Wilcoxon's signed-rank test on the differences.
    """
    from scipy.stats import wilcoxon

    u, w = np.asarray(uniform, float), np.asarray(window, float)
    chosen = np.random.default_rng(0).integers(len(u), size=(draws, len(u)))
    ratios = u[chosen].mean(1) / np.maximum(w[chosen].mean(1), 1e-12)
    factor = float(u.mean() / max(w.mean(), 1e-12))
    lo, hi = (float(x) for x in np.percentile(ratios, [2.5, 97.5]))
    p_value = 1.0 if (u == w).all() else float(wilcoxon(u, w).pvalue)
    return {
        "factor": factor,
        "factor_interval": [lo, hi],
        "p_value": p_value,
        "verdict": _verdict(factor, lo, hi, p_value, len(u)),
    }


def _verdict(factor: float, lo: float, hi: float, p_value: float, seeds: int) -> str:
    detail = (
        f"factor {factor:.2g}, 95 % interval {lo:.2g} to {hi:.2g}, paired p = "
        f"{p_value:.2g}, {seeds} seeds"
    )
    if p_value >= LEVEL or lo <= 1 <= hi:
        said = "No difference seen between window and uniform training"
    elif lo > 1:
        said = "Training in the window brings the class share closer"
    else:
        said = "Training in the window brings the class share farther away"
    few = "; an indication only, below 10 seeds" if seeds < ENOUGH else ""
    return f"{said} ({detail}{few})."


def run_experiment(
    plan: ExperimentSettings, out: str | Path, *, progress: bool = False
) -> dict[str, Any]:
    """Run or continue the experiment in folder `out` and return all its numbers.

    These are ``window``, ``window_interval``, ``curve`` (t, changed, stderr, by class),
    ``share_error`` (uniform, window; one for each seed at the verdict's budget),
    ``factor``, ``factor_interval``, ``p_value``, ``verdict``, ``budgets`` (the same at
    each budget), ``runs`` (every row), ``plan``.

    Raises `StoreError` when `out` holds something else or cannot be written.
    """
    from tqdm import tqdm

    folder, jobs = Folder(at_home(out)), _jobs(plan)
    with tqdm(unit="step", disable=not progress) as bar:
        subject = make_subject(plan, bar.update)
        subject.prepare()
        folder.open(plan)
        sizes = [plan.pilot_steps, *(subject.steps for _ in jobs)]
        bar.reset(sum(sizes))
        ends = iter(np.cumsum(sizes).tolist())

        def part(name: str, compute: Callable[[], Any]) -> Any:
            bar.set_description(name)
            value = folder.part(name, compute)
            bar.update(next(ends) - bar.n)
            return value

        found = part("window", subject.find)
        windows = _windows(plan, found)
        times = {arm: times_of_arm(arm, windows, plan.mass) for arm in plan.arms}
        runs: dict[str, list[Any]] = {arm: [] for arm in plan.arms}
        for seed, arm in jobs:
            compute = partial(subject.assess, times[arm], seed)
            rows = part(f"{arm.replace(':', '_')}-{seed}", compute)
            runs[arm].append({"seed": seed, "rows": rows})
    return found | _summary(plan, runs)


def _windows(
    plan: ExperimentSettings, found: dict[str, Any]
) -> dict[str, tuple[float, float]]:
    """The windows that an arm may name: of the U-turns, and of the class posterior."""
    lo, hi = found["window"]
    windows = {"window": (lo * (not plan.from_noise), hi)}
    if "posterior" in found:
        windows["posterior"] = (found["posterior"]["lo"], found["posterior"]["hi"])
    return windows


def _jobs(plan: ExperimentSettings) -> list[tuple[int, str]]:
    """The main arms of every seed first, then the others at a few seeds."""
    rest = plan.arms[len(MAIN_ARMS) :]
    few = plan.seeds[: plan.few or None]
    return [*itertools.product(plan.seeds, MAIN_ARMS), *itertools.product(few, rest)]


def _summary(plan: ExperimentSettings, runs: dict[str, list[Any]]) -> dict[str, Any]:
    table = []
    for budget in plan.budgets:
        errors = {arm: _errors(runs[arm], budget) for arm in plan.arms}
        row = {"budget": budget, "share_error": errors}
        row |= compare_errors(errors["uniform"], errors["window"])
        table.append(row | {"arms": _against_uniform(errors)})
    best = table[plan.budgets.index(plan.verdict_budget)]
    keys = ("share_error", "factor", "factor_interval", "p_value", "verdict", "arms")
    head = {key: best[key] for key in keys}
    return head | {"budgets": table, "runs": runs, "plan": asdict(plan)}


def _against_uniform(errors: dict[str, list[float]]) -> dict[str, Any]:
    """Every arm against uniform times at its own seeds; p-values by Holm's rule."""
    found = {
        arm: compare_errors(errors["uniform"][: len(own)], own)
        for arm, own in errors.items()
        if arm != "uniform"
    }
    worst = 0.0
    for rank, arm in enumerate(sorted(found, key=lambda a: found[a]["p_value"])):
        worst = max(worst, min(1.0, (len(found) - rank) * found[arm]["p_value"]))
        found[arm]["p_holm"] = worst
    return found


def _errors(runs: list[Any], budget: int) -> list[float]:
    return [
        row["share_error"]
        for run in runs
        for row in run["rows"]
        if row["budget"] == budget
    ]
