"""The runner against an endpoint that takes its time: wall time over the ideal, CPU and memory for each call.

    python benchmarks/runner.py [--latency 0.2] [--concurrency 64] [--episodes 128] [--calls 15]

A mock model (`mlb serve mock`, in a process of its own) answers each call after `latency` seconds. The ideal is what the calls would take if
the runner did nothing but wait: ceil(episodes / concurrency) x calls x latency. Everything is on: journal of calls, journal of episodes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlb_env.bench.runner import arun
from mlb_env.bench.settings import RunSettings
from mlb_env.catalog.load import open_catalog


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--episodes", type=int, default=128)
    parser.add_argument("--calls", type=int, default=15)
    given = parser.parse_args()
    command = [sys.executable, "-u", "-m", "mlb_env", "serve", "mock", "--latency", str(given.latency), "--turns", str(given.calls), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as mock, tempfile.TemporaryDirectory() as folder:
        try:
            assert mock.stdout is not None
            url = mock.stdout.readline().split()[3].rstrip(";")
            model = {"model": "mock", "base_url": url, "key_variable": "NO_KEY_NEEDED"}

            def play(scenarios: list[str], trials: int, name: str) -> int:
                settings = RunSettings.of(agent="chat", scenario=scenarios, lang="en", trials=trials, model=model)
                result = asyncio.run(arun(settings, out=Path(folder) / name, concurrency=given.concurrency, catalog=catalog))
                return sum(t.usage["agent"].calls for t in result.trajectories())

            start = time.perf_counter()
            catalog = open_catalog()
            loading = time.perf_counter() - start
            scenarios = ["maguidance-p03", "maguidance-p06", "mamedication-p03", "mamedication-p06"]
            play(scenarios[:1], 1, "warm")  # imports and clients are not what is measured
            gc.collect()
            gc.freeze()  # as mlb run does
            before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            calls = play(scenarios, math.ceil(given.episodes / len(scenarios)), "run")
            wall = time.perf_counter() - start
            after = resource.getrusage(resource.RUSAGE_SELF)
        finally:
            mock.kill()
    episodes = math.ceil(given.episodes / len(scenarios)) * len(scenarios)
    ideal = math.ceil(episodes / given.concurrency) * given.calls * given.latency
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / calls
    print(f"{episodes} episodes, {calls} calls ({calls / episodes:.1f} each), {given.concurrency} in flight, latency {given.latency} s")
    print(f"wall {wall:.1f} s (and {loading:.1f} s once, to load the content), ideal {ideal:.1f} s: {wall / ideal:.3f} times the ideal")
    print(f"CPU {cpu * 1000:.2f} ms a call, memory {after.ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    main()
