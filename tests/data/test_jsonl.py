"""The user's own problems: what is read, how it is split, and what each kind of bad input says."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from restrl.config import DatasetConfig
from restrl.data import load_problems
from restrl.errors import UserError
from restrl.testforms import FORMS

CALL = {"kind": "call", "fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 3]}
EVERY_KIND: dict[str, dict[str, Any]] = {
    "call": CALL,
    "stdio": {"kind": "stdio", "inputs": ["1\n"], "outputs": ["2\n"]},
    "asserts": {"kind": "asserts", "asserts": ["assert f(1) == 2"], "setup": "import math"},
    "check": {
        "kind": "check",
        "test": "def check(candidate):\n    assert candidate(1) == 2",
        "entry_point": "f",
    },
    "unittest": {
        "kind": "unittest",
        "test": "import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n        f()",
    },
    "ds1000": {"kind": "ds1000", "code_context": "def test_execution(solution): ..."},
    "pytest": {"kind": "pytest", "test": "from solution import f\ndef test_f():\n    assert f(1) == 2"},
}


def line(task_id: str = "a", **fields: Any) -> dict[str, Any]:
    return {"task_id": task_id, "prompt": "Add one.", "tests": CALL} | fields


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in lines))
    return path


def load(path: Path, split: Any = "heldout", **fields: Any) -> Any:
    return load_problems(DatasetConfig(name="jsonl", path=str(path), **fields), split)


def test_every_kind_of_tests_is_read(tmp_path: Path) -> None:
    assert set(EVERY_KIND) == set(FORMS)
    path = write(tmp_path / "p.jsonl", *(line(kind, tests=tests) for kind, tests in EVERY_KIND.items()))
    problems = load(path, heldout_fraction=0.99)
    assert {p.task_id: p.tests for p in problems} == EVERY_KIND


def test_fields(tmp_path: Path) -> None:
    full = line(7, code="def f(x):", reference="def f(x):\n    return x + 1", family="adding")
    path = write(tmp_path / "p.jsonl", full, line("b"))
    first, second = load(path, heldout_path=None, heldout_fraction=0.4) + load(
        path, "train", heldout_fraction=0.4
    )
    problem = first if first.task_id == "7" else second
    assert (problem.code, problem.family, problem.dataset) == ("def f(x):", "adding", "jsonl")
    assert problem.reference == "def f(x):\n    return x + 1"
    other = second if problem is first else first
    assert (other.code, other.reference, other.family) == ("", None, "")


def test_windows_file_with_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    text = "\r\n\r\n".join(json.dumps(line(i, prompt="Añade uno.")) for i in "abc") + "\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    problems = load(path, "train", heldout_fraction=0.1)
    assert len(problems) == 2
    assert problems[0].prompt == "Añade uno."


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(line(i)) for i in "ab").encode()))
    assert len(load(path, heldout_fraction=0.5)) == 1


def test_split_is_seeded_and_disjoint(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", *(line(f"t{i}") for i in range(50)))
    train, heldout = load(path, "train"), load(path)
    assert len(heldout) == 10  # a fifth
    assert sorted(p.task_id for p in train + heldout) == sorted(f"t{i}" for i in range(50))
    assert load(path) == heldout
    assert load(path, seed=1) != heldout


def test_split_keeps_families_together(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", *(line(f"t{i}", family=f"f{i % 5}") for i in range(50)))
    train, heldout = load(path, "train"), load(path)
    assert len(heldout) == 10
    assert len({p.family for p in heldout}) == 1
    assert not {p.family for p in heldout} & {p.family for p in train}


def test_heldout_file(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", line("a"), line("b"))
    heldout = write(tmp_path / "heldout.jsonl", line("c"))
    assert [p.task_id for p in load(train, "train", heldout_path=str(heldout))] == ["a", "b"]
    assert [p.task_id for p in load(train, "heldout", heldout_path=str(heldout))] == ["c"]


def without(data: dict[str, Any], field: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != field}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1, 2], "must be a JSON object with the fields task_id, prompt"),
        (without(line(), "task_id"), "task_id: missing; every problem needs"),
        (without(line(), "prompt"), "prompt: missing"),
        (without(line(), "tests"), "tests: a problem without tests"),
        (line(tests=None), "tests: a problem without tests"),
        (line(tests={}), "tests: a problem without tests"),
        (line(task_id=""), "task_id: must be a string that is not empty"),
        (line(task_id=True), "task_id: must be a string that is not empty"),
        (line(prompt=" "), "prompt: must be a string that is not empty"),
        (line(code=3), "code: must be a string"),
        (line(solution="x"), "solution: unknown field; a problem has task_id, prompt, code"),
        (line(tests={"kind": "calls"}), "tests.kind: 'calls' is not one of call, stdio, asserts, check"),
        (
            line(tests=without(CALL, "fn_name")),
            "tests.fn_name: missing; call tests need the name of a function",
        ),
        (line(tests=CALL | {"fn_name": "f g"}), "tests.fn_name: must be the name of a function"),
        (line(tests=CALL | {"inputs": [1, 2]}), "tests.inputs: must be a list of argument lists"),
        (line(tests=CALL | {"outputs": [1]}), "tests.outputs: 1 outputs for 2 inputs"),
        (line(tests=CALL | {"inputs": [], "outputs": []}), "tests.inputs: a problem without tests"),
        (
            line(tests=CALL | {"timeout": 3}),
            "tests.timeout: unknown field; call tests have fn_name, inputs, outputs",
        ),
        (
            line(tests={"kind": "stdio", "inputs": [1], "outputs": ["2"]}),
            "tests.inputs: must be a list of strings",
        ),
        (line(tests={"kind": "asserts", "asserts": []}), "tests.asserts: a problem without tests"),
        (
            line(tests={"kind": "asserts", "asserts": ["assert 1"], "setup": 1}),
            "tests.setup: must be a string",
        ),
        (
            line(tests={"kind": "check", "test": "assert 1", "entry_point": "g"}),
            "tests.test: must define check(candidate) or call g",
        ),
        (line(tests={"kind": "unittest", "test": "pass"}), "tests.test: must define a class derived from"),
        (line(tests={"kind": "ds1000"}), "tests.code_context: missing"),
        (line(), "task_id: 'a' is already in line 1"),
    ],
)
def test_bad_line_names_file_line_and_field(tmp_path: Path, bad: Any, message: str) -> None:
    path = write(tmp_path / "p.jsonl", line("a"), bad)
    with pytest.raises(UserError, match=re.escape(f"{path}:2: {message}")) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_broken_json(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(line()) + '\n\n{"task_id": "b", \n')
    with pytest.raises(UserError, match=re.escape(f"{path}:3: not JSON: Expecting property name")):
        load(path)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(json.dumps(line()).encode() + b"\n\xff\xfe\n")
    with pytest.raises(UserError, match=re.escape(f"{path}:2: not UTF-8 text")):
        load(path)


def test_broken_gzip(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(UserError, match=re.escape(f"{path}: broken gzip file")):
        load(path)


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nothing.jsonl"
    with pytest.raises(UserError, match=re.escape(f"{path}: no such file; dataset.path must name a file")):
        load(path)
    train = write(tmp_path / "train.jsonl", line("a"))
    with pytest.raises(UserError, match=re.escape(f"{path}: no such file; dataset.heldout_path must name")):
        load(train, heldout_path=str(path))


def test_folder_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}: cannot be read: Is a directory")):
        load(tmp_path)


def test_no_path() -> None:
    with pytest.raises(UserError, match=r"dataset.path: missing; dataset=jsonl needs dataset.path=FILE"):
        load_problems(DatasetConfig(name="jsonl"), "train")


def test_empty_file(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl")
    with pytest.raises(UserError, match=re.escape(f"{path}: no problems; a line is an object with task_id")):
        load(path)


def test_too_few_to_split(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", line("a"))
    with pytest.raises(
        UserError, match=re.escape(f"{path}: 1 problems in 1 families are too few to split with")
    ):
        load(path, "train")
    with pytest.raises(UserError, match="none left for heldout"):
        load(path, "heldout", heldout_fraction=0.0)


def test_problem_on_both_sides(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", line("a"), line("b"))
    heldout = write(tmp_path / "heldout.jsonl", line("b"))
    with pytest.raises(UserError, match=re.escape(f"{heldout}: task_id: 'b' is also in {train}")):
        load(train, heldout_path=str(heldout))


def test_unknown_dataset() -> None:
    with pytest.raises(
        UserError, match=r"dataset.name: 'human_eval' is not one of starter, humaneval, humaneval_plus"
    ):
        load_problems(DatasetConfig(name="human_eval"), "train")
