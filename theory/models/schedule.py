"""Schedules given as text: a small grammar, walked over `ast` and never evaluated.

A schedule is an expression in `tau` and `d`. The text is parsed by Python's own
parser into a tree, every node is compared with a list of what is allowed, and
sympy expressions are built node by node. No name is looked up and no text reaches
``eval`` or ``sympify``. Everything but `parse_schedule` works without sympy.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ...errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import sympy as sp

VARIABLES = ("tau", "d")
FUNCTIONS = (
    "sqrt",
    "sin",
    "cos",
    "tan",
    "exp",
    "log",
    "sinh",
    "cosh",
    "tanh",
    "asin",
    "acos",
    "atan",
)
"""The functions of the grammar, each a name of `math` and of sympy alike."""

OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: lambda x, y: x + y,
    ast.Sub: lambda x, y: x - y,
    ast.Mult: lambda x, y: x * y,
    ast.Div: lambda x, y: x / y,
    ast.Pow: lambda x, y: x**y,
}
REASONS: dict[type, str] = {
    ast.Attribute: "names have no dots: `cos`, not `np.cos`",
    ast.Call: "it calls sqrt, cos and the like alone",
}
"""Why a formula that Python would run is none; any other is not arithmetic."""

LENGTH, DEPTH, EXPONENT, SIZE = 200, 24, 16.0, 1e12
"""Longest text, deepest tree, largest exponent and largest number that are read."""

Curve = Callable[[float, float], float]
"""A schedule as a function of `tau` and `d`."""

EXAMPLE = 'Write it as in `"1 - tau"` or `"sqrt(1 - tau**2)"`.'
DEGREE = 64.0
"""Largest power of tau in a schedule, nested powers and products taken together."""

GRID, SCATTERED = 64, 193
"""Even and irregular times at which a schedule is compared with what one must be."""

DIMENSIONS = (1e2, 1e4, 1e6)  # dimensions at which schedules that contain d are tried
GOLDEN = 0.6180339887498949
ZERO = 1e-12  # a difference that is rounding
ROUNDED = 2e-15  # a sum of two terms, or a sine, that is rounding
PERIODIC = ("sin", "cos", "tan")
REACHED = 2e-8  # an end counts as reached within the root of a rounding


def parse_schedule(text: str, key: str = "schedule") -> sp.Expr:
    """Return the sympy expression of a schedule written as text; messages say `key`.

    It is an expression in `tau` and `d`: numbers, ``pi``, ``+ - * / **``, parentheses
    and sqrt, sin, cos, tan, exp, log, sinh, cosh, tanh, asin, acos, atan. Decimals are
    read exactly: ``0.1`` is one tenth.

    Raises `ModelError` where the text leaves the grammar, with the piece at fault.

    >>> parse_schedule("sqrt(1 - tau**2)")
    sqrt(1 - tau**2)
    """
    return _to_sympy(schedule_tree(text, key))


def schedule_tree(text: str, key: str = "schedule") -> ast.expr:
    """Return the checked syntax tree of a schedule; sympy is not imported."""
    if not isinstance(text, str):
        raise ModelError(
            f"`{key}` must be text, but is {text!r}. Put the formula in quotes, as in "
            '`"1 - tau"`.'
        )
    if len(text) > LENGTH:
        raise ModelError(
            f"`{key}` must be at most {LENGTH} characters long, but has {len(text)}. "
            "Write a shorter formula."
        )
    tree = _syntax(text, key)
    _check(tree, key, DEPTH)
    _check_degree(_degree(tree), key, text)
    return tree


def canonical(text: str, key: str = "schedule") -> str:
    """Return the schedule's text in one spelling, whatever its spaces were."""
    return ast.unparse(schedule_tree(text, key))


