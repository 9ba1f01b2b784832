"""`dilaton mse`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..arguments import check_range, needed, read_unit_times, unused
from .options import Json, SpecFile


def mse(
    spec: SpecFile,
    phase: Annotated[str | None, typer.Option(help="The phase (with --s).")] = None,
    s: Annotated[
        str | None, typer.Option(help="The times in the phase, for example 0,0.5,1.")
    ] = None,
    d: Annotated[float | None, typer.Option(help="The dimension (with --tau).")] = None,
    tau: Annotated[
        str | None,
        typer.Option(help="The interpolant's own times, for example 0.01,0.1."),
    ] = None,
    json: Json = False,
) -> None:
    """Print the mean squared error per dimension.

    The error is that of the limit (--phase, --s), or that at a finite dimension
    (--d, --tau).

    \b
    Example:
      dilaton mse my.toml --phase weights --s 0,0.5,1 --json
      dilaton mse my.toml --d 1000 --tau 0.01,0.1,0.5 --json
    """
    from ...show import answers
    from ...theory.models.spec import load_spec

    if d is None and tau is None:
        needed({"--phase": phase, "--s": s}, "the limit")
    else:
        needed({"--d": d, "--tau": tau}, "a finite dimension")
        unused({"--phase": phase, "--s": s}, "a finite dimension")
    check_range("--d", d, 2.0)
    at_s = None if s is None else read_unit_times(s, "--s")
    at_tau = None if tau is None else read_unit_times(tau, "--tau")
    chosen = load_spec(spec)

    from ...numerics.learn import mse as mean_squared_error

    answer = mean_squared_error(chosen, phase=phase, s=at_s, d=d, tau=at_tau)
    print(answers.to_json(answer) if json else answers.table(answer))
