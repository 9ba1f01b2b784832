"""The house: rooms with a sentence each, imports one way, no circle of modules."""

import ast
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"app": (), "theory": ("theory",), "numerics": ("numerics",)}
FOLDERS |= {"torchcheck": ("torchcheck",)}
MOST = 14  # files of a room
SIBLINGS = ("commands",)  # all of one kind: a reader looks for one by its name


def modules():
    """Every module of the package by its dotted name, `dilaton` left out."""
    found = {}
    for folder, prefix in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[(*prefix, *parts)] = path
    return found


def imports(name, source):
    """What a module imports of the package, lazy imports and type hints counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = name[: len(name) - node.level]
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield (*base, alias.name)
                yield base


def arrows(known):
    """The modules that each module imports; packages stand for their `__init__`."""
    graph = {}
    for name, path in known.items():
        met = set()
        for target in imports(name, path.read_text()):
            for whole in (target, (*target, "__init__")):
                if whole in known and whole[-1] != "__init__":
                    met.add(whole)
        graph[name] = met - {name}
    return graph


def room(name):
    """The room of a module; modules beside rooms are rooms of their own."""
    return name[:-1] if len(name) > 2 else name


def rooms(graph):
    """The rooms that each room imports from."""
    found = {}
    for name, met in graph.items():
        mine = found.setdefault(room(name), set())
        mine |= {room(other) for other in met} - {room(name)}
    return found


def ordered(graph):
    return list(TopologicalSorter(graph).static_order())


def test_no_circle_of_modules():
    ordered(arrows(modules()))


def test_rooms_import_one_way():
    ordered(rooms(arrows(modules())))


def test_a_circle_would_be_seen():
    graph = arrows(modules())
    target = ("theory", "symbols", "notation")
    graph[target] = {("theory", "derive")}
    with pytest.raises(CycleError):
        ordered(graph)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_ground_is_below_what_uses_it(folder):
    """theory imports no numerics, numerics no torchcheck, and none of them a face."""
    order = ["theory", "numerics", "torchcheck", "face"]
    for name, met in arrows(modules()).items():
        for other in met:
            if name[0] in order and other[0] in order:
                assert order.index(other[0]) <= order.index(name[0]), (name, other)


def test_a_room_has_a_sentence_and_few_files():
    for path in ROOT.glob("[!.]*/**/__init__.py"):
        if path.relative_to(ROOT).parts[0] in FOLDERS:
            assert ast.get_docstring(ast.parse(path.read_text())), path
            many = len(list(path.parent.glob("*.py"))) > MOST + 1
            assert not many or path.parent.name in SIBLINGS, path.parent


def test_tests_mirror_the_rooms():
    known = {p for name in modules() for p in [room(name)]}
    for folder in (ROOT / "tests").rglob("*/"):
        parts = folder.relative_to(ROOT / "tests").parts
        if any(folder.glob("*.py")) and parts != ("house",) and parts:
            assert any(name[: len(parts)] == parts for name in known), folder


def test_every_room_is_packaged():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {p.parent for f in FOLDERS for p in (ROOT / f).rglob("__init__.py")}
    found = {path.relative_to(ROOT).as_posix() for path in folders}
    assert set(table["package-dir"].values()) == found
    assert sorted(table["packages"]) == sorted(table["package-dir"])
