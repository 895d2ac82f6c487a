"""Checks a data set: its references have to pass, and an empty body must not.

What fails is broken for training: a problem that nobody can solve, or that everybody solves, teaches
nothing.  The block list that is written here is what ``dataset.block_list`` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restrl.config import Config
from restrl.data import load_problems
from restrl.data.splits import Split
from restrl.errors import UserError
from restrl.files import write_text_atomic
from restrl.records import Problem, Verdict
from restrl.sandbox import Sandbox

Judge = Callable[[Sequence[tuple[str, Mapping[str, Any]]]], Sequence[Verdict]]


@dataclass(frozen=True)
class Broken:
    """A problem that training should leave out."""

    task_id: str
    reason: str  # one line


@dataclass(frozen=True)
class Checked:
    """What a check found, over both splits."""

    problems: int
    references: int  # problems with a reference
    broken: tuple[Broken, ...]


def run_check(config: Config) -> tuple[Checked, Path]:
    """Judges every problem of ``config.dataset`` and writes the block list; returns both."""
    problems = all_problems(config)
    with Sandbox(config.sandbox) as sandbox:
        checked = check_problems(problems, sandbox.judge)
    path = Path(config.paths.outputs) / "checks" / f"{config.dataset.name}.blocked.txt"
    lines = [f"# {config.dataset.name}: {len(checked.broken)} of {checked.problems} problems are broken"]
    for broken in checked.broken:
        lines += [f"# {broken.reason}", broken.task_id]
    write_text_atomic(path, "\n".join(lines) + "\n")
    return checked, path


def all_problems(config: Config) -> list[Problem]:
    """Both splits, or the one that the data set has.  Raises UserError if it has none."""
    splits: tuple[Split, ...] = ("train", "heldout")
    problems: list[Problem] = []
    errors: list[UserError] = []
    for split in splits:
        try:
            problems += load_problems(config.dataset, split)
        except UserError as error:
            errors.append(error)
    if not problems:
        raise errors[-1]  # of the held-out split, which every data set has
    return problems


def check_problems(problems: Sequence[Problem], judge: Judge) -> Checked:
    """Judges each problem's reference, where it has one, and an empty body."""
    known = [problem for problem in problems if problem.reference is not None]
    verdicts = judge([(problem.reference or "", problem.tests) for problem in known])
    empty = judge([(empty_program(problem), problem.tests) for problem in problems])
    reasons: dict[str, str] = {}
    for problem, verdict in zip(known, verdicts, strict=True):
        if verdict.status != "passed":
            reasons[problem.task_id] = f"the reference {_words(verdict)}"
    for problem, verdict in zip(problems, empty, strict=True):
        if verdict.status == "passed":
            reasons[problem.task_id] = "an empty body passes"
    broken = tuple(Broken(p.task_id, reasons[p.task_id]) for p in problems if p.task_id in reasons)
    return Checked(len(problems), len(known), broken)


def empty_program(problem: Problem) -> str:
    """The initial state with ``pass`` for a body."""
    code = problem.code.rstrip()
    for body in ("\n    pass\n", "\n        pass\n"):  # of a function, of a method
        try:
            compile(code + body, "<empty>", "exec")
        except SyntaxError:
            continue
        return code + body
    return code + "\n"


def _words(verdict: Verdict) -> str:
    detail = " ".join(verdict.detail.split())
    return f"gives {verdict.status}: {verdict.passed} of {verdict.total} tests; {detail}".rstrip("; ")
