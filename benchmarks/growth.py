"""How cost grows: with features, n, rows and d, each in a process of its own.

No step may grow faster than its problem without a sentence here that says why:

* features: a loss of K features has the 2**K classes of their signs, and the starts of
  its search are combinations of units, so the solution grows as a power of 2**K;
* n: samples enter as counts; the time down to which a minimum is followed falls with n,
  in steps of a fixed ratio, so the solution grows as log n;
* rows: each is solved by itself, so time is linear once threads and caches are full;
* d: a network is trained in the span of n samples, so d does not enter.

Seconds are the processor's, so that a busy machine counts less.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = """
[target]
kind = "product"
sigma = 1
{features}
[interpolant]
alpha = "1 - tau"
beta = "tau"
[dilation]
kappa = 2
[data]
n = "inf"
"""
FEATURE = "[[target.features]]\np = {p}\nscale = {scale}\nexponent = 0\n"

SOLUTIONS = """
import json, sys, time
import dilaton
spec = dilaton.load_spec(sys.argv[1])
spec = spec.replace(**json.loads(sys.argv[2]))
spent = []
for _ in range(3):
    begin = time.process_time()
    dilaton.solve(spec)
    spent.append(time.process_time() - begin)
print(json.dumps([spent[0], min(spent[1:])]))
"""

TRAINING = """
import json, sys, time
import dilaton
from dilaton.torchcheck.study.cells import Trial, measure_cell
from dilaton.torchcheck.study.plan import Plan
d, most = map(int, sys.argv[2:])
spec = dilaton.load_spec(sys.argv[1])
plan = Plan((d, 2 * d, 4 * d), 1, times=(0.5,), max_iterations=most, paths=0)
measure_cell(Trial(spec, plan, 256, 0))
begin = time.process_time()
measure_cell(Trial(spec, plan, d, 0))
print(json.dumps([time.process_time() - begin]))
"""


def _seconds(script: str, *words: str, cache: Path) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *words],
        env={**os.environ, "DILATON_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def product_spec(count: int) -> str:
    """Return the spec of a population with `count` features of one exponent."""
    features = [
        FEATURE.format(p=round(0.6 + 0.1 * j, 1), scale=1 + 0.5 * j)
        for j in range(count)
    ]
    return TARGET.format(features="".join(features))


def growth_of_cost(quick: bool) -> dict[str, float]:
    """Return seconds by name: with features, with n and with d."""
    from dilaton.theory.models.spec import default_spec

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec, default = folder / "spec.toml", folder / "default.toml"
        default.write_text(default_spec().text)
        for count in (1, 2) if quick else (1, 2, 3):
            spec.write_text(product_spec(count))
            cache = folder / f"features-{count}"
            first, next_ = _seconds(SOLUTIONS, str(spec), "{}", cache=cache)
            found[f"{count} features, derived and solved (s)"] = first
            found[f"{count} features, solved again (s)"] = next_
        for n in (16, 10**3) if quick else (16, 10**3, 10**6):
            values = json.dumps({"n": n, "n_plus": round(0.8 * n)})
            words = (str(default), values)
            first, next_ = _seconds(SOLUTIONS, *words, cache=folder / f"n-{n}")
            found[f"n = {n}, derived and solved (s)"] = first
            found[f"n = {n}, solved again (s)"] = next_
        for d in (250, 500) if quick else (1000, 4000, 16000):
            words = (str(default), str(d), "200")
            (spent,) = _seconds(TRAINING, *words, cache=folder / "training")
            found[f"d = {d}, at most 200 steps of training (s)"] = spent
    return found