def _syntax(text: str, key: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser comments on odd literals
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "too deeply nested"
        raise ModelError(
            f"`{key}` must be one formula in tau, but {text!r} cannot be read "
            f"({reason}). {EXAMPLE}"
        ) from None


def _check(node: ast.expr, key: str, depth: int) -> float | None:
    """Check a node and all below it; return its value if it contains no variable."""
    if depth == 0:
        raise ModelError(
            f"`{key}` must nest at most {DEPTH} operations, but nests more. Write a "
            "simpler formula."
        )
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(
            value, bool
        ):
            return _constant(lambda: float(value), key, node)
        case ast.Name(id=name):
            return _check_name(name, key)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            x = _check(operand, key, depth - 1)
            return x if x is None or isinstance(node.op, ast.UAdd) else -x
        case ast.BinOp(op=op, left=left, right=right):
            _check_operator(op, key, node)
            x, y = _check(left, key, depth - 1), _check(right, key, depth - 1)
            if isinstance(op, ast.Pow):
                _check_exponent(y, x, key, node)
            if x is None or y is None:
                return None
            apply = partial(OPERATORS[type(op)], x, y)
            return _constant(apply, key, node)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            if name not in FUNCTIONS:
                raise _unknown(name, key, FUNCTIONS, "function")
            x = _check(argument, key, depth - 1)
            call = partial(getattr(math, name), x)
            return x if x is None else _constant(call, key, node)
        case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
            raise _refused(key, node, f"`{name}` takes one argument")
        case ast.Call(func=ast.Attribute(value=ast.Name())):
            raise _refused(key, node, REASONS[ast.Attribute])
    raise _refused(key, node, REASONS.get(type(node), "it is arithmetic alone"))


def _check_name(name: str, key: str) -> float | None:
    if name == "pi":
        return math.pi
    if name not in VARIABLES:
        raise _unknown(name, key, (*VARIABLES, "pi"), "name")
    return None


def _bracketed(node: ast.expr) -> str:
    """A base or a power as it is typed: in brackets, unless it is one word."""
    text = ast.unparse(node)
    return f"({text})" if isinstance(node, ast.BinOp | ast.UnaryOp) else text


def _check_operator(op: ast.operator, key: str, node: ast.BinOp) -> None:
    if isinstance(op, ast.BitXor):
        base, power = (_bracketed(x) for x in (node.left, node.right))
        right = f"{base}**{power}".replace(" ^ ", "**")
        raise ModelError(
            f"`{key}` must write powers with `**`, but has `{base}^{power}`. "
            f"Write `{right}`."
        )
    if type(op) not in OPERATORS:
        raise _refused(key, node, "the operators are + - * / **")


def _check_exponent(
    value: float | None, base: float | None, key: str, node: ast.expr
) -> None:
    """Refuse an exponent that varies, or is large on a base that varies."""
    if value is None:
        raise ModelError(
            f"`{key}` must have constant exponents, but {ast.unparse(node)!r} has a "
            "variable one. Write it with exp and log."
        )
    if base is None and abs(value) > EXPONENT:
        raise ModelError(
            f"`{key}` must have exponents of at most {EXPONENT:g} in size, but "
            f"{ast.unparse(node)!r} has {value:g}. Lower it."
        )


def _degree(node: ast.expr) -> float:
    """Return a power of tau that the formula does not exceed; 0 for a constant."""
    match node:
        case ast.Name(id=name):
            return 1.0 if name in VARIABLES else 0.0
        case ast.UnaryOp(operand=operand) | ast.Call(args=[operand]):
            return _degree(operand)
        case ast.BinOp(op=ast.Pow(), left=left, right=right):
            power = _degree(left)
            return power and power * max(1.0, abs(_value(right, math.nan, math.nan)))
        case ast.BinOp(op=op, left=left, right=right):
            x, y = _degree(left), _degree(right)
            return x + y if isinstance(op, ast.Mult | ast.Div) else max(x, y)
    return 0.0


def _check_degree(degree: float, key: str, text: str) -> None:
    if degree > DEGREE:
        raise ModelError(
            f"`{key}` must be at most a power {DEGREE:g} of tau, but {text[:60]!r} "
            f"goes to {degree:g}. Lower its exponents."
        )


def _constant(evaluate: Callable[[], float], key: str, node: ast.expr) -> float:
    try:
        value = evaluate()
        if isinstance(value, float) and abs(value) <= SIZE:  # nan compares false
            return value
        fact = "is not real" if isinstance(value, complex) else "is too large"
    except OverflowError:
        fact = "is too large"
    except (ValueError, ZeroDivisionError):
        fact = "is not defined"
    raise ModelError(
        f"`{key}` must have real numbers below {SIZE:.0e} in size, but "
        f"{ast.unparse(node)!r} {fact}. Replace it."
    )


def _refused(key: str, node: ast.expr, rule: str) -> ModelError:
    return ModelError(
        f"`{key}` must be a formula in tau ({rule}), but contains "
        f"{ast.unparse(node)[:60]!r}. {EXAMPLE}"
    )


def _unknown(name: str, key: str, known: tuple[str, ...], what: str) -> ModelError:
    return ModelError(
        f"`{key}` may use the {what}s {', '.join(known)}, but uses `{name[:40]}`"
        + did_you_mean(name, known)
    )


def _to_sympy(node: ast.expr) -> sp.Expr:
    import sympy as sp

    from ..symbols.notation import symbol

    match node:
        case ast.Constant(value=int() | float() as value):
            return sp.Integer(value) if type(value) is int else sp.Rational(str(value))
        case ast.Name(id=name):
            return sp.pi if name == "pi" else symbol(name)
        case ast.UnaryOp(op=op, operand=operand):
            inner = _to_sympy(operand)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.BinOp(op=op, left=left, right=right):
            return OPERATORS[type(op)](_to_sympy(left), _to_sympy(right))
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return getattr(sp, name)(_to_sympy(argument))
    raise AssertionError(f"unchecked node {ast.dump(node)}")  # pragma: no cover


def _at_end(tree: ast.expr, tau: float, d: float) -> float:
    """Return a value; at tau = 0 and 1, what is 0 up to rounding is 0.

    So ``cos(pi*tau/2)**0.25`` ends at 0 and not at the root of 6e-17.
    """
    return _value(tree, tau, d, ROUNDED if tau in (0.0, 1.0) else 0.0)


def _value(node: ast.expr, tau: float, d: float, zero: float = 0.0) -> float:
    """Return a value; sums and sines below `zero`, relative to their terms, are 0."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return {"tau": tau, "d": d, "pi": math.pi}[name]
        case ast.UnaryOp(op=op, operand=operand):
            inner = _value(operand, tau, d, zero)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.BinOp(op=op, left=left, right=right):
            x, y = _value(left, tau, d, zero), _value(right, tau, d, zero)
            found = OPERATORS[type(op)](x, y)
            summed = isinstance(op, ast.Add | ast.Sub)
            gone = summed and abs(found) < zero * max(abs(x), abs(y))
            return 0.0 if gone else found
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            x = _value(argument, tau, d, zero)
            found = getattr(math, name)(x)
            gone = name in PERIODIC and abs(found) < zero * max(1.0, abs(x))
            return 0.0 if gone else found
    raise AssertionError(f"unchecked node {ast.dump(node)}")  # pragma: no cover


def check_schedule_text(alpha: str, beta: str, prefix: str = "") -> None:
    """Check a pair of schedules given as text, without sympy; see `check_schedule`."""
    pairs = ((prefix + "alpha", alpha), (prefix + "beta", beta))
    trees = [schedule_tree(text, key) for key, text in pairs]
    _check_curves(
        *(
            _Drawn(partial(_at_end, tree), key, text)
            for tree, (key, text) in zip(trees, pairs, strict=True)
        )
    )
    for tree, (key, text) in zip(trees, pairs, strict=True):
        for x in ast.walk(tree):
            if isinstance(x, ast.BinOp) and isinstance(x.op, ast.Div):
                _check_divisor(x.right, key, text)


def _check_divisor(divisor: ast.expr, key: str, text: str) -> None:
    """Refuse a divisor that changes its sign: there is a pole, however narrow."""
    for d in DIMENSIONS:
        values = [_value(divisor, tau, d) for tau in _times()[1:-1]]
        for tau, (before, after) in zip(_times()[1:], pairwise(values), strict=False):
            if before * after <= 0:
                raise ModelError(
                    f"`{key}` must be finite for tau in [0, 1], but the divisor "
                    f"{ast.unparse(divisor)[:60]!r} of {text!r} is 0 near "
                    f"tau = {tau:.3g}. {EXAMPLE}"
                )


def check_schedule(alpha: sp.Expr, beta: sp.Expr) -> None:
    r"""Raise `ModelError` unless $x_\tau=\alpha x_0+\beta x_1$ goes from noise to data.

    Both must be real and finite on [0, 1]; $\alpha$ falls from 1 (or from a positive
    power of $d$) to 0 and $\beta$ rises from 0 to 1. The check is numerical, on a grid
    of times and at three dimensions.
    """
    import sympy as sp

    from ..symbols.notation import symbol

    arguments = (symbol("tau"), symbol("d"))
    for key, expr in (("alpha", alpha), ("beta", beta)):
        stray = sp.sympify(expr).free_symbols - set(arguments)
        if stray:
            raise _unknown(str(min(stray, key=str)), key, VARIABLES, "name")
        powers = [abs(x.exp) for x in expr.atoms(sp.Pow) if x.exp.is_number]
        _check_degree(float(max(powers, default=0)), key, str(expr))
    noise, data = (_exact_at_ends(expr, arguments) for expr in (alpha, beta))
    _check_curves(_Drawn(noise, "alpha", str(alpha)), _Drawn(data, "beta", str(beta)))


def _exact_at_ends(expr: sp.Expr, arguments: tuple[sp.Symbol, ...]) -> Curve:
    """Return an expression as a function, with tau = 0 and 1 put in exactly."""
    import sympy as sp

    inside = sp.lambdify(arguments, expr, modules="math")
    ends = {}
    for tau in (0, 1):
        there = sp.sympify(expr).subs(arguments[0], tau)
        if not there.has(sp.zoo, sp.nan, sp.oo):
            ends[tau] = sp.lambdify(arguments, there, modules="math")
    return lambda tau, d: (ends[int(tau)] if tau in ends else inside)(tau, d)


def _check_curves(alpha: _Drawn, beta: _Drawn) -> None:
    """Raise `ModelError` unless two schedules lead from noise to data."""
    starts = []
    for d in DIMENSIONS:
        noise, data = alpha.samples(d), beta.samples(d)
        beta.check_end(data[0], 0.0, 0, '"tau"')
        beta.check_end(data[-1], 1.0, 1, '"tau"')
        if noise[0] <= 0:
            raise ModelError(
                f"`{alpha.key}` must be positive at tau = 0 (1, or a power of d), but "
                f"{alpha.text!r} is {noise[0]:.6g} there. {EXAMPLE}"
            )
        alpha.check_end(noise[-1] / noise[0], 0.0, 1, '"1 - tau"')
        alpha.check_monotone(noise[::-1], "fall")
        beta.check_monotone(data, "rise")
        starts.append(noise[0])
    alpha.check_power(starts)


@cache
def _times() -> list[float]:
    """Times in order: a pole between even ones shows at the irregular ones."""
    scattered = (i * GOLDEN % 1.0 for i in range(1, SCATTERED + 1))
    return sorted({*(i / GRID for i in range(GRID + 1)), *scattered})


class _Drawn(NamedTuple):
    """A schedule as a function, with what messages call it and its text."""

    curve: Curve
    key: str
    text: str

    def samples(self, d: float) -> list[float]:
        """Return its values at all times; raise `ModelError` where it has none."""
        values = []
        for tau in _times():
            try:
                value = self.curve(tau, d)
                fact = "is not real" if isinstance(value, complex) else "is not finite"
            except (ValueError, ZeroDivisionError, OverflowError):
                value, fact = math.nan, "is not defined"
            if isinstance(value, complex) or not math.isfinite(value):
                raise ModelError(
                    f"`{self.key}` must be real and finite for tau in [0, 1], but "
                    f"{self.text!r} {fact} at tau = {tau:g}. {EXAMPLE}"
                )
            values.append(float(value))
        return values

    def check_end(self, value: float, wanted: float, tau: int, example: str) -> None:
        """Raise `ModelError` unless it reaches what it must at an end of time."""
        if abs(value - wanted) > REACHED:
            raise ModelError(
                f"`{self.key}` must be {wanted:g} at tau = {tau}, but {self.text!r} is "
                f"{value:.6g} there. Rescale it; the linear schedule has `{example}`."
            )

    def check_power(self, starts: list[float]) -> None:
        """Raise unless it starts at 1, or at the same power of d at every dimension."""
        pairs = zip(starts, DIMENSIONS, strict=True)
        powers = [math.log(x) / math.log(d) for x, d in pairs]
        if max(powers) - min(powers) > ZERO or powers[0] < -ZERO:
            raise ModelError(
                f"`{self.key}` must be 1 or a positive power of d at tau = 0, but "
                f"{self.text!r} is {starts[0]:.6g} at d = {DIMENSIONS[0]:g}. Divide it "
                "by its value at tau = 0."
            )

    def check_monotone(self, values: list[float], verb: str) -> None:
        """Raise `ModelError` unless its values increase in the order given."""
        slack, times = ZERO * max(values), _times()
        for i, (low, high) in enumerate(pairwise(values)):
            if high < low - slack:
                tau = times[i] if verb == "rise" else times[-2 - i]
                raise ModelError(
                    f"`{self.key}` must {verb} from tau = 0 to tau = 1, but "
                    f"{self.text!r} does not near tau = {tau:.3g}. Choose a monotone "
                    'one, as in `"1 - tau"` and `"tau"`.'
                )
