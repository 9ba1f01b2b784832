"""Derived systems of modes: special cases, limits of exact ones, indexed form."""

import math
import time

import pytest
import sympy as sp
from dilaton.errors import ModelError
from dilaton.theory.derive import derive
from dilaton.theory.document.derivation import render
from dilaton.theory.models.model import (
    VARIANCE_EXPLODING,
    Autoencoder,
    Data,
    Model,
    modes,
    two_modes,
)
from dilaton.theory.modes.modes_bulk import mode_minimum, unexplained
from dilaton.theory.symbols.indexed import Softmax
from dilaton.theory.symbols.notation import symbol

P, Y, LOADING = (
    sp.IndexedBase(symbol("p")),
    sp.IndexedBase(symbol("y")),
    sp.IndexedBase(symbol("L")),
)
ROUND = 1e-12  # double precision, sums of a few terms
IN_D = 1e-4  # relative size of the next order at d = 1e12 (exponent 1/2: 1e-6 kappa)


def written(expr, system, rows, weights, **scalars):
    """The value of an indexed expression with its sums written out."""
    size, width = len(rows), len(rows[0])
    sizes = {symbol("K"): size, symbol("R"): width}
    sizes |= {symbol(k): v for k, v in scalars.items() if k != "y"}
    expr = expr.subs(sizes).doit()
    for eq in system.observables[::-1]:
        (k,), rhs = eq.lhs.indices, eq.rhs
        rhs = rhs.written_out(size) if isinstance(rhs, Softmax) else rhs
        for i in range(1, size + 1):
            value = rhs.subs(k, i).subs(sizes).doit()
            expr = expr.subs(eq.lhs.subs(k, i), value)
    known = {P[k + 1]: w for k, w in enumerate(weights)}
    known |= {
        LOADING[k + 1, j + 1]: x for k, r in enumerate(rows) for j, x in enumerate(r)
    }
    known |= {Y[j + 1]: x for j, x in enumerate(scalars.get("y", ()))}
    return float(expr.subs(known))


def test_two_opposite_modes_learn_what_the_tanh_unit_learns():
    """Overlaps less their mean over the branch are those of one tanh unit."""
    phase = derive(Model(modes([[1], [-1]], [0]))).phase("weights")
    tanh = derive(Model(two_modes())).phase("weights").learned
    at = {"s": 0.7, "kappa": 2.0, "sigma": 1.3}
    point = {symbol(k): v for k, v in at.items()} | {symbol("p"): 0.8}
    k, j = sp.symbols("k j", integer=True)
    m, omega, b = (sp.IndexedBase(symbol(x)) for x in ("m", "omega", "b"))
    wanted = {m[k, j]: "m", omega[k, j]: "omega", b[k]: "b"}
    for eq in phase.learned.equations[2:]:
        value = eq.rhs.subs({k: 1, j: 1})
        found = written(value, phase.sampling, [[1], [-1]], [0.8, 0.2], **at)
        assert abs(found - float(tanh[wanted[eq.lhs]].subs(point))) < ROUND
    assert phase.learned["c_hat"] == tanh["c_hat"]


def by_hand(rows, weights, s, kappa, y):
    """The flow of theory and textbook: softmax by hand, linear schedule."""
    field = [
        math.log(p)
        + kappa * s * sum(a * b for a, b in zip(row, y, strict=True))
        - (kappa * s) ** 2 * sum(a * a for a in row) / 2
        for p, row in zip(weights, rows, strict=True)
    ]
    total = sum(map(math.exp, field))
    post = [math.exp(x) / total for x in field]
    columns = zip(*rows, strict=True)
    return [kappa * sum(x * q for x, q in zip(c, post, strict=True)) for c in columns]


def test_the_flow_of_a_window_is_the_softmax_by_hand():
    rows, weights = [[1, 0.3], [0, 1], [-0.5, -1]], [0.5, 0.3, 0.2]
    phase = derive(Model(modes(rows, [0, 0]))).phase("weights")
    y = [0.4, -0.9]
    j = sp.Symbol("j", integer=True)
    hand = by_hand(rows, weights, 0.6, 2.5, y)
    for i in (1, 2):
        rate = phase.sampling.equations[0].rhs.subs(j, i)
        found = written(rate, phase.sampling, rows, weights, s=0.6, kappa=2.5, y=y)
        assert abs(found - hand[i - 1]) < ROUND


