"""`make mutants`: a mutation run over theory/ and numerics/ with mutmut.

mutmut wants module names that equal the paths of the files. The folders are mapped to
one package when they are installed, so the run works in a copy, `mutants/`, that is
laid out as the package is. It mutates a seeded sample (`--sample 0` for all), runs for
each mutant the tests that reach its function, and prints the survivors with their
difference. Tests that take too long under mutmut's tracing are for `--again`: they are
run whole, on survivors alone. docs/mutants.md explains the survivors of the last run.

The modules that JAX traces need `--apart`, a process of its own for each mutant: JAX's
threads hang in those that mutmut forks. Modules whose text is compiled by numba need
`--compiled` (mutmut's switch between mutants is a Python function that numba cannot
compile): their text is changed in one place at a time, by mutmut's own rules, and
judged by tests that run it as Python. Decorated functions elsewhere it does not touch.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from difflib import unified_diff
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "mutants"

TESTS_OF = ROOT / "tests"
NUMBA_TEXT = re.compile(r"^from \.+(codegen\.)?stubs import", re.MULTILINE)
JAX = re.compile(r"^\s*import jax\b", re.MULTILINE)
LONGEST = 1200  # seconds of the tests of a mutant that is run apart
HANGS = 60  # seconds after which a loop that was changed does not end
TESTS = (
    *("teeth", "gaussian", "derive", "variance", "exact", "dilation", "spec"),
    *(
        "quadrature",
        "kernel",
        "tableau",
        "integrate",
        "store",
        "euler",
        "training_flow",
        "axes",
        "bad_input",
        "survivors",
    ),
)

HEAD = """import os
import sys

sys.meta_path[:] = [f for f in sys.meta_path if "__editable__" not in str(f)]
sys.path.insert(0, os.getcwd())
"""
"""The copy is met, not the package that is installed."""

CONFTEST = '''

import functools
import gc
import shutil


def pytest_sessionstart(session):
    """A mutant must not meet what the code before it has cached or written."""
    shutil.rmtree(os.environ["DILATON_CACHE"] + "/texts", ignore_errors=True)
    for thing in gc.get_objects():
        if type(thing) is functools._lru_cache_wrapper:
            module = getattr(thing, "__module__", None) or ""
            if module.startswith(("dilaton", "tests", "test_")):
                thing.cache_clear()
'''


def lay_out(names, tests):
    """Copy the package and the tests into `WORK`, with mutmut's settings."""
    shutil.rmtree(WORK, ignore_errors=True)
    package = WORK / "dilaton"
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "app", package, ignore=skip)
    for folder in ("theory", "numerics", "torchcheck"):
        shutil.copytree(ROOT / folder, package / folder, ignore=skip)
    shutil.copytree(ROOT / "tests", WORK / "tests", ignore=skip)
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, WORK / name)
    shutil.copytree(ROOT / "docs", WORK / "docs", ignore=skip)
    (WORK / "conftest.py").write_text((ROOT / "conftest.py").read_text() + CONFTEST)
    files = [f"dilaton/{name}.py" for name in names]
    chosen = test_files(tests)
    settings = {
        "source_paths": ["dilaton"],
        "only_mutate": files,
        "also_copy": ["conftest.py", "constraints.txt", "Makefile", "docs"],
        # JAX has threads, which hang in the processes that mutmut forks
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-k", "not jax"],
        "pytest_add_cli_args_test_selection": chosen,
    }
    lines = ["[mutmut]"]
    for key, values in settings.items():
        lines.append(f"{key} =")
        lines += [f"    {value}" for value in values]
    (WORK / "setup.cfg").write_text("\n".join(lines) + "\n")
    text = (WORK / "conftest.py").read_text()
    kept = WORK / "kernels"
    head = HEAD + f'os.environ["DILATON_CACHE"] = {str(kept)!r}\n'
    (WORK / "conftest.py").write_text(head + text)
    shared = (WORK / "tests" / "conftest.py").read_text()
    shared = shared.replace(
        'os.environ["DILATON_CACHE"] = str(config.cache.mkdir("dilaton"))', "pass"
    )
    (WORK / "tests" / "conftest.py").write_text(shared)


def test_files(names):
    """The files of tests named by their stem, in whichever rooms they are."""
    paths = sorted(TESTS_OF.rglob("test_*.py"))
    known = [path for path in paths if path.stem.removeprefix("test_") in names]
    return [str(path.relative_to(ROOT)) for path in known]


