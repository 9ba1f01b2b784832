"""The command line: help, messages, exit codes, and what goes to which stream."""

import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time

import dilaton
import pytest
from dilaton.errors import ModelError
from dilaton.face import arguments, cli, documents
from dilaton.show.answers import table, to_json

INTERRUPTED, PATIENCE = 130, 3.0  # seconds
EXAMPLE = re.compile(r"^ +(dilaton (?:.*\\\n)*.*)$", re.MULTILINE)
COMMANDS = [command.callback.__name__ for command in cli.app.registered_commands]
HELP_SECONDS = 0.5  # promised, of CPU time: a busy machine does not fail


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process; return (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dilaton", *map(str, arguments)])
        monkeypatch.setattr("warnings.showwarning", None)  # put back afterwards
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # as it was before
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return run


@pytest.fixture
def spec_file(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(dilaton.default_spec().text)
    return path


def test_help_is_quick():
    def seconds():
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        subprocess.run(
            [sys.executable, "-m", "dilaton.face.cli", "--help"],
            check=True,
            capture_output=True,
        )
        return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before

    assert min(seconds() for _ in range(3)) < HELP_SECONDS


def test_version(call):
    assert call("--version") == (0, f"dilaton {dilaton.__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_of_itself(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0
    assert f"dilaton {command}" in out.split("Example:")[1]


def examples(text):
    """The commands below `Example:` in a help text, as lists of words."""
    found = EXAMPLE.findall(text.split("Example:")[1].split("Options:")[0])
    return [shlex.split(words.replace("\\\n", " "))[1:] for words in found]


@pytest.mark.parametrize(
    "command", ["derive", "cite", "solve", "learn", "mse", "steps"]
)
def test_the_examples_of_a_help_run(call, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    text = dilaton.default_spec().replace(n="inf").text
    (tmp_path / "my.toml").write_text(text)
    shown = examples(call(command, "--help")[1])
    assert len(shown) == {"derive": 5, "learn": 2, "mse": 2}.get(command, 1)
    for words in shown:
        code, out, err = call(*words[: words.index(">") if ">" in words else None])
        assert (code, err) == (0, ""), err
        assert json.loads(out) if "--json" in words else out


def test_the_first_help_shows_whole_sentences(call):
    text = call("--help")[1]
    assert "Example:" in text
    for line in text.split("Commands:")[1].strip().splitlines():
        assert line.endswith("."), f"cut short: {line}"
        assert not line.endswith("..."), f"cut short: {line}"


BAD = [  # (arguments, with SPEC for a good spec file; what the message says)
    (["derive", "none.toml"], r"`none.toml` is not (No such file"),
    (["cite", "none.toml"], r"`none.toml` is not (No such file"),
    (["solve", "SPEC", "--at", "0.5,2"], "times between 0 and 1, but has 2"),
    (["solve", "SPEC", "--at", ""], "numbers separated by commas"),
    (["solve", "SPEC", "--at", "a"], "numbers separated by commas, but is 'a'"),
    (["solve", "SPEC", "--at", "nan"], "numbers separated by commas"),
    (["solve", "SPEC", "--backend", "fortran"], "--backend"),
    (["learn", "SPEC", "--times", "5"], "--init"),
    (["learn", "SPEC", "--times", "5", "--init", "m", "--s", "1"], "name=number pairs"),
    (["learn", "SPEC", "--times", "5", "--init", "m=x", "--s", "1"], "--init m"),
    (["learn", "SPEC", "--times", "5", "--init", "m=1"], "`--s` must be given"),
    (["learn", "SPEC", "--times", "5", "--init", "m=1", "--s", "2"], "from 0 to 1"),
    (
        ["learn", "SPEC", "--times", "5", "--init", "m=1", "--network", "tied"],
        "`--d` must be given for --network tied",
    ),
    (["mse", "SPEC"], "`--phase` must be given"),
    (["mse", "SPEC", "--d", "100"], "`--tau` must be given"),
    (["mse", "SPEC", "--d", "nan", "--tau", "0.5"], "`--d` must be at least 2"),
    (["steps", "SPEC", "--d", "100", "--steps", "2.5"], "whole numbers from 1"),
    (["steps", "SPEC", "--d", "100", "--steps", "0"], "whole numbers from 1"),
    (["steps", "SPEC", "--d", "100", "--steps", "5", "--rule", "up"], "--rule"),
    (["steps", "SPEC", "--d", "100"], "`--steps` must be given"),
    (
        ["steps", "SPEC", "--d", "9", "--steps", "5", "--smallest"],
        "`--steps` must be left out for the fewest steps",
    ),
    (
        [
            *("steps", "SPEC", "--d", "9", "--steps", "5", "--grid", "uniform"),
            *("--schedule", "dilated"),
        ],
        "`--schedule` must be left out for grids that are named by --grid",
    ),
    (["grid", "SPEC"], "`--grid` must be given for a verdict"),
    (["grid", "SPEC", "--grid", "shft:3"], "did you mean `shift`"),
    (["nothing"], "No such command"),
    (["SPEC"], "A command must come first"),
    (["solve", "SPEC", "--kappa", "3"], "Write `kappa` there; `dilaton sweep` takes"),
    (["solve", "SPEC", "--kapa", "3"], "No such option: --kapa"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_message_and_exit_code_2(call, spec_file, arguments, message):
    code, out, err = call(*[spec_file if a == "SPEC" else a for a in arguments])
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["derive", "solve", "run"])
def test_a_bad_spec_is_refused_by_each_command(call, spec_file, command):
    spec_file.write_text(spec_file.read_text().replace("p = 0.8", "p = 1.2"))
    code, out, err = call(command, spec_file)
    assert (code, out) == (2, "")
    assert "`target.p` must be strictly between 0 and 1, but is 1.2." in err


def test_an_interrupt_ends_with_130_and_no_traceback(spec_file):
    code = (
        "import sys, dilaton.face.cli, dilaton.face.documents as documents\n"
        "def document(*_): raise KeyboardInterrupt\n"
        "documents.document = document\n"
        f"sys.argv = ['dilaton', 'derive', {str(spec_file)!r}]\n"
        "dilaton.face.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False
    )
    assert done.returncode == 130
    assert b"Traceback" not in done.stderr


def test_an_interrupt_ends_a_sweep_without_waiting_for_its_threads(spec_file):
    """Compiling a chunk takes many times PATIENCE, and cannot be stopped."""
    folder = spec_file.parent
    words = ["sweep", spec_file, "-o", "store", "--over", "kappa=0.5:4:99"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dilaton.face.cli", *words, "--rows-per-chunk", "33"],
        env={**os.environ, "DILATON_CACHE": str(folder / "cache")},
        cwd=folder,
        stderr=subprocess.PIPE,
    )
    while b"chunk/s" not in (shown := process.stderr.read1()):
        assert shown, process.wait()
    time.sleep(1)  # the threads have begun
    process.send_signal(signal.SIGINT)
    begin = time.perf_counter()
    assert process.wait(timeout=60) == INTERRUPTED
    assert time.perf_counter() - begin < PATIENCE
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert not [p for p in (folder / "store").rglob("*") if ".tmp" in p.name]


def test_full_disk_is_one_message(call, spec_file, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "out.nc")

    monkeypatch.setattr(documents, "document", full)
    code, _, err = call("derive", spec_file)
    assert code == 2
    assert "`out.nc` is not: No space left on device" in err


def test_json_has_no_nan():
    assert json.loads(to_json({"a": float("nan"), "b": (1.5, float("inf"))})) == {
        "a": None,
        "b": [1.5, None],
    }


def test_table_aligns_columns():
    assert table({"s": [0.5, 1], "name": ["a", [0.25, None]]}) == (
        "  s    name\n0.5       a\n  1  0.25 -"
    )


def test_pairs_and_numbers():
    assert arguments.pairs("m=0.3, q=1e-2", "--init") == {"m": 0.3, "q": 0.01}
    assert arguments.numbers("1,2.5", "--at") == [1.0, 2.5]
    with pytest.raises(ModelError, match="whole numbers"):
        arguments.whole_option(2.5, "--steps")


# ---------------------------------------------------------------- derivations on disk


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache and a count of derivations."""
    monkeypatch.setenv("DILATON_CACHE", str(tmp_path / "cache"))
    made = []
    monkeypatch.setattr(
        documents, "_derived", lambda spec, form: made.append(form) or f"{form} ε\n"
    )
    return tmp_path / "cache" / "texts", made


def test_a_derivation_is_kept_for_every_number_of_one_structure(cache):
    folder, made = cache
    spec = dilaton.default_spec()
    assert documents.document(spec, "text") == "text ε\n"
    assert documents.document(spec.replace(p=0.6, kappa=3), "text") == "text ε\n"
    assert made == ["text"]
    documents.document(spec, "latex")
    documents.document(spec.replace(n="inf"), "text")
    assert made == ["text", "latex", "text"]
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("damage", [b"", b"0" * 64 + b"\ntext", b"\xff\xfe"])
def test_a_damaged_derivation_is_derived_again_and_said(cache, damage):
    folder, made = cache
    documents.document(dilaton.default_spec(), "text")
    next(folder.iterdir()).write_bytes(damage)
    with pytest.warns(UserWarning, match="must match its checksum.* made again"):
        assert documents.document(dilaton.default_spec(), "text") == "text ε\n"
    assert made == ["text", "text"]
    documents.document(dilaton.default_spec(), "text")
    assert made == ["text", "text"]


def test_a_cache_that_cannot_be_written_is_said_once_and_tolerated(cache):
    folder, _ = cache
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="cannot be used") as said:
        found = [documents.document(dilaton.default_spec(), "text") for _ in range(2)]
    assert found == ["text ε\n"] * 2
    assert len(said) == 1


def test_a_known_derivation_does_not_import_sympy(spec_file, tmp_path):
    environment = {**os.environ, "DILATON_CACHE": str(tmp_path / "cache")}
    code = (
        "import sys, dilaton, dilaton.face.documents as d\n"
        "d._derived = lambda spec, form: form\n"
        "assert d.document(dilaton.default_spec(), 'text') == 'text'\n"
        "sys.exit('sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0


def test_steps_take_many_grids(call, tmp_path):
    """Rows have the grid beside the schedule; a table has the one asked for."""
    path = tmp_path / "spec.toml"
    path.write_text(dilaton.default_spec().replace(n="inf").text)
    words = ["steps", path, "--d", "1e4", "--steps", "9,12", "--rule", "heun"]
    grids = [*words, "--grid", "uniform,shift:sqrt(d)"]
    rows = json.loads(call(*grids, "--json")[1])
    assert list(rows[0]) == [
        *("d", "steps", "schedule", "grid", "rule", "share_plus", "bulk_std")
    ]
    assert [(r["grid"], r["schedule"], r["steps"]) for r in rows] == [
        ("uniform", "undilated", 9),
        ("uniform", "undilated", 12),
        ("shift:sqrt(d)", "shift:sqrt(d)", 9),
        ("shift:sqrt(d)", "shift:sqrt(d)", 12),
    ]
    plain = json.loads(call(*words, "--schedule", "undilated", "--json")[1])
    assert plain == rows[:2]
    assert "schedule" not in call(*grids)[1]
    assert "grid" not in call(*words)[1]
    few = ["steps", path, "--d", "100", "--smallest", "--grid", "dilated", "--json"]
    (row,) = json.loads(call(*few)[1])
    assert (row["grid"], row["smallest"]) == ("dilated", 24)


def test_grid_prints_a_verdict(call, tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(dilaton.default_spec().replace(n="inf").text)
    words = ["grid", path, "--grid", "shift:sqrt(d),entropic+shift:3"]
    code, out, err = call(*words, "--json")
    rows = json.loads(out)
    assert code == 0
    assert rows[:2] == [
        {
            "grid": "shift:sqrt(d)",
            "phase": "weights",
            "kept": True,
            "share": "1",
            "steps": "1",
        },
        {
            "grid": "shift:sqrt(d)",
            "phase": "variance",
            "kept": False,
            "share": "d**(-1/2)",
            "steps": "sqrt(d)",
        },
    ]
    assert rows[2] == {
        "grid": "entropic+shift:3",
        "phase": "weights",
        "kept": None,
        "share": None,
        "steps": None,
    }
    assert "a map without a formula is composed" in err
    assert "(m/n)**(1/2)" in call(*words)[1]


def test_grid_checks_a_configuration(call, tmp_path):
    path = tmp_path / "scheduler_config.json"
    path.write_text('{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}')
    train = tmp_path / "train.json"
    train.write_text('{"weighting_scheme": "logit_normal", "shift": 2}')
    rows = json.loads(call("grid", "--check", path, "--train", train, "--json")[1])
    assert {row["about"] for row in rows} == {"shift", "twice", "resolution", "windows"}
    code, out, _ = call("grid", "--check", path)
    assert (code, out.splitlines()[0]) == (
        0,
        "shift: A static shift a = 3 divides beta/alpha.",
    )
    code, _, err = call("grid", "--check", path, "--best")
    assert code == 2
    assert "`--best` must be left out for a check" in err


def test_grid_finds_the_best_points(call, tmp_path, monkeypatch):
    path = tmp_path / "spec.toml"
    path.write_text(dilaton.default_spec().replace(n="inf").text)
    words = ["grid", path, "--best", "--d", "1e4", "--steps", "6", "--grid", "dilated"]
    found = json.loads(call(*words, "--json")[1])
    assert len(found["tau"]) == 7
    assert found["compared"][0]["gain"] > 1
    searched = "dilaton.numerics.share.best_grid.best_grid"
    monkeypatch.setattr(searched, lambda *_: found)  # once is enough
    assert "tau" in call(*words)[1]
