"""The check of problems from files.  For the forms of their tests see ``restrl.testforms``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restrl.data.recognise import recognised
from restrl.errors import UserError
from restrl.records import Problem
from restrl.testcontent import check_characters, check_content
from restrl.testforms import check_tests

FIELDS = ("task_id", "prompt", "code", "tests", "reference", "family")  # of a line of a problems file


def problem_from_line(data: Any, where: str, dataset: str) -> Problem:
    """The problem of one parsed line.  Raises UserError that names ``where`` and the field."""
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: must be a JSON object with the fields {', '.join(FIELDS)}")
    for name in ("task_id", "prompt", "tests"):
        if name not in data:
            hint = "a problem without tests" if name == "tests" else "missing"
            advice = recognised(data, dataset)
            raise UserError(f"{where}: {name}: {hint}; every problem needs task_id, prompt and tests{advice}")
    task_id = data["task_id"]
    if isinstance(task_id, int) and not isinstance(task_id, bool):
        task_id = str(task_id)
    if not isinstance(task_id, str) or not task_id.strip():
        raise UserError(f"{where}: task_id: must be a string that is not empty, or an integer")
    if not isinstance(data["prompt"], str) or not data["prompt"].strip():
        raise UserError(f"{where}: prompt: must be a string that is not empty")
    for name in ("code", "reference", "family"):
        if data.get(name) is not None and not isinstance(data[name], str):
            raise UserError(f"{where}: {name}: must be a string")
    for name in data:
        if name not in FIELDS:
            advice = recognised(data, dataset)
            raise UserError(f"{where}: {name}: unknown field; a problem has {', '.join(FIELDS)}{advice}")
    problem = Problem(
        task_id=task_id,
        prompt=data["prompt"],
        tests=data["tests"],
        code=data.get("code") or "",
        reference=data.get("reference"),
        dataset=dataset,
        family=data.get("family") or "",
    )
    check_problem(problem, where)
    return problem


def check_problem(problem: Problem, where: str) -> None:
    """Raises UserError that names ``where`` and the field for tests or texts that cannot be used."""
    for name in ("task_id", "prompt", "code", "reference", "family"):
        check_characters(getattr(problem, name), f"{where}: {name}")
    check_content(check_tests(problem.tests, where), where)


def check_unique(problems: list[Problem], where: str) -> None:
    """Raises UserError if two problems have the same task_id."""
    seen: set[str] = set()
    for problem in problems:
        if problem.task_id in seen:
            raise UserError(f"{where}: task_id: {problem.task_id!r} occurs twice; task ids must be unique")
        seen.add(problem.task_id)
