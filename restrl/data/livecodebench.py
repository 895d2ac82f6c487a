"""LiveCodeBench (arXiv 2403.07974): contest problems with dates, judged by stdin or calls, all held out."""

from __future__ import annotations

import json
from typing import Any

from restrl.config import DatasetConfig
from restrl.data.apps import how
from restrl.data.fields import Row, unjudged
from restrl.data.packed import unpacked
from restrl.data.source import Source, read_rows
from restrl.data.splits import Split, heldout_only, variant
from restrl.records import Problem

REPO, REVISION = "livecodebench/code_generation_lite", "0fe84c3912ea0c4d4a78037083943e8f0c4dd505"
FILES = ("test.jsonl", *(f"test{number}.jsonl" for number in range(2, 7)))  # one for each release


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """All problems up to a release (``variant`` = release_v6, ..., release_v1), or those of a file."""
    heldout_only("livecodebench", split)
    releases = len(FILES)
    chosen = variant(config, tuple(f"release_v{number}" for number in range(releases, 0, -1)))
    files = FILES[: int(chosen.removeprefix("release_v"))]
    rows = read_rows(config.path, Source("livecodebench", REPO, REVISION, "test", file=files))
    return [_problem(row) for row in rows]


def _problem(row: Row) -> Problem:
    tests, starter = _tests(row), row.optional_text("starter_code").rstrip()
    call = tests["kind"] == "call"
    shown = f"\n\n```python\n{starter}\n```" if call and starter else ""
    return Problem(
        task_id=row.text("question_id"),
        prompt=f"{row.text('question_content').strip()}\n\n{how(tests)}{shown}",
        tests=tests,
        code=f"from typing import *\n\n{starter}" if call and starter else "",  # its grader imports typing
        dataset="livecodebench",
    )


def _tests(row: Row) -> dict[str, Any]:
    try:
        private = row.text("private_test_cases")
        private = private if private.lstrip().startswith("[") else unpacked(private)
        cases = (row.parsed("public_test_cases") or []) + json.loads(private)
        inputs, outputs = [case["input"] for case in cases], [case["output"] for case in cases]
        name = (row.parsed("metadata") or {}).get("func_name")
        if not name:
            return {"kind": "stdio", "inputs": inputs, "outputs": outputs}
        arguments = [[json.loads(line) for line in text.split("\n")] for text in inputs]
        values = [json.loads(text) for text in outputs]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return unjudged(f"its tests cannot be read ({type(error).__name__}: {error})")
    tests = {"kind": "call", "fn_name": name, "inputs": arguments, "outputs": values}
    return {**tests, "tuples_as_lists": True}
