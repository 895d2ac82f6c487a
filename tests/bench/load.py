"""Verdicts under load, and what is left after hostile programs: ``python tests/bench/load.py``.

``--programs N`` judges N programs, one in ten hostile: every verdict must be there and right.
``--hostile N`` judges N hostile programs: each attack on each kind of tests, the slow ones a few times and
the others again and again.  None may be paid, and no process, file, descriptor, System V object or memory may
be left: they are counted over the whole machine after every 500 programs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from tests.sandbox.leaks import descriptors, left_behind, resident_mb, zombies
from tests.sandbox.test_attacks import CALL, TIERS, programs_of

Pair = tuple[str, Mapping[str, Any]]
CONFIG = SandboxConfig(
    test_seconds=0.5, program_seconds=1.0, memory_mb=128, processes=12, file_mb=4, output_kb=64,
    preload=["numpy"],
)  # fmt: skip
CHUNK = 500  # programs between two counts
SLOW = 0.15  # seconds; attacks that take longer run SLOW_TIMES times in all
SLOW_TIMES = 3
HONEST = "def f(x):\n    return x * x + 7\n"


def attacks() -> dict[str, Pair]:
    """All attacks on all kinds of tests."""
    return {
        f"{tier}, {name}": pair
        for tier in TIERS
        for name, pair in programs_of(tier).items()
        if name != "honest"
    }


def numbered(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs, each program made different by a comment so that each is judged."""
    return [(f"{source}\n# {next(NUMBERS)}", tests) for source, tests in pairs]


NUMBERS = itertools.count()


def mixed(count: int) -> bool:
    """Programs one in ten of which is hostile, in random order.  Whether all verdicts are right."""
    bad = itertools.cycle(attacks().values())
    pairs = [(next(bad), 0.0) if i % 10 == 0 else ((HONEST, CALL), 1.0) for i in range(count)]
    random.Random(0).shuffle(pairs)
    start = time.monotonic()
    with Sandbox(CONFIG) as sandbox:
        verdicts = sandbox.judge(numbered([pair for pair, _reward in pairs]))
        rest = left_behind(sandbox)
    seconds = time.monotonic() - start
    lost = [i for i, verdict in enumerate(verdicts) if verdict.reward is None]
    wrong = [i for i, verdict in enumerate(verdicts) if verdict.reward not in (None, pairs[i][1])]
    statuses = Counter(verdict.status for verdict in verdicts)
    print(f"{count} programs, {count // 10} of them hostile, in {seconds:.0f} s: {dict(statuses)}")
    print(f"lost: {len(lost)}; wrong: {len(wrong)}; left behind: {rest}")
    for i in (lost + wrong)[:20]:
        print(f"  {pairs[i][0][0][:100]!r}: {verdicts[i]}")
    return not lost and not wrong and not any(rest.values())


def hostile(count: int) -> bool:
    """Attacks only.  Whether none was paid and nothing is left."""
    good = True
    with Sandbox(CONFIG) as sandbox:
        sandbox.judge(numbered([(HONEST, CALL)] * 100))
        before, memory = descriptors(sandbox), resident_mb(sandbox)
        print(f"before: descriptors {before}, MiB of servers and tests' processes {rounded(memory)}")
        done, start = 0, time.monotonic()
        for chunk in chunks(sandbox, count):
            paid = [p for p, v in zip(chunk, sandbox.judge(numbered(chunk)), strict=True) if v.reward]
            done += len(chunk)
            sandbox.judge(numbered([(HONEST, CALL)] * 4))
            rest, now, dead = left_behind(sandbox), descriptors(sandbox), zombies()
            good &= not paid and not any(rest.values()) and now == before and not dead
            print(f"{done} after {time.monotonic() - start:.0f} s: paid {len(paid)}, left {rest}, zombies "
                  f"{dead}, descriptors {now}, MiB {rounded(resident_mb(sandbox))}", flush=True)  # fmt: skip
        started = sandbox.started
        folder = sandbox.folder
    print(f"{done} hostile programs on {started} workers, one after the other; folder gone: "
          f"{not os.path.exists(folder)}")  # fmt: skip
    return good


def chunks(sandbox: Sandbox, count: int) -> Iterator[list[Pair]]:
    """``count`` attacks: each once, then the fast ones again and again with a slow one now and then."""
    every = list(attacks().values())
    yield every[:count]
    verdicts = sandbox.judge(every)
    slow = [p for p, v in zip(every, verdicts, strict=True) if v.seconds > SLOW] * (SLOW_TIMES - 2)
    fast = itertools.cycle(p for p, v in zip(every, verdicts, strict=True) if v.seconds <= SLOW)
    left = count - len(every)
    print(f"{len(every)} attacks, {len(slow)} of them slow")
    while left > 0:
        size = min(CHUNK, left)
        share = min(len(slow), -(-len(slow) * size // left))
        yield [slow.pop() for _ in range(share)] + list(itertools.islice(fast, size - share))
        left -= size


def rounded(memory: list[list[float]]) -> list[list[int]]:
    return [[round(value) for value in values] for values in memory]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=2000, help="0 leaves this part out")
    parser.add_argument("--hostile", type=int, default=1500, help="0 leaves this part out")
    options = parser.parse_args()
    results = [run(count) for run, count in ((mixed, options.programs), (hostile, options.hostile)) if count]
    if not all(results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
