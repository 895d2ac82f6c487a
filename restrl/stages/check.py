"""Checks a data set: every reference has to pass its tests, and an empty body has to fail them.

A problem that fails the check is useless for training: nobody or everybody can solve it.  The check writes
such problems to a block list, which training reads (``restrl.data.blocked``).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from restrl.config import Config
from restrl.data.blocked import OFF, blocked_text, default_path, read_blocked
from restrl.data.registry import load_problems
from restrl.data.splits import Split
from restrl.errors import UserError
from restrl.evaluate.failures import escaped
from restrl.files import write_text_atomic
from restrl.protocols import Judge, Program, Progress
from restrl.ranks import ALONE, Ranks
from restrl.records import Problem, Verdict
from restrl.sandbox import Sandbox
from restrl.stages.resources import divided
from restrl.stages.session import Session


@dataclass(frozen=True)
class Checked:
    """The result of a check of both splits."""

    problems: int
    broken: Mapping[str, str]  # task id -> reason, one line: problems that training should leave out
    references: Mapping[str, int]  # status -> number of references with it
    empty: Mapping[str, int]  # status -> number of empty bodies with it
    unjudged: int = 0  # problems whose tests judge nobody (of ``broken``)

    def table(self) -> Table:
        """How many references and empty bodies got which status."""
        statuses = sorted({*self.references, *self.empty}, key=lambda status: (status != "passed", status))
        table = Table("", *statuses, "in all")
        for name, counts in (("reference", self.references), ("empty body", self.empty)):
            cells = [str(counts.get(status, 0)) for status in statuses]
            table.add_row(name, *cells, str(sum(counts.values())))
        return table


def check_dataset(session: Session) -> Checked:
    """Judges every problem of the configured data set, writes the block list and prints the result.

    Problems outside the configured limits keep the result of an earlier check.
    """
    config, console = session.config, session.console
    problems = all_problems(config)
    path = default_path(config.dataset, config.paths.outputs)
    assert path is not None  # the problems were read from it
    with Sandbox(divided(config.sandbox, config.trainer.devices)) as sandbox:
        for line in sandbox.notices:
            console.say(line)
        programs = len(problems) + sum(problem.reference is not None for problem in problems)
        with console.progress(f"check {config.dataset.name}", programs) as advance:
            checked = check_problems(problems, sandbox, advance, session.ranks)
        if sandbox.known:
            console.say(f"{sandbox.known} verdicts were known from {config.sandbox.cache}")
    session.write(lambda: _write_blocked(path, config.dataset.name, problems, checked))
    for task_id, reason in checked.broken.items():
        console.say(escaped(f"{task_id}: {reason}"))
    console.show(checked.table())
    if checked.unjudged:
        console.say(
            f"{checked.unjudged} of {checked.problems} problems cannot be judged: their tests are broken"
        )
    console.say(f"{checked.problems - len(checked.broken)} of {checked.problems} problems are sound")
    console.say(f"block list: {path}")
    return checked


def _write_blocked(path: Path, dataset: str, problems: Sequence[Problem], checked: Checked) -> None:
    checked_ids = {problem.task_id for problem in problems}
    before = read_blocked(path) if path.exists() else {}
    others = {task_id: reason for task_id, reason in before.items() if task_id not in checked_ids}
    title = f"{dataset}: {len(checked.broken)} of {checked.problems} problems are broken"
    write_text_atomic(path, blocked_text(title, {**others, **checked.broken}))


def all_problems(config: Config) -> list[Problem]:
    """The problems of both splits (or of the only one), including blocked ones.

    Raises UserError if the data set has no problem.
    """
    splits: tuple[Split, ...] = ("train", "heldout")
    dataset = dataclasses.replace(config.dataset, block_list=OFF)
    problems: list[Problem] = []
    errors: list[UserError] = []
    for split in splits:
        try:
            problems += load_problems(dataset, split)
        except UserError as error:
            errors.append(error)
    if not problems:
        raise errors[-1]  # of the held-out split, which every data set has
    return problems


def check_problems(
    problems: Sequence[Problem], judge: Judge, advance: Progress, ranks: Ranks = ALONE
) -> Checked:
    """Judges an empty body of each problem, and its reference if it has one."""

    def verdicts_of(programs: Sequence[Program]) -> list[Verdict]:
        return ranks.merge(judge.judge(ranks.share(programs), advance))

    with_reference = [problem for problem in problems if problem.reference is not None]
    verdicts = verdicts_of([(problem.reference or "", problem.judged) for problem in with_reference])
    empty = verdicts_of([(empty_program(problem), problem.judged) for problem in problems])
    reasons: dict[str, str] = {}
    for problem, verdict in zip(with_reference, verdicts, strict=True):
        if verdict.status != "passed":
            subject = "" if verdict.status == "harness_error" else "the reference "
            reasons[problem.task_id] = f"{subject}{_words(verdict)}"
    for problem, verdict in zip(problems, empty, strict=True):
        if verdict.status == "passed":
            reasons[problem.task_id] = "an empty body passes"
        elif verdict.status == "harness_error":
            reasons.setdefault(problem.task_id, _words(verdict))
    judged_nobody = {
        problem.task_id
        for each, found in ((with_reference, verdicts), (problems, empty))
        for problem, verdict in zip(each, found, strict=True)
        if verdict.status == "harness_error"
    }
    broken = {p.task_id: reasons[p.task_id] for p in problems if p.task_id in reasons}
    return Checked(len(problems), broken, _statuses(verdicts), _statuses(empty), len(judged_nobody))


def _statuses(verdicts: Sequence[Verdict]) -> Mapping[str, int]:
    return Counter(verdict.status for verdict in verdicts)


def empty_program(problem: Problem) -> str:
    """The initial state with ``pass`` as its body."""
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
    if verdict.status == "harness_error":
        return detail
    return f"gives {verdict.status}: {verdict.passed} of {verdict.total} tests; {detail}".rstrip("; ")
