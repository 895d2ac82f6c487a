"""outcomes.jsonl: what each problem's samples earned, for statistics over several runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from restrl.errors import UserError
from restrl.files import write_text_atomic
from restrl.records import Outcome, Problem, from_json, to_json

OUTCOMES = "outcomes.jsonl"


@dataclass(frozen=True)
class ProblemOutcome:
    """A line of the file: one problem, answered in one way."""

    row: str  # "base" or "trained", a row of stage=rest_rl, or a decoder
    task_id: str
    cluster: str  # what intervals resample: Problem.cluster
    passed: tuple[int, ...]  # [samples] 1 = passed all tests
    rewards: tuple[float | None, ...]  # [samples] in [0, 1]; None: not judged, and then no failure either

    @property
    def pass_at_1(self) -> float | None:
        """The share of the judged samples that passed; None if none was judged."""
        judged = [
            passed for passed, reward in zip(self.passed, self.rewards, strict=True) if reward is not None
        ]
        return sum(judged) / len(judged) if judged else None


def problem_outcomes(
    row: str, outcomes: Sequence[Outcome], problems: Sequence[Problem]
) -> list[ProblemOutcome]:
    """One entry for each problem, in the order of ``problems``; samples in the order of the outcomes."""
    by_task: dict[str, list[Outcome]] = {problem.task_id: [] for problem in problems}
    for outcome in outcomes:
        if outcome.answer.task_id in by_task:
            by_task[outcome.answer.task_id].append(outcome)
    return [
        ProblemOutcome(
            row,
            problem.task_id,
            problem.cluster,
            tuple(int(o.verdict.status == "passed") for o in by_task[problem.task_id]),
            tuple(o.verdict.reward for o in by_task[problem.task_id]),
        )
        for problem in problems
    ]


def write_outcomes(folder: Path, rows: Mapping[str, tuple[Sequence[Outcome], Sequence[Problem]]]) -> None:
    """Writes the file into ``folder``, atomically.  ``rows``: name -> outcomes and the problems."""
    lines = [
        json.dumps(to_json(line)) + "\n"
        for row, (outcomes, problems) in rows.items()
        for line in problem_outcomes(row, outcomes, problems)
    ]
    write_text_atomic(folder / OUTCOMES, "".join(lines))


def read_outcomes(path: Path) -> list[ProblemOutcome]:
    """Raises UserError that names the line of a file that is broken."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(from_json(ProblemOutcome, json.loads(line)))
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path}:{number}: not a line of {OUTCOMES}: {error}") from error
    return found
