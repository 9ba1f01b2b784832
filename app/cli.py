"""The command line. Each command imports what it needs when it runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from . import __version__
from .arguments import (
    check_range,
    needed,
    numbers,
    pairs,
    seeds_from,
    two_classes,
    unit_times,
    unused,
    whole,
)
from .errors import DilatonError, StoreError, printable

INTERRUPTED, TERMINATED = 130, 143  # exit codes of Ctrl-C and SIGTERM
RUN_SEEDS = 1_000_000  # more than a run takes from its first one on
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SpecFile = Annotated[
    Path,
    typer.Argument(metavar="SPEC", help="The spec file (TOML).", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Backend = Annotated[
    Literal["numba", "jax", "scipy"], typer.Option(help="What integrates.")
]


def main() -> None:
    """Run the command line; an expected error is one message and exit code 2."""
    warnings.showwarning = _show_warning
    # so that SIGTERM, too, leaves through the code that tidies files
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        app()
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


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"Note: {message}", file=sys.stderr)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dilaton {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it."
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


@app.command()
def run(
    spec: Annotated[
        Path | None,
        typer.Argument(metavar="SPEC", help="The spec file; the paper's if left out."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A new folder.")
    ] = Path("report"),
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run that the folder holds.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of every random number.", min=0)] = 0,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="For training.")
    ] = "cpu",
) -> None:
    """Derive, solve and confirm: write a report.

    Everything in it is computed on the spot: the equations, the trajectories, the
    trained networks and their distance from the limit.

    \b
    Example:
      dilaton run -o report/
      dilaton run my.toml -o my-report/ --quick
    """
    from .spec import default_spec, load_spec
    from .torchcheck import check_device

    seeds_from(seed, RUN_SEEDS, "--seed")
    chosen = default_spec() if spec is None else load_spec(spec)
    check_device(device)

    from .report import write_report

    page = write_report(
        chosen, output, quick=quick, force=force, seed=seed, device=device
    )
    print(page)


@app.command()
def derive(
    spec: SpecFile,
    form: Annotated[
        Literal["text", "latex", "markdown", "json"],
        typer.Option("--format", help="How the derivation is written."),
    ] = "text",
) -> None:
    """Print the phases of a model and their equations.

    \b
    Example:
      dilaton derive my.toml --format latex > derivation.tex
    """
    from .documents import document
    from .spec import load_spec

    print(document(load_spec(spec), form))


@app.command()
def solve(
    spec: SpecFile,
    at: Annotated[
        str, typer.Option("--at", help="Times s in each phase, between 0 and 1.")
    ] = "0,0.25,0.5,0.75,1",
    backend: Backend = "scipy",
    rtol: Annotated[float, typer.Option(help="Relative tolerance.")] = 1e-9,
    atol: Annotated[float, typer.Option(help="Absolute tolerance.")] = 1e-11,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write netCDF here.")
    ] = None,
    json: Json = False,
) -> None:
    """Solve the learned overlaps and the sampling.

    \b
    Example:
      dilaton solve my.toml --at 0.25,0.5,1 --json
    """
    from . import answers
    from .spec import load_spec

    times = unit_times(at, "--at")
    chosen = load_spec(spec)
    if output is not None:
        check_output_file(output, spec)

    from .numerics.printed import limit_of
    from .numerics.solve import solve_point

    found = solve_point(
        limit_of(chosen),
        s=times,
        rtol=rtol,
        atol=atol,
        backend=backend,
        **chosen.values,
    )
    if output is not None:
        write_netcdf(found.dataset(), output)
    answer = answers.solution(found)
    print(answers.to_json(answer) if json else answers.solution_text(answer))


@app.command()
def learn(
    spec: SpecFile,
    times: Annotated[str, typer.Option(help="Training times, as in 5,20.")],
    init: Annotated[str, typer.Option(help="Overlaps at training time 0.")],
    phase: Annotated[
        str | None,
        typer.Option(help="The phase, as named by derive; weights if left out."),
    ] = None,
    s: Annotated[
        float | None, typer.Option(help="Time in the phase, in [0, 1].")
    ] = None,
    network: Annotated[
        Literal["untied", "tied"],
        typer.Option(help="Tied is exact at finite d: c x + w tanh(w.x + b)."),
    ] = "untied",
    d: Annotated[float | None, typer.Option(help="Dimension (tied).")] = None,
    tau: Annotated[float | None, typer.Option(help="Base time (tied).")] = None,
    json: Json = False,
) -> None:
    """Follow the overlaps in training time.

    One time of the interpolant is held fixed.

    Untied: gradient flow at time s of a phase, in the limit of large d. Tied: the
    score model c x + w tanh(w.x + b) at finite d, by gradient flow on the population
    loss; with this tool's alpha (noise) and beta (data), m = w.mu/(beta d) and
    q = |w_perp|^2/(beta^2 d).

    \b
    Example:
      dilaton learn my.toml --phase weights --s 0.75 \\
        --init m=0.3,q=0.5,omega=0.2,r=0.4,b=0 --times 5,20 --json
      dilaton learn my.toml --network tied --d 256 --tau 0.1 \\
        --init c=-1,m=0.1,q=0.1,b=0 --times 5,20 --json
    """
    from . import answers
    from .spec import load_spec

    if network == "tied":
        needed({"--d": d, "--tau": tau}, "--network tied")
        unused({"--s": s, "--phase": phase}, "--network tied")
    else:
        needed({"--s": s}, "--network untied")
        unused({"--d": d, "--tau": tau}, "--network untied")
    check_range("--d", d, 2.0)
    check_range("--s", s, 0.0, 1.0)
    check_range("--tau", tau, 0.0, 1.0)
    start, when = pairs(init, "--init"), numbers(times, "--times")
    chosen = load_spec(spec)

    from .numerics.learn import learn as learn_overlaps

    answer = learn_overlaps(
        chosen, phase or "weights", s, start, when, network=network, d=d, tau=tau
    )
    print(answers.to_json(answer) if json else answers.table(answer))


@app.command()
def mse(
    spec: SpecFile,
    phase: Annotated[str | None, typer.Option(help="The phase (with --s).")] = None,
    s: Annotated[
        str | None, typer.Option(help="Times in the phase, as 0,0.5,1.")
    ] = None,
    d: Annotated[float | None, typer.Option(help="Dimension (with --tau).")] = None,
    tau: Annotated[str | None, typer.Option(help="Base times, as 0.01,0.1.")] = None,
    json: Json = False,
) -> None:
    """Print the mean squared error per dimension.

    In the limit (--phase, --s), or at finite d (--d, --tau).

    \b
    Example:
      dilaton mse my.toml --phase weights --s 0,0.5,1 --json
      dilaton mse my.toml --d 1000 --tau 0.01,0.1,0.5 --json
    """
    from . import answers
    from .spec import load_spec

    if d is None and tau is None:
        needed({"--phase": phase, "--s": s}, "the limit")
    else:
        needed({"--d": d, "--tau": tau}, "a finite dimension")
        unused({"--phase": phase, "--s": s}, "a finite dimension")
    check_range("--d", d, 2.0)
    at_s = None if s is None else unit_times(s, "--s")
    at_tau = None if tau is None else unit_times(tau, "--tau")
    chosen = load_spec(spec)

    from .numerics.learn import mse as mean_squared_error

    answer = mean_squared_error(chosen, phase=phase, s=at_s, d=d, tau=at_tau)
    print(answers.to_json(answer) if json else answers.table(answer))


@app.command()
def steps(
    spec: SpecFile,
    d: Annotated[float, typer.Option(help="Dimension.")],
    steps: Annotated[str, typer.Option(help="Numbers of steps, as in 20,100,400.")],
    schedule: Annotated[
        Literal["dilated", "undilated"], typer.Option(help="What is stepped through.")
    ] = "dilated",
    rule: Annotated[
        Literal["left", "midpoint"], typer.Option(help="Where a step asks for b.")
    ] = "left",
    json: Json = False,
) -> None:
    """Print what a sampler with few steps gets.

    It follows the exact velocity at dimension d, with or without the dilation.

    \b
    Example:
      dilaton steps my.toml --d 1e6 --steps 20,100,400 --schedule undilated --json
    """
    from . import answers
    from .spec import load_spec

    check_range("--d", d, 2.0)
    counts = [whole(x, "--steps") for x in numbers(steps, "--steps")]
    chosen = load_spec(spec)

    from .numerics.steps import steps as sample_steps

    rows = sample_steps(chosen, d, counts, schedule, rule)
    if json:
        print(answers.to_json(rows))
    else:
        print(answers.table({k: [row[k] for row in rows] for k in rows[0]}))


@app.command()
def converge(
    spec: SpecFile,
    dims: Annotated[
        str, typer.Option(help="Dimensions, at least three.")
    ] = "300,1000,3000,10000",
    seeds: Annotated[int, typer.Option(help="Training sets at each.", min=1)] = 8,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A new folder, or one to go on with."),
    ] = None,
    at: Annotated[
        str, typer.Option("--at", help="Times s in each phase, above 0.")
    ] = "0.25,0.5,0.75,1",
    seed: Annotated[int, typer.Option(help="The first one.", min=0)] = 0,
    iterations: Annotated[
        int, typer.Option(help="Most optimiser steps a training.", min=1)
    ] = 2000,
    paths: Annotated[
        int, typer.Option(help="Generated samples a training set; 0 for none.", min=0)
    ] = 20_000,
    correction: Annotated[
        bool,
        typer.Option(
            "--correction/--no-correction",
            help="Show the predicted correction; the first time takes half a minute.",
        ),
    ] = True,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="For training.")
    ] = "cpu",
    json: Json = False,
) -> None:
    """Train networks and judge the limit by them.

    Trains at several dimensions, several training sets each. Prints a verdict for
    every overlap: consistent, inconsistent or not converged. Then how far the largest
    networks are from the limit, and from the limit with its predicted correction; the
    law of nu against the limit's; and what could not be compared.

    \b
    Example:
      dilaton converge my.toml --dims 300,1000,3000,10000 --seeds 8 -o study/ --json
    """
    from . import answers
    from .spec import load_spec
    from .torchcheck import check_device, need_torch

    seeds_from(seed, seeds, "--seed")
    chosen = load_spec(spec)
    sizes = [whole(x, "--dims") for x in numbers(dims, "--dims")]
    times = tuple(unit_times(at, "--at"))
    need_torch()
    check_device(device)

    from tqdm import tqdm

    from .torchcheck.converge import converge as study_convergence

    study = study_convergence(
        chosen,
        sizes,
        seeds,
        output=output,
        correction=correction,
        progress=lambda jobs: tqdm(jobs, unit="network", disable=None),
        times=times,
        seed=seed,
        max_iterations=iterations,
        paths=paths,
        device=device,
    )
    found = study.to_dict()
    print(answers.to_json(found) if json else answers.study_text(found))


@app.command()
def sweep(
    spec: SpecFile,
    over: Annotated[
        list[str],
        typer.Option(help="An axis: NAME=LOW:HIGH:COUNT[:log] or NAME=X,Y."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The store, a folder.")
    ],
    at: Annotated[
        str, typer.Option("--at", help="Times s at which overlaps are kept.")
    ] = "0.5,1",
    backend: Backend = "numba",
    device: Annotated[
        Literal["cpu", "gpu"], typer.Option(help="A GPU needs --backend jax.")
    ] = "cpu",
    rtol: Annotated[float, typer.Option(help="Relative tolerance.")] = 1e-8,
    workers: Annotated[
        int | None, typer.Option(help="Threads; one a core if left out.", min=1)
    ] = None,
    rows_per_chunk: Annotated[
        int | None, typer.Option(help="Rows in a chunk.", min=1)
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler.")
    ] = None,
    chunk_index: Annotated[
        int | None, typer.Option(help="Compute this chunk only (job arrays).", min=0)
    ] = None,
    json: Json = False,
) -> None:
    """Solve a grid of parameters, chunk by chunk.

    Finished chunks are kept in the store, so the same command goes on where it was
    stopped. With n samples and p swept, n_plus = round(p n) unless it is swept too.
    The result is sweep.nc in the store.

    \b
    Example:
      dilaton sweep my.toml --over p=0.5:0.95:64 --over kappa=0.5:6:64 -o store/
      sbatch --array=0-63 --wrap 'dilaton sweep my.toml --over p=0.5:0.95:64 \\
        --rows-per-chunk 1 --chunk-index $SLURM_ARRAY_TASK_ID -o store/'
    """
    from . import answers
    from .spec import load_spec

    times = unit_times(at, "--at")
    chosen = load_spec(spec)

    from .numerics import sweep as sweeps

    result = sweeps.sweep(
        chosen,
        over,
        output,
        backend=backend,
        device=device,
        s=times,
        rtol=rtol,
        scheduler=scheduler,
        chunk_index=chunk_index,
        rows_per_chunk=rows_per_chunk,
        workers=workers,
        progress=True,
    )
    if json:
        print(answers.to_json(sweeps.summary(result)))
    else:
        print(sweeps.summary_text(result, output))


@app.command()
def windows(
    data: Annotated[
        Literal["digits", "mixture", "mnist"], typer.Argument(help="What is learned.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A new folder, or one to continue.")
    ] = Path("windows"),
    d: Annotated[
        str, typer.Option(help="Mixture: dimension, or several as in 1024,4096.")
    ] = "4096",
    network: Annotated[
        Literal["per-time", "shared"],
        typer.Option(help="Mixture: one network a time, or one for all."),
    ] = "per-time",
    p: Annotated[float, typer.Option(help="Mixture: weight of the + mode.")] = 0.8,
    sigma: Annotated[float, typer.Option(help="Mixture: spread of a mode.")] = 1.0,
    folder: Annotated[
        str, typer.Option("--data", help="MNIST: the folder of its IDX files.")
    ] = "",
    classes: Annotated[
        str, typer.Option(help="Images: two classes, as in 3,8.")
    ] = "0,1",
    share: Annotated[
        float, typer.Option(help="Images: share of the first class.")
    ] = 0.8,
    mass: Annotated[
        float, typer.Option(help="Share of the training times put in the window.")
    ] = 0.5,
    seeds: Annotated[int, typer.Option(help="Pairs of trainings.", min=1)] = 10,
    first_seed: Annotated[int, typer.Option(help="Seeds count from here.", min=0)] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller everything.")] = False,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="For training.")
    ] = "cpu",
    json: Annotated[
        Path | None, typer.Option("--json", help="Also write every number here.")
    ] = None,
) -> None:
    """Find when a feature is decided, and train there.

    Trains a network, finds the window of the class by U-turns, then compares training
    in the window with training at uniform times, from scratch. Interrupted, the same
    command continues.

    \b
    Example:
      dilaton windows digits -o digits/
      dilaton windows mixture --network shared --d 256,1024,4096 -o growth/
      dilaton windows mnist --data ~/mnist -o mnist/ --json numbers.json
    """
    from .numerics.store import write_atomic
    from .torchcheck import check_device
    from .torchcheck.subjects import image_plan, mixture_plan
    from .windows import to_json, write_windows_report

    chosen = seeds_from(first_seed, seeds, "--first-seed")
    check_device(device)
    if data == "mnist":
        needed({"--data": folder or None}, "MNIST")
    for x in numbers(d, "--d"):
        check_range("--d", x, 2, 1e6)
    common: dict[str, Any] = {
        "seeds": chosen,
        "mass": mass,
        "quick": quick,
        "device": device,
    }
    if data == "mixture":
        sizes = sorted({whole(x, "--d") for x in numbers(d, "--d")})
        plans = [
            mixture_plan(d=size, p=p, sigma=sigma, network=network, **common)
            for size in sizes
        ]
    else:
        pair, shares = two_classes(classes), (share, 1 - share)
        plans = [image_plan(data, folder=folder, classes=pair, shares=shares, **common)]
    found = write_windows_report(plans, output, progress=True)
    if json is not None:
        write_atomic(json, to_json(found))
    print(found["verdict"])
    print(output / "index.html")


@app.command()
def explore(
    port: Annotated[
        int, typer.Option(help="A port of this machine; 0 for any.", min=0, max=65535)
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in a browser.")
    ] = True,
) -> None:
    """Serve a page whose sliders redraw the limit.

    It is served to this machine alone, until Ctrl-C.

    \b
    Example:
      dilaton explore
      dilaton explore --port 8123 --no-browser
    """
    from .explore import explore as serve

    serve(port, browser, lambda text: print(text, file=sys.stderr, flush=True))


@app.command()
def doctor(json: Json = False) -> None:
    """Print versions, devices, the cache folder and what is missing.

    \b
    Example:
      dilaton doctor --json
    """
    from . import answers
    from .doctor import diagnosis, diagnosis_text

    found = diagnosis()
    print(answers.to_json(found) if json else diagnosis_text(found))


def check_output_file(path: Path, *inputs: Path) -> None:
    """Refuse a file that cannot be written, is read from, or is none."""
    if path.is_dir():
        fact = "it is a folder"
    elif not path.parent.is_dir():
        fact = f"there is no folder `{path.parent}`"
    elif path.exists() and not path.is_file():
        fact = "it is a device or a pipe"
    elif path.exists() and any(x.exists() and path.samefile(x) for x in inputs):
        fact = "it is the spec"
    else:
        return
    raise StoreError(
        f"`--output` must be a file to write, but `{path}` is not: {fact}. Choose "
        "another name."
    )


def write_netcdf(trajectory: Any, path: Path) -> None:
    """Write a trajectory to `path`, whole or not at all."""
    import os

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        trajectory.to_netcdf(temporary, engine="scipy")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
