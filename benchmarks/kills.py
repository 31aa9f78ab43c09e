"""Kills a run with SIGKILL at random moments, resumes it each time, and compares what it ends with to an unbroken run.

    python benchmarks/kills.py [--kills 50] [--episodes 200] [--workers 1] [--seed 0]

A mock model in this process counts the calls: what a kill may cost are the calls in flight, and no others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from mlb_env.serve.mock import MockServer, MockSettings

SCENARIOS = "maguidance-p03,maguidance-p06,mamedication-p03,mamedication-p06"
CONCURRENCY = 8


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills and resumes a run.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng, trials = Random(given.seed), -(-given.episodes // 4)
    with MockServer(MockSettings(latency_s=0.2, turns=8)) as mock, tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mlb_env", "run", "--concurrency", str(CONCURRENCY), "--workers", str(given.workers)]
        begin = ["--agent", "chat", "--model", "m", "--base-url", mock.url, "--scenario", SCENARIOS, "--lang", "en", "--trials", str(trials)]
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        subprocess.run([*command, *begin, "--out", str(whole)], check=True, capture_output=True)
        unbroken = mock.counters.requests
        kills = 0
        while kills < given.kills:
            how = ["--resume", str(broken)] if (broken / "run.json").exists() else [*begin, "--out", str(broken)]
            before = mock.counters.requests
            process = subprocess.Popen([*command, *how], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            aim = before + rng.randrange(1, max(2, 2 * unbroken // given.kills))
            while mock.counters.requests < aim and process.poll() is None:
                time.sleep(rng.random() / 50)
            if process.poll() is not None:
                break
            process.kill()
            process.wait()
            while mock.counters.now:  # what was in flight is answered to nobody
                time.sleep(0.01)
            kills += 1
        subprocess.run([*command, "--resume", str(broken)], check=True, capture_output=True)
        same = all((whole / name).read_bytes() == (broken / name).read_bytes() for name in ("trajectories.jsonl", "verdicts.jsonl", "summary.json"))
        repeated = mock.counters.requests - 2 * unbroken
    print(f"{4 * trials} episodes, {unbroken} calls, killed {kills} times: {'the same bytes as unbroken' if same else 'NOT the bytes of the unbroken run'}; "
          f"{repeated} calls repeated, at most {CONCURRENCY * kills} were in flight")  # fmt: skip
    sys.exit(0 if same and repeated <= CONCURRENCY * kills else 1)


if __name__ == "__main__":
    main()
