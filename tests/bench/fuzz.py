"""Broken bytes for everything that reads from a solution: ``python tests/bench/fuzz.py --seconds 120``.

Each case is an honest transcript of a solution, changed at random (tests/sandbox/broken_peers.py).  The seeds
of cases that find something are printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

from tests.sandbox.broken_peers import one_case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--first", type=int, default=1_000_000, help="seed of the first case")
    options = parser.parse_args()
    ends: Counter[str] = Counter()
    found = []
    seed, end_of_run = options.first, time.monotonic() + options.seconds
    while time.monotonic() < end_of_run:
        try:
            ends[": ".join(one_case(seed))] += 1
        except Exception as error:
            found.append(f"seed {seed}: {type(error).__name__}: {error}")
        seed += 1
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seed - options.first} cases, at most {memory:.0f} MiB of memory; found: {len(found)}")
    for name, count in sorted(ends.items()):
        print(f"  {name}: {count}")
    print(*found[:20], sep="\n")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
