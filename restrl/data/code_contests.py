"""CodeContests (arXiv 2203.07814, CC-BY-4.0): contest problems that are judged by stdin and stdout."""

from __future__ import annotations

from typing import Any

from restrl.config import DatasetConfig
from restrl.data.apps import first_that_compiles, how
from restrl.data.fields import Row, unjudged
from restrl.data.source import Source, published
from restrl.data.splits import Split
from restrl.records import Problem

REPO, REVISION = "deepmind/code_contests", "802411c3010cb00d1b05bad57ca77365a3c699d6"
SOURCES: dict[Split, Source] = {
    "train": Source("code_contests", REPO, REVISION, "train"),
    "heldout": Source("code_contests", REPO, REVISION, "test"),
}
PYTHON3 = (3, "PYTHON3")  # the language of a solution, as the hub and as the original files write it
ORIGINS = ("unknown", "codechef", "codeforces", "hackerearth", "codejam", "5", "atcoder", "aizu")


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """13328 training and 165 held-out problems from the hub, or those of ``config.path``.

    Names are unique only within their contest site: the ids are ``codeforces/NAME`` and so on.
    """
    return published(config, split, SOURCES, _problem)


def _problem(row: Row) -> Problem:
    origin, tests = row.data.get("source", 0), _tests(row)
    if type(origin) is int and 0 <= origin < len(ORIGINS):
        origin = ORIGINS[origin]
    solutions = row.within("solutions")
    pairs = zip(solutions.get("language"), solutions.texts("solution"), strict=False)
    return Problem(
        task_id=f"{str(origin).lower()}/{row.text('name')}",
        prompt=f"{row.text('description').strip()}\n\n{how(tests)}",
        tests=tests,
        reference=first_that_compiles([source for language, source in pairs if language in PYTHON3]),
        dataset="code_contests",
    )


def _tests(row: Row) -> dict[str, Any]:
    """Public, private and generated tests, in this order."""
    if row.data.get("input_file") or row.data.get("output_file"):
        return unjudged("it reads or writes a file instead of standard input and output")
    kinds = ("public_tests", "private_tests", "generated_tests")
    parts = [row.within(kind) for kind in kinds if row.data.get(kind)]
    inputs = [text for part in parts for text in part.texts("input")]
    outputs = [text for part in parts for text in part.texts("output")]
    return {"kind": "stdio", "inputs": inputs, "outputs": outputs}
