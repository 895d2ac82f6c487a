"""The files of a decode run for other tools: verdicts.jsonl, answers.jsonl, results.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restrl.files import write_json_atomic, write_text_atomic
from restrl.records import Outcome, to_json


def verdict_line(outcome: Outcome) -> dict[str, Any]:
    """A line of verdicts.jsonl.  ``reward`` is null if the harness could not judge.

    ``failure`` holds the fields of records.Failure, null for a program that passed; without a verdict its
    ``error`` is the reason.
    """
    answer, verdict = outcome.answer, outcome.verdict
    return {
        "task_id": answer.task_id,
        "sample": answer.sample,
        "status": verdict.status,
        "reward": verdict.reward,
        "passed": verdict.passed,
        "total": verdict.total,
        "seconds": verdict.seconds,
        "failure": _failure(outcome),
    }


def answer_line(outcome: Outcome) -> dict[str, Any]:
    """A line of answers.jsonl: ``task_id``, ``sample``, ``text``, ``score``, ``cost``, ``failure``."""
    answer = to_json(outcome.answer)
    del answer["budget"]  # it is None: those to smaller budgets are not written
    return answer | {"failure": _failure(outcome)}


def _failure(outcome: Outcome) -> dict[str, Any] | None:
    failure = outcome.verdict.failure
    return None if failure is None else to_json(failure)


def write_outputs(
    folder: Path,
    outcomes: Sequence[Outcome],
    results: Mapping[str, Any],
    datasets: Sequence[str] | None = None,
) -> None:
    """Writes the three files into ``folder``, each atomically, results.json last.  Raises UserError.

    ``datasets``: the data set of each outcome, for a run over several, whose task ids may be the same; their
    lines then have a last field ``dataset``.
    """
    more = [{} if datasets is None else {"dataset": datasets[i]} for i in range(len(outcomes))]
    for name, line in (("verdicts.jsonl", verdict_line), ("answers.jsonl", answer_line)):
        lines = (line(outcome) | field for outcome, field in zip(outcomes, more, strict=True))
        write_text_atomic(folder / name, "".join(json.dumps(item) + "\n" for item in lines))
    write_json_atomic(folder / "results.json", results)
