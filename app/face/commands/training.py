"""`dilaton learn`, `dilaton mse`, `dilaton times`: training, what error is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Option

from ...show import answers
from ..arguments import (
    check_range,
    needed,
    numbers,
    only,
    pairs,
    read_unit_times,
    unused,
    words,
)
from .options import Json, SpecFile, read_spec

if TYPE_CHECKING:
    from ...theory.models.spec import Spec


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


def times(
    spec: SpecFile,
    density: Annotated[
        str,
        Option(help="The densities of training times, for example uniform,shift:3."),
    ],
    d: Annotated[
        str | None, Option(help="The dimensions, for example 256,1024.")
    ] = None,
    loss: Annotated[
        str, Option(help="The loss weights, for example data,velocity,noise.")
    ] = "data",
    within: Annotated[
        float,
        Option(help="The distance from p within which a weight counts as learned."),
    ] = 0.02,
    exponents: Annotated[
        bool, Option("--exponents", help="Also print the powers of d.")
    ] = False,
    init: Annotated[
        str | None,
        Option(help="The overlaps at training time 0; prints their flow instead."),
    ] = None,
    times: Annotated[
        str | None, Option(help="The training times (with --init).")
    ] = None,
    rate: Annotated[
        float | None, Option(help="The learning rate; 0 if left out (with --init).")
    ] = None,
    batch: Annotated[
        int | None, Option(help="The number of samples in each step (with --rate).")
    ] = None,
    common_rate: Annotated[
        bool,
        Option(
            "--common-rate", help="Use one learning rate for w and b (with --init)."
        ),
    ] = False,
    momentum: Annotated[
        float | None, Option(help="The momentum of heavy-ball SGD (with --rate).")
    ] = None,
    json: Json = False,
) -> None:
    """Print how long training takes at times drawn from a density.

    One tied network serves all times. The table holds the time in which the weight of
    each feature, or of each mode, is learned, with the units held at the means; with
    --init it holds the flow of the overlaps. A step of SGD with learning rate eta takes
    a training time of eta/d, and of eta/(d (1 - mu)) with momentum mu. Several features
    have the overlaps m_1, m_1_2, ... of their units with the means, r_1, r_1_2, ... of
    the units with one another, and the biases b_1, ...

    Densities: uniform, shift:A, logit-normal:M:S, dilated, window:LOW:HIGH:MASS,
    log-normal:M:S (EDM), mode:G, cosine, log-snr, ddpm:FIRST:LAST:COUNT, formula:F,
    table:FILE; + composes maps. Loss weights: data, velocity, noise, min-snr:G, p2:K:G,
    sigmoid:B, edm:S, formula:F. Numbers may be formulas in d, such as sqrt(d).

    \b
    Example:
      dilaton times my.toml --d 256,1024 --density "uniform,shift:sqrt(d),dilated" \\
        --loss data,noise --exponents --json
      dilaton times my.toml --d 400 --density dilated --init m=0.3,q=1,b=0 \\
        --times 3,6,9,12 --rate 2 --batch 4 --json
    """
    densities, losses = words(density, "--density"), words(loss, "--loss")
    dims = None if d is None else numbers(d, "--d")
    for size in dims or ():
        check_range("--d", size, 2.0)
    chosen = read_spec(spec)
    if init is None:
        flows = {"--times": times, "--rate": rate, "--batch": batch}
        flows |= {"--common-rate": common_rate or None, "--momentum": momentum}
        unused(flows, "learning times")
        if not exponents:
            needed({"--d": d}, "learning times")
        rows = _rows(chosen, dims or [], densities, losses, within, exponents)
        print(answers.to_json(rows) if json else answers.ragged(rows))
        return
    needed({"--d": d, "--times": times}, "a flow")
    unused({"--exponents": exponents or None}, "a flow")
    from ...numerics.times.table import shared_flow

    flow = shared_flow(
        chosen,
        only(dims or [], "--d"),
        only(densities, "--density"),
        only(losses, "--loss"),
        pairs(init, "--init"),
        numbers(times or "", "--times"),
        rate=rate,
        batch=batch,
        common_rate=common_rate,
        momentum=momentum or 0.0,
    )
    print(answers.to_json(flow) if json else answers.table(flow))


def _rows(
    spec: Spec,
    dims: list[float],
    densities: list[str],
    losses: list[str],
    within: float,
    exponents: bool,
) -> list[dict[str, Any]]:
    """Rows of learning times, then rows of their exponents if these are wanted."""
    from ...numerics.times.table import learning_times, time_exponents

    rows = learning_times(spec, dims, densities, losses, within=within)
    if exponents:
        powers = time_exponents(spec, densities, losses, within=within)
        rows += [{k: v for k, v in row.items() if k != "law"} for row in powers]
    return rows
