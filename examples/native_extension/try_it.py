"""Uses the extension: four estimates of pi at the same time, in C, on an ordinary build of Python."""

import time

import montecarlo
import treadle

SAMPLES = 20_000_000

with treadle.ThreadPoolExecutor(max_workers=4) as pool:
    started = time.perf_counter()
    futures = [montecarlo.estimate(pool, SAMPLES, seed=seed) for seed in range(4)]
    # they are futures like any other: wait(), as_completed(), callbacks, await ...
    estimates = [future.result() for future in futures]
    took = time.perf_counter() - started

print("estimates", *(f"{value:.5f}" for value in estimates))
print(f"mean      {sum(estimates) / 4:.5f}")
print(f"{4 * SAMPLES:,} points in {took:.2f} s")
