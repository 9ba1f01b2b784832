"""Modes and their tree: what is read, what is refused, which groups part where."""

import numpy as np
import pytest
from dilaton.errors import ModelError
from dilaton.theory.models.model import modes, modes_of_gram
from dilaton.theory.models.modes import factored, levels
from dilaton.theory.models.spec import parse_spec

from ...cases import THREE_MODES

LOADINGS = "loadings = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]\nexponents = [0, 0, 0]"
PRODUCTS = 1e-12  # of the largest entry: rounding of a factorisation


def branches(rows, exponents):
    return [level.branches for level in levels(rows, exponents)]


def test_a_hierarchy_parts_coarse_to_fine():
    rows = [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    assert branches(rows, [0, "1/4"]) == [
        (((1, 2), (3, 4)),),
        (((1,), (2,)), ((3,), (4,))),
    ]
    assert branches(rows, ["1/4", 0]) == [
        (((1, 3), (2, 4)),),
        (((1,), (3,)), ((2,), (4,))),
    ]


def test_a_mode_may_leave_at_its_own_branch():
    """Unequal depths: mode 1 is done after the first window, 4 and 5 part last."""
    rows = [[3, 0, 0], [0, 1, 0], [0, 0, 0], [0, -1, 1], [0, -1, 2]]
    assert branches(rows, [0, "1/8", "1/4"]) == [
        (((1,), (2, 3, 4, 5)),),
        (((2,), (3,), (4, 5)),),
        (((4,), (5,)),),
    ]


def test_equal_modes_never_part_and_common_directions_have_no_window():
    rows = [[1, 0, 5], [1, 0, 5], [-1, 0, 5], [0, 0, 5]]
    (level,) = levels(rows, [0, 0, "1/4"])
    assert level.branches == (((1, 2), (3,), (4,)),)
    assert level.directions == (1, 2)


@pytest.mark.parametrize("size", [2, 5, 100])
def test_a_gram_matrix_is_factored(size):
    rng = np.random.default_rng(size)
    rank = max(1, size // 3)
    known = rng.standard_normal((size, rank))
    gram = known @ known.T
    found = np.array(factored("gram", gram.tolist()))
    assert found.shape == (size, rank)
    assert np.abs(found @ found.T - gram).max() < PRODUCTS * np.abs(gram).max() * size


def test_a_gram_matrix_gives_the_tree_of_its_modes():
    """Equal modes stay equal through the rounding of the factorisation."""
    means = np.array([[0.3, 0.7], [0.1, -1.3], [0.3, 0.7], [0, 0]])
    target = modes_of_gram((means @ means.T).tolist(), "1/3")
    (level,) = target.levels
    assert level.branches == (((1, 3), (2,), (4,)),)


def test_a_spec_of_modes_is_read_and_written():
    spec = parse_spec(THREE_MODES)
    assert spec.values == {"p_1": 0.5, "p_2": 0.3, "p_3": 0.2} | {
        "sigma": 1.0,
        "kappa": 2.0,
    }
    other = spec.replace(p_1=0.4, p_2=0.4, L_1_2=0.5)
    assert other.structure["loadings"] == [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    assert other.values["p_2"] == 0.4
    assert spec.model.target == modes([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [0, 0, 0])


GRAM = "gram = [[1, 2], [2, 1]]\nexponents = [0]"
BAD = {
    "sum": ("0.2]", "0.25]", r"`target.weights` must sum to 1, but the sum is 1.05"),
    "one mode": ("[0.5, 0.3, 0.2]", "[1.0]", r"weights of 2 to 128 modes, but has 1\."),
    "negative": ("0.3, 0.2]", "0.7, -0.2]", r"that of mode 3 is -0.2"),
    "nan weight": ("[0.5,", "[nan,", r"that of mode 1 is nan"),
    "text": ("[0.5, 0.3, 0.2]", '"even"', r"modes, but is 'even'"),
    "nan": (
        "[[1,",
        "[[nan,",
        r"`target.loadings` must hold numbers .* row 1 holds nan",
    ),
    "rows": (", [0, 0, 1]]", "]", r"has 2 rows for 3 weights"),
    "ragged": ("[0, 1, 0]", "[0, 1]", r"row 2 has 2 and row 1 has 3"),
    "flat": ("[[1, 0, 0], [0, 1, 0], [0, 0, 1]]", "[1, 2, 3]", r"but is \[1, 2, 3\]"),
    "equal": (
        LOADINGS,
        "loadings = [[1], [1], [1]]\nexponents = [0]",
        r"At least two modes must differ, but all 3",
    ),
    "exponents": ("exponents = [0, 0, 0]", "exponents = [0]", r"a list of 3"),
    "exponent": ("exponents = [0, 0, 0]", "exponents = [0, 0, 0.5]", r"\[3\]` must be"),
    "gram shape": (LOADINGS, GRAM, r"but is 2 x 2 for 3 weights"),
    "gram rule": (
        f"[0.5, 0.3, 0.2]\n{LOADINGS}",
        f"[0.5, 0.5]\n{GRAM}",
        r"`target.gram` must be positive semidefinite",
    ),
    "gram negative": (
        f"[0.5, 0.3, 0.2]\n{LOADINGS}",
        "[0.5, 0.5]\ngram = [[0, 0], [0, -1]]\nexponents = [0]",
        r"`target.gram` must be positive semidefinite",
    ),
    "gram symmetry": (
        f"[0.5, 0.3, 0.2]\n{LOADINGS}",
        "[0.5, 0.5]\ngram = [[1, 0.5], [0.4, 1]]\nexponents = [0]",
        r"entry \(2, 1\) is 0.4 and entry \(1, 2\) is 0.5",
    ),
    "gram nan": (
        f"[0.5, 0.3, 0.2]\n{LOADINGS}",
        "[0.5, 0.5]\ngram = [[nan, 0.5], [0.5, 1]]\nexponents = [0]",
        r"row 1 holds nan",
    ),
    "kappas": (
        "kappa = 2.0",
        "kappa = [2.0, 3.0]",
        r"a list of 1, one for each window",
    ),
    "network": ('n = "inf"', 'n = "inf"\n[network]\ntied = true', r"softmax units"),
    "counts": (
        'n = "inf"',
        'n = 5\ncounts = [3, 3, 1]\nnoise_draws = "inf"\nridge_u = 1\nridge_w = 1',
        r"must add up to `data.n` = 5, but the sum is 7",
    ),
    "no count": (
        'n = "inf"',
        'n = 4\ncounts = [3, 1, 0]\nnoise_draws = "inf"\nridge_u = 1\nridge_w = 1',
        r"`data.counts\[3\]` must be a whole number from 1",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), BAD.values(), ids=BAD)
def test_bad_modes_are_refused_in_one_message(old, new, message):
    assert old in THREE_MODES
    with pytest.raises(ModelError, match=message):
        parse_spec(THREE_MODES.replace(old, new, 1))


def test_bad_records_are_refused():
    with pytest.raises(ModelError, match="from 2 to 128, but has 1"):
        modes([[1.0]], [0])
    with pytest.raises(ModelError, match="one exponent for each of the 2 directions"):
        modes([[1, 0], [0, 1]], [0])
    with pytest.raises(ModelError, match=r"must sum to 1, but the sum is 0\.9"):
        parse_spec(THREE_MODES).replace(p_1=0.4)
