"""Zeros and ones of MNIST: the share that is generated, by the times of training."""

from __future__ import annotations

import base64
import itertools
import json
import sys
from pathlib import Path

import numpy as np
from dilaton.show import plots
from dilaton.torchcheck.experiments.experiment import compare_errors

DATA = Path(__file__).parents[1] / "data" / "mnist.json"
SHOWN = {
    "uniform": "uniform",
    "window": "U-turn window",
    "posterior:0.75": "posterior's window",
    "interval:0.095:0.234:0.75": "window of the pilot",
    "logit-normal:0:1": "logit-normal",
}
FEWEST = 4
"""Seeds below which an arm has no factor."""
AGAIN = "posterior:0.75"
"""The arm that was repeated on new seeds."""
STRIPS = ("uniform", "window", "posterior:0.75")


def condensed(numbers):
    """The numbers of `dilaton windows mnist --json`, without what nobody reads."""
    keep = ("share", "share_error", "frechet", "confidence")
    runs = {
        arm: [
            {
                "seed": run["seed"],
                "rows": [
                    {"budget": row["budget"], **{k: rounded(row[k]) for k in keep}}
                    for row in run["rows"]
                ],
            }
            for run in found
        ]
        for arm, found in numbers["runs"].items()
    }
    first = {arm: found[0]["rows"] for arm, found in numbers["runs"].items() if found}
    samples = {
        arm: base64.b64encode(as_bytes(row["samples"])).decode()
        for arm, rows in first.items()
        for row in rows
        if arm in STRIPS and "samples" in row
    }
    about = ("window", "window_interval", "posterior", "real_share", "plan")
    return {k: numbers[k] for k in about} | {"runs": runs, "samples": samples}


def repeated(numbers):
    """The main arms of a run on new seeds, at the step of the verdict alone."""
    made = condensed(numbers)
    judged = made["plan"]["verdict_budget"]
    for arm in set(made["runs"]) - {"uniform", AGAIN}:
        del made["runs"][arm]
    for run in itertools.chain(*made["runs"].values()):
        run["rows"] = [row for row in run["rows"] if row["budget"] == judged]
    made["plan"]["budgets"] = [judged]
    return {k: x for k, x in made.items() if k != "samples"}


def rounded(value):
    return np.round(value, 5).tolist()


def as_bytes(images):
    return np.round(127.5 * (np.clip(images, -1, 1) + 1)).astype(np.uint8).tobytes()


def load():
    return json.loads(DATA.read_text())


def values(found, arm, name, budget):
    """A number of every seed of an arm at a budget."""
    rows = [row for run in found["runs"][arm] for row in run["rows"]]
    return np.array([row[name] for row in rows if row["budget"] == budget])


def comparison(found, arm, budget):
    """An arm against uniform times at its own seeds."""
    uniform = {run["seed"]: run for run in found["runs"]["uniform"]}
    seeds = [run["seed"] for run in found["runs"][arm]]
    both = {"runs": {"uniform": [uniform[s] for s in seeds]}}
    ours = values(found, arm, "share_error", budget)
    return compare_errors(values(both, "uniform", "share_error", budget), ours)


