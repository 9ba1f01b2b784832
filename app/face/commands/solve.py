"""`dilaton solve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
