"""APPS (arXiv 2105.09938, MIT): contest problems with stdin or call tests."""

from __future__ import annotations

import warnings
from random import Random
from typing import Any

from restrl.config import DatasetConfig
from restrl.data.fields import Row, unjudged
from restrl.data.source import Source, read_rows
from restrl.data.splits import Split, from_files
from restrl.records import Problem
from restrl.seeds import derive_seed

REPO, REVISION = "codeparrot/apps", "21e74ddf8de1a21436da12e3e653065c5213e9d1"
SOURCES = {
    "train": Source("apps", REPO, REVISION, "train", file="train.jsonl"),
    "heldout": Source("apps", REPO, REVISION, "test", file="test.jsonl"),
}
# What APPS' own grader (eval/testing_util.py) puts before every program.
PREAMBLE = """\
import sys
import time
import itertools
from itertools import accumulate, product, permutations, combinations
import collections
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
import math
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
import fractions
from typing import List, Tuple
import numpy as np
import random
import heapq
from heapq import *
"""
# Its comparison: Python's == of a result whose tuples are lists; numpy.allclose of a line that is a number.
RULES = {
    "call": {"tuples_as_lists": True, "text_keys": True, "numbers_by_value": True, "preamble": PREAMBLE},
    "stdio": {"atol": 1e-8, "rtol": 1e-5, "numbers_by_value": True, "preamble": PREAMBLE},
}
HELDOUT = 500  # problems of the test split that the paper evaluates on


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """5000 training problems and 500 of the 5000 test problems from the hub, or those of ``config.path``.

    The 500 are chosen by ``config.seed`` with the test split's mix of difficulties, or by ``config.ids``.
    The hub's split "all" is its whole test split: training problems have the same ids.  ``config.path`` is
    split as by dataset=jsonl.
    """
    if config.path is not None:
        return from_files(config, split, lambda path, key: read(path, split, key))
    problems = read(None, split)
    if split != "heldout" or config.ids is not None:
        return problems
    return _same_mix(problems, HELDOUT, config.seed)


def read(path: str | None, split: Split = "train", key: str = "dataset.path") -> list[Problem]:
    """All problems of ``path``, which ``key`` names, or of the hub's split."""
    source = SOURCES["train" if split == "train" else "heldout"]
    return [_problem(row) for row in read_rows(path, source, key)]


def _same_mix(problems: list[Problem], count: int, seed: int) -> list[Problem]:
    """A seeded choice in which each difficulty has the same share as in ``problems``, in their order."""
    kept: set[str] = set()
    for difficulty in sorted({_difficulty(p) for p in problems}):
        ids = sorted(p.task_id for p in problems if _difficulty(p) == difficulty)
        share = round(count * len(ids) / len(problems))
        kept.update(Random(derive_seed(seed, "apps", difficulty)).sample(ids, min(share, len(ids))))
    return [problem for problem in problems if problem.task_id in kept]


def _difficulty(problem: Problem) -> str:
    return problem.task_id.split("/")[1]


def _problem(row: Row) -> Problem:
    tests = inputs_and_outputs(row)
    number = row.integer("problem_id" if "problem_id" in row.data else "id")  # the hub's file says id
    return posed(row, f"apps/{row.text('difficulty')}/{number}", tests)


def posed(row: Row, task_id: str, tests: dict[str, Any]) -> Problem:
    """The problem of a row in the schema that APPS and TACO share."""
    starter = row.optional_text("starter_code").strip()
    return Problem(
        task_id=task_id,
        prompt=f"{row.text('question').strip()}\n\n{how(tests)}",
        tests=tests,
        code=starter if tests["kind"] == "call" else "",
        reference=first_that_compiles(row.parsed("solutions") or []),
        dataset=row.dataset,
    )


def how(tests: dict[str, Any]) -> str:
    """What the question says of how a solution gets its input."""
    if tests["kind"] == "call":
        return "Use the starter code."
    return "Read from standard input and print the answer."


def first_that_compiles(solutions: list[str]) -> str | None:
    """The first solution that compiles; None if none does."""
    for solution in solutions:
        try:
            with warnings.catch_warnings(action="ignore"):  # old escapes
                compile(solution, "<solution>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        return solution
    return None


def inputs_and_outputs(row: Row, name: str = "input_output") -> dict[str, Any]:
    """The tests in the field ``name``."""
    data = row.parsed(name)
    if not isinstance(data, dict) or not data.get("inputs"):
        return unjudged("it has no tests")
    inputs, outputs = data["inputs"], data.get("outputs", [])
    if len(inputs) != len(outputs):
        return unjudged(f"{len(outputs)} outputs for {len(inputs)} inputs")
    if data.get("fn_name"):
        if not all(isinstance(args, list) for args in inputs):
            return unjudged("the inputs of a call are no list of arguments")
        # Nearly all files wrap each expected value into a list of one.
        wrapped = all(isinstance(value, list) and len(value) == 1 for value in outputs)
        values = [value[0] for value in outputs] if wrapped else outputs
        tests = {"kind": "call", "fn_name": data["fn_name"], "inputs": inputs, "outputs": values}
    else:
        tests = {"kind": "stdio", "inputs": _texts(inputs), "outputs": _texts(outputs)}
    return tests | RULES[tests["kind"]]


def _texts(values: list[Any]) -> list[Any]:
    """The values as texts; some problems have lists of lines instead."""
    return ["\n".join(map(str, value)) if isinstance(value, list) else value for value in values]
