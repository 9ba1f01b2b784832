"""The command line. Each command imports what it needs when it runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Annotated, Any

import typer
import typer.core

from .. import __version__
from ..errors import DilatonError, ModelError, printable
from ..files import at_home
from ..numbers import bounds_of
from .commands.equations import cite, derive, where
from .commands.grid import grid, steps
from .commands.networks import converge, schedules
from .commands.run import doctor, explore, run
from .commands.solve import solve, sweep
from .commands.training import learn, mse, times
from .commands.windows import windows

COMMANDS = (
    run,
    derive,
    cite,
    solve,
    learn,
    mse,
    steps,
    times,
    grid,
    converge,
    schedules,
    sweep,
    windows,
    where,
    explore,
    doctor,
)
INTERRUPTED, TERMINATED = 130, 143  # exit codes of Ctrl-C and SIGTERM


class Commands(typer.core.TyperGroup):
    """The commands, which say where a misplaced spec or a number of one belongs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that `args` begin with."""
        if args and args[0].endswith(".toml"):
            raise ModelError(
                f"A command must come first, but `{args[0]}` does. Write it as in "
                f"`dilaton derive {args[0]}`."
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            name = str(getattr(error, "option_name", "")).lstrip("-")
            if name == "d" or not bounds_of(name):
                raise
            raise ModelError(
                f"The numbers of a model must be in its spec, but `--{name}` is given. "
                f"Write `{name}` there; `dilaton sweep` takes several by `--over`."
            ) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@cache
def program() -> Any:
    """Return the commands, which typer would make anew each time that they are run."""
    return typer.main.get_command(app)


@contextmanager
def _tidy_when_terminated() -> Iterator[None]:
    """Let SIGTERM, too, leave through the code that tidies files."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@_tidy_when_terminated()
def main() -> None:
    """Run the command line; an expected error is one message and exit code 2."""
    warnings.showwarning = lambda told, *_, **__: print("Note:", told, file=sys.stderr)
    try:
        sys.argv[1:] = map(_at_home, sys.argv[1:])
        program()()
    except SystemExit as end:
        _leave_at_once(end.code)
        raise
    except DilatonError as error:
        _fail(str(error))
    except OSError as error:
        name = f" `{error.filename}`" if error.filename else ""
        _fail(
            f"Files must be readable and writable, but{name} is not: "
            f"{error.strerror or error}. Check the name, permissions and free space."
        )
    except MemoryError as error:
        _fail(
            f"The work must fit in memory, but it ran out ({error or 'no details'}). "
            "Ask for less at once: fewer workers, rows in a chunk or paths; "
            "what was finished before is kept."
        )


def _at_home(word: str) -> str:
    """Expand the `~` that a shell leaves in ``--output=~/folder`` or in quotes."""
    option, sign, value = word.rpartition("=") if word[:1] == "-" else ("", "", word)
    whole = str(at_home(value)) if value[:2] in ("~", "~/") else value
    return option + sign + whole


def _leave_at_once(code: Any) -> None:
    """After an interrupt, do not wait for threads that still compute.

    Files are written by the main thread alone, which has tidied up by now.
    """
    if code in (INTERRUPTED, TERMINATED) and threading.active_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _fail(message: str) -> None:
    for line in message.splitlines():
        print(printable(line), file=sys.stderr)
    sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dilaton {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version of dilaton.",
        ),
    ] = False,
) -> None:
    """Derive a model's equations, solve them, confirm them with finite networks.

    \b
    Example:
      dilaton run -o report/
      dilaton solve my.toml --at 0.25,0.5,1 --json

    Each command has examples in its own help: dilaton solve --help
    """


for _command in COMMANDS:
    app.command()(_command)


if __name__ == "__main__":
    main()
