r"""The published experiment, and the same without the dilation.

``python -m dilaton.torchcheck.study.schedules -o published/`` trains the networks of
``published.toml`` at full size, d = 5000 with 80 times, lays their overlaps over the
limit, generates samples, and repeats all of it with equally many undilated steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ModelError
from ..networks.grid import Grid, Rule, dilated_grid, uniform_grid
from ..networks.network import measure
from ..networks.sample import Samples, sample
from ..networks.train import Method, Trained, train
from .compare import versions

if TYPE_CHECKING:
    from ...theory.models.spec import Spec

D, TIMES, DECAY = 5000, 80, 1e-5
"""Dimension, number of times and weight decay of the published experiment."""


def ridge_from_weight_decay(
    decay: float, *, d: int, times: int, samples: int = 1
) -> float:
    r"""The ridge that a weight decay in the optimiser means.

    An optimiser with weight decay $l$ minimises its loss plus $\frac l2(|u|^2+|w|^2)$.
    Where its loss is the squared error averaged over d coordinates and T times, the
    squared error of one time, summed, meets

    $$\lambda = \ell = \tfrac12\, l\, d\, T, \tag{N3}$$

    and n times as much where the loss is averaged over n samples too.

    Parameters
    ----------
    decay
        $l$, as given to the optimiser (coupled, as in Adam; AdamW decays otherwise).
    d, times
        Numbers of coordinates and of times that the optimiser's loss averages over.
    samples
        Number of samples that it averages over; 1 if it sums over them.
    """
    if not (decay >= 0 and d >= 1 and times >= 1 and samples >= 1):
        raise ModelError(
            "A weight decay must not be negative and sizes must be positive, but they "
            f"are decay = {decay}, d = {d}, times = {times}, samples = {samples}. "
            "Change them."
        )
    return decay * d * times * samples / 2


@dataclass(frozen=True)
class Outcome:
    """One schedule: networks trained on `grid`, what they measure and generate."""

    schedule: str
    grid: Grid
    trained: Trained
    overlaps: dict[str, np.ndarray]
    samples: Samples

    @property
    def row(self) -> dict[str, Any]:
        """What a table or the figure `plots.shares` needs."""
        made = self.samples
        dilated = self.schedule == "dilated"
        share = made.share_plus if dilated else made.final_share_plus
        return {
            "schedule": self.schedule,
            "rule": self.grid.rule,
            "d": self.trained.network.d,
            "times": len(self.grid.times),
            "share_plus": share,
            "stderr": (share * (1 - share) / made.nu.shape[1]) ** 0.5,
            "final_share_plus": made.final_share_plus,
            "mode_mean": made.mode_mean,
            "bulk_variance": made.bulk_variance,
            "gradient_norm": float(self.trained.gradient_norm.max()),
            "seconds": self.trained.seconds,
        }


def run_schedule(
    spec: Spec,
    d: int,
    times: int,
    *,
    dilated: bool,
    rule: Rule,
    paths: int,
    seed: int,
    method: Method = "averaged",
    steps: int = 2000,
    device: str = "cpu",
) -> Outcome:
    """Train at `times` times of one schedule, measure, and generate `paths` samples.

    Parameters
    ----------
    spec
        The experiment; its ridges are used as they are.
    d, times
        Dimension, and number of times (networks).
    dilated
        Whether half of the times lie in the window, or all are equally spaced.
    rule
        ``"left"`` or ``"midpoint"``.
    paths, seed
        Number of generated samples; seed of every random number.
    method, steps
        How to train, see `train`; `steps` is the number of Adam's steps if sampled.
    """
    if dilated:
        grid = dilated_grid(spec.model, spec.values, d, times, rule)
    else:
        grid = uniform_grid(times, rule)
    trained = train(
        spec.model,
        spec.values,
        grid.times,
        d,
        seed,
        method=method,
        steps=steps,
        device=device,
    )
    made = sample(trained, grid, paths, seed)
    overlaps = measure(trained.network, trained.data)
    name = "dilated" if dilated else "undilated"
    return Outcome(name, grid, trained, overlaps, made)


def compare_schedules(
    spec: Spec,
    dims: Sequence[int],
    times: int,
    *,
    paths: int,
    seed: int,
    progress: Callable[[Any], Any] = iter,
) -> list[dict[str, Any]]:
    """Share of the + mode against d with equally many steps of either schedule.

    Undilated, Euler's rule sends everything to the heavier mode as d grows and the
    midpoint rule forgets p; with the dilation both keep it.
    """
    jobs = [
        (d, dilated, rule)
        for d in dims
        for dilated in (True, False)
        for rule in ("left", "midpoint")
    ]
    return [
        run_schedule(
            spec, d, times, dilated=dilated, rule=rule, paths=paths, seed=seed
        ).row
        for d, dilated, rule in progress(jobs)
    ]


def write_experiment(
    spec: Spec,
    output: Path,
    *,
    d: int = D,
    times: int = TIMES,
    dims: Sequence[int] = (500, 5000, 50_000, 500_000),
    paths: int = 20_000,
    seed: int = 0,
    method: Method = "averaged",
    steps: int = 2000,
    device: str = "cpu",
    progress: Callable[[Any], Any] = iter,
) -> dict[str, Any]:
    """Run the experiment and write ``published.json`` and its figures to `output`.

    Returns what the JSON holds: one row for the experiment itself, the rows of both
    schedules against d, and every overlap beside its limit.
    """
    from ...files import write_atomic
    from ...show import plots
    from ...show.answers import plain

    made = run_schedule(
        spec,
        d,
        times,
        dilated=True,
        rule="midpoint",
        paths=paths,
        seed=seed,
        method=method,
        steps=steps,
        device=device,
    )
    limit, curves = _limit(spec, made.grid)
    rows = compare_schedules(
        spec, dims, times, paths=paths, seed=seed, progress=progress
    )
    answer = {
        "spec": spec.text,
        "versions": versions(),
        "settings": made.trained.settings,
        "seed": seed,
        "experiment": made.row,
        "limit": limit,
        "times": made.grid.times,
        "overlaps": made.overlaps,
        "curves": curves,
        "schedules": rows,
    }
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain(answer), indent=1, allow_nan=False)
    write_atomic(output / "published.json", text.encode())
    levels = {
        "target": spec.values["p"],
        "limit": limit["share_plus"],
        "samples": spec.values["n_plus"] / spec.values["n"],
    }
    plots.save(plots.shares(rows, levels), output / "shares")
    plots.save(_overlap_figure(made, curves), output / "overlaps")
    return answer


def _limit(spec: Spec, grid: Grid) -> tuple[dict[str, float], dict[str, Any]]:
    """The limit's samples, and its overlaps at the grid's midpoints."""
    from ...numerics.solve import solve
    from ...theory.derive import derive

    each = grid.bounds[0]
    s = (np.arange(each) + 0.5) / each
    found = solve(derive(spec.model), s=s, rtol=1e-9, atol=1e-11, **spec.values)
    names = ("share_plus", "mode_mean", "bulk_variance")
    curves = {
        str(name): x.values for name, x in found.data_vars.items() if x.dims == ("t",)
    }
    return {name: float(found[name]) for name in names}, curves


def _overlap_figure(made: Outcome, curves: dict[str, Any]) -> Any:
    from ...show import plots
    from ...theory.symbols.notation import TABLE

    t = ((np.arange(len(made.grid.times)) + 0.5) / len(made.grid.times)).tolist()
    names = [x for x in made.overlaps if x in curves and np.isfinite(curves[x]).any()]
    d = made.trained.network.d
    dots = [
        {"quantity": name, "d": d, "t": when, "mean": value, "stderr": 0.0}
        for name in names
        for when, value in zip(t, made.overlaps[name].tolist(), strict=True)
        if abs(value) < 15  # a larger bias has gone to infinity
    ]
    lines = {name: (t, curves[name]) for name in names}
    titles = {name: f"${TABLE[name].latex}$" for name in names}
    return plots.overlaps(lines, {}, dots, titles, [0.5])


def main() -> None:
    """Run the experiment from the command line."""
    import argparse

    from tqdm import tqdm

    from ...errors import DilatonError
    from ...theory.models.spec import published_spec

    parser = argparse.ArgumentParser(
        prog="python -m dilaton.torchcheck.study.schedules"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("published"))
    parser.add_argument("--d", type=int, default=D)
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--method", choices=("averaged", "sampled"), default="averaged")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    spec = published_spec()
    try:
        answer = write_experiment(
            spec,
            given.output,
            d=given.d,
            times=given.times,
            method=given.method,
            steps=given.steps,
            seed=given.seed,
            device=given.device,
            progress=lambda jobs: tqdm(jobs, disable=None),
        )
    except DilatonError as error:
        parser.exit(2, f"{error}\n")
    print(json.dumps(answer["experiment"], indent=1))


if __name__ == "__main__":
    main()
