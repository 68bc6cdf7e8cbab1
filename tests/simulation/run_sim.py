"""Plays many cases of the simulation on every core, or a single one again.

`run_sim.py [--cases 2000] [--seed N] [--processes 2]` runs `test_whole_system.py` in processes with their own seeds;
`run_sim.py --case JSON [--trace]` plays one case, with every message and write shown.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--cases", type=int, default=2000)
    words.add_argument("--seed", type=int, default=None)
    words.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    words.add_argument("--case")
    words.add_argument("--trace", action="store_true")
    asked = words.parse_args()
    if asked.case:
        return play(asked.case, trace=asked.trace)
    seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
    print(f"{asked.cases} cases on {asked.processes} processes; again with --seed {seed}", flush=True)
    began = time.monotonic()
    share = -(-asked.cases // asked.processes)
    children = [run(share, seed + place) for place in range(asked.processes)]
    failed = sum(child.wait() != 0 for child in children)
    print(f"{share * asked.processes} cases in {time.monotonic() - began:.0f} s, seed {seed}", flush=True)
    return 1 if failed else 0


def run(cases: int, seed: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "CONTACTSYNC_SIM_CASES": str(cases),
        "CONTACTSYNC_SIM_SEED": str(seed),
        "PYTHONHASHSEED": "0",
    }
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--timeout=3000",
        "--no-header",
        str(HERE / "test_whole_system.py"),
    ]
    return subprocess.Popen(words, env=environment, cwd=ROOT)


def play(text: str, *, trace: bool) -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets belongs to a case
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    sys.path.insert(0, str(HERE.parent))
    from whole.steps import run_case

    run_case(**json.loads(text), trace=trace)
    print("every invariant holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
