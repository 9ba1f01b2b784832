"""Stand-ins for the names of a generated numba module.

Files whose text goes into generated modules import these names from here, so that
they can be read, type-checked and run as plain Python. The import lines that start
with ``from .`` are left out when the text is used; there the names are real.
"""

from numpy import empty, float64, int64, zeros

STATES = INPUTS = PARAMETERS = NAMES = STAGES = TERMS = ORDER = SPARE = EVEN = 0
LANES = 1
POWER = BETA = GROWTH = CAUTION = 0.0
FSAL = False


def called(f):
    """Stand for ``njit(cache=True, nogil=True, error_model="numpy")``, for Python."""
    return f


def called_fused(f):
    """Stand for ``called`` where a product and a sum may be rounded once."""
    return f


def compiled(f):
    """Stand for ``part(error_model="numpy")``: for other compiled functions only."""
    return f


def optimised(f):
    """Stand for ``compiled``, optimised by itself, for loops that are to be fast."""
    return f


def fused(f):
    """Stand for ``optimised`` where a product and a sum may be rounded once."""
    return f


def inlined(f):
    """Stand for ``njit(inline="always")``."""
    return f


def rhs(at, states, inputs, params, nodes, weights, out) -> float:
    """Stand for a printed function, as are those below."""
    raise NotImplementedError


def attempt(t, h, y, k, z, at, u, pieces, params, nodes, weights, *rest) -> float:
    """Stand for a printed step, as are those below."""
    raise NotImplementedError


def exp(x: float) -> float:
    """Stand for the branch-free exponential."""
    raise NotImplementedError


def rough_log2(x: float) -> float:
    """Stand for the rough logarithm."""
    raise NotImplementedError


def rough_exp2(x: float) -> float:
    """Stand for the rough power of two."""
    raise NotImplementedError


def workspace():
    """Stand for a method's arrays, as those below for its functions."""
    raise NotImplementedError


def prepare(changed, clock, record, y, work, rule, bounds) -> None:
    """Stand for what a method does at the start of a step."""
    raise NotImplementedError


def advance(clock, record, y, tried, work, rule, bounds) -> None:
    """Stand for a trial step."""
    raise NotImplementedError


def dense(clock, y, tried, work, rule) -> None:
    """Stand for what outputs inside a step need."""
    raise NotImplementedError


def jets(t, y, params, c) -> None:
    """Stand for the printed Taylor coefficients."""
    raise NotImplementedError


fields = observables = branch = jacobian = objective = gradient = hessian = newton = rhs
extra = attempt


def interpolant(h, y, tried, k, poly) -> None:
    """Stand for the printed polynomial of a step."""
    raise NotImplementedError


def interpolate(work, y, i, lane, x) -> float:
    """Stand for its value."""
    raise NotImplementedError


__all__ = [
    "BETA",
    "CAUTION",
    "EVEN",
    "FSAL",
    "GROWTH",
    "INPUTS",
    "LANES",
    "NAMES",
    "ORDER",
    "PARAMETERS",
    "POWER",
    "SPARE",
    "STAGES",
    "STATES",
    "TERMS",
    "advance",
    "attempt",
    "branch",
    "called",
    "called_fused",
    "compiled",
    "dense",
    "empty",
    "exp",
    "extra",
    "fields",
    "float64",
    "fused",
    "gradient",
    "hessian",
    "inlined",
    "int64",
    "interpolant",
    "interpolate",
    "jacobian",
    "jets",
    "newton",
    "objective",
    "observables",
    "optimised",
    "prepare",
    "rhs",
    "rough_exp2",
    "rough_log2",
    "workspace",
    "zeros",
]
