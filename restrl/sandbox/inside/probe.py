"""What an interpreter is and how fast it runs here, as JSON: ``python -s probe.py ROUNDS UNIT``.

``cpu``: the fewest processor seconds of one round of work; ``wall``: the mean seconds on the clock;
``schedstat``: whether the kernel says how long a process waited for a processor; ``identity``: changes with
the interpreter and with the packages installed for it.
"""

import hashlib
import json
import os
import sys
import sysconfig
import time


def work(unit: int) -> int:
    """A fixed piece of pure Python: a table, integer arithmetic and text, ``unit`` times."""
    table: dict[int, int] = {}
    for i in range(unit):
        table[i & 63] = table.get(i & 63, 0) + i * i % 7 + len(str(i))
    return sum(table.values())


def measure(rounds: int, unit: int) -> dict[str, float]:
    least, started = float("inf"), time.monotonic()
    for _ in range(rounds):
        before = time.process_time()
        work(unit)
        least = min(least, time.process_time() - before)
    return {"cpu": least, "wall": (time.monotonic() - started) / rounds}


def identity() -> str:
    """Of the interpreter and of the names (with versions) of what is installed beside it."""
    names = {sys.version, sys.executable}
    for key in ("purelib", "platlib"):
        folder = sysconfig.get_path(key)
        if os.path.isdir(folder):
            names |= {name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info"))}
    return hashlib.blake2b("\n".join(sorted(names)).encode(), digest_size=16).hexdigest()


def main() -> None:
    answer = {"schedstat": os.path.exists("/proc/self/schedstat"), "identity": identity()}
    print(json.dumps(answer | measure(int(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