def modules(apart):
    """Every module that is mutated, as ``theory/derive``; those of JAX are apart."""
    found = []
    for folder in ("theory", "numerics"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            mutated = path.stem != "__init__" and not NUMBA_TEXT.search(text)
            if mutated and apart == bool(JAX.search(text)):
                found.append(path.relative_to(ROOT).with_suffix("").as_posix())
    return found


def mutmut(*arguments, check=False):
    """Run mutmut in the copy; its output goes to standard error."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    return subprocess.run(
        command, cwd=WORK, env=environment, stdout=sys.stderr, check=check
    )


def results():
    """Exit codes by mutant: 0 survived, 33 no test, None not run."""
    found = {}
    for path in sorted((WORK / "mutants").rglob("*.meta")):
        found |= json.loads(path.read_text())["exit_code_by_key"]
    return found


def outlives(name, tests, chosen=""):
    """Whether a mutant survives tests that are run without mutmut's tracing."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MUTANT_UNDER_TEST": name}
    files = test_files(tests)
    command = [sys.executable, "-m", "pytest", "-x", "-q", *files]
    command += ["-k", chosen, "-m", "slow or not slow"] if chosen else []
    print(name, file=sys.stderr)
    try:
        done = subprocess.run(
            command,
            cwd=WORK / "mutants",
            env=environment,
            stdout=sys.stderr,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def changes(module):
    """Every node of functions and methods with what mutmut would put in its place."""
    from libcst import ClassDef, FunctionDef
    from mutmut.mutation.mutators import mutation_operators

    def below(node):
        yield node
        for child in node.children:
            yield from below(child)

    rooms = [module, *(x.body for x in module.body if isinstance(x, ClassDef))]
    functions = (x for room in rooms for x in room.body if isinstance(x, FunctionDef))
    for function in functions:
        for node in below(function.body):
            for kind, change in mutation_operators:
                if isinstance(node, kind):
                    yield from ((function.name.value, node, x) for x in change(node))


def met():
    """Let this process import the copy, and what all of the tests need."""
    os.chdir(WORK)
    exec(HEAD, {})
    import dilaton.numerics.codegen.kernel  # noqa: F401


def forked(tests, chosen):
    """Whether tests pass in a process that starts with all that they import."""
    import pytest

    child = os.fork()
    if child == 0:
        signal.alarm(HANGS)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        only = ["-k", chosen] if chosen else []
        args = ["-x", "-q", "-p", "no:cacheprovider", *test_files(tests), *only]
        os.chdir(WORK)
        os._exit(int(pytest.main(args)))
    return os.waitpid(child, 0)[1] == 0


def judge_texts(given):
    """Change compiled texts in one place at a time; print what survives the tests."""
    from libcst import parse_module

    met()
    modules = {name: WORK / "dilaton" / f"{name}.py" for name in given.modules}
    texts = {name: path.read_text() for name, path in modules.items()}
    trees = {name: parse_module(text) for name, text in texts.items()}
    every = [(name, x) for name, tree in trees.items() for x in changes(tree)]
    tried = random.Random(given.seed).sample(
        every, min(given.sample or 10**9, len(every))
    )
    alive = []
    if not forked(given.tests, given.k):
        sys.exit("The tests must pass on texts that are not changed. Mend them first.")
    for name, (function, node, new) in tried:
        text = trees[name].deep_replace(node, new).code
        modules[name].write_text(text)
        mutant = f"{name}.{function}"
        print(mutant, file=sys.stderr)
        if forked(given.tests, given.k):
            alive.append((mutant, texts[name], text))
        modules[name].write_text(texts[name])
    by_module = dict(Counter(name for name, _ in tried))
    print(f"{len(tried)} of {len(every)} mutants, seed {given.seed}: {by_module}")
    print(f"survived: {len(alive) / len(tried):.1%}")
    for mutant, old, text in alive:
        lines = unified_diff(old.splitlines(), text.splitlines(), n=0, lineterm="")
        print("\n".join([f"\n{mutant}", *list(lines)[2:]]))


def shown(name):
    """Return the difference that a mutant makes."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("mutmut")), "show", name],
        cwd=WORK,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    return [x for x in lines if x[:1] in "+-" and x[:3] not in ("+++", "---")]


def main():
    """Make the sample, run it, and print a table and the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=100, help="mutants; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--modules", nargs="*", help="as in theory/derive")
    parser.add_argument("--tests", nargs="*", help="as in teeth", default=TESTS)
    parser.add_argument("--again", nargs="*", help="tests that survivors meet too")
    parser.add_argument("--apart", action="store_true", help="a process for each")
    parser.add_argument("--compiled", action="store_true", help="texts for numba")
    parser.add_argument("-k", default="", help="tests of these names, slow too")
    given = parser.parse_args()
    lay_out(
        given.modules or modules(given.apart),
        ["threads"] if given.apart else given.tests,
    )
    if given.compiled:
        return judge_texts(given)
    mutmut("run", "none of them", "--max-children", str(given.jobs))
    names = sorted(results())
    untested = set() if given.apart else untestable(names)
    if given.sample and given.sample < len(names):
        names = sorted(random.Random(given.seed).sample(names, given.sample))
    if given.apart:
        codes = {name: int(not outlives(name, given.tests, given.k)) for name in names}
    else:
        tested = [name for name in names if name not in untested]
        mutmut("run", *tested, "--max-children", str(given.jobs))
        codes = results()
    return report(names, untested, codes, given)


def survivors(names, codes, tests):
    """The mutants that survived, and survive the further tests as well."""
    left = [name for name in names if codes[name] == 0]
    return {name for name in left if not tests or outlives(name, tests)}


def untestable(names):
    """Mutants of functions that no chosen test reaches."""
    stats = json.loads((WORK / "mutants" / "mutmut-stats.json").read_text())
    reached = stats["tests_by_mangled_function_name"]
    return {name for name in names if not reached.get(name.partition("__mutmut_")[0])}


def report(names, untested, codes, given):
    """Print counts by module, then every survivor."""
    alive = survivors(names, codes, given.again)
    outcome = {
        name: "no test"
        if name in untested
        else {None: "not run"}.get(codes[name], "killed")
        for name in names
    } | dict.fromkeys(alive, "survived")
    total = Counter(outcome.values())
    print(f"{len(names)} of {len(results())} mutants, seed {given.seed}: {dict(total)}")
    by_module = Counter((name.rpartition(".")[0], how) for name, how in outcome.items())
    for (module, how), count in sorted(by_module.items()):
        print(f"  {module}: {how} {count}")
    judged = total["killed"] + total["survived"]
    if judged:
        print(f"survived: {total['survived'] / judged:.1%} of {judged} that are tested")
    for name, how in sorted(outcome.items()):
        if how == "survived":
            print("\n".join([f"\n{name}", *shown(name)]))


if __name__ == "__main__":
    main()
