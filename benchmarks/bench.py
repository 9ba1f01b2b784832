"""One table, measured side by side in one run: dilaton, what else one would use, C.

Methods of a workload take turns, round after round, so that a busy machine slows
them all. The rate is that of the best round, and the spread how much longer than the
best the median round took. Errors are largest errors over all rows against a
reference at 1e-13, in units of the tolerance asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

RTOL = 1e-8
ROUNDS = 25
ENOUGH = 4.0
"""Seconds after which a method that had a few rounds is not measured again."""

TURN = 0.05
"""A method that is done sooner is called again in its turn."""

SEED = 20241


@dataclass(frozen=True)
class Row:
    """A line of the table; `rate` in units a second, `spread` relative."""

    workload: str
    method: str
    rate: float
    error: float | None
    spread: float


@dataclass(frozen=True)
class Method:
    """What is timed: `run` solves `count` units; `error` judges what it returned."""

    name: str
    count: int
    run: Callable[[], Any]
    error: Callable[[Any], float] | None = None


def measured(workload: str, methods: list[Method], rounds: int) -> list[Row]:
    """Time the methods in turns after one call of each that is not counted."""
    seconds: dict[str, list[float]] = {m.name: [] for m in methods}
    errors: dict[str, float | None] = {}
    for method in methods:
        say(f"{workload}: {method.name}")
        found = method.run()
        errors[method.name] = method.error(found) if method.error else None
    for _ in range(rounds):
        for method in methods:
            spent = seconds[method.name]
            if len(spent) < 3 or sum(spent) < ENOUGH:
                spent += turn(method.run)
    rows = []
    for method in methods:
        best, middle = min(seconds[method.name]), median(seconds[method.name])
        rate, spread = method.count / best, (middle - best) / best
        rows.append(
            Row(workload, method.name, float(rate), errors[method.name], float(spread))
        )
    return rows


def turn(run: Callable[[], Any]) -> list[float]:
    """Return the seconds of the calls in one turn: the first finds caches cold."""
    spent: list[float] = []
    while not spent or sum(spent) < TURN:
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return spent


def say(text: str) -> None:
    """Report progress on standard error; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


# (a) the sampling flow of the paper, population, every row its own p and kappa


def sampling_rows(count: int) -> dict[str, Any]:
    """Draw starts from the base, weights and scales uniformly."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    nu, p = rng.normal(size=count), rng.uniform(0.5, 0.95, count)
    kappa = rng.uniform(0.5, 5.0, count)
    return {"nu": nu, "p": p, "kappa": kappa, "sigma": np.ones(count)}


def sampling_flow():
    """Derive the flow from the paper's model."""
    import dilaton

    limit = dilaton.derive(dilaton.Model(dilaton.two_modes()))
    return limit.phase("weights").sampling


