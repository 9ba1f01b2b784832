"""Stand-ins for the names of a generated numba module.

Files whose text goes into generated modules import these names from here, so that
they can be read, type-checked and run as plain Python. The import lines that start
with ``from .`` are left out when the text is used; there the names are real: the
decorators are those of the header in `kernel`, and the functions are printed.
"""

from numpy import empty as empty, float64 as float64, int64 as int64, zeros as zeros

STATES = INPUTS = PARAMETERS = NAMES = STAGES = TERMS = ORDER = SPARE = EVEN = 0
LANES = 1
POWER = BETA = GROWTH = CAUTION = 0.0
FSAL = False


def called(f):
    """Stand for a decorator, as do those below.

    What Python calls is ``called``; what only compiled functions call is ``compiled``,
    ``optimised`` by itself for loops that are to be fast, or ``inlined``. Where a
    product and a sum may be rounded once, the names are ``called_fused``, ``fused``.
    """
    return f


called_fused = compiled = optimised = fused = inlined = called


def call(*given) -> float:
    """Stand for a function that is printed, or of a method, as do those below."""
    raise NotImplementedError


call_lanes = call_jets = rhs = attempt = extra = interpolant = call
exp = rough_log2 = rough_exp2 = call
call_path = prepare = advance = dense = interpolate = call
