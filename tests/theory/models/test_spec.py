"""The spec file and the schedule grammar: what is read, and what is refused and how."""

import random
import subprocess
import sys

import dilaton
import pytest
import sympy as sp
from dilaton.errors import ModelError, StoreError
from dilaton.theory.models.model import TAU, D
from dilaton.theory.models.schedule import (
    check_schedule,
    check_schedule_text,
    parse_schedule,
    schedule_tree,
)
from dilaton.theory.models.spec import load_spec, parse_spec, to_toml

TEXT = dilaton.default_spec().text
PRODUCT = """
[target]
kind = "product"
sigma = 1
[[target.features]]
p = 0.8
scale = 1
exponent = 0
[[target.features]]
p = 0.3
scale = 2.0
exponent = 0.25
[interpolant]
alpha = "cos(pi*tau/2)"
beta = "sin(pi*tau/2)"
[dilation]
kappa = [2, 3]
[data]
n = "inf"
"""
POPULATION = TEXT[: TEXT.index("n = 128")] + 'n = "inf"\n'


# ------------------------------------------------------------------------ what is read


def test_default_spec_is_the_papers_setting():
    spec = dilaton.default_spec()
    assert spec.values == {
        "p": 0.8,
        "sigma": 1.0,
        "kappa": 2.0,
        "n": 128,
        "n_plus": 102,
        "ridge_u": 2.0,
        "ridge_w": 2.0,
    }
    assert not spec.population
    assert not spec.frozen_noise
    assert spec.model == dilaton.Model(
        target=dilaton.two_modes(), data=dilaton.Data(samples=True)
    )


def test_population_and_frozen_noise_are_structure():
    population = parse_spec(POPULATION)
    assert population.values == {"p": 0.8, "sigma": 1.0, "kappa": 2.0}
    assert population.model.data == dilaton.Data()
    frozen = dilaton.default_spec().replace(noise_draws=3)
    assert frozen.values["noise_draws"] == 3
    assert frozen.model.data == dilaton.Data(samples=True, frozen_noise=True)


def test_product_spec_names_each_feature():
    spec = parse_spec(PRODUCT)
    assert spec.values == {
        "p_1": 0.8,
        "rho_1": 1.0,
        "p_2": 0.3,
        "rho_2": 2.0,
        "sigma": 1.0,
        "kappa_1": 2.0,
        "kappa_2": 3.0,
    }
    assert spec.model.target == dilaton.product(0, sp.Rational(1, 4))
    assert spec.model.interpolant == dilaton.TRIGONOMETRIC


def test_network_keys_are_optional_and_reach_the_model():
    spec = parse_spec(TEXT.replace('"tanh"', '"erf"\ntied = true\nbias = false'))
    assert spec.model.autoencoder == dilaton.Autoencoder("erf", tied=True, bias=False)
    assert parse_spec(TEXT[: TEXT.index("[network]")]).model.autoencoder.bias


def test_digest_sees_content_not_spelling():
    spec = dilaton.default_spec()
    spelled = TEXT.replace("p = 0.8", "p=8e-1").replace('"1 - tau"', '"1-tau"')
    assert parse_spec(spelled).digest == spec.digest
    assert spec.replace(p=0.81).digest != spec.digest


def test_writing_a_spec_and_reading_it_gives_it_back():
    for text in (TEXT, PRODUCT, POPULATION):
        spec = parse_spec(text)
        assert parse_spec(to_toml(spec.tables)).tables == spec.tables


def test_replace_checks_again():
    spec = dilaton.default_spec()
    assert spec.replace(kappa=3).values["kappa"] == 3.0
    assert spec.replace(n="inf").population
    assert parse_spec(PRODUCT).replace(p_2=0.4, kappa_1=5).values["p_2"] == 0.4
    with pytest.raises(
        ModelError, match=r"`target.p` must be strictly between 0 and 1"
    ):
        spec.replace(p=1.2)
    with pytest.raises(ModelError, match=r"`n_pluss` is given; did you mean `n_plus`"):
        spec.replace(n_pluss=3)


