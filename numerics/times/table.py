"""Tables of learning times, their growth with `d`, and training flows of a spec."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import DerivationError, ModelError
from ...theory.models.model import Model, Modes
from ...theory.models.spec import Spec
from ...theory.modes.systems import check_population
from ...theory.times.densities import (
    Density,
    loss_weight,
    parse_density,
    piecewise_constant,
)
from ...theory.times.exponents import time_law
from ...theory.times.held import check_trainable
from ..asked import asked
from ..codegen.parameters import dimension, whole_number
from ..learn import check_init, check_names, positive, sgd_noise, training_times
from .flow import (
    FlowKind,
    FlowMean,
    Speed,
    check_flow_kind,
    check_vectors,
    finite_rate,
    integrate_flow,
    open_flow,
    pair_system,
    with_repeats,
)
from .learning_time import (
    bulk_time,
    check_loss,
    check_within,
    direction_time,
    learning_time,
)
from .nodes import TimeNodes, time_nodes

MOST_STEPS = 150
"""The times that a density from a table may have."""

VAST = 1e8
"""The dimension at which a density and a weight are looked at for their exponents."""

Densities = Sequence[str | Density]
Given = Any
"""A spec or the path of a spec file."""


def point_of(spec: Spec, d: float, density: Density) -> dict[str, float]:
    """Return the numbers of a spec with `d`; one kappa serves every window."""
    point = {k: float(v) for k, v in spec.values.items()} | {"d": dimension(d)}
    for x in map(str, density.parameters):
        if x.startswith("kappa_") and "kappa" in point:
            point.setdefault(x, point["kappa"])
    return point


def density_of(chosen: str | Density, model: Model) -> Density:
    """Return a density, read from text if it is text.

    ``table:FILE`` has the times of a file, equally many between each two neighbours;
    all else is for `parse_density`.
    """
    if isinstance(chosen, Density):
        return chosen
    name, _, path = chosen.strip().partition(":")
    if name != "table":
        return parse_density(chosen, model)
    from .weighted import read_times

    times = read_times(path.strip())
    if len(times) > MOST_STEPS:
        raise ModelError(
            f"A density from a table may have {MOST_STEPS} times, but `{path}` has "
            f"{len(times)}. Keep every k-th one: its quantiles."
        )
    count = len(times) - 1
    return piecewise_constant(chosen, times.tolist(), [1 / count] * count)


def learning_times(
    spec: Given,
    d: Iterable[float],
    densities: Densities,
    losses: Sequence[str],
    *,
    within: float,
) -> list[dict[str, Any]]:
    r"""Return how long each feature's weight takes to be learned, as rows. (R17)

    One network with units held at the means, $w_j = \mu_j$, is trained at all times at
    once, at times drawn from a density, by gradient flow on the population; the bias
    starts at 0 and the weight is learned when it is `within` of p. Exact at each `d`.
    For modes the units are a softmax with a bias each, and the weights those of the
    modes (R37).

    `spec` is of the population, `d` holds dimensions, `densities` those of training
    times: text for `parse_density`, or made in Python; `losses` are loss weights, text
    for `loss_weight`, and `within` is in (0, 1/2). The rows have `d`, `density`,
    `loss`, `feature` (from 1), `time` (in train_time; infinite for a rate below the
    smallest number) and `within`. For modes, `mode` (from 1) stands in place of
    `feature`, with the `error` of the time.
    """
    spec = _trainable(spec, within)
    return [
        {"d": _whole(x.point["d"]), **x.about, **row, "within": within}
        for x in _cases(spec, d, densities, losses, within=within)
        for row in _times_of(spec.model, x.about["loss"], x.nodes, x.point)
    ]


class _Case(NamedTuple):
    """A density and a loss weight at one dimension, as rows name and as numbers."""

    about: dict[str, Any]
    density: Density
    nodes: TimeNodes
    point: dict[str, float]


def _cases(
    spec: Spec,
    d: Iterable[float],
    densities: Densities,
    losses: Sequence[str],
    **more: float,
) -> Iterator[_Case]:
    """Yield every density, dimension and loss weight, in this order; `more` numbers."""
    model = spec.model
    for chosen in densities:
        density = density_of(chosen, model)
        for size in d:
            point = point_of(spec, size, density) | more
            nodes = time_nodes(density, point, model.interpolant)
            for loss in losses:
                check_loss(model, loss, nodes.tau, point)
                about = {"density": str(chosen), "loss": loss}
                yield _Case(about, density, nodes, point)


def _times_of(
    model: Model, loss: str, nodes: TimeNodes, point: Mapping[str, float]
) -> list[dict[str, Any]]:
    """The learning time of each feature, or of each mode's weight with its error."""
    if not isinstance(model.target, Modes):
        return [
            {"feature": j, "time": learning_time(model, j, loss, nodes, point)}
            for j in range(1, len(model.target.features) + 1)
        ]
    from .mode_weights import weights_times

    pairs = zip(*weights_times(model, loss, nodes, point), strict=True)
    return [
        {"mode": k, "time": float(time), "error": float(error)}
        for k, (time, error) in enumerate(pairs, 1)
    ]