class Sampling:
    """Rows of the sampling flow, who solves them, and how well."""

    def __init__(self, count: int) -> None:
        """Draw rows, a few of them for slow methods, and find what is exact."""
        from . import rivals

        self.system, self.rows = sampling_flow(), sampling_rows(count)
        self.few = {k: v[: max(count // 80, 8)] for k, v in self.rows.items()}
        params = {str(k): self.rows[str(k)] for k in self.system.parameters}
        self.given = {"init": {"nu": self.rows["nu"]}, "params": params, "t": [0, 1]}
        self.truth = self.integrated("numba", 1e-13)
        tight = rivals.scipy_rows({k: v[:40] for k, v in self.rows.items()}, 1e-13)
        if abs(self.truth[:40] - tight).max() > 1e-10:
            raise SystemExit(
                "The reference must agree with SciPy at 1e-13, but does not."
            )

    def integrated(self, backend: str, tol: float = RTOL, **more: Any) -> Any:
        """Return the ends of all rows by a backend."""
        from dilaton.numerics.ode.integrate import integrate

        more |= {"backend": backend, "rtol": tol, "atol": tol}
        return integrate(self.system, **self.given, **more)["nu"][:, -1]

    def error(self, found: Any) -> float:
        """Return the largest error, in units of the tolerance."""
        exact = self.truth[: found.size]
        return float((abs(found - exact) / (RTOL * (1 + abs(exact)))).max())

    def timed(self, name: str, run: Callable[..., Any], *given: Any) -> Method:
        """Return what is timed: `run` with what is given, if need be rows first."""
        some = given[0] if given and isinstance(given[0], dict) else self.rows
        return Method(name, some["nu"].size, partial(run, *given), self.error)

    def ours(self) -> list[Method]:
        """Return the backends and methods of dilaton."""
        import numpy as np
        from dilaton.numerics.ode.lanes import solve_lanes
        from dilaton.numerics.ode.problem import StepControl, checked

        control = StepControl(RTOL, RTOL, max_steps=10**4, max_step=np.inf)
        problem = checked(self.system, *self.given.values(), None, control)
        found = [
            self.timed("dilaton numba, lanes", self.integrated, "numba"),
            self.timed(
                "dilaton numba, scalar",
                lambda: solve_lanes(problem, None, 1).y[:, -1, 0],
            ),
        ]
        for method in ("dop853", "dopri5"):
            run = partial(self.integrated, method=method)
            found.append(self.timed(f"dilaton numba, {method}", run, "numba"))
        return [*found, self.timed("dilaton JAX", self.integrated, "jax")]

    def others(self) -> list[Method]:
        """Return diffrax, SciPy and, where it is installed, heyoka."""
        from . import rivals

        rows, few, found = self.rows, self.few, []
        for solver in ("Tsit5", "Dopri8"):
            for sharded in (False, True):
                name = f"diffrax {solver}, vmap{', sharded' * sharded}"
                given = rows, RTOL, solver, sharded
                found.append(self.timed(name, rivals.diffrax_rows, *given))
        for size in sorted({1000, rows["nu"].size}):
            name = f"SciPy DOP853, {size:,} rows stacked"
            found.append(self.timed(name, rivals.scipy_stacked, rows, RTOL, size))
        found.append(
            self.timed("SciPy DOP853, one by one", rivals.scipy_rows, few, RTOL)
        )
        if not rivals.has_heyoka():
            say("no heyoka (pip install heyoka): it is left out")
            return found
        name = f"heyoka, {{}} of {rivals.BATCH}"
        return [
            *found,
            self.timed(name.format("ensemble"), rivals.heyoka_ensemble, few, RTOL),
            self.timed(name.format("batches"), rivals.heyoka_batches, rows, RTOL),
        ]

    def in_c(self, folder: Path) -> list[Method]:
        """Return the floor, compiled in a folder, where there is a compiler."""
        from .floor import Floor

        floor = Floor.build(folder, RTOL)
        if floor is None:
            say("no gcc: the C floor is left out")
            return []
        columns = [self.rows[k] for k in ("nu", "p", "kappa")]
        return [
            self.timed(f"C, lanes, {method}", floor.run, *columns, RTOL, method)
            for method in floor.functions
        ]


def sampling_methods(count: int, folder: Path) -> list[Method]:
    """Return ours, diffrax, SciPy and the C floor on the same rows."""
    sampling = Sampling(count)
    return sampling.ours() + sampling.others() + sampling.in_c(folder)


# (b) the stationarity problem of n samples over a grid of p and kappa


def stationary_methods(side: int) -> list[Method]:
    """Return our minima and a loop over SciPy's `minimize`, at 40 times each."""
    import dilaton
    import numpy as np
    from dilaton.numerics.batch import solve_rows
    from dilaton.numerics.minima.minimise import minimise
    from dilaton.theory.models.model import Data

    from . import rivals

    limit = dilaton.derive(dilaton.Model(dilaton.two_modes(), data=Data(samples=True)))
    system = limit.phase("weights").learned
    p, kappa = np.meshgrid(np.linspace(0.55, 0.9, side), np.linspace(0.8, 4, side))
    columns = {"p": p.ravel(), "kappa": kappa.ravel(), "n": np.full(p.size, 128.0)}
    columns |= {"n_plus": np.round(128 * p.ravel()), "sigma": np.ones(p.size)}
    columns |= {"ridge_u": np.full(p.size, 2.0), "ridge_w": np.full(p.size, 2.0)}
    times = np.linspace(0.3, 1.0, 40)
    pick = np.linspace(0, p.size - 1, 3).astype(int)
    points = [{k: float(v[i]) for k, v in columns.items()} for i in pick]
    chosen = {k: v[pick] for k, v in columns.items()}
    gradient = _gradient(system, times)

    def both(found) -> np.ndarray:
        return np.stack([found["omega"], found["b"]], -1)

    def ours(backend: str = "numba"):
        return both(minimise(system, times, columns, backend=backend))

    return [
        Method(
            "dilaton numba",
            p.size * times.size,
            ours,
            lambda x: gradient(x, columns),
        ),
        Method(
            "scipy.optimize.minimize in a loop",
            len(points) * times.size,
            lambda: rivals.scipy_minima(points, times),
            lambda x: gradient(x, chosen),
        ),
        Method(
            "dilaton, whole phase diagram (points)",
            p.size,
            lambda: solve_rows(limit, columns, times),
        ),
    ]


def _gradient(system, times) -> Callable[..., float]:
    """Return the largest gradient component, by NumPy and a finer rule, over RTOL."""
    import numpy as np
    from dilaton.numerics.codegen.kernel import make_kernel
    from dilaton.numerics.codegen.quadrature import trapezoid

    kernel = make_kernel(system, "numpy")

    def largest(x, columns) -> float:
        params = [np.asarray(columns[k])[:, None] for k in kernel.parameters]
        at = np.broadcast_to(times, x.shape[:2])
        states = [x[..., list(kernel.states).index(k)] for k in kernel.states]
        inside = np.isfinite(x).all(-1)
        worst = 0.0
        for row in range(x.shape[0]):
            keep = inside[row]
            here = [np.broadcast_to(v[row], keep.sum()) for v in params]
            held = [v[row, keep] for v in states]
            values, _ = kernel["gradient"](
                at[row, keep], held, [], here, *trapezoid(992)
            )
            worst = max(worst, float(np.max(np.abs(values), initial=0.0)))
        return worst / RTOL

    return largest


# (c) the training flow, four averages in five equations


def training_methods(count: int) -> list[Method]:
    """Return ours and SciPy row by row, from random starts to time 5."""
    import dilaton
    import numpy as np
    from dilaton.numerics.ode.integrate import integrate

    from . import rivals

    limit = dilaton.derive(dilaton.Model(dilaton.two_modes()))
    system = limit.phase("weights").training
    rng = np.random.default_rng(SEED)
    names = ("m", "q", "omega", "r", "b")
    low, high = np.array([(0.1, 0.5), (0.5, 1), (0.1, 0.4), (0.3, 1), (-0.2, 0.2)]).T
    draw = rng.uniform(low, high, (count, 5))
    start = dict(zip(names, draw.T, strict=True))
    params = {"p": 0.8, "kappa": 2.0, "s": 0.75, "sigma": 1.0}

    def ours(backend: str, tol: float = RTOL) -> np.ndarray:
        flow = integrate(
            system,
            init=start,
            params={k: params[k] for k in map(str, system.parameters)},
            t=[0.0, 5.0],
            rtol=tol,
            atol=tol,
            backend=backend,
        )
        return np.stack([flow[k][:, -1] for k in names], -1)

    truth = ours("numba", 1e-13)

    def error(found):
        exact = truth[: len(found)]
        return float(np.max(np.abs(found - exact) / (RTOL * (1 + np.abs(exact)))))

    few = {k: v[: max(count // 50, 4)] for k, v in start.items()}
    return [
        Method("dilaton numba", count, lambda: ours("numba"), error),
        Method("dilaton JAX", count, lambda: ours("jax"), error),
        Method(
            "SciPy DOP853, one by one",
            few["m"].size,
            lambda: rivals.scipy_training(few, params, 5.0, RTOL),
            error,
        ),
    ]


# time to the first result, memory, growth

SOLVE = """
import io, sys, time
from contextlib import redirect_stdout, suppress
from dilaton.face import cli
begin, sys.argv[:] = float(sys.argv[1]), ["dilaton", "solve", *sys.argv[2:]]
with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
    cli.main()
assert "share_plus" in printed.getvalue()
print(time.time() - begin)
"""

FIRST = """
import time, sys
import dilaton
from dilaton.numerics import integrate
limit = dilaton.derive(dilaton.Model(dilaton.two_modes()))
flow = integrate(limit.phase("weights").sampling, init={"nu": 0.1},
                 params={"p": 0.8, "kappa": 2.0, "sigma": 1.0},
                 t=[0, 1], rtol=1e-8, atol=1e-8)
print(time.time() - float(sys.argv[1]))
"""

MILLION = """
import sys
from pathlib import Path
from benchmarks.bench import sampling_flow, sampling_rows
from dilaton.numerics import integrate
rows = sampling_rows(int(sys.argv[1]))
params = {k: v for k, v in rows.items() if k != "nu"}
integrate(sampling_flow(), init={"nu": rows["nu"]}, t=[0, 0.5, 1],
          params=params, rtol=1e-8, atol=1e-8)
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1]  # of this program alone
print(int(peak.split()[0]) / 2**20)
"""


def _python(script: str, *arguments: str, **environment: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **environment},
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def first_results(folder: Path) -> dict[str, float]:
    """Return the seconds from process start to the first trajectory."""
    say("time to the first trajectory")
    from dilaton.theory.models.spec import default_spec

    cache = {"DILATON_CACHE": str(folder / "cache")}
    found = {}
    spec = folder / "population.toml"
    spec.write_text(default_spec().replace(n="inf").text)
    command = (SOLVE, str(spec), "--at", "0.5,1", "--json")
    for name, words in (("dilaton solve", command), ("compiled, Python", (FIRST,))):
        script, *more = words
        spent = [_python(script, str(time.time()), *more, **cache) for _ in range(4)]
        found[f"first result, {name}, cold (s)"] = spent[0]
        found[f"first result, {name}, warm (s)"] = min(spent[1:])
    return found


def growth(largest: int) -> dict[str, float]:
    """Return the seconds for 10^2, 10^3, ... rows of the sampling flow."""
    from dilaton.numerics.ode.integrate import integrate

    say("growth with the number of rows")
    system, found, count = sampling_flow(), {}, 100
    while count <= largest:
        rows = sampling_rows(count)
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            integrate(
                system,
                init={"nu": rows["nu"]},
                params={k: rows[k] for k in map(str, system.parameters)},
                t=[0.0, 1.0],
                rtol=RTOL,
                atol=RTOL,
            )
            best = min(best, time.perf_counter() - start)
        found[f"{count} rows (s)"] = best
        count *= 10
    return found


# the table


def hardware() -> str:
    """Return processor, cores and versions in one line."""
    from importlib.metadata import version

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    packages = ("numpy", "scipy", "numba", "jax", "diffrax")
    versions = ", ".join(f"{p} {version(p)}" for p in packages)
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return f"{name}, {cores} cores (load {load:.1f}); {versions}"


def table(rows: list[Row]) -> str:
    """Return the rows as text; ratios are against the first method of a workload."""
    lines = [
        f"{'workload':<12}{'method':<42}{'rate /s':>12}{'ratio':>8}"
        f"{'error/tol':>11}{'spread':>8}"
    ]
    first: dict[str, float] = {}
    for row in rows:
        base = first.setdefault(row.workload, row.rate)
        error = "" if row.error is None else f"{row.error:.3g}"
        lines.append(
            f"{row.workload:<12}{row.method:<42}{row.rate:>12,.0f}"
            f"{row.rate / base:>8.3f}{error:>11}{row.spread:>8.0%}"
        )
    return "\n".join(lines)


def targets(rows: list[Row]) -> list[str]:
    """Return the ratios that the project has set itself, with what was measured."""
    rate = {r.method: r.rate for r in rows if r.workload == "sampling"}
    ours = rate["dilaton numba, lanes"]
    sharded = max(v for k, v in rate.items() if k.endswith("sharded"))
    stacked = max(v for k, v in rate.items() if k.endswith("stacked"))
    plain = max(v for k, v in rate.items() if k.endswith("vmap"))
    lines = [
        f"against diffrax, vmap alone: {ours / plain:.1f} x",
        f"against sharded diffrax: {ours / sharded:.1f} x (to reach: 5)",
        f"against stacked DOP853: {ours / stacked:.1f} x (to reach: 2.5)",
    ]
    floors = [v for k, v in rate.items() if k.startswith("C, lanes")]
    if floors:
        lines.append(f"of the C floor: {ours / max(floors):.2f} (to reach: 0.8)")
    return lines


def run(quick: bool) -> tuple[list[Row], dict[str, float]]:
    """Measure everything; `quick` with few rows, to see that it works."""
    from .growth import growth_of_cost

    rounds = 2 if quick else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = measured(
            "sampling", sampling_methods(1000 if quick else 20_000, folder), rounds
        )
        rows += measured("stationary", stationary_methods(4 if quick else 16), 3)
        rows += measured("training", training_methods(50 if quick else 500), 3)
        numbers = first_results(folder)
    numbers |= growth(10_000 if quick else 10_000_000)
    say("growth with features, n and d")
    numbers |= growth_of_cost(quick)
    say("memory")
    count = 10_000 if quick else 1_000_000
    numbers[f"peak memory of {count} rows (GiB)"] = _python(MILLION, str(count))
    if not quick:
        numbers["64 x 64 phase diagram of n samples (s)"] = diagram(64)
    return rows, numbers


def diagram(side: int) -> float:
    """Return the seconds for a phase diagram of side x side points, both phases."""
    say("phase diagram")
    method = stationary_methods(side)[2]
    start = time.perf_counter()
    method.run()
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    """Print the table; with ``--json FILE`` write its rows too."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--quick", action="store_true", help="few rows")
    chosen = parser.parse_args(arguments)
    cores = len(os.sched_getaffinity(0))
    flag = f"--xla_force_host_platform_device_count={cores}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    before = hardware()
    rows, numbers = run(chosen.quick)
    print(before)
    print(table(rows))
    print(*targets(rows), sep="\n")
    print(*(f"{k}: {v:.3g}" for k, v in numbers.items()), sep="\n")
    if chosen.json:
        write_json(chosen.json, [asdict(r) for r in rows])
    return 0


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.resolve().parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    Path(temporary).replace(path)