def test_reading_a_spec_loads_neither_sympy_nor_numpy():
    code = (
        "import sys, dilaton; dilaton.default_spec().values; "
        "sys.exit(bool({'sympy', 'numpy', 'torch', 'jax'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --------------------------------------------------------------------- what is refused

EDITS = [  # (this piece of the default spec, replaced by this, gives this message)
    (
        "p = 0.8",
        "p = 1.2",
        r"`target\.p` must be strictly between 0 and 1, but is 1\.2",
    ),
    ("p = 0.8", "p = 0", r"`target\.p` must be strictly between 0 and 1, but is 0"),
    ("p = 0.8", "p = nan", r"`target\.p` must be .*, but is nan"),
    ("p = 0.8", "p = true", r"`target\.p` must be .*, but is true"),
    ("p = 0.8", 'p = "0.8"', r"`target\.p` must be .*, but is \"0\.8\""),
    ("p = 0.8", "", r"must give `target\.p`, but it is missing"),
    ("p = 0.8", "p = 0.8\nq = 1", r"`target\.q` is given"),
    ("sigma = 1.0", "sigma = 0", r"`target\.sigma` must be positive.*, but is 0"),
    ("sigma = 1.0", "sigma = -1.0", r"`target\.sigma` must be .* but is -1\.0"),
    ("sigma = 1.0", "sigma = inf", r"`target\.sigma` must be .* but is inf"),
    ("sigma = 1.0", "sigm = 1.0", r"`target\.sigm` is given; did you mean `sigma`"),
    ("sigma = 1.0", "sigma = [1]", r"`target\.sigma` must be .* but is \[1\]"),
    ('"two-modes"', '"two-mode"', r"`target\.kind` must be one of .* `two-modes`\?"),
    ('kind = "two-modes"', "", r"must give `target\.kind`"),
    ('"1 - tau"', '"tau**"', r"`interpolant\.alpha` must be one formula in tau"),
    ('"1 - tau"', "3", r"`interpolant\.alpha` must be text, but is 3"),
    ('"1 - tau"', '"1 - tau/2"', r"`interpolant\.alpha` must be 0 at tau = 1"),
    ('beta = "tau"', 'beta = "2*tau"', r"`interpolant\.beta` must be 1 at tau = 1"),
    ('beta = "tau"', "", r"must give `interpolant\.beta`"),
    ("kappa = 2.0", "kappa = -2", r"`dilation\.kappa` must be positive"),
    ("kappa = 2.0", "kappa = [1, 2]", r"one number or a list of 1.*a list of 2"),
    ("kappa = 2.0", 'kappa = ["x"]', r"`dilation\.kappa\[1\]` must be positive"),
    ("n = 128", "n = 1", r"`data\.n` must be a whole number from 2"),
    ("n = 128", "n = 128.0", r"`data\.n` must be a whole number.*128\.0"),
    ("n = 128", 'n = "many"', r"`data\.n` must be a whole number.*many"),
    ("n = 128", 'n = "inf"', r"`data\.n_plus` must be left out"),
    ("n_plus = 102", "n_plus = 200", r"`data\.n_plus` must be at most n - 1 = 127"),
    ("n_plus = 102", "n_plus = 128", r"`data\.n_plus` must be at most n - 1 = 127"),
    ("n_plus = 102", "n_plus = 0", r"`data\.n_plus` must be .*Both modes need"),
    ("n_plus = 102", "", r"must give `data\.n_plus`"),
    ('noise_draws = "inf"', "noise_draws = 0", r"`data\.noise_draws` must be"),
    ('noise_draws = "inf"', 'noise_draws = "no"', r"`data\.noise_draws` must be"),
    ("ridge_u = 2.0", "ridge_u = 0", r"`data\.ridge_u` must be positive.*not unique"),
    ("ridge_w = 2.0", "ridge_w = 0.0", r"`data\.ridge_w` must be .*undetermined"),
    ("ridge_w = 2.0", "ridge = 2.0", r"`data\.ridge` is given; did you mean"),
    ('"tanh"', '"relu"', r"`network\.activation` must be one of tanh, erf, sign"),
    ('"tanh"', '"tanh"\ntied = 1', r"`network\.tied` must be true or false, but is 1"),
    ('"tanh"', '"tanh"\nlayers = 2', r"`network\.layers` is given"),
    ("[network]", "[netwrk]", r"`netwrk` is given; did you mean `network`"),
    ("[dilation]\nkappa = 2.0", "", r"must give `dilation`, but it is missing"),
    ("[target]", "[target", r"must be TOML, but the spec is not"),
    ("p = 0.8", "p = 0.8\np = 0.7", r"must be TOML, but the spec is not"),
]
PRODUCT_EDITS = [
    ("exponent = 0.25", "exponent = 0.5", r"`target\.features\[2\]\.exponent` must"),
    ("exponent = 0.25", 'exponent = "1e9/3"', r"features\[2\]\.exponent` must be"),
    ("exponent = 0.25", "exponent = nan", r"features\[2\]\.exponent` must be"),
    ("exponent = 0.25", "", r"must give `target\.features\[2\]\.exponent`"),
    ("scale = 2.0", "scale = 0", r"`target\.features\[2\]\.scale` must be positive"),
    ("kappa = [2, 3]", "kappa = [2]", r"one number or a list of 2.*a list of 1"),
    ('n = "inf"', "n = 10", r"must give `data\.counts`, but it is missing"),
    ("sigma = 1", "sigma = 1\np = 0.3", r"`target\.p` is given"),
]


@pytest.mark.parametrize(("old", "new", "message"), EDITS)
def test_bad_spec_is_refused_with_key_value_and_range(old, new, message):
    assert TEXT.count(old) >= 1
    with pytest.raises(ModelError, match=message) as caught:
        parse_spec(TEXT.replace(old, new, 1))
    assert str(caught.value).rstrip("?").endswith((".", "`"))


@pytest.mark.parametrize(("old", "new", "message"), PRODUCT_EDITS)
def test_bad_product_spec_is_refused(old, new, message):
    assert PRODUCT.count(old) >= 1
    with pytest.raises(ModelError, match=message):
        parse_spec(PRODUCT.replace(old, new, 1))


@pytest.mark.parametrize(
    "text",
    ["[[target]]\n", "target = 3\n", "a = " + "[" * 5000, "x" * 70_000, "", "\x00"],
    ids=["list", "number", "deep", "long", "empty", "nul"],
)
def test_hostile_toml_is_refused(text):
    with pytest.raises(ModelError):
        parse_spec(text)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(StoreError, match=r"none\.toml` is not \(No such file"):
        load_spec(tmp_path / "none.toml")
    with pytest.raises(StoreError, match="Is a directory"):
        load_spec(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match=r"line 1 of .* has the byte 0xff"):
        load_spec(binary)


# ----------------------------------------------------------------- the schedule grammar


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 - tau", 1 - TAU),
        ("-tau**2", -(TAU**2)),
        ("0.1*tau", TAU / 10),
        ("2e-3 + tau/3", sp.Rational(1, 500) + TAU / 3),
        ("sqrt(d)*(1 - tau)", sp.sqrt(D) * (1 - TAU)),
        ("d**(1/2)", sp.sqrt(D)),
        ("cos(pi*tau/2)", sp.cos(sp.pi * TAU / 2)),
        ("exp(-log(1 + tau))", sp.exp(-sp.log(1 + TAU))),
    ],
)
def test_schedules_are_read_exactly(text, expected):
    assert sp.simplify(parse_schedule(text) - expected) == 0


