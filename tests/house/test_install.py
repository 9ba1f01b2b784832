"""What is installed from a wheel, an sdist or a clone works in any folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import dilaton
import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("app", "theory", "numerics", "torchcheck", "pyproject.toml")
PARTS += ("README.md", "LICENSE")

ELSEWHERE = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
BUILD = "from setuptools import build_meta as b; b.build_{}({!r})"
USE = """
import dilaton, sys
from pathlib import Path
from dilaton.face import explore
home = Path(dilaton.__file__).parent
assert home.is_relative_to(sys.argv[1]), home
assert (home / "py.typed").exists()
assert list((home / "face").glob("*.html"))
spec = dilaton.default_spec().replace(n="inf")
print(float(dilaton.solve(spec).share_plus))
"""


def run(*words, **more):
    done = subprocess.run(
        list(map(str, words)),
        env=ELSEWHERE,
        capture_output=True,
        text=True,
        check=False,
        **more,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the sources in a folder named `dilaton`."""
    folder = tmp_path_factory.mktemp("above") / "dilaton"
    folder.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in map(ROOT.joinpath, PARTS):
        copy = shutil.copytree if part.is_dir() else shutil.copy
        more = {"ignore": skip} if part.is_dir() else {}
        copy(part, folder / part.name, **more)
    return folder


def fresh(folder):
    """A new environment that sees the packages of this one, but not dilaton."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    here = sysconfig.get_path("purelib")
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "zz_packages.pth").write_text(here)
    return folder / "bin" / "python", site


def install(python, *what):
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-build-isolation", "--no-index", *what)


@pytest.mark.slow
def test_a_wheel_from_an_sdist_is_used_from_another_folder(clone, tmp_path):
    run(sys.executable, "-c", BUILD.format("sdist", str(tmp_path)), cwd=clone)
    (packed,) = tmp_path.glob("dilaton-*.tar.gz")
    with tarfile.open(packed) as file:
        file.extractall(tmp_path, filter="data")
    (unpacked,) = (p for p in tmp_path.glob("dilaton-*") if p.is_dir())
    run(sys.executable, "-c", BUILD.format("wheel", str(tmp_path)), cwd=unpacked)
    (wheel,) = tmp_path.glob("dilaton-*.whl")
    python, site = fresh(tmp_path / "venv")
    install(python, wheel)
    other = tmp_path / "other"
    other.mkdir()
    share = run(python, "-W", "ignore", "-I", "-c", USE, site, cwd=other)
    assert float(share) == pytest.approx(0.8, abs=0.02)  # what the README prints
    (other / "a.toml").write_text(dilaton.default_spec().replace(n="inf").text)
    derived = run(python.with_name("dilaton"), "derive", "a.toml", cwd=other)
    assert "tanh" in derived
    assert [path.name for path in other.iterdir()] == ["a.toml"]


@pytest.mark.slow
def test_a_clone_is_found_from_the_folder_above(clone, tmp_path):
    python, site = fresh(tmp_path / "venv")
    install(python, "-e", clone)
    above = clone.parent
    script = above / "beside.py"
    script.write_text("import dilaton; print(dilaton.__file__)")
    for words in (("-c", script.read_text()), (script,)):
        found = run(python, *words, cwd=above).strip()
        assert Path(found) == clone / "app" / "__init__.py"
    (line,) = site.glob("*dilaton-first.pth")
    line.unlink()  # without it the folder is an empty package
    assert run(python, script, cwd=above).strip() == "None"