def _whole(d: float) -> float:
    return int(d) if d == int(d) and d < 1e15 else d


def _trainable(spec: Given, within: float) -> Spec:
    """The spec of what was asked, whose weights a shared network can learn."""
    found = asked(spec).spec
    check = check_population if found.kind == "modes" else check_trainable
    check(found.model)
    check_within(within)
    return found


def time_exponents(
    spec: Given, densities: Densities, losses: Sequence[str], *, within: float
) -> list[dict[str, Any]]:
    r"""Return the power of `d` of each learning time, as rows. (R30)

    With `density`, `loss`, `feature`, `exponent` (text such as ``"1/2"``; ``"inf"``
    when the time grows faster than any power) and `law`, the growth in full.
    """
    spec = _trainable(spec, within)
    model = spec.model
    check_trainable(model)
    rows = []
    for here in _cases(spec, (VAST,), densities, losses):
        weight = loss_weight(here.about["loss"], model.interpolant)
        for j, feature in enumerate(model.target.features, 1):
            about = {**here.about, "feature": j}
            if abs(spec.values[str(feature.p)] - 0.5) <= within:
                rows.append(about | {"exponent": "0", "law": "0"})
                continue
            law = time_law(model, j, here.density, weight)
            rows.append(about | {"exponent": str(law), "law": law.text})
    return rows


