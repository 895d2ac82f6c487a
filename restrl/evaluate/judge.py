"""Answers to outcomes: the only place where answers of a decoder meet the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from restrl.records import Answer, Outcome, Problem, Verdict

Progress = Callable[[int], None]  # called with the number of programs that were just judged


class Sandbox(Protocol):
    """``judge(jobs)[i]`` is the verdict of ``jobs[i]``, a program and its tests."""

    def judge(
        self, jobs: Sequence[tuple[str, Mapping[str, Any]]], progress: Progress | None = None
    ) -> list[Verdict]: ...


def judge_answers(
    answers: Sequence[Answer], problems: Sequence[Problem], sandbox: Sandbox, progress: Progress | None = None
) -> list[Outcome]:
    """One outcome per answer, in the same order.  Raises KeyError for an answer to none of ``problems``."""
    tests = {problem.task_id: problem.tests for problem in problems}
    verdicts = sandbox.judge([(answer.text, tests[answer.task_id]) for answer in answers], progress)
    return [Outcome(answer, verdict) for answer, verdict in zip(answers, verdicts, strict=True)]
