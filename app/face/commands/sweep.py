"""`dilaton sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..arguments import read_unit_times
from .options import Backend, Json, SpecFile


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
    from ...show import answers
    from ...theory.models.spec import load_spec

    times = read_unit_times(at, "--at")
    chosen = load_spec(spec)

    from ...numerics.sweep import job as sweeps

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
        print(answers.to_json(sweeps.sweep_summary(result)))
    else:
        print(sweeps.summary_text(result, output))
