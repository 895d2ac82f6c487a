"""DS-1000 (arXiv 2211.11501, CC-BY-SA-4.0): data science snippets, judged inside a context of code.

Its authors ask that it never enters a training corpus, so it is held out, except in dataset=paper_mix.
"""

from __future__ import annotations

from restrl.config import DatasetConfig
from restrl.data.fields import Row
from restrl.data.source import Source, read_rows
from restrl.data.splits import Split, heldout_only
from restrl.records import Problem

SOURCE = Source(
    "ds1000", "xlangai/DS-1000", "4416080ac5cb80bdf7576aefb8f9a0b4d5426a44", "test", file="test.jsonl"
)


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """All 1000 problems, held out.  Their libraries have to be installed in ``sandbox.python``."""
    heldout_only("ds1000", split)
    return read(config.path)


def read(path: str | None) -> list[Problem]:
    """All problems, from ``path`` or the hub."""
    return [_problem(row) for row in read_rows(path, SOURCE)]


def _problem(row: Row) -> Problem:
    metadata = row.get("metadata")
    return Problem(
        task_id=f"ds1000/{metadata['library']}/{metadata['problem_id']}",
        prompt=row.text("prompt").strip(),
        tests={"kind": "ds1000", "code_context": row.text("code_context")},
        reference=row.text("reference_code"),
        dataset="ds1000",
    )
