"""The cells of a multirun as jobs: none hides how the others ended.

Hydra's plugin for submitit hands out the results in order, so the first cell that failed would hide the rest,
and it learns of a job's death only from SLURM's accounts, which not every cluster keeps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from rich.console import Console
from rich.table import Table
from rich.text import Text

from launchers.backends import NoAnswer
from launchers.job import ENDING_SECONDS, TERMINATED
from restrl.errors import UserError
from restrl.progress import LINE_EVERY_SECONDS

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 600.0  # without an answer from the cluster
# time for a result to become visible after the cluster has forgotten the job: a network file system may show
# a new file to other machines only then
GRACE_SECONDS = 15.0
ENDED = ("done", "bad input", "failed", "killed")


class CellsFailed(UserError):  # noqa: N818 (it is the failure that is reported)
    """Some cells have no result; the table says which.  ``exit_code`` is 2 if all of them had bad input."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


T = TypeVar("T")


@dataclass
class Cell:
    """A run of the multirun.  ``job``: submitit's; None: not submitted yet."""

    number: int
    overrides: Sequence[str]
    name: str  # the overrides in which it differs from the others
    job: Any = None
    status: str = "waiting"
    value: Any = None  # what the run returned, such as pass@1
    error: str = ""
    absent_since: float | None = None  # the first of the looks in a row without a trace of it

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def log(self) -> Path | None:
        return None if self.job is None else Path(self.job.paths.stderr)

    def look(self, alive: Mapping[str, str]) -> None:
        """``alive``: id -> waiting or running, of jobs that have not ended."""
        if self.ended or self.job is None:
            return
        result = Path(self.job.paths.result_pickle)
        with contextlib.suppress(OSError):  # makes a network file system look again
            os.listdir(result.parent)
        if result.exists():
            self._ended(*_outcome(result))
        elif self.job.job_id in alive:
            self.status, self.absent_since = alive[self.job.job_id], None
        elif self.absent_since is None:
            self.absent_since = time.monotonic()
        elif time.monotonic() - self.absent_since >= GRACE_SECONDS:
            self.status, self.error = "killed", "killed without a trace"

    def _ended(self, returned: JobReturn | None, error: str) -> None:
        if returned is not None and returned.status == JobStatus.COMPLETED:
            self.status, self.value = "done", returned.return_value
            return
        if returned is not None:  # Hydra keeps the exception of a run that failed
            failure = returned._return_value
            bad = isinstance(failure, UserError)
            error = str(failure) if bad else f"{type(failure).__name__}: {failure}"
        else:
            _, bad_input, text = error.partition("restrl.errors.UserError: ")
            bad, error = bool(bad_input), text if bad_input else error
        self.status, self.error = "bad input" if bad else "failed", " ".join(error.split())

    def returned(self, problem: CellsFailed | None) -> JobReturn:
        """What Hydra's sweeper gets; the basic one raises ``problem`` in place of a missing result."""
        result = JobReturn(overrides=self.overrides, status=JobStatus.COMPLETED)
        result.return_value = self.value
        if self.status != "done":
            result.status = JobStatus.FAILED
            result.return_value = problem
        return result


def new_console() -> Console:
    """With room for tables also where the output is a file."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def cells_of(overrides: Sequence[Sequence[str]], first: int) -> list[Cell]:
    """The cells of a multirun, counted from ``first``."""
    common = set(overrides[0]).intersection(*overrides) if len(overrides) > 1 else set()
    return [
        Cell(first + i, list(own), " ".join(item for item in filter_overrides(own) if item not in common))
        for i, own in enumerate(overrides)
    ]


def _outcome(path: Path) -> tuple[JobReturn | None, str]:
    """The run's result, or the last line of its traceback."""
    from submitit.core.utils import pickle_load

    try:
        outcome, result = pickle_load(path)
    except Exception as error:  # such as one raised by a class of the run's own
        return None, f"{path}: the result is not readable ({type(error).__name__}: {error})"
    if outcome == "success":
        return result, ""
    return None, next((line for line in reversed(str(result).splitlines()) if line.strip()), "")


