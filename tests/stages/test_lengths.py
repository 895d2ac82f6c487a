"""Prompts against the context: who is too long is named, or left out and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from restrl.config import DatasetConfig
from restrl.errors import UserError
from restrl.prompts import Prompter
from restrl.records import Problem
from restrl.stages.lengths import fitting
from tests.stages.conftest import Workplace
from tests.stages.processes import artifacts, never


class Words:
    """A prompt has as many tokens as its text has words."""

    def encode(self, problem: Problem) -> tuple[tuple[int, ...], str]:
        return tuple(range(len(problem.prompt.split()))), ""


PROBLEMS = [Problem(f"p{length}", "word " * length, {}) for length in (3, 9, 10, 30)]


def fit(problems: Any = PROBLEMS, positions: int | None = 10, **options: Any) -> Any:
    said: list[str] = []
    dataset = DatasetConfig(name="jsonl", path="train.jsonl", **({"max_tokens": 1} | options))
    kept, dropped = fitting(problems, cast(Prompter, Words()), positions, dataset, "heldout", said.append)
    return [problem.task_id for problem in kept], dropped, said


def test_the_first_that_is_too_long_is_named_with_its_file_and_numbers() -> None:
    with pytest.raises(UserError) as error:
        fit()
    assert str(error.value) == (
        "train.jsonl: task_id 'p10': a prompt of 10 tokens leaves no room for an answer in the model's 10 "
        "(and 1 more of 4); shorten it, take a model of longer context, or set dataset.too_long=drop"
    )
    with pytest.raises(UserError, match=r"^heldout\.jsonl: task_id 'p30': a prompt of 30 tokens .* 11; "):
        fit(positions=11, heldout_path="heldout.jsonl")  # the file of the split


def test_they_are_left_out_and_counted() -> None:
    kept, dropped, (line,) = fit(too_long="drop")
    assert (kept, dropped) == (["p3", "p9"], ("p10", "p30"))
    assert line == (
        "train.jsonl: 2 of 4 heldout problems are left out: their prompts leave no room for an answer in "
        "the model's 10 tokens: p10, p30"
    )
    _, _, (line,) = fit([*PROBLEMS, *(Problem(f"q{i}", "word " * 99, {}) for i in range(4))], too_long="drop")
    assert line.endswith(": p10, p30, q0 and 3 more")


def test_none_left_is_an_error_also_where_they_are_dropped() -> None:
    with pytest.raises(UserError, match=r"task_id 'p3': .* \(and 3 more of 4\)"):
        fit(positions=3, too_long="drop")


def test_little_room_is_said_and_no_error() -> None:
    kept, dropped, (line,) = fit(PROBLEMS[:2], max_tokens=5)
    assert (kept, dropped) == (["p3", "p9"], ())
    assert line == (
        "train.jsonl: 1 of 2 heldout prompts leave less room than dataset.max_tokens=5 in the model's 10 "
        "tokens, the longest one 1: their answers end there"
    )


def test_a_context_without_a_limit_takes_all() -> None:
    assert fit(positions=None) == (["p3", "p9", "p10", "p30"], (), [])
    assert fit(positions=31) == (["p3", "p9", "p10", "p30"], (), [])


def write_long(folder: Path) -> tuple[str, ...]:
    """A file of training and one of held-out problems; a prompt in each fills the context of 2048 tokens."""
    lines = (folder / "problems.jsonl").read_text().splitlines()
    for name, some in (("train", lines[:4]), ("heldout", lines[4:])):
        long = json.loads(some[1]) | {"task_id": f"long {name}", "prompt": "x" * 2048}
        rows = [*some[:2], json.dumps(long), *some[2:]]
        (folder / f"{name}.jsonl").write_text("".join(line + "\n" for line in rows))
    return f"dataset.path={folder / 'train.jsonl'}", f"dataset.heldout_path={folder / 'heldout.jsonl'}"


SEARCH = ("scorer=verifier", "decoder.k=[1]")
COMMANDS = [  # each stage and decoder that samples, and the file that it reads first
    ("train", "stage=rest_grpo"),
    ("heldout", "stage=evaluate"),
    ("heldout", "stage=rest_rl", "evaluation.rows=[{decoder: greedy}]"),
    ("train", "stage=sample"),
    ("train", "stage=grpo", "stage.evaluate=false"),
    ("train", "stage=collect"),
    ("train", "stage=value_model"),
    ("heldout", "decoder=greedy", "decoder.k=[1]"),
    ("heldout", "decoder=sample"),
    ("train", "decoder=sample", "decoder.split=train"),
    ("heldout", "decoder=best_of_n", *SEARCH),
    ("heldout", "decoder=mcts", *SEARCH),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nothing_is_sampled_before_every_prompt_is_known_to_fit(
    workplace: Workplace, command: tuple[str, ...]
) -> None:
    name, *words = command
    run = workplace.train if words[0].startswith("stage") else workplace.decode
    no_model = never("restrl.stages.resources:load_model")
    ended = run(*words, *write_long(workplace.folder), strikes=(no_model,))
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert f"/{name}.jsonl: task_id 'long {name}': a prompt of 20" in ended.err
    assert "leaves no room for an answer in the model's 2048; " in ended.err
    assert artifacts(workplace.outputs) == set()


def test_what_is_left_out_is_counted_in_results_report_and_manifests(workplace: Workplace) -> None:
    files = write_long(workplace.folder)
    finished = workplace.train("grpo.iterations=1", "dataset.too_long=drop", *files)
    assert (finished.code, finished.err) == (0, "")
    for name in ("train", "heldout"):
        assert f"{name}.jsonl: 1 of 5 {name} problems are left out: their prompts" in finished.out
    assert "held-out problems, 1 left out (prompt too long)" in finished.out
    results = workplace.results()
    assert [results[policy]["too_long"] for policy in ("base", "trained")] == [["long heldout"]] * 2
    assert results["base"]["n"] == 4
    report = (workplace.last / "report.md").read_text()
    assert "1 problems are left out: their prompts leave no room for an answer." in report
    assert "too_long" in report
    left_out = {"sample": "train", "decode_samples": "heldout", "evaluate": "heldout"}
    for step, split in left_out.items():
        for folder in (workplace.outputs / "artifacts").glob(f"{step}-*"):
            manifest = json.loads((folder / "manifest.json").read_text())
            assert manifest["summary"]["too_long"] == [f"long {split}"]


def test_answers_of_a_file_need_no_room(workplace: Workplace) -> None:
    files = write_long(workplace.folder)
    answers = workplace.folder / "answers.jsonl"
    answer = {"task_id": "long heldout", "solution": "def f(x):\n    return x < 5"}
    answers.write_text(json.dumps(answer) + "\n")
    judged = workplace.decode("decoder=replay", f"decoder.path={answers}", "decoder.k=[1]", *files)
    assert (judged.code, judged.err) == (0, "")
