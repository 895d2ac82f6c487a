"""decode.py on all problems of a file, on named ones, and on several data sets in one run."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest

from restrl.data.__main__ import main
from tests.data import rows
from tests.stages.conftest import Workplace
from tests.stages.processes import never

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
NO_MODEL = never("restrl.stages.resources:load_model")


def humaneval_row(number: int) -> dict:
    head = f'def f{number}():\n    """Return {number}."""\n'
    test = f"def check(candidate):\n    assert candidate() == {number}\n"
    return {"task_id": f"HumanEval/{number}", "prompt": head, "canonical_solution": f"    return {number}\n",
            "entry_point": f"f{number}", "test": test}  # fmt: skip


def lines(path: Path, *items: dict) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two benchmarks with the same ids, and a third one."""
    folder = tmp_path / "parts"
    folder.mkdir()
    lines(folder / "humaneval.jsonl", *map(humaneval_row, range(4)))
    plus = "".join(json.dumps(humaneval_row(number)) + "\n" for number in range(4))
    (folder / "humaneval_plus.jsonl.gz").write_bytes(gzip.compress(plus.encode()))
    lines(folder / "apps.jsonl", *(rows.taco(problem_id=n, difficulty="interview") for n in range(2)))
    return folder


LEFT_OUT = ("~dataset.parts.mbpp_sanitized", "~dataset.parts.mbpp_plus", "~dataset.parts.bigcodebench")


def samples(folder: Path) -> Path:
    """All right on humaneval, half on humaneval_plus, none on apps."""
    folder.mkdir()
    right = [{"task_id": f"HumanEval/{n}", "completion": f"    return {n}\n"} for n in range(4)]
    lines(folder / "humaneval.jsonl", *right)
    lines(
        folder / "humaneval_plus.jsonl",
        *right[:2],
        *(item | {"completion": "    pass\n"} for item in right[2:]),
    )
    lines(folder / "apps.jsonl", *({"task_id": n, "solution": "print()"} for n in range(2)))
    return folder