def run_until_taken(run: Callable[[], JobReturn]) -> JobReturn:
    """Runs a cell in its job on SLURM.

    Where SIGTERM has announced that SLURM takes the machine away, the run's end is no failure: this waits for
    SLURM, which then queues the job again.  A job that ended by itself in the meantime would count as failed.
    """
    logged, told = signal.getsignal(signal.SIGTERM), list[int]()

    def note(number: int, frame: Any) -> None:
        told.append(number)
        if callable(logged):
            logged(number, frame)

    signal.signal(signal.SIGTERM, note)
    try:
        result = run()
    except SystemExit as error:  # of a training, which has its own handler and has saved its work
        if error.code in TERMINATED:
            time.sleep(ENDING_SECONDS)
        raise
    finally:
        signal.signal(signal.SIGTERM, logged)
    if told and result.status != JobStatus.COMPLETED:
        time.sleep(ENDING_SECONDS)
    return result


def patient(ask: Callable[[], T]) -> T:
    """The answer of a cluster whose controller may be away for a while.

    Raises NoAnswer after PATIENCE_SECONDS, and at once a UserError that no waiting would mend.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except NoAnswer:
            if time.monotonic() > until:
                raise
            time.sleep(POLL_SECONDS)


def follow(
    cells: Sequence[Cell],
    alive: Callable[[], Mapping[str, str]],
    start: Callable[[Sequence[Cell]], None],
    console: Console,
    reasons: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Returns when all cells have ended.

    ``alive`` gives the jobs that have not ended; ``start`` submits some or all of the cells that wait;
    ``reasons`` says why jobs do not start, where they wait for more than their turn.
    """
    at = time.monotonic()
    while not all(cell.ended for cell in cells):
        known = patient(alive)
        for cell in cells:
            before = cell.status
            cell.look(known)
            if cell.status != before and (cell.ended or cell.status == "running"):
                at = time.monotonic()
                text = f"cell {cell.number} ({cell.name}): {cell.status}"
                console.print(text + (f", {cell.error}" if cell.error else ""), markup=False, highlight=False)
        if waiting := [cell for cell in cells if cell.job is None]:
            start(waiting)
        if time.monotonic() - at > LINE_EVERY_SECONDS:
            at = time.monotonic()
            done = sum(cell.ended for cell in cells)
            ids = {cell.job.job_id for cell in cells if cell.job is not None and not cell.ended}
            waiting_for = sorted({reason for job, reason in reasons().items() if job in ids})
            why = f"; some do not start: {', '.join(waiting_for)}" if waiting_for else ""
            console.print(f"{done} of {len(cells)} cells have ended{why}", highlight=False)
        time.sleep(POLL_SECONDS)


def table(cells: Sequence[Cell]) -> Table:
    """How each cell ended, and where its log is."""
    shown = Table("cell", title="multirun")
    for name in ("overrides", "ended", "pass@1", "log"):
        shown.add_column(name, overflow="fold")  # so that long paths are not cut
    for cell in cells:
        value = f"{cell.value:.3f}" if isinstance(cell.value, float) else ""
        status = f"{cell.status}: {cell.error}" if cell.error else cell.status
        # Text: brackets in overrides and errors are not rich's markup
        shown.add_row(*map(Text, (str(cell.number), cell.name, status, value, str(cell.log or ""))))
    return shown


def failure(cells: Sequence[Cell]) -> CellsFailed | None:
    """The error that ends the multirun; None: all cells are done."""
    failed = [cell for cell in cells if cell.status != "done"]
    if not failed:
        return None
    code = UserError.exit_code if all(cell.status == "bad input" for cell in failed) else 1
    return CellsFailed(f"{len(failed)} of {len(cells)} cells have no result; the table above says why", code)
