"""BibTeX of what derived equations rest on."""

import re
from pathlib import Path

import dilaton
import pytest
from dilaton.theory.references import ENTRIES, SOURCES

from ..cases import derived, limit_of

ROOT = Path(__file__).parents[2]
MODES = dilaton.modes([[1, 0], [-1, 1], [-1, -1]], [0, "1/4"])
ENTRY = re.compile(r"^((?:% .*\n)+)@(\w+)\{(\w+),\n((?:  \w+ = \{.*\},\n)+)\}$", re.M)


def limit_by(name):
    return derived(dilaton.Model(MODES)) if name == "modes" else limit_of(name)


def entries(text):
    """The entries of a bibliography: what rests on each, and its fields."""
    found = ENTRY.findall(text)
    assert len(found) == text.count("@") > 0
    return {
        key: (rests, dict(re.findall(r"  (\w+) = \{(.*)\},", fields)))
        for rests, _, key, fields in found
    }


@pytest.mark.parametrize(
    "name", ["population", "samples", "frozen", "product", "modes"]
)
def test_every_equation_has_a_row(name):
    for system in limit_by(name).systems:
        for eq in system.equations + system.observables + system.solution:
            assert eq.source.partition(":")[0] in SOURCES, eq.source


def test_rows_name_modules_and_entries_that_exist():
    for module, keys in SOURCES.items():
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module
        assert set(keys) <= set(ENTRIES)
    assert {k for keys in SOURCES.values() for k in keys} == set(ENTRIES) - {"dilaton"}


def test_the_paper_s_model_cites_its_papers():
    found = entries(limit_of("samples").citations())
    assert list(found) == [
        *("dilaton", "Aranguri2024", "Aranguri2025", "Cui2023", "Price1958")
    ]
    rests, fields = found["Cui2023"]
    assert "variance/learned (V1)-(V" in rests
    assert fields["eprint"] == "2310.03575"
    assert found["dilaton"][1]["version"] == dilaton.__version__


def test_a_tied_network_cites_the_paper_of_its_training():
    tied = dilaton.Autoencoder(tied=True)
    model = dilaton.Model(dilaton.two_modes(), autoencoder=tied)
    found = entries(derived(model).citations())
    assert "tied/training (K2)-(K5)" in found["Klinger2026"][0]


def test_a_model_without_a_tied_network_does_not_cite_its_paper():
    found = entries(limit_by("modes").citations())
    assert set(found) == {"dilaton", "Aranguri2024", "Aranguri2025", "Cui2023"}
    assert "weights-1/learned" not in str(found)


def test_the_citation_file_has_the_same_papers():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", text, re.M)[1] == dilaton.__version__
    assert ENTRIES["dilaton"]["title"] in text
    for fields in ENTRIES.values():
        if "eprint" in fields:
            assert f"arXiv:{fields['eprint']}" in text
            assert fields["title"] in text