def test_several_data_sets_and_the_papers_average(workplace: Workplace, parts: Path, tmp_path: Path) -> None:
    done = workplace.decode(
        "dataset=paper_eval", *LEFT_OUT, f"dataset.path={parts}", "decoder=replay", "decoder.k=[1]",
        f"decoder.path={samples(tmp_path / 'samples')}", strikes=(NO_MODEL,),
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    results, verdicts = workplace.results(), workplace.lines("verdicts.jsonl")
    assert math.isclose(results["pass@1"], ((1 + 0.5) / 2 + 0) / 2)
    assert results["average"]["groups"] == [["humaneval", "humaneval_plus"], ["apps"]]
    assert {name: part["pass@1"] for name, part in results["datasets"].items()} == {
        "humaneval": 1.0, "humaneval_plus": 0.5, "apps": 0.0,
    }  # fmt: skip
    assert [(row["dataset"], row["task_id"]) for row in verdicts[3:5]] == [
        ("humaneval", "HumanEval/3"), ("humaneval_plus", "HumanEval/0"),
    ]  # fmt: skip
    assert len({(row["dataset"], row["task_id"]) for row in workplace.lines("answers.jsonl")}) == 10
    rows = dict.fromkeys(line["row"] for line in workplace.lines("outcomes.jsonl"))
    assert list(rows) == ["replay humaneval", "replay humaneval_plus", "replay apps"]
    for name in ("humaneval ", "humaneval_plus ", "apps ", "average "):
        assert f"│ {name}" in done.out

    (tmp_path / "samples" / "apps.jsonl").unlink()
    done = workplace.decode(
        "dataset=paper_eval", *LEFT_OUT, f"dataset.path={parts}", "decoder=replay", "decoder.k=[1]",
        f"decoder.path={tmp_path / 'samples'}", strikes=(NO_MODEL,),
    )  # fmt: skip
    assert done.code == 2
    assert "no apps.jsonl or apps.jsonl.gz; decoder=replay of several data sets needs a folder" in done.err


def test_each_data_set_keeps_its_own_max_tokens(workplace: Workplace, parts: Path) -> None:
    done = workplace.decode(
        "dataset=paper_eval", *LEFT_OUT, "~dataset.parts.humaneval_plus", f"dataset.path={parts}",
        "decoder=sample", "dataset.max_tokens=2", "dataset.parts.apps.max_tokens=3",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    longest = dict.fromkeys(("humaneval", "apps"), 0)
    for row in workplace.lines("answers.jsonl"):
        tokens = row["cost"]["model_tokens"]
        longest[row["dataset"]] = max(tokens, longest[row["dataset"]])
    assert longest == {"humaneval": 2, "apps": 3}


def test_all_problems_and_named_ones(workplace: Workplace, tmp_path: Path) -> None:
    def judged(*overrides: str) -> list[str]:
        done = workplace.decode("decoder=greedy", "decoder.sampling.n=1", "decoder.k=[1]", *overrides)
        assert (done.code, done.err) == (0, "")
        return [row["task_id"] for row in workplace.lines("verdicts.jsonl")]

    assert judged("decoder.split=all") == list("abcdefgh")
    (tmp_path / "ids.txt").write_text("c\na\n")
    assert judged(f"dataset.ids={tmp_path / 'ids.txt'}") == ["a", "c"]
    assert judged("dataset.ids=[b]") == ["b"]
    done = workplace.decode("decoder=greedy", "decoder.k=[1]", "dataset.ids=[nobody]")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "dataset.ids: 'nobody' is none of the 8 problems of dataset=jsonl (e.g. 'a')" in done.err


def test_what_no_test_can_judge_is_said_once_and_counted(workplace: Workplace, tmp_path: Path) -> None:
    good = rows.humaneval_x()
    path = lines(tmp_path / "x.jsonl", good, rows.humaneval_x(task_id="Go/0"))
    solutions = ({"task_id": row, "completion": good["canonical_solution"]} for row in ("Python/0", "Go/0"))
    done = workplace.decode(
        "dataset=humaneval_x", f"dataset.path={path}", "decoder=replay", "decoder.k=[1]",
        f"decoder.path={lines(tmp_path / 's.jsonl', *solutions)}", strikes=(NO_MODEL,),
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert done.out.count("1 problems cannot be judged and are left out:\n  Go/0: it is not in Python\n") == 1
    assert (workplace.results()["pass@1"], workplace.results()["unjudged"]) == (1.0, ["Go/0"])


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tests = {"kind": "call", "fn_name": "f", "inputs": [[n] for n in range(20)], "outputs": list(range(20))}
    one = {"task_id": "a", "prompt": "Same.\x1b[31m [bold]", "code": "def f(n):", "tests": tests,
           "reference": "def f(n):\n    return n"}  # fmt: skip
    wrong = one | {"task_id": "b", "reference": "def f(n):\n    return 0"}
    path = lines(tmp_path / "p.jsonl", one, wrong, one | {"task_id": "c", "reference": None})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("restrl.model.load.load_model", None)
        arguments = ["dataset=jsonl", f"dataset.path={path}", f"paths.outputs={tmp_path}", "model=tiny"]
        assert main(["show", *arguments, "2"]) == 0
    out = capsys.readouterr().out
    assert "=== 1 of 3: a (jsonl)" in out
    assert "Same.\\x1b[31m [bold]" in out
    assert "\x1b" not in out
    assert "def f(n):\n--- stop: " in out
    assert "  [11]\n  ... and 8 more\n" in out
    assert "--- reference: passed, 20 of 20 tests" in out
    assert "--- reference: failed, 1 of 20 tests; test 1: got 0, expected 1" in out
    assert "=== 3" not in out
    assert main(["show", "dataset=paper_eval"]) == 2
    assert (
        "dataset=paper_eval has no problems for training, only held-out ones; here name one"
        in capsys.readouterr().err
    )


def test_training_on_one_set_and_the_average_over_others(workplace: Workplace, parts: Path) -> None:
    names = ("humaneval", "humaneval_plus", "apps")
    held_out = [
        override
        for name in names
        for override in (
            f"+dataset@dataset.parts.{name}={name}",
            f"dataset.parts.{name}.path={next(parts.glob(f'{name}.jsonl*'))}",
            f"dataset.parts.{name}.heldout_fraction=1",
        )
    ]
    groups = "dataset.average=[[humaneval,humaneval_plus],[apps]]"
    done = workplace.train("stage=rest_grpo", "grpo.iterations=1", *held_out, groups)
    assert (done.code, done.err) == (0, "")
    results = workplace.results()
    assert results["trained"]["n"] == 4 + 4 + 2
    assert set(results["trained"]["datasets"]) == set(names)
    assert results["trained"]["resampled"] == "families"  # HumanEval/0 and HumanEval+/0 are one
    assert results["trained"]["average pass@1"] == 0.0
    assert results["paired"]["average pass@1"]["difference"] == 0.0
    assert "average pass@1" in done.out
    assert "average pass@1" in (workplace.last / "report.md").read_text()

    rows = "evaluation.rows=[{decoder: sample}, {decoder: best_of_n, scorer: verifier}]"
    few = ("mcts.iterations=2", "evaluation.completions=2")
    done = workplace.train("stage=rest_rl", "grpo.iterations=0", rows, *few, *held_out, groups)
    assert (done.code, done.err) == (0, "")
    results = workplace.results()["rows"]
    assert results["base best_of_n verifier"]["paired"]["average pass@1"]["difference"] == 0.0
    assert "less sampling's average" in done.out

    done = workplace.train("stage=sample", "dataset=paper_eval", f"dataset.path={parts}", *LEFT_OUT)
    assert done.code == 2
    assert "dataset=paper_eval has no problems for training" in done.err
