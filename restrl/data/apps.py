"""APPS (arXiv 2105.09938, MIT): contest problems with stdin or call tests."""

from __future__ import annotations

import warnings
from random import Random
from typing import Any

from restrl.config import DatasetConfig
from restrl.data.fields import Row
from restrl.data.source import Source, read_rows
from restrl.data.splits import Split, split_by_family
from restrl.errors import UserError
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

    The 500 are chosen by ``config.seed`` with the test split's mix of difficulties.  ``config.path`` is split
    as by dataset=jsonl.  Problems without tests or with tests that cannot be judged (see ``_tests``) are left
    out.
    """
    if config.path is None:
        problems = read(None, split)
        return problems if split == "train" else _same_mix(problems, HELDOUT, config.seed)
    if config.heldout_path is None:
        return split_by_family(read(config.path, split), config, split)
    return read(config.heldout_path if split == "heldout" else config.path, split)


def read(path: str | None, split: Split = "train") -> list[Problem]:
    """All problems of ``path``, or of the hub's split, that can be judged."""
    problems = (_problem(row) for row in read_rows(path, SOURCES[split]))
    return [problem for problem in problems if problem is not None]


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


def _problem(row: Row) -> Problem | None:
    tests = _tests(row)
    if tests is None:
        return None
    number = row.integer("problem_id" if "problem_id" in row.data else "id")  # the hub's file says id
    starter = row.text("starter_code").strip()
    how = (
        "Use the starter code."
        if tests["kind"] == "call"
        else "Read from standard input and print the answer."
    )
    return Problem(
        task_id=f"apps/{row.text('difficulty')}/{number}",
        prompt=f"{row.text('question').strip()}\n\n{how}",
        tests=tests,
        code=starter if tests["kind"] == "call" else "",
        reference=_reference(row.parsed("solutions") or []),
        dataset="apps",
    )


def _reference(solutions: list[str]) -> str | None:
    """The first solution that compiles; None if none does."""
    for solution in solutions:
        try:
            with warnings.catch_warnings(action="ignore"):  # old escapes
                compile(solution, "<solution>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        return solution
    return None


def _tests(row: Row) -> dict[str, Any] | None:
    """The tests; None if there are none, or if the numbers of inputs and outputs differ."""
    data = row.parsed("input_output")
    if not data or not data.get("inputs") or len(data["inputs"]) != len(data.get("outputs", ())):
        return None
    inputs, outputs = data["inputs"], data["outputs"]
    if "fn_name" in data:
        if not all(isinstance(args, list) for args in inputs):
            return None
        # Nearly all files wrap each expected value into a list of one.
        wrapped = all(isinstance(value, list) and len(value) == 1 for value in outputs)
        values = [value[0] for value in outputs] if wrapped else outputs
        tests = {"kind": "call", "fn_name": data["fn_name"], "inputs": inputs, "outputs": values}
    else:
        tests = {"kind": "stdio", "inputs": _texts(row, inputs), "outputs": _texts(row, outputs)}
    return tests | RULES[tests["kind"]]


def _texts(row: Row, values: list[Any]) -> list[str]:
    """The values as texts; some problems have lists of lines instead."""
    texts = ["\n".join(map(str, value)) if isinstance(value, list) else value for value in values]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{row.where}: input_output: inputs and outputs must be texts or lists of lines")
    return texts
