"""Compile and run the C floor: the coefficients become steps.h, gcc does the rest."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from dilaton.numerics.integrate import LANES, SAFETY
from dilaton.numerics.tableau import DOUBT, dop853
from dilaton.numerics.threads import workers
from scipy.integrate import DOP853

FLAGS = ["-O3", "-march=native", "-ffast-math", "-fopenmp-simd", "-fPIC", "-shared"]


def _sum(coefficients, name="k{}[l]") -> str:
    return " + ".join(
        f"{float(x)!r}*{name.format(j)}" for j, x in enumerate(coefficients) if x != 0
    )


def steps_header() -> str:
    """Print one trial step of DOP853 for the equation of floor.c."""
    table = dop853()
    stages = len(table.b)
    lines = [f"#define POWER {1 / table.error_order!r}"]
    lines += [f"#define BETA {table.beta!r}", f"#define GROWTH {table.growth!r}"]
    lines += [f"#define CAUTION {table.caution!r}"]
    lines += ["static void attempt(const double *t, const double *h, const double *y,"]
    lines += ["    const double *kappa, const double *bias, const double *k0,"]
    lines += ["    double *tried, double *err, double rtol, double atol) {"]
    lines += [f"    double z[L], at[L], {', '.join(f'k{j}[L]' for j in range(1, 12))};"]
    loop = ["#pragma omp simd", "    for (int l = 0; l < L; l++) {"]
    for j in range(1, stages):
        lines += [*loop, f"        z[l] = y[l] + h[l]*({_sum(table.a[j][:j])});"]
        lines += [f"        at[l] = t[l] + {float(table.c[j])!r}*h[l];", "    }"]
        lines += [f"    rhs(at, z, kappa, bias, k{j});"]
    lines += [*loop, f"        tried[l] = y[l] + h[l]*({_sum(table.b)});"]
    lines += ["        double scale = atol + rtol*fmax(fabs(y[l]), fabs(tried[l]));"]
    lines += [f"        double e5 = ({_sum(DOP853.E5)})/scale;"]
    lines += [f"        double e3 = ({_sum(DOP853.E3)})/scale;"]
    lines += ["        double whole = e5*e5 + 0.01*e3*e3, square = h[l]*e3;"]
    lines += ["        double e = whole > 0 ? h[l]*e5*e5/sqrt(whole) : 0;"]
    lines += [f"        err[l] = fmax(e, {DOUBT!r}*square*square*rtol);", "    }", "}"]
    return "\n".join(lines) + "\n"


class Floor:
    """The compiled kernel; `None` from `build` where there is no gcc."""

    def __init__(self, library: Path) -> None:
        self.function = ctypes.CDLL(str(library)).integrate
        pointer = ctypes.POINTER(ctypes.c_double)
        real = ctypes.c_double
        self.function.argtypes = [ctypes.c_long, ctypes.c_long, *[pointer] * 3]
        self.function.argtypes += [real, real, real, pointer]
        self.function.restype = None

    @classmethod
    def build(cls, folder: Path) -> Floor | None:
        """Compile in `folder` with gcc and libmvec."""
        if shutil.which("gcc") is None:
            return None
        (folder / "steps.h").write_text(steps_header())
        source, library = Path(__file__).with_name("floor.c"), folder / "floor.so"
        command = [
            "gcc",
            *FLAGS,
            f"-DL={LANES[2]}",
            f"-I{folder}",
            str(source),
            "-o",
            str(library),
        ]
        subprocess.run([*command, "-lmvec", "-lm"], check=True, timeout=120)
        return cls(library)

    def run(self, nu0: np.ndarray, p: np.ndarray, kappa: np.ndarray, rtol: float):
        """Integrate to s = 1 on all cores; return nu of shape (rows,)."""
        bias = np.log(p / (1 - p)) / 2
        out = np.empty_like(nu0)
        given = [
            a.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
            for a in (nu0, kappa, bias)
        ]
        result = out.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
        inner = SAFETY["dop853"] * rtol
        edges = np.linspace(0, nu0.size, 8 * workers() + 1).astype(int)
        with ThreadPoolExecutor(workers()) as pool:
            list(
                pool.map(
                    lambda c: self.function(*c, *given, 1.0, inner, inner, result),
                    [(int(a), int(b)) for a, b in pairwise(edges)],
                )
            )
        return out
