"""The report of `dilaton windows`: a feature's window, what training there brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import StoreError
from ..files import at_home, write_atomic
from ..show import answers, plots
from . import page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..torchcheck.experiments.settings import ExperimentSettings

BLUE, RED = plots.COLOURS[:2]
GREY, SHADE = "#7f8790", "#f2e2b6"
COLOUR = {"uniform": GREY, "window": BLUE}
OTHERS = ("#009E73", "#CC79A7", RED, "#F0E442", "#56B4E9", "#000000", "#E69F00")
Numbers = Mapping[str, Any]


def write_windows_report(
    plans: Sequence[ExperimentSettings], out: str | Path, *, progress: bool = False
) -> dict[str, Any]:
    """Run or continue the experiments in `out` and write ``out/index.html``.

    Several plans (mixtures at several d) go to folders ``d-...`` of `out`, and the
    page shows how the factor grows; all else is of the last, the largest.

    Returns every number: those of the last experiment and, for several, ``growth``.
    ``out/numbers.json`` has them too.
    """
    from ..torchcheck.experiments.experiment import run_experiment

    out = at_home(out)
    if len(plans) == 1:
        numbers = run_experiment(plans[0], out, progress=progress)
    else:
        _check_folder(out)
        runs = [run_experiment(p, out / f"d-{p.d}", progress=progress) for p in plans]
        numbers = runs[-1] | {"growth": [_growth(run) for run in runs]}
    figures = draw_report(numbers, out / "figures")
    text = page.page("A feature's window", _parts(numbers, figures))
    write_atomic(out / "index.html", text.encode())
    numbers = without_pictures(numbers)
    write_atomic(out / "numbers.json", report_json(numbers))
    return numbers


def _check_folder(out: Path) -> None:
    known = {"figures", "index.html", "numbers.json"}
    for entry in out.iterdir() if out.exists() else ():
        ours = entry.name.startswith("d-") or entry.suffix == ".tmp"
        if entry.name not in known and not ours:
            raise StoreError(
                f"`{out}` must be a new or empty folder, or one that this command "
                f"began, but has `{entry.name}`. Choose a new one."
            )


def _growth(run: Numbers) -> dict[str, Any]:
    keys = ("share_error", "factor", "factor_interval", "p_value", "window_snr")
    row = {"d": run["plan"]["d"]} | {key: run[key] for key in keys}
    if "predicted_factor" in run:
        row["predicted_factor"] = run["predicted_factor"]
    return row


def report_json(numbers: Numbers) -> bytes:
    """The numbers as JSON; what is not finite becomes null."""
    return answers.to_json(numbers, indent=1).encode()


def without_pictures(value: Any) -> Any:
    """Drop the images, which are pictures and not numbers."""
    if isinstance(value, Mapping):
        return {
            key: without_pictures(item)
            for key, item in value.items()
            if key not in ("pictures", "samples") or isinstance(item, int)
        }
    return [without_pictures(x) for x in value] if isinstance(value, list) else value


# -------------------------------------------------------------------- figures


@plots.styled
def draw_report(numbers: Numbers, folder: Path) -> dict[str, str]:
    """Draw what the numbers allow; write the files, return pieces of the page."""
    made = {"window": curve_figure(numbers)}
    if "budgets" in numbers:
        made["errors"] = error_figure(numbers)
        if samples := _samples(numbers):
            made["samples"] = sample_figure(samples)
    if "pictures" in numbers:
        made["uturn"] = turn_figure(numbers["pictures"])
    if "growth" in numbers:
        made["growth"] = growth_figure(numbers["growth"])
    return page.drawn({k: (x, CAPTIONS[k]) for k, x in made.items()}, folder)


def curve_figure(numbers: Numbers) -> Figure:
    """The U-turn curve with its window, and the squared error with its own."""
    figure, axes = plots.new_figure(1, 2, 9.0, 3.4)
    left, right = axes[0]
    curve, mse = numbers["curve"], numbers["mse"]
    _band(left, numbers["window"], numbers["window_interval"])
    for (label, of), colour in zip(curve["classes"].items(), (BLUE, RED), strict=False):
        name = {"True": "the + mode", "False": "the - mode"}.get(label, label)
        left.plot(curve["t"], of["changed"], color=colour, lw=1, label=f"from {name}")
    left.errorbar(
        curve["t"], curve["changed"], curve["stderr"], color="k", fmt=".-", label="all"
    )
    left.set_ylabel("share changed on a U-turn")
    left.legend()
    if other := numbers["mse_window"]:
        ends = (other["lo_interval"], other["hi_interval"])
        _band(right, (other["lo"], other["hi"]), ends)
    right.errorbar(mse["t"], mse["mse"], mse["stderr"], color="k", fmt=".-")
    right.set_ylabel("squared error per dimension")
    for ax in (left, right):
        ax.set_xlabel("time t (0 noise, 1 data)")
        if "theory_window" in numbers:
            ax.set_xscale("log")
            for t in numbers["theory_window"]:
                ax.axvline(t, color=RED, ls=":", lw=1.2)
    return figure


def _band(ax: Axes, window: Sequence[float], intervals: Any) -> None:
    ax.axvspan(*window, color=SHADE, zorder=0)
    for end, (lo, hi) in zip(window, intervals, strict=True):
        ax.axvline(end, color="#b58900", lw=1)
        ax.axvspan(lo, hi, ymax=0.03, color="#b58900", alpha=0.6)


def error_figure(numbers: Numbers) -> Figure:
    """The error of the class share against the training budget, seed by seed."""
    figure, axes = plots.new_figure(1, 1, 5.4, 3.4)
    ax = axes[0, 0]
    budgets = [row["budget"] for row in numbers["budgets"]]
    arms = numbers["plan"]["arms"]
    colours = dict(zip(arms, (*COLOUR.values(), *OTHERS), strict=False))
    for arm, shift in zip(arms, np.linspace(0.97, 1.03, len(arms)), strict=True):
        errors = np.array([row["share_error"][arm] for row in numbers["budgets"]])
        x = shift * np.array(budgets, dtype=float)
        if arm in COLOUR:
            dots = np.tile(x[:, None], errors.shape[1])
            ax.plot(dots, errors, ".", color=colours[arm])
        ax.plot(x, errors.mean(1), "o-", color=colours[arm], label=f"{arm} times")
    _ticks(ax, budgets)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("training steps")
    ax.set_ylabel("|generated share - training share|")
    ax.legend()
    return figure


def _ticks(ax: Axes, at: Sequence[int]) -> None:
    """A logarithmic axis with a tick at each of these numbers."""
    ax.set_xscale("log")
    ax.set_xticks(at, [str(x) for x in at], minor=False)
    ax.minorticks_off()


def growth_figure(growth: Sequence[Numbers]) -> Figure:
    """The factor between uniform and window training against d."""
    figure, axes = plots.new_figure(1, 1, 5.4, 3.4)
    ax = axes[0, 0]
    d = [row["d"] for row in growth]
    factor = np.array([row["factor"] for row in growth])
    ends = np.array([row["factor_interval"] for row in growth]).T
    below, above = np.maximum(factor - ends[0], 0), np.maximum(ends[1] - factor, 0)
    ax.errorbar(d, factor, [below, above], fmt="o-", color=BLUE, capsize=3)
    ax.axhline(1, color=GREY, lw=1)
    _ticks(ax, d)
    ax.set_xlabel("dimension d")
    ax.set_ylabel("share error, uniform over window")
    return figure


def _samples(numbers: Numbers) -> dict[str, Any]:
    return {
        arm: row["samples"]
        for arm, runs in numbers["runs"].items()
        for row in runs[0]["rows"]
        if "samples" in row
    }


def sample_figure(samples: Mapping[str, Any]) -> Figure:
    """Sixteen generated images for each way to train."""
    figure, axes = plots.new_figure(len(samples), 1, 9.0, 1.0 * len(samples))
    for ax, (arm, images) in zip(axes[:, 0], samples.items(), strict=True):
        _strip(ax, images)
        ax.set_title(f"{arm} times", fontsize=9)
    return figure


def turn_figure(pictures: Numbers) -> Figure:
    """Two images noised to several times (above) and denoised back (below)."""
    figure, axes = plots.new_figure(4, 1, 9.0, 5.2)
    for k in (0, 1):
        start = [pictures["start"][k]]
        for row, name in ((2 * k, "noised"), (2 * k + 1, "back")):
            images = start + [batch[k] for batch in pictures[name]]
            _strip(axes[row, 0], images)
            axes[row, 0].set_ylabel(name, fontsize=8)
    width = len(pictures["start"][0][0])
    at = (np.arange(len(pictures["t"]) + 1) + 0.5) * width - 0.5
    labels = ["start", *(f"t = {t:.2g}" for t in pictures["t"])]
    axes[-1, 0].set_xticks(at, labels)
    return figure


def _strip(ax: Axes, images: Sequence[Any]) -> None:
    ax.imshow(np.hstack(images), cmap="gray", vmin=-1, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)


# ----------------------------------------------------------------------- page


CAPTIONS = {
    "uturn": (
        "U-turns. An image of each class (left), noised up to time t (upper rows) and "
        "denoised back by the network (lower rows)."
    ),
    "window": (
        "Left: share of the samples whose feature changed when they were noised up to "
        "time t and denoised back. Shaded: the window, from 90 % to 10 % of the range; "
        "thick at the foot, the 95 % intervals of its ends. Right: the squared error "
        "of the denoiser, shaded where it drops fastest. Dotted, where there is a "
        "theory: the exact window."
    ),
    "errors": (
        "Distance between the generated and the training set's class share after "
        "training from scratch. Dots: seeds; lines: means."
    ),
    "growth": "The factor against the dimension, with 95 % intervals.",
    "samples": "Samples generated at the verdict's budget, first seed.",
}
"""Captions of the figures, in the order of the page."""


def _parts(numbers: Numbers, figures: Mapping[str, str]) -> list[str]:
    plan = numbers["plan"]
    parts = [
        f"<h1>A feature's window: {plan['data']}, {plan['network']} network</h1>",
        page.paragraph(numbers["verdict"]),
        page.paragraph(_arms(numbers)),
        page.cards(_cards(numbers)),
    ]
    parts += [figures[name] for name in CAPTIONS if name in figures]
    table = _table(numbers)
    return [*parts, page.section("budgets", "Budgets", page.rows_table(table))]


def _arms(numbers: Numbers) -> str:
    """The ways to train, in words."""
    plan, (lo, hi) = numbers["plan"], numbers["window"]
    words = (
        f"Uniform training draws times evenly from [0, 1]; window training draws "
        f"{plan['mass']:.0%} of them from [{0 if plan['from_noise'] else lo:.3g}, "
        f"{hi:.3g}] and the rest from outside. "
    )
    if not plan["from_noise"]:
        return words
    return words + (
        "The stretch begins at 0, because what a shared network says before the window "
        "moves every sample, and the class share with it." + _predicted(numbers)
    )


def _predicted(numbers: Numbers) -> str:
    """The factor of the theory beside the measured one, and why they may differ."""
    theory = numbers.get("predicted_factor")
    if theory is None:
        return ""
    low, high = numbers["factor_interval"]
    inside = "holds" if low <= theory <= high else "does not hold"
    return (
        " Theory, for one tied unit of the form of the Bayes denoiser with w = mu held "
        f"and gradient flow on the population, learns the weight {theory:.2g} times "
        f"sooner at these window times; the measured interval {inside} that. Of its "
        "assumptions these fail here: the measured factor is one of errors at equal "
        "steps, not of times to an equal error; Adam's steps do not shrink with the "
        "small gradients of a window that is rarely seen; the units have to learn how "
        "they depend on time first, and for that need times outside the window; the "
        "samples are finitely many."
    )


def _cards(numbers: Numbers) -> list[tuple[str, str]]:
    (lo, hi), match = numbers["window"], numbers["agreement"]
    low, high = numbers["factor_interval"]
    cards = [
        (f"{lo:.3g} to {hi:.3g}", f"window: {numbers['rule']}"),
        (f"{numbers['factor']:.2g}", f"factor, 95 % from {low:.2g} to {high:.2g}"),
    ]
    if "agree" in match:
        agree = "agree" if match["agree"] else "do not agree"
        said = f"overlap with the error's window: they {agree}"
        cards.insert(1, (f"{match['overlap']:.0%}", said))
    if "theory_snr" in numbers:
        a, b = numbers["window_snr"]
        c, d = numbers["theory_snr"]
        text = f"window in the signal-to-noise ratio; exactly {c:.2g} to {d:.2g}"
        cards.append((f"{a:.2g} to {b:.2g}", text))
    if numbers.get("predicted_factor") is not None:
        text = "times sooner at window times, by the theory of one tied unit"
        cards.append((f"{numbers['predicted_factor']:.2g}", text))
    if "posterior" in numbers:
        a, b = numbers["posterior"]["lo"], numbers["posterior"]["hi"]
        text = "window of the exact class posterior of the images, without a network"
        cards.append((f"{a:.3g} to {b:.3g}", text))
    if "classifier_accuracy" in numbers:
        first, second = numbers["classifier_accuracy"]
        text = "accuracy of the classifier on held-out images, by class"
        cards.append((f"{first:.1%}, {second:.1%}", text))
    return cards


def _table(numbers: Numbers) -> dict[str, list[Any]]:
    rows = numbers["budgets"]
    table: dict[str, list[Any]] = {"training steps": [row["budget"] for row in rows]}
    for arm in numbers["plan"]["arms"]:
        table[f"error, {arm}"] = [
            float(np.mean(row["share_error"][arm])) for row in rows
        ]
        if "frechet" in numbers["runs"][arm][0]["rows"][0]:
            for name in ("frechet", "confidence"):
                table[f"{name}, {arm}"] = _means(numbers["runs"][arm], name)
    table["factor"] = [row["factor"] for row in rows]
    table["from"] = [row["factor_interval"][0] for row in rows]
    table["to"] = [row["factor_interval"][1] for row in rows]
    table["paired p"] = [row["p_value"] for row in rows]
    return table


def _means(runs: Sequence[Any], name: str) -> list[float]:
    """Mean over seeds (and classes), at each budget."""
    values = [[np.mean(row[name]) for row in run["rows"]] for run in runs]
    return [float(x) for x in np.mean(values, axis=0)]


# -------------------------------------------------- a section of the main report


def digits_section(out: Path, *, quick: bool, device: str = "cpu") -> dict[str, Any]:
    """Find the window of the class of scikit-learn's digits; for the main report.

    Writes pictures to ``out/figures`` and returns ``numbers`` (window, curves,
    agreement), ``pictures`` (pieces of the page) and ``text``. There is no contest of
    trainings in it: `dilaton windows digits` has that.

    Raises `MissingExtra` without scikit-learn.
    """
    from ..torchcheck.experiments.settings import image_plan
    from ..torchcheck.experiments.subjects import make_subject

    plan = image_plan("digits", seeds=(0,), quick=True, device=device)
    if not quick:
        plan = replace(plan, pilot_steps=400, turns=17, turned=222)
    numbers = make_subject(plan, lambda _steps: None).find()
    made = {"uturn": turn_figure(numbers["pictures"]), "window": curve_figure(numbers)}
    figures = {f"digits-{k}": (x, CAPTIONS[k]) for k, x in made.items()}
    return {
        "numbers": without_pictures(numbers),
        "pictures": list(page.drawn(figures, out / "figures").values()),
        "text": _section_text(numbers),
    }


def _section_text(numbers: Numbers) -> str:
    (lo, hi), ((a, b), (c, d)) = numbers["window"], numbers["window_interval"]
    return (
        "Handwritten zeros (80 %) and ones (20 %), 8 x 8 pixels, a small U-Net. "
        f"Whether an image is a zero or a one is decided between t = {lo:.2f} (95 %: "
        f"{a:.2f} to {b:.2f}) and t = {hi:.2f} ({c:.2f} to {d:.2f}). The command "
        "dilaton windows digits compares training there with training at uniform times."
    )