def other_times(
    spec: Given, d: Iterable[float], densities: Densities, losses: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what densities gain and cost beside the weights. (R18), (R28)

    Rows with `d`, `density`, `loss`, `what` and `time`, in which an error falls by e:
    that of each direction (``direction-1``, ...) and of the ``variance``.
    """
    spec = asked(spec).spec
    model = spec.model
    check_trainable(model)
    rows = []
    for about, _, nodes, point in _cases(spec, d, densities, losses):
        loss, about = about["loss"], {"d": _whole(point["d"]), **about}
        for j in range(1, len(model.target.features) + 1):
            time = direction_time(model, j, loss, nodes, point)
            rows.append(about | {"what": f"direction-{j}", "time": time})
        time = bulk_time(model, loss, nodes, point)
        rows.append(about | {"what": "variance", "time": time})
    return rows


def shared_flow(
    spec: Given,
    d: float,
    density: str | Density,
    loss: str,
    init: Mapping[str, float],
    times: Iterable[float],
    *,
    rate: float | None = None,
    batch: float | None = None,
    repeats: int = 1,
    ridge_w: float | None = None,
    exact_noise: bool = False,
    common_rate: bool = False,
    momentum: float = 0.0,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> dict[str, list[float]]:
    r"""Follow the overlaps of one network for all times in training time. (R3), (R20)

    Gradient flow on the population under a density of times and a loss weight, exact at
    `d`; with `rate` and `batch`, with the noise of one-pass SGD, steps of `rate`/d on
    `batch` samples; `repeats` of them share a pair of noise and data, at times of their
    own (R29). `ridge_w` is a ridge on w (R31). `exact_noise` keeps what is of order
    $\sigma^2/d$ in the noise (R32). With `common_rate`, `b` has the rate of the vectors
    and with noise a variance `b_var` over runs, 0 at first (R34), (R35). With
    heavy-ball `momentum` a step is `rate` times the running sum of slopes, so that it
    takes a training time of `rate`/((1 - `momentum`) d) (R41).

    Returns ``{"times", "m", "q", "b"}``, and ``"b_var"`` where there is one. Several
    features have a unit each, and the overlaps m_j, m_j_k, r_j, r_j_k, b_j, with r the
    products of the vectors in units of the means' lengths (R39); they couple unless all
    weights are 1/2 with no bias. For modes the units are held at the means (R36):
    `init` has the biases ``b_1``, ``b_2``, ..., which are returned with the weights
    that their softmax implies, ``p_1``, ...; noise and ridge are refused.
    """
    spec = asked(spec).spec
    model = spec.model
    if isinstance(model.target, Modes):
        given = {"rate": rate, "batch": batch, "momentum": momentum or None}
        given |= {"ridge_w": ridge_w, "exact_noise": exact_noise or None}
        given |= {"common_rate": common_rate or None}
        given |= {"repeats": repeats if repeats != 1 else None}
        _check_plain([name for name, value in given.items() if value is not None])
        return _modes_flow(spec, d, density, loss, init, times)
    noise = sgd_noise(rate, batch, momentum)
    check_trainable(model)
    check_flow_kind(bool(noise), repeats, exact_noise, common_rate)
    kind = FlowKind(bool(noise), exact_noise, common_rate, ridge_w is not None)
    chosen, when = density_of(density, model), training_times(times)
    point = point_of(spec, d, chosen) | noise | {"momentum": momentum}
    if ridge_w is not None:
        point |= {"ridge_w": positive("ridge_w", ridge_w)}
    nodes = time_nodes(chosen, point, model.interpolant)
    check_loss(model, loss, nodes.tau, point)
    _check_step(point)
    system = open_flow(model, loss, kind)
    names = [str(x) for x in system.flow.unknowns]
    if "b_var" in names:
        init = {"b_var": 0.0, **init}
    check_init(system.flow, names, init)
    check_vectors(system.flow, init)
    start = [float(init[name]) for name in names]
    speed: Speed = FlowMean(system, nodes, point).kept(start)
    if "b_var" in names:
        speed = finite_rate(speed, *(point[x] for x in ("d", "rate", "momentum")))
    if whole_number("repeats", repeats) > 1:
        pair = pair_system(model, loss)
        speed = with_repeats(speed, pair, nodes, point, repeats - 1)
    found = integrate_flow(speed, start, when, rtol, atol)
    plain = names if "b_2" in names else [x.removesuffix("_1") for x in names]
    return {"times": when, **dict(zip(plain, np.array(found).T.tolist(), strict=True))}


def _check_step(point: Mapping[str, float]) -> None:
    """Raise `ModelError` for a step that is no short time."""
    step = point.get("rate", 0.0) / point["d"]
    if step >= 1:
        raise ModelError(
            "A step of SGD must be short beside the training, rate/(d (1 - momentum)) "
            f"below 1, but is {step:g} of it. Lower the rate."
        )


def _check_plain(used: Sequence[str]) -> None:
    """Refuse what the flow of softmax units does not have."""
    if used:
        raise DerivationError(
            "The training flow of softmax units is derived for their biases at "
            "vanishing learning rate, with the vectors held at the means, but "
            f"`{used[0]}` was given. Leave it out."
        )


def _modes_flow(
    spec: Spec,
    d: float,
    density: str | Density,
    loss: str,
    init: Mapping[str, float],
    times: Iterable[float],
) -> dict[str, list[float]]:
    """The biases of softmax units held at the means, and the weights they imply."""
    from scipy.special import softmax

    from ..modes.evaluate import weights_of
    from .mode_weights import weights_flow

    model = spec.model
    check_population(model)
    chosen = density_of(density, model)
    point = point_of(spec, d, chosen)
    names = [f"b_{k}" for k in range(1, len(weights_of(point)) + 1)]
    check_names("exact/tied", names, init)
    when = training_times(times)
    nodes = time_nodes(chosen, point, model.interpolant)
    check_loss(model, loss, nodes.tau, point)
    start = [float(init[name]) for name in names]
    rows = weights_flow(model, loss, nodes, point, start, when)
    found = {name: rows[:, k].tolist() for k, name in enumerate(names)}
    weights = softmax(rows, axis=1).T.tolist()
    found |= {f"p_{k}": weights[k - 1] for k in range(1, len(names) + 1)}
    return {"times": when, **found}
