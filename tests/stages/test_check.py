"""The check of a data set: what counts as broken, and the block list that training uses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from restrl.config import Config, DatasetConfig, PathsConfig
from restrl.data import load_problems
from restrl.data.__main__ import main
from restrl.data.blocked import blocked_text, default_path, read_blocked
from restrl.errors import UserError
from restrl.records import Problem, Verdict
from restrl.stages.check import all_problems, check_dataset, check_problems, empty_program
from restrl.stages.session import new_session
from tests.stages.conftest import Workplace
from tests.stages.opened import opened
from tests.thread_ranks import on_ranks

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
    checked = check_dataset(new_session(Config(dataset=dataset, paths=PathsConfig(outputs=str(tmp_path)))))
    path = block_list(dataset, tmp_path)
    assert checked.problems == 4
    assert checked.references == {"passed": 2, "failed": 1}
    assert checked.empty == {"passed": 1, "failed": 3}
    assert set(checked.broken) == {"wrong", "free"}
    assert re.match("the reference gives failed: 1 of 2 tests", checked.broken["wrong"])
    assert checked.broken["free"] == "an empty body passes"
    assert read_blocked(path) == checked.broken
    blocking = DatasetConfig(
        name="jsonl", path=dataset.path, heldout_path=str(heldout(tmp_path)), block_list=str(path)
    )
    assert [p.task_id for p in load_problems(blocking, "train")] == ["sound", "unknown"]
    assert [p.task_id for p in load_problems(blocking, "heldout")] == ["other"]


def block_list(dataset: DatasetConfig, outputs: Path) -> Path:
    path = default_path(dataset, str(outputs))
    assert path is not None
    return path


def checked_file(folder: Path, blocked: dict[str, str], **options: Any) -> Config:
    """A configuration of the file of problems, and the list that a check of it would have left."""
    dataset = DatasetConfig(
        name="jsonl", path=str(problems_file(folder)), heldout_path=str(heldout(folder)), **options
    )
    path = block_list(dataset, folder)
    path.parent.mkdir(exist_ok=True)
    path.write_text(blocked_text("jsonl", blocked))
    return Config(dataset=dataset, paths=PathsConfig(outputs=str(folder)))


def train_ids(config: Config) -> tuple[list[str], str]:
    with opened(config) as (_, resources):
        problems = resources.problems("train", sampled=False)
        assert [p.task_id for p in resources.problems("heldout", sampled=False).problems] == ["other"]
    return [p.task_id for p in problems.problems], problems.fingerprint


def test_training_reads_the_list_of_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids, all_fingerprint = train_ids(checked_file(tmp_path, {}))
    assert ids == ["sound", "wrong", "free", "unknown"]
    assert capsys.readouterr().out == ""
    ids, fingerprint = train_ids(checked_file(tmp_path, {"wrong": "why", "other": ""}))
    assert ids == ["sound", "free", "unknown"]
    assert fingerprint != all_fingerprint
    assert re.fullmatch(
        r"2 problems blocked by \S+/checks/jsonl\.[0-9a-f]{8}\.blocked\.txt\n", capsys.readouterr().out
    )
    ids, fingerprint = train_ids(checked_file(tmp_path, {"wrong": ""}, block_list="none"))
    assert (len(ids), fingerprint) == (4, all_fingerprint)
    (tmp_path / "mine.txt").write_text("# mine\n\nsound\nfree\n")
    ids, _ = train_ids(checked_file(tmp_path, {"wrong": ""}, block_list=str(tmp_path / "mine.txt")))
    assert ids == ["wrong", "unknown"]
    config = checked_file(tmp_path, {"wrong": ""})
    with open(tmp_path / "problems.jsonl", "a") as file:  # what was said of the old content is not applied
        file.write("\n")
    assert len(train_ids(config)[0]) == 4


def test_lists_are_told_apart(tmp_path: Path) -> None:
    problems_file(tmp_path)
    configs = [
        DatasetConfig(name="mbpp"),
        DatasetConfig(name="mbpp", variant="all"),
        DatasetConfig(name="apps"),
        DatasetConfig(name="mbpp", path=str(tmp_path / "problems.jsonl")),
        DatasetConfig(name="paper_mix", path=str(tmp_path)),  # a folder
    ]
    paths = [default_path(config, "out") for config in configs]
    assert len(set(paths)) == 5
    assert [str(path) for path in paths[:2]] == [
        "out/checks/mbpp.blocked.txt",
        "out/checks/mbpp.all.blocked.txt",
    ]
    assert default_path(DatasetConfig(path="nowhere.jsonl"), "out") is None


def test_a_check_of_some_problems_keeps_what_was_said_of_the_others(tmp_path: Path) -> None:
    config = checked_file(tmp_path, {"sound": "not so", "wrong": "as before"}, train_limit=1)
    looked_at = {problem.task_id for problem in all_problems(config)}
    checked = check_dataset(new_session(config))
    assert looked_at == {"sound", "other"}
    assert checked.broken == {}
    assert read_blocked(block_list(config.dataset, tmp_path)) == {"wrong": "as before"}


def test_tests_that_judge_nobody_are_found_without_a_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = checked_file(tmp_path, {})
    broken = {"kind": "check", "test": "def check(c):\n    assert c(1) == missing\n", "entry_point": "f"}
    assert config.dataset.path is not None
    with open(config.dataset.path, "a") as file:
        for task_id, more in (("nobody", {}), ("nobody2", {"reference": "def f(x):\n    return x"})):
            line = {"task_id": task_id, "prompt": "Add.", "code": "def f(x):", "tests": broken}
            file.write(json.dumps(line | more) + "\n")
    checked = check_dataset(new_session(config))
    reason = "cannot be judged: the tests raise whatever the program does: NameError: name 'missing'"
    for task_id in ("nobody", "nobody2"):
        assert checked.broken[task_id].startswith(reason)
    assert checked.unjudged == 2
    out = capsys.readouterr().out
    assert f"nobody: {reason}" in out
    assert f"2 of {checked.problems} problems cannot be judged: their tests are broken\n" in out


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
    assert "2 of 4 problems are sound" in out
    assert re.search(r"reference +\W 2 +\W 1 +\W 3 +\W\n", out)
    assert re.search(r"empty body +\W 1 +\W 3 +\W 4 +\W\n", out)
    [path] = (tmp_path / "checks").iterdir()
    assert set(read_blocked(path)) == {"wrong", "free"}
    assert main(["check", *overrides]) == 0  # 7 programs; three of the empty bodies are the same one
    assert f"5 verdicts were known from {tmp_path}/verdicts" in capsys.readouterr().out


def test_the_stage_is_the_command(tmp_path: Path, workplace: Workplace) -> None:
    path = problems_file(tmp_path)
    done = workplace.train("stage=check", f"dataset.path={path}")
    assert (done.code, done.err) == (0, "")
    assert "free: an empty body passes" in done.out
    assert "2 of 4 problems are sound" in done.out
    [blocked] = (workplace.outputs / "checks").iterdir()
    assert set(read_blocked(blocked)) == {"wrong", "free"}


def test_ranks_divide_the_programs() -> None:
    problems = [Problem(str(i), "", ADD, reference="good" if i % 2 else None) for i in range(5)]

    class Judge:
        def judge(self, programs, advance):
            advance(len(programs))
            return [Verdict("passed" if text == "good" else "failed", 0, 1, 0.0, 0.0) for text, _ in programs]

    counts: list[int] = []
    alone = check_problems(problems, Judge(), counts.append)
    assert (alone.references, alone.empty, counts) == ({"passed": 2}, {"failed": 5}, [2, 5])
    assert on_ranks(2, lambda ranks: check_problems(problems, Judge(), lambda _: None, ranks)) == [alone] * 2


def test_an_interrupted_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("restrl.sandbox.pool.Sandbox.judge", interrupted)
        overrides = ["dataset=jsonl", f"dataset.path={problems_file(tmp_path)}", f"paths.outputs={tmp_path}"]
        assert main(["check", *overrides]) == 130
    assert capsys.readouterr().err == "interrupted: the same command goes on where this one stopped\n"
    assert not (tmp_path / "checks").exists()


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


def test_blocked_problems_are_checked_again(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("sound\nwrong\n")
    config = checked_file(tmp_path, {}, block_list=str(tmp_path / "mine.txt"))
    assert len(all_problems(config)) == 5
