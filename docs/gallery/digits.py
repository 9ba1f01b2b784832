"""Handwritten digits on a U-turn: noise them up to a time, denoise, look again."""

import numpy as np
import torch
from dilaton.show import plots
from dilaton.torchcheck.experiments.datasets import load_digits
from dilaton.torchcheck.experiments.unet import train_classifier, train_images
from dilaton.torchcheck.real_data.decision_window import find_window
from dilaton.torchcheck.real_data.denoisers import denoise
from dilaton.torchcheck.real_data.interpolants import LINEAR_PATH
from dilaton.torchcheck.real_data.training_times import TrainingTimes
from dilaton.torchcheck.real_data.uturn import uturn

SHOWN = (0.1, 0.25, 0.4, 0.6, 0.8)


def figure(quick=False):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _figure(quick)
    finally:
        torch.set_num_threads(threads)


def _figure(quick):
    digits = load_digits(n=120 if quick else 220, seed=0)
    images = torch.as_tensor(digits.train)
    judge = train_classifier(digits, 0, "cpu", steps=30 if quick else 200)
    steps = 20 if quick else 700
    trained = train_images(images, TrainingTimes.uniform(), [steps], 64, 0)
    (_, net), *_ = list(trained)
    noise = torch.Generator().manual_seed(1)
    some = images[:40] if quick else images[:160]
    times = np.linspace(0.05, 0.95, 5 if quick else 19)
    turns = 6 if quick else 20
    how = {"steps": turns, "look": not quick}  # a quick training is a poor denoiser
    curve = uturn(net.denoiser, some, judge.label, times, generator=noise, **how)
    chosen = _choose(digits.labels)
    rows = [images[chosen]]
    for t in SHOWN:
        blur = t * images[chosen] + (1 - t) * torch.randn(
            images[chosen].shape, generator=noise
        )
        rows.append(
            denoise(
                net.denoiser, blur, t, generator=noise, steps=turns, path=LINEAR_PATH
            )
        )
    return _drawn(rows, curve, None if quick else find_window(curve, seed=0))


def _choose(labels):
    """Five zeros and three ones."""
    return np.concatenate(
        [np.flatnonzero(labels == k)[:c] for k, c in ((0, 5), (1, 3))]
    )


def _drawn(rows, curve, window):
    drawn, axes = plots.new_figure(1, 2, 9.6, 3.9)
    left, right = axes[0]
    tall = np.concatenate(
        [
            np.concatenate([np.pad(x, 1, constant_values=-0.7) for x in r], 1)
            for r in rows
        ]
    )
    left.imshow(tall, cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
    left.set_yticks(
        [10 * i + 5 for i in range(len(rows))],
        ["sample", *(f"$t={t:g}$" for t in SHOWN)],
    )
    left.set_xticks([])
    left.grid(False)
    left.set_title("noised up to $t$ and denoised again")
    right.errorbar(
        curve.t, curve.changed, curve.stderr, color=plots.COLOURS[0], marker="o"
    )
    if window is not None:
        right.axvspan(
            window.lo,
            window.hi,
            color=plots.COLOURS[4],
            alpha=0.25,
            lw=0,
            label="window",
        )
        right.legend()
    right.set_xlabel("turning time $t$ (1 is data)")
    right.set_ylabel("share of digits that changed")
    right.set_title("when the digit is decided")
    return drawn
