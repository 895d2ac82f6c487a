"""Judges the references of the published benchmarks: ``python tests/bench/references.py [DATA SET ...]``.

Prints for each data set how many references pass, why the others do not, and how many empty bodies pass (none
may).  ``--data`` is the folder with the files; a data set without its file is left out.  Those with libraries
of their own need the interpreter of an environment made from tests/bench/environments/:
``--bigcodebench PYTHON``, ``--ds1000 PYTHON``.  There, each reference that fails is run once more without any
sandbox, which tells what the environment lacks from what the sandbox forbids: for references only, whose
authors are trusted.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from restrl.config import Config
from restrl.data.__main__ import compose
from restrl.records import Problem, Verdict
from restrl.sandbox import Sandbox
from restrl.stages.check import all_problems, empty_program

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SETS = {  # name: file, overrides
    "humaneval": ("humaneval", ["dataset=humaneval"]),
    "humaneval_plus": ("humanevalplus_originfmt", ["dataset=humaneval_plus"]),
    "mbpp": ("mbpp", ["dataset=mbpp", "dataset.variant=all"]),
    "mbpp_sanitized": ("mbpp_sanitized", ["dataset=mbpp_sanitized"]),
    "mbpp_plus": ("mbppplus_originfmt", ["dataset=mbpp_plus"]),
    "apps": ("apps", ["dataset=apps"]),
    "bigcodebench": ("bigcodebench_hf", ["dataset=bigcodebench"]),
    "bigcodebench_hard": ("bigcodebench_hard", ["dataset=bigcodebench", "dataset.variant=complete_hard"]),
    "ds1000": ("ds1000", ["dataset=ds1000"]),
}
FIRST = 4  # solutions of APPS that are tried; one has to pass
REASONS = ("module", "data", "network", "tests", "time", "memory", "sandbox", "other")
MEANING = """module: a library that the environment lacks     data: files that a library downloads (nltk)
network: looks for another machine               tests: fails there without the sandbox as well
time, memory: the limits                         sandbox: passes without the sandbox, not in it
other: fails; not run without the sandbox"""


@dataclass(frozen=True)
class Judged:
    """One data set's outcome.  ``failed``: problem id, reason, detail."""

    name: str
    problems: int
    references: int
    passed: int
    failed: tuple[tuple[str, str, str], ...]
    empty: tuple[str, ...]  # ids of the problems that an empty body solves

    def row(self) -> str:
        counts = Counter(reason for _id, reason, _detail in self.failed)
        cells = [self.problems, self.references, self.passed, *(counts[r] for r in REASONS), len(self.empty)]
        return f"{self.name:18}" + "".join(f"{cell:>9}" for cell in cells)


def judge_set(name: str, config: Config, plain: bool) -> Judged:
    """``plain``: whether failures are run again without the sandbox."""
    problems = all_problems(config)
    solutions = first_solutions(str(config.dataset.path)) if name == "apps" else {}
    tries = [(p, s) for p in problems for s in solutions.get(p.task_id, [p.reference]) if s is not None]
    with Sandbox(config.sandbox) as sandbox:
        verdicts = sandbox.judge([(source, p.judged) for p, source in tries])
        empty = sandbox.judge([(empty_program(p), p.judged) for p in problems])
    best: dict[str, tuple[Problem, Verdict]] = {}
    for (problem, _source), verdict in zip(tries, verdicts, strict=True):
        if problem.task_id not in best or verdict.status == "passed":
            best[problem.task_id] = (problem, verdict)
    wrong = [(p, v) for p, v in best.values() if v.status != "passed"]
    without = run_plain(str(config.sandbox.python), [p for p, _v in wrong]) if plain and wrong else {}
    return Judged(
        name,
        len(problems),
        len(best),
        len(best) - len(wrong),
        tuple((p.task_id, *reason(v, without.get(p.task_id))) for p, v in wrong),
        tuple(p.task_id for p, v in zip(problems, empty, strict=True) if v.status == "passed"),
    )


def first_solutions(path: str) -> dict[str, list[str]]:
    """APPS: the first solutions of each problem by its id; the loader keeps one."""
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    found = {f"apps/{r['difficulty']}/{r['problem_id']}": json.loads(r["solutions"] or "[]") for r in rows}
    return {task_id: solutions[:FIRST] for task_id, solutions in found.items()}


def run_plain(python: str, problems: Sequence[Problem]) -> dict[str, dict[str, Any]]:
    """What environments/plain.py says about each reference, by problem id."""
    tasks = [{"id": p.task_id, "source": p.reference, "tests": dict(p.judged)} for p in problems]
    script = str(Path(__file__).parent / "environments" / "plain.py")
    done = subprocess.run(
        [python, script], input="".join(json.dumps(t) + "\n" for t in tasks), capture_output=True, text=True,
        check=True, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )  # fmt: skip
    return {answer["id"]: answer for answer in map(json.loads, done.stdout.splitlines())}


def reason(verdict: Verdict, plain: Mapping[str, Any] | None) -> tuple[str, str]:
    """One of REASONS, and the words that say it."""
    inside = f"{verdict.status}, {verdict.passed} of {verdict.total}: {verdict.detail}"
    limits = {"timeout": "time", "memory": "memory"}
    if plain is None or (plain["passed"] and not plain["network"]):
        return limits.get(verdict.status, "other" if plain is None else "sandbox"), inside
    error = plain["error"].strip().splitlines()[-1] if plain["error"] else inside
    if found := re.search(r"No module named '[\w.]+'", plain["error"]):
        return "module", found[0]
    if found := re.search(r"Resource \S+ not found|MissingCorpusError", plain["error"]):
        return "data", re.sub(r"\x1b\[\d*m", "", found[0])
    return "network" if plain["network"] else "tests", error[:160]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], metavar="DATA SET", help=", ".join(SETS))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--bigcodebench", metavar="PYTHON")
    parser.add_argument("--ds1000", metavar="PYTHON")
    parser.add_argument("--override", action="append", default=[], help="such as sandbox.workers=1")
    options = parser.parse_args()
    pythons = {"bigcodebench": options.bigcodebench, "bigcodebench_hard": options.bigcodebench}
    pythons["ds1000"] = options.ds1000
    rows = []
    for name in options.sets or SETS:
        file, overrides = SETS[name]
        path = options.data / f"{file}.jsonl.gz"
        if not path.is_file() or (name in pythons and pythons[name] is None):
            print(f"{name}: left out, no {'interpreter' if path.is_file() else path}")
            continue
        if name in pythons:
            overrides = [*overrides, "sandbox=libraries", f"sandbox.python={pythons[name]}"]
        overrides = [*overrides, f"dataset.path={path}", "sandbox.cache=null", *options.override]
        judged = judge_set(name, compose(overrides), plain=name in pythons)
        rows.append(judged.row())
        for task_id, why, detail in judged.failed:
            print(f"{task_id}: {why}: {detail}")
        for task_id in judged.empty:
            print(f"{task_id}: an empty body passes")
    heads = ("problems", "with ref.", "passed", *REASONS, "empty")
    print(f"\n{'':18}" + "".join(f"{head:>9}" for head in heads), *rows, MEANING, sep="\n")


if __name__ == "__main__":
    main()
