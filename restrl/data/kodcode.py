"""KodCode (arXiv 2503.02951, CC-BY-NC-4.0): synthetic problems with pytest functions as tests."""

from __future__ import annotations

from typing import Any

from restrl.config import DatasetConfig
from restrl.data.fields import Row
from restrl.data.source import Source, published
from restrl.data.splits import Split
from restrl.records import Problem

# its commits cannot be named with certainty: only a local file is read
SOURCE = Source("kodcode", "KodCode/KodCode-V1", None, "train")


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """The problems of ``config.path``, split by seed or beside those of ``config.heldout_path``."""
    return published(config, split, {"train": SOURCE}, _problem)


def _problem(row: Row) -> Problem:
    return Problem(
        task_id=row.text("question_id"),
        prompt=_prompt(row.text("question").strip(), row.data.get("style"), _declarations(row)),
        tests={"kind": "pytest", "test": row.text("test")},
        reference=row.text("solution"),
        dataset="kodcode",
    )


def _prompt(question: str, style: Any, declarations: list[str]) -> str:
    """A question of the style "complete" is the head of a function; others may not name the function."""
    if style == "complete" and "```" not in question:
        return f"Complete this Python function.\n\n```python\n{question}\n```"
    if not declarations:
        return question
    shown = "\n".join(declarations)
    return f"{question}\n\nThe tests use these definitions:\n\n```python\n{shown}\n```"


def _declarations(row: Row) -> list[str]:
    """The heads of the functions that the tests import."""
    infos = row.data.get("test_info") or []
    heads = [info.get("function_declaration") for info in infos if isinstance(info, dict)]
    return [head for head in heads if isinstance(head, str) and head.strip()]
