"""`dilaton times`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from ...show import answers
from ..arguments import check_range, needed, numbers, only, pairs, unused, words
from .options import Json, SpecFile, read_spec

if TYPE_CHECKING:
    from ...theory.models.spec import Spec


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
