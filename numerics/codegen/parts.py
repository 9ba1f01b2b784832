"""Functions that are compiled with what calls them, and not by themselves.

numba optimises every function together with all that it calls, makes machine code of
it, and a wrapper for Python. In a tower of a hundred functions that only two of them
are called from Python, the lowest are optimised dozens of times. A part is typed and
printed for LLVM once; it is optimised where a function that Python calls takes it in.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, typeof
from numba.core import types
from numba.core.cgutils import if_unlikely
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array


class Part:
    """A function that compiled code calls; called from Python it runs as Python."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        """Let numba see a function of its own in the place of `function`."""
        self.function = function
        self._compiled = njit(**options)(function)  # its type holds no reference
        self._numba_type_ = types.Dispatcher(self._compiled)

    def __call__(self, *arguments: Any) -> Any:
        """Run the function as it is written."""
        return self.function(*arguments)


def part(
    optimised: bool = False, **options: Any
) -> Callable[[Callable[..., Any]], Part]:
    """Return a decorator for functions that only compiled code calls.

    `options` are those of ``numba.njit``. With ``forceinline=True`` LLVM puts the
    function in the place of each call, which costs less than that numba does it. A
    function whose loops are to use SIMD registers is `optimised` by itself, too: inside
    its callers LLVM does not see that its arrays do not overlap.
    """
    given = {"forceinline": False, **options}
    given |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    given["pipeline_class"] = _OptimisedCompiler if optimised else _PartCompiler
    return lambda function: Part(function, given)


def whole(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator for functions that Python calls, kept as machine code."""
    given = {"cache": True, "nogil": True, "no_cfunc_wrapper": True}
    return njit(**options, **given, pipeline_class=_WholeCompiler)


class _WholeCompiler(Compiler):
    """numba's compiler, without a search for garbage while it runs.

    What it makes lives until it is done, and the search takes a fifth of the time.
    """

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        searched = gc.isenabled()
        gc.disable()
        try:
            return super().compile_extra(func)
        finally:
            if searched:
                gc.enable()


class _Optimised(JITCodeLibrary):
    """The code of a part, of which no machine code is made."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def below(self) -> list[JITCodeLibrary]:
        """Return what must be linked for the code to be complete, itself first."""
        return [self]


class _Unoptimised(_Optimised):
    """The code of a part alone, as it was printed; what it calls is linked beside it.

    So each function of a tower is copied once, not once for every floor above it.
    """

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        self._raise_if_finalized()
        self._finalize_final_module()

    def below(self) -> list[JITCodeLibrary]:
        # callers first: the linker takes what has been asked for
        return [self, *dict.fromkeys(self._linking_libraries)]


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerPart(NativeLowering):
    """Prints the code of a part and says where its callers find it."""

    _name = "lower_part"
    library: type[_Optimised] = _Unoptimised

    def run_pass(self, state: Any) -> bool:
        name = state.func_id.func_qualname
        state.library = self.library(state.targetctx.codegen(), name)
        state.flags.no_compile = True
        super().run_pass(state)
        key: Any = [].append  # callers look it up by a builtin function, any one
        state.cr = state.cr._replace(cfunc=key)
        state.targetctx.insert_user_function(
            key, state.cr.fndesc, state.library.below()
        )
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerOptimised(_LowerPart):
    """Prints the code of a part that is optimised by itself."""

    _name = "lower_optimised"
    library = _Optimised


class _PartCompiler(CompilerBase):
    """numba's passes, the last one of which is that of parts."""

    lower = _LowerPart

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [
            (self.lower, why) if each is NativeLowering else (each, why)
            for each, why in passes.passes
        ]
        passes.finalize()
        return [passes]


class _OptimisedCompiler(_PartCompiler):
    """The passes of parts that are optimised by themselves."""

    lower = _LowerOptimised


# ------------------------------------------------------ machine code, by its address

ARRAY = types.Array(types.float64, 1, "C")
TABLE = types.Array(types.float64, 2, "C")
POINT = (types.float64, *(ARRAY,) * 6)
"""Types that a function of one point takes: a time, arrays, the one that it fills."""

POINTS = (ARRAY, *(TABLE,) * 3, *(ARRAY,) * 2, TABLE)
"""Types that a function of points side by side takes."""

JETS = (ARRAY, TABLE, TABLE, ARRAY)
"""Types that `jets` takes: times, states, parameters, and the array it fills."""

_LINE, _TABLE, _STACK = np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1, 1))
PATH = (_LINE, _STACK, _LINE, 1, _LINE, (_TABLE, _LINE, _LINE), (_LINE, _LINE))
SHOT = (types.float64, typeof(PATH), ARRAY)
"""Types that `shoot` of the reduced flow takes: an end, its path, where it lands."""


def address(function: Any, taken: tuple[Any, ...] = POINT) -> int:
    """Return where the machine code of a function lies; 0 for none."""
    if function is None:
        return 0
    function.compile(taken)
    made = function.overloads[taken]
    return made.library.get_pointer_to_function(made.fndesc.llvm_func_name)


def _jump(context: Any, builder: Any, place: Any, taken: Any, arguments: Any) -> Any:
    """Print the call of a function that lies at an address and returns a number."""
    calls = context.call_conv
    kind = calls.get_function_type(types.float64, taken)
    callee = builder.inttoptr(place, kind.as_pointer())
    status, found = calls.call_function(
        builder, callee, types.float64, taken, arguments
    )
    with if_unlikely(builder, status.is_error):
        calls.return_status_propagate(builder, status)
    return found


@intrinsic
def call_lanes(_typing, function, at, states, inputs, params, nodes, weights, out):
    """Call the function of points side by side that lies at an address."""

    def code(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return _jump(context, builder, given[0], POINTS, given[1:])

    return types.float64(types.int64, *POINTS), code


@intrinsic
def call_jets(_typing, function, t, y, params, c):
    """Call the function of Taylor coefficients that lies at an address."""

    def code(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return _jump(context, builder, given[0], JETS, given[1:])

    return types.float64(types.int64, *JETS), code


@intrinsic
def call_path(_typing, function, end, path, out):
    """Call the function that follows a path, whose machine code lies at an address."""

    def code(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return _jump(context, builder, given[0], SHOT, given[1:])

    return types.float64(types.int64, *SHOT), code


@intrinsic
def call(_typing, function, at, states, params, nodes, weights, first, last, out):
    """Call the function of one point at an address, with a part of a rule.

    There are no inputs. Nothing is counted: the callee holds no array when it is done.
    """

    def code(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        place, at, states, params, nodes, weights, first, last, out = given
        zero = context.get_constant(types.intp, 0)

        def part(array: Any, low: Any, high: Any) -> Any:
            held = make_array(ARRAY)(context, builder, array)
            made = make_array(ARRAY)(context, builder)
            populate_array(
                made,
                data=builder.gep(held.data, [low]),
                shape=[builder.sub(high, low)],
                strides=held.strides,
                itemsize=held.itemsize,
                meminfo=held.meminfo,
                parent=held.parent,
            )
            return made._getvalue()

        none = part(params, zero, zero)
        rule = (part(nodes, first, last), part(weights, first, last))
        arguments = (at, states, none, params, *rule, out)
        return _jump(context, builder, place, POINT, arguments)

    time, *_, array = POINT
    ends = (types.intp, types.intp)
    taken = (types.int64, time, array, array, array, array, *ends, array)
    return types.float64(*taken), code
