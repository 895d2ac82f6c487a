import pytest

from restrl.errors import UserError
from restrl.evaluate.outcomes import ProblemOutcome, problem_outcomes, read_outcomes, write_outcomes
from restrl.records import Answer, Outcome, Problem, Verdict

PROBLEMS = [Problem("a", "p", {}, family="f"), Problem("b", "p", {}), Problem("c", "p", {})]
OUTCOMES = [
    Outcome(Answer("b", 0, "x"), Verdict("passed", 2, 2, 1.0, 0.1)),
    Outcome(Answer("a", 0, "x"), Verdict("failed", 1, 2, 0.5, 0.1)),
    Outcome(Answer("b", 1, "x"), Verdict("harness_error", 0, 2, None, 0.1)),
    Outcome(Answer("b", 2, "x"), Verdict("failed", 0, 2, 0.0, 0.1)),
    Outcome(Answer("elsewhere", 0, "x"), Verdict("passed", 2, 2, 1.0, 0.1)),
]
EXPECTED = [
    ProblemOutcome("base", "a", "family f", (0,), (0.5,)),
    ProblemOutcome("base", "b", "problem b", (1, 0, 0), (1.0, None, 0.0)),
    ProblemOutcome("base", "c", "problem c", (), ()),
]


def test_a_line_for_each_problem():
    assert problem_outcomes("base", OUTCOMES, PROBLEMS) == EXPECTED


def test_a_sample_that_was_not_judged_is_no_failure():
    assert [outcome.pass_at_1 for outcome in EXPECTED] == [0.0, 0.5, None]


def test_the_file_holds_what_was_written(tmp_path):
    write_outcomes(tmp_path, {"base": (OUTCOMES, PROBLEMS), "trained": ([], PROBLEMS[:1])})
    found = read_outcomes(tmp_path / "outcomes.jsonl")
    assert found == [*EXPECTED, ProblemOutcome("trained", "a", "family f", (), ())]


@pytest.mark.parametrize("line", ["{", '{"row": "base"}', "[]"])
def test_a_broken_line_is_named(tmp_path, line):
    write_outcomes(tmp_path, {"base": (OUTCOMES, PROBLEMS[:1])})
    path = tmp_path / "outcomes.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"outcomes\.jsonl:2: not a line of outcomes\.jsonl"):
        read_outcomes(path)