def table(found):
    """Rows of text: an arm, its seeds, error and Frechet at each budget, its factor."""
    budgets = found["plan"]["budgets"]
    lines = []
    for arm, runs in found["runs"].items():
        cells = [f"`{arm}`", str(len(runs))]
        for budget in budgets:
            error = values(found, arm, "share_error", budget).mean()
            far = values(found, arm, "frechet", budget).mean()
            cells.append(f"{error:.4f} / {far:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def confidences(found):
    """Rows of text: the classifier's mean confidence in generated zeros and ones."""
    lines = []
    for arm, runs in found["runs"].items():
        cells = [f"`{arm}`", str(len(runs))]
        for budget in found["plan"]["budgets"]:
            zeros, ones = values(found, arm, "confidence", budget).mean(0)
            cells.append(f"{zeros:.3f} / {ones:.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def windows(found):
    """Rows of text: how a window was found, and its two ends with their intervals."""
    (lo, hi), (first, second) = found["window"], found["window_interval"]
    own = found["posterior"]
    rows = [
        ("U-turns of a trained network", lo, first, hi, second),
        (
            "the class posterior, no network",
            *(own["lo"], own["lo_interval"], own["hi"], own["hi_interval"]),
        ),
    ]
    return [
        f"| {name} | {a:.3f} [{b[0]:.3f}, {b[1]:.3f}] | {c:.3f} [{d[0]:.3f}, "
        f"{d[1]:.3f}] |"
        for name, a, b, c, d in rows
    ]


def factors(found):
    """Rows of text: an arm's factor with its interval and paired p at each budget."""
    lines = []
    for arm, runs in found["runs"].items():
        if arm == "uniform" or len(runs) < FEWEST:
            continue
        cells = [f"`{arm}`", str(len(found["runs"][arm]))]
        for budget in found["plan"]["budgets"]:
            one = comparison(found, arm, budget)
            low, high = one["factor_interval"]
            cells.append(
                f"{one['factor']:.2f} [{low:.2f}, {high:.2f}], p {one['p_value']:.2g}"
            )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def again(found):
    """Rows of text of the repetition: every seed, then means, factor and p."""
    runs, judged = found["again"]["runs"], found["again"]["plan"]["verdict_budget"]
    rows = zip(runs["uniform"], runs[AGAIN], strict=True)
    lines = [
        f"| {one['seed']} | "
        + " | ".join(
            f"{x['rows'][0]['share_error']:.4f} / {x['rows'][0]['frechet']:.2f}"
            for x in (one, two)
        )
        + " |"
        for one, two in rows
    ]
    means = (
        f"{values(found['again'], arm, 'share_error', judged).mean():.4f} / "
        f"{values(found['again'], arm, 'frechet', judged).mean():.2f}"
        for arm in ("uniform", AGAIN)
    )
    return [*lines, "| mean | " + " | ".join(means) + " |"]


def verdicts(found):
    """Rows of text: factor, interval and p of the first seeds, the new, and all."""
    budget = found["plan"]["verdict_budget"]
    errors = [
        [values(x, arm, "share_error", budget) for arm in ("uniform", AGAIN)]
        for x in (found, found["again"])
    ]
    errors.append([np.concatenate(x) for x in zip(*errors, strict=True)])
    lines = []
    for name, (uniform, ours) in zip(("first", "new", "all"), errors, strict=True):
        one = compare_errors(uniform, ours)
        low, high = one["factor_interval"]
        better = int(np.sum(ours < uniform))
        lines.append(
            f"| {name} | {len(ours)} | {better} | {one['factor']:.2f} [{low:.2f}, "
            f"{high:.2f}] | {one['p_value']:.2g} |"
        )
    return lines


def figure(quick=False):
    found = load()
    drawn, axes = plots.new_figure(2, 2, 9.4, 6.0)
    for ax, name, title in zip(
        axes[0],
        ("share_error", "frechet"),
        ("distance of the share of zeros", "Fréchet distance"),
        strict=True,
    ):
        curves(ax, found, name)
        ax.set_title(title)
    axes[0, 0].axhline(np.sqrt(2 / np.pi) * spread(found), color="black", ls=":", lw=1)
    axes[0, 0].set_yticks([0.01, 0.02, 0.05], ["0.01", "0.02", "0.05"])
    axes[0, 1].set_ylim(bottom=0.02)
    axes[0, 1].legend(loc="lower left")
    axes[1, 1].remove()
    strips(axes[1, 0], found)
    return drawn


def spread(found):
    """The binomial standard error of a share of the generated images."""
    p = found["real_share"]
    return np.sqrt(p * (1 - p) / found["plan"]["generated"])


def curves(ax, found, name):
    for i, (arm, label) in enumerate(SHOWN.items()):
        if arm not in found["runs"]:
            continue
        budgets = found["plan"]["budgets"]
        rows = [values(found, arm, name, budget) for budget in budgets]
        mean = [row.mean() for row in rows]
        error = [row.std(ddof=1) / np.sqrt(len(row)) for row in rows]
        style = {"color": plots.COLOURS[i], "marker": plots.MARKERS[i], "capsize": 2}
        text = f"{label}, {len(found['runs'][arm])} seeds"
        ax.errorbar(budgets, mean, error, label=text, ms=5, **style)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(budgets, map(str, budgets))
    ax.minorticks_off()
    ax.set_xlabel("training steps")


def strips(ax, found):
    rows = []
    for arm in STRIPS:
        pixels = np.frombuffer(base64.b64decode(found["samples"][arm]), np.uint8)
        rows.append(np.concatenate(list(pixels.reshape(16, 28, 28)), axis=1))
    height = len(rows)
    ax.set_position([0.2, 0.0, 0.78, 0.34])
    ax.set_in_layout(False)
    ax.imshow(np.concatenate(rows), cmap="gray_r", aspect="equal")
    ax.set_yticks([28 * k + 14 for k in range(height)], [SHOWN[arm] for arm in STRIPS])
    ax.set_xticks([])
    ax.grid(visible=False)
    ax.set_title(f"generated after {found['plan']['verdict_budget']} steps", fontsize=9)


if __name__ == "__main__":
    first, second = (json.loads(Path(x).read_text()) for x in sys.argv[1:3])
    made = condensed(first) | {"again": repeated(second)}
    DATA.write_text(json.dumps(made) + "\n")