def test_the_window_is_the_limit_of_the_exact_flow():
    """d^-1/2 times the exact velocity at tau = kappa s/sqrt(d), d = 1e12."""
    rows, weights, d = [[1, 0], [0.2, 1], [-1, 0.5]], [0.2, 0.3, 0.5], 1e12
    limit = derive(Model(modes(rows, [0, 0])))
    y, s, kappa = [0.7, -0.2], 0.8, 2.0
    tau = kappa * s / d**0.5
    exact = limit.exact["sampling"]
    j = sp.Symbol("j", integer=True)
    delta = sp.IndexedBase(symbol("delta"))
    hand = by_hand(rows, weights, s, kappa, y)
    for i in (1, 2):
        flow = exact.equations[0].rhs.subs(j, i)
        flow = flow.replace(
            lambda e: isinstance(e, sp.Indexed) and e.base == delta, lambda e: 0
        )
        system = limit.phase("weights").sampling
        speed = written(
            flow, _without(exact, delta), rows, weights, tau=tau, d=d, sigma=1.0, y=y
        )
        assert abs(speed * kappa / d**0.5 - hand[i - 1]) < IN_D * 10
        assert system.name == "weights/sampling"


def _without(system, delta):
    """The system with all exponents zero."""
    from dataclasses import replace

    zero = [
        replace(
            eq,
            rhs=eq.rhs.replace(
                lambda e: isinstance(e, sp.Indexed) and e.base == delta, lambda e: 0
            ),
        )
        for eq in system.observables
    ]
    return replace(system, observables=tuple(zero))


def test_ten_modes_are_derived_at_once_and_never_written_out():
    rows = [[int(i == j) for j in range(10)] for i in range(10)]
    begin = time.perf_counter()
    text = render(derive(Model(modes(rows, [0] * 10))), "text")
    assert time.perf_counter() - begin < 20
    assert "sum_l exp(xi[l])" in text
    assert "y[j]' = kappa*sum_k L[k, j]*pi[k]" in text
    assert "p[2]" not in text
    assert "p_2" not in text


def test_phases_and_groups_of_a_hierarchy():
    target = modes([[1, 1], [1, -1], [-1, 1], [-1, -1]], [0, "1/4"])
    limit = derive(Model(target))
    assert [p.name for p in limit.phases] == ["weights-1", "weights-2", "variance"]
    assert limit.phases[1].groups == (((1,), (2,)), ((3,), (4,)))
    assert limit.phases[2].groups == ()
    assert limit.parameters == (
        "kappa_1",
        "kappa_2",
        *(f"p_{k}" for k in (1, 2, 3, 4)),
        "sigma",
    )


def test_a_variance_exploding_schedule_decides_in_the_bulk():
    limit = derive(
        Model(modes([[1, 0], [0, 1]], [0, 0]), interpolant=VARIANCE_EXPLODING)
    )
    assert [p.name for p in limit.phases] == ["weights", "variance"]
    assert limit.phases[0].window.end == "interior"


def test_other_units_are_refused():
    with pytest.raises(ModelError, match="learned by untied softmax units"):
        derive(Model(modes([[1], [-1]], [0]), autoencoder=Autoencoder("erf")))


@pytest.mark.parametrize("frozen", [False, True])
def test_one_mode_in_the_bulk_is_one_sign_unit_of_its_samples(frozen):
    """A_k and B_k of one mode are A and B of n samples with one sign."""
    data = Data(samples=True, frozen_noise=frozen)
    model = Model(modes([[1], [-1]], [0]), data=data)
    overlaps, a, b = mode_minimum(model)
    n, n0, ridge = 10.0, 3.0 if frozen else 1.0, 0.5
    point = {symbol("n"): n, symbol("noise_draws"): n0, symbol("ridge_u"): ridge}
    point |= {symbol("rho"): 1.0, symbol("sigma"): 1.5}
    rows = n * n0
    wanted = (ridge * (1 + 1.5**2) + n0 * 1.5**2 * (n - 1)) / (rows + ridge)
    assert abs(float(a.subs(point)) - wanted) < ROUND
    if frozen:
        assert abs(float(b.subs(point)) - (rows + ridge - 1) / (rows + ridge)) < ROUND
    assert (
        sp.simplify(
            unexplained(Model(modes([[1], [-1]], [0])))[0] - symbol("sigma") ** 2
        )
        == 0
    )
    assert set(overlaps) == {"m", "a", *(["e"] if frozen else [])}


def test_the_bulk_solution_satisfies_its_flow():
    for data in (Data(), Data(samples=True), Data(samples=True, frozen_noise=True)):
        flow = (
            derive(Model(modes([[1], [-1]], [0]), data=data)).phase("variance").sampling
        )
        closed = {eq.lhs: eq.rhs for eq in flow.solution}
        for eq in flow.equations:
            left = sp.diff(closed[eq.lhs], flow.time)
            assert sp.simplify((left - eq.rhs.subs(closed)).subs(SIMPLE)) == 0


SIMPLE = {symbol("sigma"): sp.Rational(3, 2), symbol("ridge_u"): sp.Rational(1, 3)}


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "json"])
def test_a_tree_is_printed_in_every_form(form):
    target = modes([[1, 1], [1, -1], [-1, 1], [-1, -1]], [0, "1/4"])
    for data in (Data(), Data(samples=True)):
        printed = render(derive(Model(target, data=data)), form)
        if form != "json":
            assert "(1, 2)" in printed
            assert "exponent 1/4" in printed
