"""Task ids as other tools write them, and data sets of exactly the user's problems."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from restrl.config import DatasetConfig
from restrl.data import load_problems
from restrl.data.ids import TaskIds, read_ids
from restrl.errors import UserError

CALL = {"kind": "call", "fn_name": "f", "inputs": [[1]], "outputs": [2]}


@pytest.mark.parametrize(
    ("known", "asked", "found"),
    [
        (["mbpp/2", "mbpp/20"], "mbpp/2", "mbpp/2"),
        (["mbpp/2", "mbpp/20"], "Mbpp/2", "mbpp/2"),
        (["mbpp_plus/2"], "Mbpp/2", "mbpp_plus/2"),
        (["mbpp_sanitized/2"], 2, "mbpp_sanitized/2"),
        (["mbpp_sanitized/2"], "2", "mbpp_sanitized/2"),
        (["2"], 2, "2"),
        (["apps/interview/7"], "apps/7", "apps/interview/7"),
        (["apps/interview/7"], "interview/7", "apps/interview/7"),
        (["a/1", "1"], "1", "1"),  # exactly this id
        (["mbpp/2"], "HumanEval/2", None),
        (["mbpp/2"], "mbpp_plus/2", None),
        (["mbpp/12"], "2", None),
        (["x-1"], "1", None),
    ],
)
def test_ids_are_found(known: list[str], asked: Any, found: str | None) -> None:
    assert TaskIds(known).find(asked, "here") == found


def test_an_ambiguous_id_is_one_line() -> None:
    with pytest.raises(
        UserError, match=r"^here: '2' may be 'a/2' or 'b/2'; write the whole id of the problem$"
    ):
        TaskIds(["a/2", "b/2"]).find("2", "here")


def problems_file(folder: Path, count: int = 20) -> str:
    path = folder / "p.jsonl"
    lines = [{"task_id": f"set/{i}", "prompt": "Add one.", "tests": CALL} for i in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def ids_of(split: Any, **fields: Any) -> list[str]:
    return [problem.task_id for problem in load_problems(DatasetConfig(**fields), split)]


def test_exactly_these_problems(tmp_path: Path) -> None:
    path, wanted = problems_file(tmp_path), tmp_path / "ids.txt"
    wanted.write_text("\ufeff# mine\nset/11\n\n3\n", encoding="utf-8")
    for ids in (str(wanted), ["set/11", 3], ["3", "Set/11", "3"]):
        assert ids_of("all", name="jsonl", path=path, ids=ids) == ["set/3", "set/11"]  # the file's order
    everyone = ids_of("all", name="jsonl", path=path)
    assert len(everyone) == 20
    some = everyone[:10]
    train, heldout = (ids_of(side, name="jsonl", path=path, ids=some) for side in ("train", "heldout"))
    assert sorted(train + heldout) == sorted(some)  # they are split among themselves
    limited = ids_of("train", name="jsonl", path=path, ids=some, train_limit=3)
    assert len(limited) == 3
    assert set(limited) < set(train)


def test_ids_of_other_data_sets() -> None:
    assert ids_of("heldout", name="humaneval", ids=["HumanEval/7", 3]) == ["HumanEval/3", "HumanEval/7"]
    first, last = ids_of("train", name="starter")[0], ids_of("heldout", name="starter")[-1]
    assert ids_of("all", name="starter", ids=[last, first]) == [first, last]
    assert ids_of("train", name="starter", ids=[last, first]) == [first]
    with pytest.raises(
        UserError, match=r"dataset=starter: no problem for train in it that dataset.ids names"
    ):
        ids_of("train", name="starter", ids=[last])


def test_ids_choose_the_held_out_problems_of_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_args: Any, data_files: str, **_fields: Any) -> list[dict[str, Any]]:
        side = "test" if "test" in data_files else "train"
        tests = json.dumps({"inputs": [side], "outputs": [""]})
        row = {"question": "?", "solutions": "", "input_output": tests, "difficulty": "interview"}
        return [row | {"problem_id": i, "starter_code": ""} for i in range(1000)]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert len(ids_of("heldout", name="apps")) == 500
    assert ids_of("heldout", name="apps", ids=[999, "apps/interview/5"]) == [
        "apps/interview/5",
        "apps/interview/999",
    ]
    (problem,) = load_problems(DatasetConfig(name="apps", ids=[5]), "train")
    assert problem.tests["inputs"] == ["train"]
    assert len(ids_of("train", name="apps", train_limit=7)) == 7


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["set/99"], "dataset.ids: 'set/99' is none of the 20 problems of dataset=jsonl (e.g. 'set/0')"),
        ([], "dataset.ids: no task id in it"),
        ([1.5], "dataset.ids: must be a file with a task id per line, or a list of task ids"),
        ([True], "dataset.ids: must be a file"),
        (7, "dataset.ids: must be a file"),
        ("nowhere.txt", "dataset.ids: cannot read nowhere.txt (No such file or directory)"),
    ],
)
def test_ids_that_cannot_be_used(tmp_path: Path, ids: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        ids_of("all", name="jsonl", path=problems_file(tmp_path), ids=ids)
    assert "\n" not in str(caught.value)


def test_ids_of_a_file_are_texts(tmp_path: Path) -> None:
    (tmp_path / "i").write_text("7\r\n a b \n")
    assert read_ids(str(tmp_path / "i")) == ["7", "a b"]


def test_all_needs_no_side_for_training(tmp_path: Path) -> None:
    path = problems_file(tmp_path, 1)
    assert ids_of("all", name="jsonl", path=path) == ["set/0"]
    with pytest.raises(UserError, match=r"too few to split .* or judge all of them with decoder.split=all"):
        ids_of("train", name="jsonl", path=path)
    other = tmp_path / "h.jsonl"
    other.write_text(json.dumps({"task_id": "other", "prompt": "?", "tests": CALL}) + "\n")
    assert ids_of("all", name="jsonl", path=path, heldout_path=str(other)) == ["set/0", "other"]
    assert ids_of("heldout", name="jsonl", path=problems_file(tmp_path), heldout_fraction=1) == [
        f"set/{i}" for i in range(20)
    ]
    starter = ids_of("all", name="starter")
    assert starter == ids_of("train", name="starter") + ids_of("heldout", name="starter")
