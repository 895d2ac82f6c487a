"""Judges answers: the only place where answers of a decoder meet the tests."""

from __future__ import annotations

from collections.abc import Sequence

from restrl.protocols import Judge, Progress
from restrl.records import Answer, Outcome, Problem


def judge_answers(
    answers: Sequence[Answer], problems: Sequence[Problem], judge: Judge, progress: Progress | None = None
) -> list[Outcome]:
    """One outcome per answer, in the same order.  Raises KeyError for an answer to an unknown problem."""
    tests = {problem.task_id: problem.judged for problem in problems}
    verdicts = judge.judge([(answer.text, tests[answer.task_id]) for answer in answers], progress)
    return [Outcome(answer, verdict) for answer, verdict in zip(answers, verdicts, strict=True)]