REFUSED = [
    ("", "cannot be read"),
    ("tau**", "cannot be read"),
    ("1; 2", "cannot be read"),
    ("(" * 150, "cannot be read"),
    ("tau\x00", "cannot be read"),
    ("9**9**9", "is too large"),
    ("((9**9)**9)**9", "is too large"),
    ("exp(exp(exp(9)))", "is too large"),
    ("1e999*tau", "is too large"),
    ("1/0", "is not defined"),
    ("log(0) + tau", "is not defined"),
    ("(-1)**0.5", "is not real"),
    ("tau**tau", "constant exponents"),
    ("tau**99", "at most 16"),
    ("1 ^ 2", r"Write `1\*\*2`"),
    ("tau // 2", r"operators are \+"),
    ("tua", "did you mean `tau`"),
    ("1 - x", "uses `x`"),
    ("sine(tau)", "did you mean `sin`"),
    ("sqrt(tau, 2)", "takes one argument"),
    ("sqrt()", "takes one argument"),
    ("sqrt(x=tau)", "takes one argument"),
    ("sqrt(*tau)", "must be a formula"),
    ("tau.real", "names have no dots"),
    ("np.cos(tau)", "names have no dots"),
    ("tau[0]", r"arithmetic alone.*tau\[0\]"),
    ("[tau]", r"arithmetic alone.*\[tau\]"),
    ("lambda: 1", "arithmetic alone.*lambda: 1"),
    ("tau if tau else 1", "arithmetic alone.*if tau else"),
    ("(x := 1)", "arithmetic alone.*:="),
    ("True", "must be a formula"),
    ("False", "must be a formula"),
    ("1j", "must be a formula"),
    ("'tau'", "must be a formula"),
    ("f'{tau}'", "must be a formula"),
    ("tau < 1", "arithmetic alone.*tau < 1"),
    ("__import__('os').system('id')", "must be a formula"),
    ("__import__('os')", "uses `__import__`"),
    ("exec('1')", "uses `exec`"),
    ("-" * 60 + "tau", "nest at most"),
    ("tau + " * 60 + "tau", "at most 200 characters"),
    (3, "must be text, but is 3"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_text_outside_the_grammar_is_refused(text, message):
    with pytest.raises(ModelError, match=message):
        parse_schedule(text)


PAIRS = [  # (alpha, beta, message)
    ("1 - tau/2", "tau", "`alpha` must be 0 at tau = 1"),
    ("1 - tau", "tau/2", "`beta` must be 1 at tau = 1"),
    ("1 - tau", "1 - tau", "`beta` must be 0 at tau = 0"),
    ("2 - 2*tau", "tau", "`alpha` must be 1 or a positive power of d"),
    ("(1 - tau)/d", "tau", "`alpha` must be 1 or a positive power of d"),
    ("tau - 1", "tau", "`alpha` must be positive at tau = 0"),
    ("sqrt(1/2 - tau)", "tau", "`alpha` must be real and finite"),
    ("1 - tau", "log(tau) + 1", "`beta` must be real and finite"),
    ("(1/2 - tau)**(1/3)", "tau", "`alpha` must be real and finite.*is not real"),
    ("1 - tau", "tau + sin(4*pi*tau)", "`beta` must rise"),
    ("1 - tau + sin(3*pi*tau)", "tau", "`alpha` must fall"),
]


@pytest.mark.parametrize(("alpha", "beta", "message"), PAIRS)
def test_pairs_that_are_no_schedule_are_refused(alpha, beta, message):
    with pytest.raises(ModelError, match=message):
        check_schedule_text(alpha, beta)
    with pytest.raises(ModelError, match=message):
        check_schedule(parse_schedule(alpha), parse_schedule(beta))


def test_the_schedules_at_hand_pass():
    for name in (
        "LINEAR",
        "TRIGONOMETRIC",
        "VARIANCE_PRESERVING",
        "VARIANCE_EXPLODING",
    ):
        interpolant = getattr(dilaton, name)
        check_schedule(interpolant.alpha, interpolant.beta)
    with pytest.raises(ModelError, match="uses `x`"):
        check_schedule(1 - sp.Symbol("x"), TAU)


PIECES = (
    *(
        "tau",
        "d",
        "pi",
        "1",
        "2",
        "0.5",
        "1e9",
        "+",
        "-",
        "*",
        "/",
        "**",
        "^",
        "(",
        ")",
    ),
    *("sqrt(", "exp(", "tan(", "log(", "__import__(", "os", "eval(", "lambda", "if"),
    *(
        ",",
        ".",
        "[",
        "]",
        "'",
        ":",
        ";",
        "else",
        "not ",
        "~",
        "@",
        "%",
        ":=",
        "0x",
        "1_0",
    ),
    *("1_0", ")", "1j", "True", "\\", "#", "\n", "τ", ")", "(", "tau", "tau"),
)


def test_fuzzed_text_is_read_or_refused_and_never_run():
    """Random pieces of formulas and of Python: an expression or a ModelError."""
    rng = random.Random(0)
    read = 0
    for _ in range(5_000):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 12)))
        try:
            schedule_tree(text)
        except ModelError:
            continue
        assert parse_schedule(text).free_symbols <= {TAU, D}
        read += 1
    assert read > 100
