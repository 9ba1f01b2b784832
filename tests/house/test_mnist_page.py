"""The page on MNIST says what its results file says, in every row of its tables."""

import json

import numpy as np
import pytest

from .test_gallery import DOCS, module

pytest.importorskip("torch")
MNIST = module(DOCS / "gallery" / "mnist.py")
PAGE = (DOCS / "howto" / "mnist.md").read_text()
FOUND = MNIST.load()


ROWS = [
    *(MNIST.windows, MNIST.table, MNIST.factors, MNIST.confidences),
    *(MNIST.again, MNIST.verdicts),
]


@pytest.mark.parametrize("rows", ROWS)
def test_every_row_is_on_the_page(rows):
    for row in rows(FOUND):
        assert row in PAGE


def test_a_row_of_other_results_is_not():
    other = json.loads(json.dumps(FOUND))
    for run in other["runs"]["window"]:
        for row in run["rows"]:
            row["share_error"] *= 1.05
    assert not set(MNIST.table(other)) <= set(PAGE.splitlines())


def test_the_results_are_those_of_the_plan():
    plan = FOUND["plan"]
    assert plan["seeds"] == list(range(20, 28))
    for arm, runs in FOUND["runs"].items():
        assert [run["seed"] for run in runs] == plan["seeds"][: len(runs)]
        for run in runs:
            assert [row["budget"] for row in run["rows"]] == plan["budgets"]
            for row in run["rows"]:
                distance = abs(row["share"] - FOUND["real_share"])
                assert row["share_error"] == pytest.approx(distance, abs=2e-5), arm


def test_the_factor_is_a_ratio_of_means():
    uniform, window = (
        np.mean(MNIST.values(FOUND, arm, "share_error", 1200))
        for arm in ("uniform", "window")
    )
    found = MNIST.comparison(FOUND, "window", 1200)["factor"]
    assert found == pytest.approx(uniform / window)


def test_the_repetition_has_seeds_and_images_of_its_own():
    plan = FOUND["again"]["plan"]
    assert plan["seeds"] == list(range(40, 48))
    assert not set(plan["seeds"]) & set(FOUND["plan"]["seeds"])
    assert plan["shares"] == pytest.approx(FOUND["plan"]["shares"])
    same = ("classes", "samples", "batch", "mass", "generated", "turned")
    assert [plan[x] for x in same] == [FOUND["plan"][x] for x in same]
    for runs in FOUND["again"]["runs"].values():
        assert [run["seed"] for run in runs] == plan["seeds"]
