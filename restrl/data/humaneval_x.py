"""HumanEval-X (arXiv 2303.17568, Apache-2.0): the Python part of the multilingual HumanEval."""

from __future__ import annotations

import re

from restrl.config import DatasetConfig
from restrl.data.fields import Row, unjudged
from restrl.data.source import Source, read_rows
from restrl.data.splits import Split, heldout_only
from restrl.records import Problem

# its commits cannot be named with certainty: only a local file is read
SOURCE = Source("humaneval_x", "THUDM/humaneval-x", None, "test", file="data/python/data/humaneval.jsonl")
CALL = re.compile(r"^check\(([\w.]+)\)[ \t]*\n?", re.MULTILINE)  # names the function under test


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """All problems of ``config.path``, held out; those in other languages than Python are left out."""
    heldout_only("humaneval_x", split)
    return [_problem(row) for row in read_rows(config.path, SOURCE)]


def _problem(row: Row) -> Problem:
    task_id, prompt, test = row.text("task_id"), row.text("prompt"), row.text("test")
    called = CALL.findall(test)
    if not task_id.startswith("Python/"):
        tests = unjudged("it is not in Python")
    elif not called:
        tests = unjudged("no line check(function) in its test")
    else:
        tests = {"kind": "check", "test": CALL.sub("", test), "entry_point": called[-1]}
    return Problem(
        task_id=task_id,
        prompt=f"Complete this Python function.\n\n```python\n{prompt.strip()}\n```",
        tests=tests,
        code=prompt.rstrip(),
        reference=prompt + row.text("canonical_solution"),
        dataset="humaneval_x",
        opening=prompt,
    )
