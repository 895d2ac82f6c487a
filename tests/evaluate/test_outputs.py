import json

import pytest

from restrl.config import DecoderConfig
from restrl.errors import UserError
from restrl.evaluate.judge import judge_answers
from restrl.evaluate.outputs import write_outputs
from restrl.evaluate.results import evaluate
from restrl.records import Answer, Cost, Failure, Outcome, Problem, Verdict

OUTCOMES = [
    Outcome(
        Answer("a", 0, "print('\ud800')", None, Cost(1, 7)),
        Verdict("failed", 3, 4, 0.75, 0.25, "wrong", ("f",), Failure("test 3", "1", "2", "\x1b")),
    ),
    Outcome(Answer("a", 1, "y", 0.5, Cost(1, 3)), Verdict("harness_error", 0, 4, None, 0.5, "cannot")),
]
FAILURE = {
    "test": "test 3",
    "input": "1",
    "expected": "2",
    "got": "\x1b",
    "error": None,
    "line": None,
    "code": None,
}
COST = {"completions": 1, "verifier_calls": 0, "scorer_calls": 0, "seconds": 0.0}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_files_have_the_promised_fields_and_no_others(tmp_path):
    write_outputs(tmp_path / "run", OUTCOMES, {"pass@1": 1.0})
    judged = {"task_id": "a", "total": 4}
    assert lines(tmp_path / "run/verdicts.jsonl") == [
        judged
        | {"sample": 0, "status": "failed", "reward": 0.75, "passed": 3, "seconds": 0.25}
        | {"failure": FAILURE},
        judged
        | {"sample": 1, "status": "harness_error", "reward": None, "passed": 0, "seconds": 0.5}
        | {"failure": None},
    ]
    assert lines(tmp_path / "run/answers.jsonl") == [
        {
            "task_id": "a",
            "sample": 0,
            "text": "print('\ud800')",
            "score": None,
            "cost": COST | {"model_tokens": 7},
            "failure": FAILURE,
        },
        {
            "task_id": "a",
            "sample": 1,
            "text": "y",
            "score": 0.5,
            "cost": COST | {"model_tokens": 3},
            "failure": None,
        },
    ]
    assert json.loads((tmp_path / "run/results.json").read_text()) == {"pass@1": 1.0}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "verdicts.jsonl",
        "answers.jsonl",
        "results.json",
    }


def test_results_of_outcomes_go_to_json(tmp_path):
    results = evaluate(OUTCOMES, [Problem("a", "", {})], DecoderConfig(bootstrap=100), seed=0)
    write_outputs(tmp_path, OUTCOMES, results)
    written = json.loads((tmp_path / "results.json").read_text())
    assert {"pass@1", "mean_reward", "n", "confidence_interval", "cost"} <= set(written)


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/verdicts.jsonl: .*; make room there"):
        write_outputs(tmp_path / "file", OUTCOMES, {})


class Recorder:
    """A sandbox that passes what says so."""

    def judge(self, jobs, progress=None):
        self.jobs = list(jobs)
        progress(len(self.jobs))
        return [Verdict("passed" if "yes" in text else "failed", 0, 1, 0.0, 0.0) for text, _ in self.jobs]


def test_answers_meet_the_tests_of_their_own_problem():
    sandbox, seen = Recorder(), []
    answers = [Answer("b", 0, "yes"), Answer("a", 0, "no"), Answer("b", 1, "no")]
    problems = [Problem("a", "", {"kind": "A"}), Problem("b", "", {"kind": "B"})]
    judged = judge_answers(answers, problems, sandbox, seen.append)
    assert sandbox.jobs == [("yes", {"kind": "B"}), ("no", {"kind": "A"}), ("no", {"kind": "B"})]
    assert [o.answer for o in judged] == answers
    assert [o.verdict.status for o in judged] == ["passed", "failed", "failed"]
    assert seen == [3]
