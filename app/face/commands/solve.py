"""`dilaton solve` and `dilaton sweep`: a point, or a grid of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from ...errors import StoreError
from ...files import write_netcdf
from ...show import answers
from ..arguments import read_unit_times, unused
from .options import Backend, Json, SpecFile, read_spec


def solve(
    spec: SpecFile,
    at: Annotated[
        str, Option("--at", help="The times s in each phase, from 0 to 1.")
    ] = "0,0.25,0.5,0.75,1",
    backend: Backend = "scipy",
    rtol: Annotated[
        float | None,
        Option(
            help="The relative tolerance; not for targets of kind modes.",
            show_default="1e-9",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        Option("-o", "--output", help="Also write the result to this netCDF file."),
    ] = None,
    json: Json = False,
) -> None:
    """Solve for the learned overlaps and for what is generated.

    \b
    Example:
      dilaton solve my.toml --at 0.25,0.5,1 --json
    """
    times = read_unit_times(at, "--at")
    chosen = read_spec(spec)
    if output is not None:
        check_output_file(output, spec)

    if chosen.kind == "modes":
        unused({"--rtol": rtol}, "modes, whose averages tell their own error")

    from ...numerics.solve import solve_point

    wanted = 1e-9 if rtol is None else rtol
    found = solve_point(
        chosen, s=times, rtol=wanted, atol=wanted / 100, backend=backend
    )
    if output is not None:
        write_netcdf(found.dataset(), output)
    answer = answers.solution(found)
    print(answers.to_json(answer) if json else answers.solution_text(answer))


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


def sweep(
    spec: SpecFile,
    over: Annotated[
        list[str],
        Option(help="An axis of the grid: NAME=LOW:HIGH:COUNT[:log] or NAME=X,Y."),
    ],
    output: Annotated[
        Path, Option("-o", "--output", help="The folder in which results are stored.")
    ],
    at: Annotated[
        str, Option("--at", help="The times s at which overlaps are stored.")
    ] = "0.5,1",
    backend: Backend = "numba",
    device: Annotated[
        Literal["cpu", "gpu"],
        Option(help="The device to solve on; gpu needs --backend jax."),
    ] = "cpu",
    rtol: Annotated[float, Option(help="The relative tolerance.")] = 1e-8,
    final: Annotated[
        bool, Option("--final", help="Add the shares at the end of sampling.")
    ] = False,
    workers: Annotated[
        int | None,
        Option(help="The number of threads; one for each core if left out.", min=1),
    ] = None,
    rows_per_chunk: Annotated[
        int | None, Option(help="The number of rows in a chunk.", min=1)
    ] = None,
    scheduler: Annotated[
        str | None, Option(help="The address of a Dask scheduler.")
    ] = None,
    chunk_index: Annotated[
        int | None, Option(help="Compute only this chunk, as in a job array.", min=0)
    ] = None,
    json: Json = False,
) -> None:
    """Solve a grid of parameters, chunk by chunk.

    Finished chunks are kept in the folder, so that the same command continues where it
    was stopped. When p is swept with n samples, n_plus is round(p n) unless it is swept
    too. The result is the file sweep.nc in the folder.

    \b
    Example:
      dilaton sweep my.toml --over p=0.5:0.95:64 --over kappa=0.5:6:64 -o store/
      sbatch --array=0-63 --wrap 'dilaton sweep my.toml --over p=0.5:0.95:64 \\
        --rows-per-chunk 1 --chunk-index $SLURM_ARRAY_TASK_ID -o store/'
    """
    times = read_unit_times(at, "--at")
    chosen = read_spec(spec)

    from ...numerics.sweep import collect, job

    result = job.sweep(
        chosen,
        over,
        output,
        backend=backend,
        device=device,
        s=times,
        rtol=rtol,
        final=final,
        scheduler=scheduler,
        chunk_index=chunk_index,
        rows_per_chunk=rows_per_chunk,
        workers=workers,
        progress=True,
    )
    if json:
        print(answers.to_json(collect.sweep_summary(result)))
    else:
        print(collect.summary_text(result, output))
