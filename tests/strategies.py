"""Points of the admissible set, and schedules made by a grammar, for hypothesis."""

from hypothesis import HealthCheck, settings, strategies as st


def sized(examples):
    """Settings of a property: the same examples in every run, and no clock."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def normal(low, high):
    """Floats without subnormals, which some libraries turn off in the whole process."""
    return st.floats(low, high, allow_subnormal=False)


def log_between(low, high):
    """Positive numbers, evenly spread in the logarithm."""
    return normal(0, 1).map(lambda x: low * (high / low) ** x)


WEIGHTS = normal(0.001, 0.999)
SPREADS = log_between(0.05, 20)
KAPPAS = log_between(0.05, 8)
TIMES = normal(0, 1)
TARGETS = st.fixed_dictionaries({"p": WEIGHTS, "sigma": SPREADS, "kappa": KAPPAS})


@st.composite
def training_sets(draw, most=300):
    """`n`, `n_plus` and both ridges; every class has a sample."""
    n = draw(st.integers(2, most))
    return {
        "n": n,
        "n_plus": draw(st.integers(1, n - 1)),
        "ridge_u": draw(log_between(1e-2, 50)),
        "ridge_w": draw(log_between(1e-2, 50)),
    }


POWERS = st.sampled_from(["1", "2", "3", "1/2", "3/2"])
SHARES = st.integers(1, 9).map(lambda i: f"{i}/10")
FALLING = st.one_of(
    POWERS.map(lambda y: f"(1 - tau)**({y})"),
    POWERS.map(lambda y: f"cos(pi*tau/2)**({y})"),
    st.sampled_from(["1 - tau**2", "sqrt(1 - tau**2)", "sqrt(1 - tau)", "1 - tau**3"]),
    SHARES.map(lambda x: f"({x})*(1 - tau) + (1 - {x})*(1 - tau**2)"),
)
RISING = st.one_of(
    POWERS.map(lambda y: f"tau**({y})"),
    POWERS.map(lambda y: f"sin(pi*tau/2)**({y})"),
    st.sampled_from(
        [
            "1 - (1 - tau)**2",
            "tau*(1 + tau)/2",
            "log(1 + tau)/log(2)",
            "sinh(tau)/sinh(1)",
            "tan(pi*tau/4)",
        ]
    ),
    SHARES.map(lambda x: f"({x})*tau + (1 - {x})*tau**2"),
)
SCHEDULES = st.tuples(
    st.tuples(st.sampled_from(["", "sqrt(d)*", "d**(1/4)*"]), FALLING).map(
        lambda pair: pair[0] + (f"({pair[1]})" if pair[0] else pair[1])
    ),
    RISING,
)
