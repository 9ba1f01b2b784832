"""The page "What can be changed" says what the program does, row by row."""

import re
import tomllib

import dilaton
import pytest
from dilaton.errors import DilatonError
from dilaton.theory.models.cases import case_of
from dilaton.theory.models.spec import parse_spec
from dilaton.theory.windows.search import find_windows

from .test_docs import DOCS, FENCE, call_command, output_of

PAGE = (DOCS / "what-can-be-changed.md").read_text(encoding="utf-8")
SPECS = {
    re.match(r"# (\S+)", body)[1]: body
    for language, _, body in FENCE.findall(PAGE)
    if language == "toml"
}
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE.splitlines()
    if line.startswith("| ") and "| answer |" not in line
]
CHANGED = [row for row in ROWS if len(row) == 4]
COMMANDS = [row for row in ROWS if len(row) == 3]
KEPT = {  # what takes seconds, and the test that runs it
    "the best grid of two modes": "face/test_cli.py::test_grid_finds_the_best_points",
    "the sampler of modes": "numerics/modes/test_modes.py::"
    "test_three_segments_keep_a_hierarchy_and_two_lose_it",
    "the sampler of several features": "numerics/share/test_euler.py::"
    "test_shares_of_two_features_agree_with_simulated_paths",
    "the grid and the rule of a sampler": "face/test_cli.py::"
    "test_steps_take_many_grids",
}
FEW = 40  # rows in all, so that a page whose tables are not read is noticed


def written(value):
    """A value as TOML."""
    if isinstance(value, dict):
        pairs = (f'"{k}" = {written(v)}' for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def changed(name, edits):
    """The text of a spec of the page, with some of its values replaced."""
    raw = tomllib.loads(SPECS[name])
    for edit in edits:
        (path, value) = edit.split(" = ", 1)
        *tables, key = path.split(".")
        table = raw
        for part in tables:
            table = table[part]
        table[key] = tomllib.loads(f"value = {value}")["value"]
    return "\n".join(f"{key} = {written(value)}" for key, value in raw.items())


def pieces(cell):
    return re.findall(r"`([^`]+)`", cell)


def derived(text):
    """Check what `derive` checks first: the spec, its case and its windows."""
    model = parse_spec(text).model
    if isinstance(model.target, dilaton.Modes):
        dilaton.derive(model)
    else:
        case_of(model)
    assert find_windows(model)


def test_the_tables_are_read():
    assert len(ROWS) >= FEW
    answers = {row[-1].partition(":")[0] for row in ROWS}
    assert answers == {"supported", "refused"}


@pytest.mark.parametrize(("what", "spec", "edits", "answer"), CHANGED)
def test_a_change_of_a_spec_is_answered_as_the_page_says(what, spec, edits, answer):
    text = changed(spec, pieces(edits))
    verdict, _, reason = answer.partition(": ")
    if verdict == "supported":
        derived(text)
        return
    with pytest.raises(DilatonError, match=re.escape(reason)):
        derived(text)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, body in SPECS.items():
        (tmp_path / name).write_text(body)
    sign = changed("two.toml", ['network.activation = "sign"'])
    (tmp_path / "sign.toml").write_text(sign)


@pytest.mark.parametrize(("what", "command", "answer"), COMMANDS)
def test_a_command_answers_as_the_page_says(folder, capsys, what, command, answer):
    _, *words = pieces(command)[0].split()
    verdict, _, reason = answer.partition(": ")
    if what in KEPT:
        path, _, name = KEPT[what].partition("::")
        assert f"def {name}(" in (DOCS.parent / "tests" / path).read_text()
        return
    if verdict == "supported":
        assert output_of(lambda: call_command(words)).strip()
        return
    with pytest.raises(AssertionError, match="ended with 2"):
        call_command(words)
    assert reason in capsys.readouterr().err


def test_a_row_that_lies_is_caught():
    with pytest.raises(DilatonError):
        derived(changed("two.toml", ['network.activation = "relu"']))
    derived(changed("two.toml", ['network.activation = "erf"']))
