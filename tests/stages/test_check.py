"""The check of a data set: what counts as broken, and the block list that training uses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from restrl.config import Config, DatasetConfig, PathsConfig
from restrl.data import load_problems
from restrl.data.__main__ import main
from restrl.errors import UserError
from restrl.records import Problem
from restrl.stages.check import all_problems, empty_program, run_check

ADD = {"kind": "call", "fn_name": "add", "inputs": [[1, 2], [2, 2]], "outputs": [3, 4]}
NOTHING = {"kind": "call", "fn_name": "add", "inputs": [[1, 2]], "outputs": [None]}
STATE = 'def add(a, b):\n    """Return a + b."""'


def problems_file(folder: Path) -> Path:
    lines = [
        {"task_id": "sound", "tests": ADD, "code": STATE, "reference": f"{STATE}\n    return a + b"},
        {"task_id": "wrong", "tests": ADD, "code": STATE, "reference": f"{STATE}\n    return 3"},
        {"task_id": "free", "tests": NOTHING, "code": STATE, "reference": STATE},
        {"task_id": "unknown", "tests": ADD, "code": STATE},
    ]
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(line | {"prompt": "Add."}) + "\n" for line in lines))
    return path


def test_broken_problems_are_listed_and_blocked(tmp_path: Path) -> None:
    dataset = DatasetConfig(name="jsonl", path=str(problems_file(tmp_path)), heldout_fraction=0.25)
    checked, path = run_check(Config(dataset=dataset, paths=PathsConfig(outputs=str(tmp_path))))
    assert (checked.problems, checked.references) == (4, 3)
    reasons = {broken.task_id: broken.reason for broken in checked.broken}
    assert set(reasons) == {"wrong", "free"}
    assert re.match("the reference gives failed: 1 of 2 tests", reasons["wrong"])
    assert reasons["free"] == "an empty body passes"
    blocking = DatasetConfig(
        name="jsonl", path=dataset.path, heldout_path=str(heldout(tmp_path)), block_list=str(path)
    )
    assert [p.task_id for p in load_problems(blocking, "train")] == ["sound", "unknown"]
    assert [p.task_id for p in load_problems(blocking, "heldout")] == ["other"]


def heldout(folder: Path) -> Path:
    path = folder / "heldout.jsonl"
    path.write_text(json.dumps({"task_id": "other", "prompt": "Add.", "tests": ADD}) + "\n")
    return path


def test_empty_program() -> None:
    def problem(code: str) -> Problem:
        return Problem("a", "b", ADD, code=code)

    assert empty_program(problem(STATE)) == f"{STATE}\n    pass\n"
    method = "class Solution:\n    def add(self, a, b):"
    assert empty_program(problem(method)) == f"{method}\n        pass\n"
    assert empty_program(problem("")) == "\n"


def test_a_data_set_without_train_split_is_checked() -> None:
    config = Config(dataset=DatasetConfig(name="humaneval", heldout_limit=3))
    assert len(all_problems(config)) == 3


def test_the_error_of_a_broken_file_is_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text("{\n")
    with pytest.raises(UserError, match=re.escape(f"{path}:1: not JSON")):
        all_problems(Config(dataset=DatasetConfig(name="jsonl", path=str(path))))


def test_block_lists_that_cannot_be_used(tmp_path: Path) -> None:
    missing = tmp_path / "none.txt"
    with pytest.raises(UserError, match=r"none.txt: cannot be read .* dataset.block_list names a list"):
        load_problems(DatasetConfig(block_list=str(missing)), "train")
    everything = tmp_path / "all.txt"
    everything.write_text("\n".join(p.task_id for p in load_problems(DatasetConfig(), "train")))
    with pytest.raises(UserError, match=r"all.txt: blocks all \d+ problems"):
        load_problems(DatasetConfig(block_list=str(everything)), "train")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = problems_file(tmp_path)
    overrides = ["dataset=jsonl", f"dataset.path={path}", f"paths.outputs={tmp_path}"]
    assert main(["check", *overrides]) == 0
    out = capsys.readouterr().out
    assert "free: an empty body passes" in out
    assert "2 of 4 problems are sound (3 have a reference)" in out
    assert (tmp_path / "checks" / "jsonl.blocked.txt").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: python -m restrl.data check dataset=D"),
        (["check", "dataset=humanevil"], "humanevil"),
        (["check", "dataset.pth=x"], "pth"),
        (["check", "dataset=jsonl", "dataset.path=nowhere.jsonl"], "error: nowhere.jsonl: no such file"),
    ],
)
def test_bad_commands(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
