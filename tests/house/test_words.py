"""Words: one meaning each, plain sentences, functions that can be held in mind.

Measured by reading the sources. What may still be above a bound stands in a table
here, which only shrinks: an entry that is no longer needed fails, too.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("app", "theory", "numerics", "torchcheck")
COMPILED = ("called", "compiled", "optimised", "inlined", "fused", "njit")
LONGEST, MOST_ARGUMENTS = 60, 6
FEW_HOMONYMS, FEW_WIDE = 5, 15

STAND_INS = {"numerics/codegen/stubs.py"}
"""Stands in for a generated module: its names are those of what is printed there."""

ONE_INTERFACE = {"numerics/ode/taylor.py", "numerics/ode/runge_kutta.py"}
"""Two drivers with the same functions: a generated module holds one or the other."""

COMMANDS = "app/face/commands/"
"""A command is named like the function that does its work."""

PHASES = "theory/phases/"
"""Modules of phases answer the same questions: `learned`, `sampling`, `mse`, ..."""


@cache
def parsed():
    """Every module by its path, as a tree."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            found[name] = ast.parse(path.read_text())
    return found


def functions(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def of_compiled_loops(node):
    text = " ".join(map(ast.dump, node.decorator_list))
    return any(word in text for word in COMPILED)


def arguments(node):
    given = node.args
    names = [x.arg for x in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return [x for x in names if x not in ("self", "cls")]


def lines(node):
    """Lines of a function without its head and docstring."""
    body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
    return node.end_lineno - body[0].lineno + 1


def homonyms(trees):
    """Public classes and functions that are defined in more than one module."""
    homes = defaultdict(set)
    for path, tree in trees.items():
        if path in STAND_INS or path.startswith((COMMANDS, PHASES)):
            continue
        for node in tree.body:
            kinds = (ast.FunctionDef, ast.ClassDef)
            if isinstance(node, kinds) and node.name[0] != "_":
                homes[node.name].add("driver" if path in ONE_INTERFACE else path)
    return {name for name, paths in homes.items() if len(paths) > 1}


def docstrings(tree):
    for node in ast.walk(tree):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield text
        for part in getattr(node, "body", []) if isinstance(node, kinds) else []:
            value = getattr(part, "value", None) if isinstance(part, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def heads_without_a_noun(trees):
    """Docstrings that begin with "what" or "which", by folder."""
    found = defaultdict(set)
    for path, tree in trees.items():
        for text in docstrings(tree):
            if re.match(r"(what|which)\b", text.strip(), re.IGNORECASE):
                found[path.partition("/")[0]].add(text.strip().splitlines()[0])
    return {folder: len(texts) for folder, texts in found.items()}


def too_long(trees):
    return {
        f"{path}:{node.name}"
        for path, tree in trees.items()
        for node in functions(tree)
        if lines(node) > LONGEST
    }


def wide(trees):
    return {
        f"{path}:{node.name}"
        for path, tree in trees.items()
        if path not in STAND_INS and not path.startswith(COMMANDS)
        for node in functions(tree)
        if not of_compiled_loops(node) and len(arguments(node)) > MOST_ARGUMENTS
    }


def test_no_function_is_too_long():
    assert too_long(parsed()) == set()


def test_docstrings_begin_with_a_noun_or_a_verb():
    assert heads_without_a_noun(parsed()) == {}


def test_a_public_name_has_one_meaning():
    assert len(homonyms(parsed())) < FEW_HOMONYMS


def test_few_functions_have_many_arguments():
    assert len(wide(parsed())) < FEW_WIDE


TWICE = "def area(a): pass\nclass Rule: 'Which one.'"
WIDE = "def f(a, b, c, d, e, g, h): pass"
LONG = "def f():\n" + "    x = 1\n" * (LONGEST + 1)


@pytest.mark.parametrize(
    ("measure", "sources", "found"),
    [
        (homonyms, {"app/a.py": TWICE, "app/b.py": TWICE}, {"area", "Rule"}),
        (homonyms, {"app/a.py": TWICE}, set()),
        (wide, {"app/a.py": WIDE}, {"app/a.py:f"}),
        (wide, {"app/a.py": f"@compiled\n{WIDE}"}, set()),
        (too_long, {"app/a.py": LONG}, {"app/a.py:f"}),
        (too_long, {"app/a.py": LONG.replace("    x = 1\n", "", 1)}, set()),
        (heads_without_a_noun, {"app/a.py": TWICE}, {"app": 1}),
        (heads_without_a_noun, {"app/a.py": WIDE}, {}),
    ],
)
def test_the_measures_see_what_they_measure(measure, sources, found):
    assert measure({path: ast.parse(text) for path, text in sources.items()}) == found
