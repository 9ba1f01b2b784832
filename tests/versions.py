"""The lowest versions that pyproject allows and the newest of everything, tried.

`make versions` makes an environment for each Python that is found and each
end of the versions, installs dilaton without torch, runs a dozen commands from another
folder and a few test files, and prints one line for each. It asks the package index.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("python3.11", "python3.12", "python3.13")
ENDS = ("lowest", "newest")
TOOLS = ("pytest", "pytest-timeout", "hypothesis")
COMMANDS = (
    "--version",
    "doctor",
    "derive {spec}",
    "derive {spec} --format latex",
    "where W3",
    "solve {spec} --at 0.25,0.5,1 --json",
    "solve {spec} --backend numba",
    "mse {spec} --phase weights --s 0,0.5,1 --json",
    "steps {spec} --d 1e6 --steps 20",
    "grid {spec} --grid shift:3,dilated,entropic",
    "times {spec} --d 256,1024 --density uniform,dilated",
    "sweep {spec} --over kappa=1,2 --backend numba -o numba",
    "sweep {spec} --over kappa=1,2 --backend jax -o jax",
)
FILES = (
    "tests/theory/models/test_spec.py",
    "tests/numerics/codegen/test_kernel.py",
    "tests/numerics/sweep/test_store.py",
    "tests/theory/windows",
)
SPEC = "import dilaton; print(dilaton.default_spec().replace(n='inf').text)"


LATER = {
    "python3.13": {"numpy": "2.1.0", "scipy": "1.14.1", "matplotlib": "3.9.2"},
}
"""The lowest versions with a wheel for a Python that is newer than they are."""


def lowest(python: str) -> list[str]:
    """Return a pin of each requirement to the lowest version that it allows."""
    later = LATER.get(python, {})
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = []
    for text in table["dependencies"]:
        name, version = re.match(r"([\w.-]+)>=([\w.]+)", text).groups()
        pins.append(f"{name}=={later.get(name, version)}")
    return pins


def tried(python: str, end: str, folder: Path) -> list[str]:
    """Return what failed, one line each, in a new environment below `folder`."""
    home = folder / f"{Path(python).name}-{end}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _run([python, "-m", "venv", home / "venv"], home)
    here = home / "venv" / "bin" / "python"
    pins = lowest(Path(python).name) if end == "lowest" else []
    pip = [here, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    failed = _run([*pip, "--only-binary=numpy,scipy,numba", *pins, *TOOLS, ROOT], home)
    if failed:
        return [f"pip install: {failed}"]
    (home / "spec.toml").write_text(_output([here, "-c", SPEC], home))
    found = []
    for line in COMMANDS:
        words = line.format(spec="spec.toml").split()
        if failed := _run([here, "-m", "dilaton", *words], home):
            found.append(f"dilaton {line}: {failed}")
    pytest = [here, "-m", "pytest", "-q", *FILES]
    if failed := _run([*pytest, "-W", "default"], ROOT):
        found.append(f"pytest: {failed}")
    return found


def _runs(python: str) -> bool:
    """Whether a Python is here; a version manager may have the name alone."""
    return shutil.which(python) is not None and not _run([python, "--version"], ROOT)


def _output(words: list, cwd: Path) -> str:
    done = subprocess.run(
        [str(w) for w in words], cwd=cwd, capture_output=True, text=True, check=True
    )
    return done.stdout


def _run(words: list, cwd: Path) -> str:
    """Return the last line of a command that failed; of one that did not, nothing."""
    done = subprocess.run(
        [str(w) for w in words], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def main() -> None:
    """Try every pair and exit with 1 if anything failed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=ROOT / "build" / "versions")
    options.add_argument("--pythons", nargs="*", default=PYTHONS)
    options.add_argument("--ends", nargs="*", default=ENDS, choices=ENDS)
    asked = options.parse_args()
    failures = 0
    for python in asked.pythons:
        if not _runs(python):
            print(f"{python}: not here, skipped", flush=True)
            continue
        for end in asked.ends:
            found = tried(python, end, asked.folder.resolve())
            failures += len(found)
            print(f"{python}, {end}: {'; '.join(found) or 'all passed'}", flush=True)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
