"""Offline episodes a second: `mlb run` with the baseline over the bundled mix of all 22 datasets, in both languages, played, judged, written and summed
up; start-up included.

    python benchmarks/offline.py [--workers 2] [--episodes 10000]

Memory is the most that the process that keeps the run, and the largest of its workers, had; given for a tenth of the episodes as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description="Offline episodes a second.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=10_000)
    given = parser.parse_args()
    for share in (10, 1):
        episodes, seconds, memory = play(given.workers, given.episodes // share)
        print(f"{episodes} episodes by {given.workers} processes: {seconds:.1f} s, {episodes / seconds:.0f} a second, {memory:.0f} MiB in the largest process")


def play(workers: int, episodes: int) -> tuple[int, float, float]:
    """Episodes, seconds, MiB of one run as a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        trials = -(-episodes // 456)
        command = [sys.executable, "-m", "mlb_env", "run", "--lang", "both", "--trials", str(trials), "--workers", str(workers), "--out", str(out)]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            sys.exit(f"the run failed ({status})")
        return json.loads((out / "run.json").read_text(encoding="utf-8"))["episodes"], seconds, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
