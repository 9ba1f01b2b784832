"""Loops around the printed functions of a system: run by Python, or by machine code.

What a system prints is compiled by itself, and the loops around it call that machine
code by its address. So they are compiled once for all systems of as many unknowns, and,
for so few rows that this would take longer than the rows, Python runs their text as it
stands. A row's numbers are the same to the bit: every sum is rounded as it is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from . import elementary, stubs
from .cache import is_compiled, load_source
from .kernel import driver_source, run_source, text_of
from .threads import share_out

Work = Callable[[Callable[..., None], Any, int, int], object]


class Loops:
    """The text of some files, which Python runs or numba compiles."""

    def __init__(
        self,
        files: tuple[ModuleType | str, ...],
        main: str,
        sizes: dict[str, int],
        worth: int,
        sums: tuple[ModuleType, ...] = (),
        lanes: int = 0,
    ) -> None:
        """Take files, the function that goes through rows, and sizes of its arrays.

        They are compiled from `worth` rows on, the files of `sums` in any case; where
        rows go side by side, so many lanes full of them count as one.
        """
        self.main, self.worth, self.seen = main, worth, 0
        self._files, self._sizes = files, sizes
        self._sums, self._lanes = sums, lanes

    @cached_property
    def by_python(self) -> Callable[..., None]:
        """The function as Python runs it."""
        text = "\n\n".join(x if isinstance(x, str) else text_of(x) for x in self._files)
        names = _plain() | self._sizes | {"LANES": self._lanes}
        if self._sums:
            source = driver_source(self._sums, {})
            sums = load_source(source, f"sums_{self.main}")
            names |= {k: getattr(sums, k) for k in _defined(self._sums)}
        return getattr(run_source(text, names, self._title), self.main)

    @cached_property
    def by_machine(self) -> Callable[..., None]:
        """The function as numba compiles it."""
        return getattr(load_source(self._source, self._title), self.main)

    @property
    def _title(self) -> str:
        return f"loops_{self.main}"

    @cached_property
    def _source(self) -> str:
        return driver_source((*self._sums, *self._files), self._sizes, self._lanes)

    def through(
        self,
        rows: int,
        functions: tuple[Any, ...],
        work: Work,
        least: int,
        kind: str = "POINT",
    ) -> None:
        """Call `work(loop, functions, first, last)` until all rows are done.

        `functions` are those that the loops call, by their places: all of one `kind`.
        Compiled loops run on threads, on pieces of at least so many rows.
        """
        if not self.compiled(rows):
            with np.errstate(all="ignore"):
                work(self.by_python, functions, 0, rows)
            return
        loop, held = self.by_machine, addresses(functions, kind)
        share_out(rows, lambda first, last: work(loop, held, first, last), least)

    def compiled(self, rows: int) -> bool:
        """Whether machine code is there, or worth its time after so many rows more."""
        if self.seen <= self.worth:
            self.seen += -(-rows // max(self._lanes, 1))
            if is_compiled(self._source, self._title, self.main):
                self.seen += self.worth
        return self.seen > self.worth


@lru_cache(maxsize=64)
def addresses(functions: tuple[Any, ...], kind: str) -> tuple[int, ...]:
    """Return where the machine code of functions lies, compiled if need be."""
    from . import parts

    return tuple(parts.address(x, getattr(parts, kind)) for x in functions)


def _defined(files: tuple[ModuleType, ...]) -> list[str]:
    """Return the names of the constants and functions that files define."""
    words = [name for file in files for name in vars(file) if name[0] != "_"]
    return [name for name in words if not hasattr(stubs, name)]


def _itself(function: Callable) -> Callable:
    return function


def _plain() -> dict[str, Any]:
    """Return what compiled text finds in its header, for Python; floats are NumPy's.

    They divide by zero as machine code does, and have the logarithm of C, not NumPy's
    own, whose last digit depends on the processor.
    """
    number = np.float64
    space: dict[str, Any] = {"empty": np.empty, "zeros": np.zeros, "inlined": _itself}
    space |= {"compiled": _itself, "optimised": _itself, "called": _itself}
    space |= {"float64": number, "int64": np.int64, "erf": math.erf}
    exact = run_source(text_of(elementary), space, "elementary")
    return space | {
        "rough_log2": exact.rough_log2,
        "rough_exp2": exact.rough_exp2,
        "sqrt": lambda x: np.sqrt(number(x)),
        "log": lambda x: number(math.log(x)) if x > 0 else np.log(number(x)),
        "exp": lambda x: exact.exp(number(x)),
        "call": _call,
        **dict.fromkeys(("call_path", "call_jets", "call_lanes"), _called),
    }


def _called(function: Callable, *given: Any) -> Any:
    return function(*given)


def _call(function, at, states, params, nodes, weights, first, last, out):
    """Call a function of one point, as `parts.call` does it in machine code."""
    rule = nodes[first:last], weights[first:last]
    return function(at, states, params[:0], params, *rule, out)
