"""`dilaton learn` and `dilaton mse`: what training does, and what error is left."""

from __future__ import annotations

from typing import Annotated, Literal

from typer import Option

from ...show import answers
from ..arguments import check_range, needed, numbers, pairs, read_unit_times, unused
from .options import Json, SpecFile, read_spec


def learn(
    spec: SpecFile,
    times: Annotated[str, Option(help="The training times, for example 5,20.")],
    init: Annotated[str, Option(help="The overlaps at training time 0.")],
    phase: Annotated[
        str | None, Option(help="The phase, as `derive` names it; weights if left out.")
    ] = None,
    s: Annotated[
        float | None, Option(help="The time in the phase, from 0 to 1.")
    ] = None,
    network: Annotated[
        Literal["untied", "tied"],
        Option(help="Which network: tied is c x + w tanh(w.x + b), exact at finite d."),
    ] = "untied",
    d: Annotated[float | None, Option(help="The dimension (tied).")] = None,
    tau: Annotated[
        float | None, Option(help="The interpolant's own time (tied).")
    ] = None,
    rate: Annotated[
        float | None,
        Option(help="The learning rate of SGD; gradient flow if left out (untied)."),
    ] = None,
    batch: Annotated[
        int | None,
        Option(help="The number of samples in each step, with --rate (untied)."),
    ] = None,
    json: Json = False,
) -> None:
    """Follow the overlaps in training time.

    One time of the interpolant is held fixed.

    An untied network is trained at time s of a phase, in the limit of large d, by
    gradient flow or by one-pass SGD with steps of --rate/d in training time. The tied
    network is the score model c x + w tanh(w.x + b) at finite d, trained by gradient
    flow on the population loss; with this tool's alpha (noise) and beta (data),
    m = w.mu/(beta d) and q = |w_perp|^2/(beta^2 d).

    \b
    Example:
      dilaton learn my.toml --phase weights --s 0.75 \\
        --init m=0.3,q=0.5,omega=0.2,r=0.4,b=0 --times 5,20 --json
      dilaton learn my.toml --network tied --d 256 --tau 0.1 \\
        --init c=-1,m=0.1,q=0.1,b=0 --times 5,20 --json
    """
    if network == "tied":
        needed({"--d": d, "--tau": tau}, "--network tied")
        noise = {"--rate": rate, "--batch": batch}
        unused({"--s": s, "--phase": phase} | noise, "--network tied")
    else:
        needed({"--s": s}, "--network untied")
        unused({"--d": d, "--tau": tau}, "--network untied")
    check_range("--d", d, 2.0)
    check_range("--s", s, 0.0, 1.0)
    check_range("--tau", tau, 0.0, 1.0)
    start, when = pairs(init, "--init"), numbers(times, "--times")
    chosen = read_spec(spec)

    from ...numerics.learn import learn as learn_overlaps

    answer = learn_overlaps(
        chosen,
        phase or "weights",
        s,
        start,
        when,
        network=network,
        d=d,
        tau=tau,
        rate=rate,
        batch=batch,
    )
    print(
        answers.to_json(answer)
        if json
        else answers.table(answers.overlap_columns(answer))
    )


def mse(
    spec: SpecFile,
    phase: Annotated[str | None, Option(help="The phase (with --s).")] = None,
    s: Annotated[
        str | None, Option(help="The times in the phase, for example 0,0.5,1.")
    ] = None,
    d: Annotated[float | None, Option(help="The dimension (with --tau).")] = None,
    tau: Annotated[
        str | None, Option(help="The interpolant's own times, for example 0.01,0.1.")
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
    if d is None and tau is None:
        needed({"--phase": phase, "--s": s}, "the limit")
    else:
        needed({"--d": d, "--tau": tau}, "a finite dimension")
        unused({"--phase": phase, "--s": s}, "a finite dimension")
    check_range("--d", d, 2.0)
    at_s = None if s is None else read_unit_times(s, "--s")
    at_tau = None if tau is None else read_unit_times(tau, "--tau")
    chosen = read_spec(spec)

    from ...numerics.learn import mse as mean_squared_error

    answer = mean_squared_error(chosen, phase=phase, s=at_s, d=d, tau=at_tau)
    print(answers.to_json(answer) if json else answers.table(answer))
