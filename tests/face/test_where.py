"""`dilaton where`: every label that is printed leads to code, and to a test."""

import ast
import json
import re
import sys
from functools import cache
from pathlib import Path

import dilaton
import pytest
from dilaton import Autoencoder, Data, Model, product, two_modes
from dilaton.errors import ModelError
from dilaton.face import cli
from dilaton.show.where import find_label
from dilaton.theory.document.derivation import render

from ..cases import MODELS as SHARED, derived

ROOT = Path(__file__).parents[2]
TAG = re.compile(r"\(([A-Z]\d+(?:\.\d+)*)\)$", re.MULTILINE)
SAMPLES = Data(samples=True)
MODELS = {
    "population": Model(two_modes()),
    "samples": Model(two_modes(), data=SAMPLES),
    "no bias": Model(two_modes(), autoencoder=Autoencoder(bias=False)),
    "frozen": Model(two_modes(), data=Data(samples=True, frozen_noise=True)),
    "product": SHARED["product"](),  # which others of the printers derive, too
    "classes": Model(product(0), data=SAMPLES),
    "modes": Model(dilaton.modes([[1, 0], [-1, 1], [-1, -1]], [0, "1/4"])),
}
OF_THE_TABLES = {"D1", "T1", "T2", "T3", "T4"}  # the document's own lines


@cache
def definitions(path):
    """The names of the functions and classes of a file; parsed once for all labels."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def defined(function):
    """Whether `path.py:name` (or `Class.name`) is a definition in the repository."""
    path, _, name = function.partition(":")
    return set(name.split(".")) <= definitions(path)


SLOW = pytest.param("no bias", marks=pytest.mark.slow)  # labels of the others, fewer


@pytest.mark.parametrize("name", [*(x for x in MODELS if x != "no bias"), SLOW])
def test_every_printed_label_leads_to_its_function_and_its_test(name):
    limit = derived(MODELS[name])
    labels = set(TAG.findall(render(limit, "text"))) - OF_THE_TABLES
    assert len(labels) > 8
    for label in labels:
        for place in find_label(limit, label):
            assert defined(place.function), place
            assert place.function.startswith("theory/")
            assert place.numbers is None or defined(place.numbers), place
            assert place.tests, place
            for test in place.tests:
                path, _, judge = test.partition("::")
                assert f"def {judge}(" in (ROOT / path).read_text(encoding="utf-8")
            page, _, line = place.docs.partition(":")
            if line:
                text = (ROOT / page).read_text(encoding="utf-8").splitlines()
                assert rf"\tag{{{label}}}" in text[int(line) - 1]


def test_known_labels_have_known_places():
    population, samples = derived(MODELS["population"]), derived(MODELS["samples"])
    (place,) = find_label(population, "(W4)")
    assert place.quantity == "omega"
    assert place.equation == "omega = kappa*s"
    assert place.function == "theory/phases/weights.py:bayes_learned"
    assert place.docs.startswith("docs/derivation.md:")
    (place,) = find_label(samples, "W1")
    assert (place.equation, place.system) == ("dJ/domega = 0", "weights/learned")
    assert place.function == "theory/phases/stationary.py:learned"
    (step,) = find_label(samples, "L3")
    assert step.function == "theory/phases/bulk.py:_steps"


@pytest.mark.parametrize(
    ("label", "function"),
    [
        ("G2", "theory/symbols/gaussian.py:FieldAverage"),
        ("G5", "theory/phases/loss.py:gram_flow"),
        ("D1", "theory/phases/denoiser.py:Denoiser"),
        ("T1", "theory/windows/dilation.py:Dilation"),
    ],
)
def test_rules_are_found_by_their_docstrings(label, function):
    places = find_label(derived(MODELS["population"]), label)
    assert function in {place.function for place in places}


def test_an_unknown_label_is_refused_with_those_there_are():
    with pytest.raises(ModelError, match=r"must be one of .*W1.* but `X9` is neither"):
        find_label(derived(MODELS["population"]), "X9")
    with pytest.raises(ModelError, match=r"`omega` is neither. As a quantity .* W4"):
        find_label(derived(MODELS["population"]), "omega")


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process; return (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dilaton", *arguments])
        monkeypatch.setattr("warnings.showwarning", None)  # put back afterwards
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return run


def test_the_command_prints_text_and_json(call, tmp_path):
    spec = tmp_path / "my.toml"
    spec.write_text(dilaton.default_spec().replace(n="inf").text)
    code, out, err = call("where", "S1", str(spec))
    assert (code, err) == (0, "")
    assert "theory/phases/sampling.py:population" in out
    code, out, _ = call("where", "S1", str(spec), "--json")
    (row,) = json.loads(out)
    assert row["system"] == "weights/sampling"
    assert set(row) == {
        "label",
        "equation",
        "quantity",
        "system",
        "function",
        "numbers",
        "tests",
        "docs",
    }
    assert call("where", "S99", str(spec))[0] == 2
