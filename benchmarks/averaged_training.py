"""Averaged training against Adam on sampled noise, to the same distance.

Both minimise the same loss on the same training set at d = 5000 and n = 128. Adam runs
for some numbers of steps; each run is compared with the averaged training that gets at
least as near to the minimum, and with the one that is run to the end. Times are of the
processor, so that a busy machine does not favour either. Prints one JSON object.

    python benchmarks/averaged_training.py --steps 100,200,400
"""

import argparse
import json
import time

import dilaton
import numpy as np
import torch
from dilaton.torchcheck.networks.step_grid import phase_times
from dilaton.torchcheck.networks.train import train
from dilaton.torchcheck.networks.training_set import draw_training_set, in_span


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d", type=int, default=5000)
    parser.add_argument("--steps", default="50,100,200")
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    spec = dilaton.default_spec()
    s = np.array([1.0])
    times = phase_times(spec.model, spec.values, given.d, "weights", s)
    args = (spec.model, spec.values, times, given.d, 0)
    data = draw_training_set(spec.model, spec.values, given.d, 0, embedding="full")
    train(*args, data=in_span(data), steps=1)  # the first call pays for set-up

    def averaged(**more):
        begin = time.process_time()
        found = train(*args, data=in_span(data), **more)
        return time.process_time() - begin, found

    full, best = averaged()
    rows = []
    for steps in map(int, given.steps.split(",")):
        begin = time.process_time()
        noisy = train(*args, data=data, method="sampled", steps=steps, rate=given.rate)
        seconds = time.process_time() - begin
        distance = (noisy.loss - best.loss).max()
        for few in range(1, 1000):
            near, found = averaged(steps=few)
            if (found.loss - best.loss).max() <= distance:
                break
        rows.append(
            {
                "steps": steps,
                "seconds": seconds,
                "distance": float(distance),
                "gradient_norm": float(noisy.gradient_norm.max()),
                "averaged_to_the_same_distance": {"seconds": near, "steps": few},
                "speedup": seconds / near,
                "speedup_to_the_end": seconds / full,
            }
        )
    answer = {
        "d": given.d,
        "n": spec.values["n"],
        "times": len(times),
        "averaged_to_the_end": {
            "seconds": full,
            "gradient_norm": float(best.gradient_norm.max()),
        },
        "adam": rows,
    }
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
