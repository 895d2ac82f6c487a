"""Published schemas: what of a row becomes the question, the state, the tests and the reference."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restrl.config import DatasetConfig, SandboxConfig
from restrl.data import kodcode, load_problems
from restrl.data.apps import RULES
from restrl.data.packed import unpacked
from restrl.data.registry import load_split
from restrl.errors import UserError
from restrl.records import Problem
from restrl.sandbox import Sandbox
from tests.data import rows

CALLED: list[str] = []


def write(path: Path, *lines: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def load(tmp_path: Path, dataset: str, *lines: dict[str, Any]) -> list[Problem]:
    path = write(tmp_path / "rows.jsonl", *lines)
    return load_problems(DatasetConfig(name=dataset, path=path), "all")


@pytest.mark.parametrize("row", [rows.leetcode, rows.leetcode_on_github])
def test_leetcode(tmp_path: Path, row: Callable[[], dict[str, Any]]) -> None:
    (problem,) = load(tmp_path, "leetcode", row())
    published = rows.leetcode()
    assert problem.task_id == "tail-of-a-list"
    assert problem.code == f"{rows.PREAMBLE}\n{rows.STARTER.rstrip()}"
    assert problem.completed("x") == published["prompt"] + "x"
    assert problem.reference == published["prompt"] + published["completion"]
    assert problem.tests["entry_point"] == "Solution().tail"
    assert "Return all nodes but the first." in problem.prompt
    assert "def tail" in problem.prompt


def test_livecodebench(tmp_path: Path) -> None:
    stdio, call = load(tmp_path, "livecodebench", rows.livecodebench(), rows.livecodebench_call())
    assert stdio.tests == {"kind": "stdio", "inputs": ["1\n", "5\n"], "outputs": ["2\n", "6\n"]}
    assert (stdio.task_id, stdio.code) == ("abc1_a", "")
    assert call.tests == {
        "kind": "call",
        "fn_name": "total",
        "inputs": [[[1, 2], "x"], [[4], "y"]],
        "outputs": [["x", 3], ["y", 4]],
        "tuples_as_lists": True,
    }
    assert call.code.startswith("from typing import *\n\nclass Solution:")
    assert not call.code[-1].isspace()


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return CALLED.append, ("run",)


def test_packed_texts_run_no_code(tmp_path: Path) -> None:
    def packed(value: Any) -> str:
        return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()

    assert unpacked(rows.packed("[]")) == "[]"
    for bad in (
        packed(Malicious()),
        packed(b"[]"),
        packed(["[]"]),
        "no base64!",
        base64.b64encode(b"x").decode(),
    ):
        with pytest.raises(ValueError, match=r"."):
            unpacked(bad)
    assert CALLED == []
    row = rows.livecodebench(question_id="bad", private_test_cases=packed(Malicious()))
    config = DatasetConfig(name="livecodebench", path=write(tmp_path / "x.jsonl", rows.livecodebench(), row))
    loaded = load_split(config, "heldout")
    assert [p.task_id for p in loaded.problems] == ["abc1_a"]
    assert "it asks for" in loaded.unjudged["bad"]
    assert CALLED == []


def test_kodcode(tmp_path: Path) -> None:
    complete = rows.kodcode(question_id="C", style="complete", question="def double(n):\n    '''Twice n.'''")
    path = write(tmp_path / "k.jsonl", rows.kodcode(), complete)
    instruct, head = kodcode.load(DatasetConfig(name="kodcode", path=path), "all")
    assert instruct.task_id == "Filter_1_I"
    assert instruct.prompt.startswith("Return the double of a number.\n\nThe tests use these definitions:")
    assert "def double(n):" in instruct.prompt
    assert head.prompt.startswith("Complete this Python function.\n\n```python\ndef double(n):")
    assert instruct.tests == {"kind": "pytest", "test": rows.kodcode()["test"]}
    assert instruct.reference == rows.kodcode()["solution"]


def test_taco(tmp_path: Path) -> None:
    call = json.dumps({"fn_name": "f", "inputs": [[1]], "outputs": [[2]]})
    first, second = load(
        tmp_path, "taco", rows.taco(), rows.taco(input_output=call, starter_code="def f(n):")
    )
    assert first.task_id == "taco/0"
    assert first.tests == {"kind": "stdio", "inputs": ["1 2\n"], "outputs": ["3\n"]} | RULES["stdio"]
    assert first.reference == "print(sum(map(int, input().split())))"  # the first that compiles
    assert (second.task_id, second.tests["outputs"], second.code) == ("taco/1", [2], "def f(n):")


def test_code_contests(tmp_path: Path) -> None:
    (problem,) = load(tmp_path, "code_contests", rows.code_contests(time_limit=None))
    assert problem.task_id == "codeforces/1_A. Next"
    assert problem.tests == {"kind": "stdio", "inputs": ["1\n", "7\n"], "outputs": ["2\n", "8\n"]}
    assert problem.reference == "print(int(input()) + 1)"


def test_humaneval_x(tmp_path: Path) -> None:
    (problem,) = load(tmp_path, "humaneval_x", rows.humaneval_x(), rows.humaneval_x(task_id="Go/0"))
    assert problem.tests["entry_point"] == "triple"
    assert "check(triple)\n" not in problem.tests["test"].replace("def check(triple)", "")
    assert problem.completed("    return 3 * n\n") == problem.reference


@pytest.mark.parametrize(
    ("test", "tests"),
    [
        (rows.rest_rl()["test"], {"kind": "stdio", "inputs": ["1 2\n"], "outputs": ["3\n"]}),
        ('{"inputs": [[1]], "outputs": [null], "fn_name": "f"}',
         {"kind": "call", "fn_name": "f", "inputs": [[1]], "outputs": [None]}),
        ({"inputs": ["1\n"], "outputs": ["1\n"]}, {"kind": "stdio", "inputs": ["1\n"], "outputs": ["1\n"]}),
        ("class TestCases:\n    def test_f(self): ...",
         {"kind": "unittest", "test": "class TestCases:\n    def test_f(self): ..."}),
        ("def test_execution(solution): ...",
         {"kind": "ds1000", "code_context": "def test_execution(solution): ..."}),
    ],
)  # fmt: skip
def test_rest_rl(tmp_path: Path, test: Any, tests: dict[str, Any]) -> None:
    (problem,) = load(tmp_path, "rest_rl", rows.rest_rl(test=test, code="import os\n"))
    assert (problem.task_id, problem.tests) == ("12", tests | RULES.get(tests["kind"], {}))
    assert problem.completed("x") == "import os\nx"


BROKEN_CALL = json.dumps([rows.case("[", "1", "functional")])


@pytest.mark.parametrize(
    ("dataset", "row", "bad", "task_id", "reason"),
    [
        ("leetcode", rows.leetcode, {"task_id": "b", "test": "def check(:"}, "b", "tests.test is not Python"),
        ("taco", rows.taco, {"input_output": ""}, "taco/1", "it has no tests"),
        ("taco", rows.taco, {"input_output": '{"inputs": ["1"], "outputs": []}'}, "taco/1", "0 outputs"),
        ("taco", rows.taco, {"input_output": '{"inputs": [1], "outputs": [1]}'}, "taco/1", "a list of str"),
        ("code_contests", rows.code_contests, {"name": "b", "input_file": "in"}, "codeforces/b", "a file"),
        ("humaneval_x", rows.humaneval_x, {"task_id": "CPP/1"}, "CPP/1", "it is not in Python"),
        ("rest_rl", rows.rest_rl, {"id": "b", "test": "?"}, "b", "neither code nor an object"),
        (
            "livecodebench",
            rows.livecodebench,
            {"question_id": "b", "metadata": '{"func_name": "f"}', "public_test_cases": BROKEN_CALL},
            "b",
            "its tests cannot be read",
        ),
    ],
)
def test_rows_that_cannot_be_judged_are_left_out_and_named(
    tmp_path: Path,
    dataset: str,
    row: Callable[..., dict[str, Any]],
    bad: dict[str, Any],
    task_id: str,
    reason: str,
) -> None:
    path = write(tmp_path / "rows.jsonl", row(), row(**bad))
    loaded = load_split(DatasetConfig(name=dataset, path=path), "all")
    assert len(loaded.problems) == 1
    assert list(loaded.unjudged) == [task_id]
    assert reason in loaded.unjudged[task_id]
    assert loaded.others == (task_id,)
    with pytest.raises(UserError, match=r"rows.jsonl: none of 1 problems can be judged; \S+: "):
        load(tmp_path, dataset, row(**bad))


@pytest.mark.parametrize(
    ("dataset", "row"),
    [
        ("leetcode", rows.leetcode()),
        ("leetcode", rows.leetcode_on_github()),
        ("livecodebench", rows.livecodebench()),
        ("kodcode", rows.kodcode()),
        ("taco", rows.taco()),
        ("code_contests", rows.code_contests()),
        ("humaneval_x", rows.humaneval_x()),
        ("rest_rl", rows.rest_rl()),
    ],
)
def test_jsonl_says_which_data_set_a_published_line_belongs_to(
    tmp_path: Path, dataset: str, row: dict[str, Any]
) -> None:
    path = write(tmp_path / "x.jsonl", row)
    for name in {"jsonl", "humaneval_plus", "bigcodebench"}:
        with pytest.raises(UserError, match=rf"x.jsonl:1: \w+: .*; its fields .* by dataset={dataset}$"):
            load_problems(DatasetConfig(name=name, path=path), "heldout")


def test_files_of_json_lists_and_parquet(tmp_path: Path) -> None:
    from datasets import Dataset

    lines = [rows.taco(), rows.taco(question="Add.")]
    (tmp_path / "a.json").write_text(json.dumps(lines, indent=1))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    Dataset.from_list(lines).to_parquet(str(tmp_path / "c.parquet"))
    read = [
        load_problems(DatasetConfig(name="taco", path=str(tmp_path / name)), "all")
        for name in ("a.json", "b.jsonl.gz", "c.parquet")
    ]
    assert read[0] == read[1] == read[2]
    assert len(read[0]) == 2
    (tmp_path / "d.parquet").write_bytes(b"x")
    with pytest.raises(UserError, match=r"d.parquet: not a Parquet file that can be read"):
        load_problems(DatasetConfig(name="taco", path=str(tmp_path / "d.parquet")), "all")
    with pytest.raises(UserError, match=r"e.parquet: no such file; dataset.path must name a file"):
        load_problems(DatasetConfig(name="taco", path=str(tmp_path / "e.parquet")), "all")


@pytest.mark.parametrize("dataset", ["kodcode", "humaneval_x", "rest_rl"])
def test_what_is_only_read_from_a_file_says_what_to_fetch(dataset: str) -> None:
    with pytest.raises(UserError, match=rf"dataset={dataset}: dataset.path: missing; .* of https://\S+/\S+ "):
        load_problems(DatasetConfig(name=dataset), "heldout")


def test_the_hubs_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*_args: Any, **fields: Any) -> list[dict[str, Any]]:
        asked.append(fields["data_files"])
        return [rows.taco()]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    everything = load_problems(DatasetConfig(name="taco"), "all")
    assert [p.task_id for p in everything] == ["taco/train/0", "taco/test/0"]
    assert all(re.search(r"@[0-9a-f]{40}/ALL/(train|test)-\S+\.parquet$", name) for name in asked)


def test_bigcodebench_as_the_original_poses_it(tmp_path: Path) -> None:
    row = {
        "task_id": "BigCodeBench/0",
        "complete_prompt": 'import os\n\ndef task_func():\n    """Return 1."""\n',
        "instruct_prompt": "Return 1.\n",
        "code_prompt": "import os\ndef task_func():\n",
        "canonical_solution": "    return 1\n",
        "test": "import unittest\nclass TestCases(unittest.TestCase):\n"
        "    def test_f(self):\n        self.assertEqual(task_func(), 1)\n",
    }
    path = write(tmp_path / "b.jsonl", row)
    config = DatasetConfig(name="bigcodebench", path=path, variant="instruct_code")
    (problem,) = load_problems(config, "all")
    assert (problem.prompt, problem.code) == ("Return 1.", "import os\ndef task_func():")
    assert problem.completed("    return 1\n") == "import os\ndef task_func():\n    return 1\n"
    config = DatasetConfig(name="bigcodebench", path=path, variant="instruct_code_hard")
    assert load_problems(config, "heldout")[0].code == problem.code


def test_references_and_completions_pass(tmp_path: Path) -> None:
    """With the solution's own classes, the published imports and node classes, and stdin."""
    problems = [
        *load(tmp_path, "leetcode", rows.leetcode()),
        *load(tmp_path, "taco", rows.taco()),
        *load(tmp_path, "code_contests", rows.code_contests()),
        *load(tmp_path, "humaneval_x", rows.humaneval_x()),
        *load(tmp_path, "livecodebench", rows.livecodebench_call()),
    ]
    total = "\n        return [name, sum(nums)]"
    right = [problem.reference or problem.code + total for problem in problems]
    wrong = [problem.code + "\n        pass\n" if problem.code else "print()" for problem in problems]
    with Sandbox(SandboxConfig(cache=None, workers=1, calibrate=False)) as sandbox:
        good = sandbox.judge([(text, p.judged) for text, p in zip(right, problems, strict=True)])
        bad = sandbox.judge([(text, p.judged) for text, p in zip(wrong, problems, strict=True)])
    assert [verdict.status for verdict in good] == ["passed"] * 5
    assert [verdict.status for verdict in bad] == ["failed"] * 5
