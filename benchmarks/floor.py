"""Compile and run the C floor: the coefficients become steps.h, gcc does the rest."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
from dilaton.numerics.codegen.threads import share_out
from dilaton.numerics.ode.lanes import LANES, ROUNDS, SAFETY, order_of
from dilaton.numerics.ode.tableau import DOUBT, dop853
from dilaton.numerics.ode.taylor import FALL, SIZE
from scipy.integrate import DOP853

FLAGS = [
    "-O3",
    "-march=native",
    "-ffast-math",
    "-fno-associative-math",
    "-fopenmp-simd",
    "-fPIC",
    "-shared",
]


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


def series_header(order: int) -> str:
    """Print the coefficients of nu, by hand: u = tanh w, w = kappa s nu + h."""
    lines = [f"#define ORDER {order}", f"#define SIZE {SIZE}", f"#define FALL {FALL}"]
    lines += ["static void series(const double *restrict t, const double *restrict y,"]
    lines += ["    const double *restrict kappa, const double *restrict bias,"]
    lines += ["    double *restrict c) {", "#pragma omp simd"]
    lines += ["    for (int l = 0; l < L; l++)"]
    lines += ["        c[l] = tanh(kappa[l]*t[l]*y[l] + bias[l]);", "#pragma omp simd"]
    lines += ["    for (int l = 0; l < L; l++) {"]
    lines += ["        double n0 = y[l], u0 = c[l], v0 = 1 - u0*u0, kv = kappa[l]*v0;"]
    for k in range(1, order + 1):
        before = f"U{k - 1}*{1 / (k - 1)!r}" if k > 1 else "u0"
        bent = " + ".join(f"w{j}*v{k - j}" for j in [*range(2, k), 1] if j < k)
        square = " + ".join(f"u{j}*u{k - j}" for j in range(1, (k + 1) // 2))
        middle = f" + u{k // 2}*u{k // 2}" if k % 2 == 0 else ""
        lines += [f"        double n{k} = {before}*(kappa[l]*{1 / k!r});"]
        lines += [
            f"        double x{k} = t[l]*n{k} + n{k - 1}, w{k} = {k}*kappa[l]*x{k};"
        ]
        lines += [f"        double U{k} = {bent or '0'} + ({k}*kv)*x{k};"]
        lines += [f"        double u{k} = U{k}*{1 / k!r}, h{k} = {square or '0'};"]
        lines += [
            f"        double v{k} = -(h{k} + h{k}{middle} + ({2 / k!r}*u0)*U{k});"
        ]
    lines += [f"        c[{k}*L + l] = n{k};" for k in range(order + 1)]
    return "\n".join([*lines, "    }", "}"]) + "\n"


class Floor:
    """The compiled kernels; `None` from `build` where there is no gcc."""

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        self.functions = {
            "dop853": loaded.integrate,
            "taylor": loaded.integrate_series,
        }
        pointer, real = ctypes.POINTER(ctypes.c_double), ctypes.c_double
        for function in self.functions.values():
            function.argtypes = [ctypes.c_long, ctypes.c_long, *[pointer] * 3]
            function.argtypes += [real, real, real, pointer]
            function.restype = None

    @classmethod
    def build(cls, folder: Path, rtol: float) -> Floor | None:
        """Compile in `folder` with gcc and libmvec, for a tolerance."""
        if shutil.which("gcc") is None:
            return None
        (folder / "steps.h").write_text(steps_header())
        (folder / "series.h").write_text(series_header(order_of(rtol)))
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

    def run(self, nu0, p, kappa, rtol: float, method: str) -> np.ndarray:
        """Integrate to s = 1 on all cores; return nu of shape (rows,)."""
        bias = np.log(p / (1 - p)) / 2
        out = np.empty_like(nu0)
        pointer = ctypes.POINTER(ctypes.c_double)
        given = [a.ctypes.data_as(pointer) for a in (nu0, kappa, bias)]
        result, inner = out.ctypes.data_as(pointer), SAFETY.get(method, 1.0) * rtol
        function = self.functions[method]

        def work(first: int, last: int) -> None:
            function(first, last, *given, 1.0, inner, inner, result)

        share_out(nu0.size, work, ROUNDS * LANES[2])
        return out
