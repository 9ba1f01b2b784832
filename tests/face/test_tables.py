"""Tables of the terminal: they fit 100 columns, and say infinity, nothing and zero."""

import numpy as np
import pytest
from dilaton.numerics.solve import solve_point
from dilaton.show.answers import (
    ROUNDING,
    WIDTH,
    overlap_columns,
    solution as answer_of,
    solution_text,
    table,
)
from dilaton.theory.models.spec import parse_spec

FEATURE = "[[target.features]]\np = {}\nscale = {}\nexponent = {}\n"
REST = """[interpolant]
alpha = "cos(pi*tau/2)"
beta = "sin(pi*tau/2)"
[dilation]
kappa = [2.0, 2.0]
[data]
n = "inf"
"""
FEATURES = [(0.7, 1.0, 0), (0.9, 2.0, '"1/4"'), (0.6, 0.5, 0)]
MODES = """[target]
kind = "modes"
sigma = 1.0
weights = [0.5, 0.3, 0.2]
loadings = [[1, 0], [-1, 1], [-1, -1]]
exponents = [0, "1/4"]
"""


def spec_of(count):
    if not count:
        return parse_spec(MODES + REST)
    target = '[target]\nkind = "product"\nsigma = 1.0\n'
    rows = "".join(FEATURE.format(*x) for x in FEATURES[:count])
    return parse_spec(target + rows + REST)


@pytest.fixture(scope="module")
def answers():
    times = np.linspace(0, 1, 5)
    return {n: answer_of(solve_point(spec_of(n), s=times)) for n in (0, 2, 3)}


def widest(text):
    return max(map(len, text.splitlines()))


def cells(text):
    """A printed solution read back: phase, then name, then values."""
    found = {}
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("phase "):
            here = found.setdefault(lines.pop(0).removeprefix("phase "), {})
        rows = [line.split() for line in lines]
        if rows[0][:2] == ["s", "t"]:
            rows = list(map(list, zip(*rows, strict=True)))
        elif rows[0][0] != "s":
            continue
        for name, *values in rows:
            here.setdefault(name, []).extend(values)
    return found


@pytest.mark.parametrize("count", [0, 2, 3])
def test_every_overlap_is_printed_in_100_columns(answers, count):
    text = solution_text(answers[count])
    assert widest(text) <= WIDTH
    read = cells(text)
    for phase in answers[count]["phases"]:
        here = read[phase["name"]]
        own = overlap_columns({k: v for k, v in phase.items() if k != "name"})
        assert here.keys() == own.keys()
        for name, values in own.items():
            near = 1e-5 * np.abs(values[np.isfinite(values)]).max(initial=0)
            np.testing.assert_allclose(np.array(here[name], float), values, atol=near)


def test_more_times_than_fit_stand_below():
    s = np.linspace(0, 1, 21)
    phase = {"name": "weights", "s": s, "t": s / 2}
    phase |= {f"m_{i}": np.sin(i * s) for i in range(1, 13)}
    text = solution_text({"phases": [phase], "sample": {"share_plus": 0.5}})
    assert widest(text) <= WIDTH
    read = cells(text)["weights"]
    assert {len(values) for values in read.values()} == {s.size}
    np.testing.assert_allclose(np.array(read["m_7"], float), np.sin(7 * s), rtol=1e-5)


def test_infinite_undefined_and_rounded_values_are_told_apart():
    told = table({"b": [np.inf, -np.inf, np.nan, None, -0.0, 4e-33]}).split()
    assert told == ["b", "inf", "-inf", "-", "-", "0", "4e-33"]
    phase = {"name": "w", "s": [0.0], "t": [0.0], "b": [np.inf], "q": [4e-33]}
    phase["m"] = [2 * ROUNDING]
    text = solution_text({"phases": [phase], "sample": {"share_plus_error": 9e-16}})
    assert text.splitlines()[2].split() == ["0", "0", "inf", "0", "2e-12"]
    assert text.endswith("share_plus_error = 9e-16")  # an error is told as it is


def test_a_bias_that_diverges_is_infinite_in_the_table():
    import dilaton

    spec = dilaton.default_spec()
    text = solution_text(answer_of(solve_point(spec, s=[0.0, 1.0])))
    assert cells(text)["weights"]["b"][0] == "inf"


def test_what_is_generated_has_a_row_for_each_feature_or_mode(answers):
    for count, what, name in ((0, "mode", "shares"), (3, "feature", "share_plus")):
        sample = answers[count]["sample"]
        block = solution_text(answers[count]).split("\n\n")[-2].splitlines()
        assert block[0].split()[:2] == [what, name]
        rows = [line.split() for line in block[1:]]
        assert [row[0] for row in rows] == ["1", "2", "3"]
        printed = [float(row[1]) for row in rows]
        np.testing.assert_allclose(printed, sample[name], rtol=1e-5)


def test_what_is_not_defined_for_a_mode_has_no_column(answers):
    first, second = (phase["name"] for phase in answers[0]["phases"][:2])
    read = cells(solution_text(answers[0]))
    two = {"m_1_1", "m_1_2"}
    assert two & read[first].keys() == {"m_1_1"}
    assert two & read[second].keys() == {"m_1_2"}


def test_a_table_with_many_columns_keeps_its_keys():
    wide = {"quantity": ["m", "q"]} | {f"column {i}": [i, -i] for i in range(20)}
    text = table(wide)
    assert widest(text) <= WIDTH
    blocks = text.split("\n\n")
    assert len(blocks) > 1
    assert all(block.split()[0] == "quantity" for block in blocks)
