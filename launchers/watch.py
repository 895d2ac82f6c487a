"""What a person sees of a pipeline: its plan, what its jobs are doing, and why one failed."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from launchers.backends import Backend
from launchers.multirun import patient
from launchers.states import Pipeline, StepJobs
from restrl.progress import LINE_EVERY_SECONDS

TAIL = 8  # lines of a failed job's log that are shown
NEEDS = 3  # steps that a row of the table names
REPORT = "report"  # the last step, and its folder in the pipeline's


def plan_table(pipeline: Pipeline) -> Table:
    """What will run where, and after what."""
    table = Table("step", "jobs", "each on", "after", title=f"pipeline {pipeline.folder}")
    for step in pipeline.steps.values():
        after = ", ".join(step.needs[:NEEDS])
        if more := len(step.needs) - NEEDS:
            after += f" and {more} more" if more > 0 else ""
        table.add_row(step.name, str(len(step.parts)), step.shape.text(), after)
    return table


def status_table(pipeline: Pipeline) -> Table:
    """What each step is doing."""
    table = Table("step", "jobs", "attempts", "last line", title=f"pipeline {pipeline.folder}")
    for step in pipeline.steps.values():
        attempts = sum(len(part.ids) for part in step.parts)
        table.add_row(step.name, step.text(), str(attempts), _last_line(step))
    return table


def say_end(pipeline: Pipeline, console: Console) -> None:
    """The table, and where the results are if all jobs succeeded."""
    console.print(status_table(pipeline))
    report = pipeline.folder / REPORT
    if pipeline.succeeded and report.exists():
        console.print(f"results: {report}", markup=False, highlight=False, soft_wrap=True)


def _last_line(step: StepJobs) -> str:
    """Of the job that is working, or why one does not start; of several, the first."""
    for part in step.parts:
        if part.status == "running" and (lines := part.files.tail(1)):
            return lines[0]
    reason = next((part.reason for part in step.parts if part.reason), "")
    return reason and f"does not start: {reason}"


def failures(pipeline: Pipeline) -> list[str]:
    """The log's path and its last lines for each job that failed."""
    lines = []
    for step in pipeline.steps.values():
        for number, part in enumerate(step.parts):
            if part.status in ("failed", "lost", "given up"):
                code = part.files.exit_code()
                how = "was killed without a trace" if code is None else f"ended with exit code {code}"
                name = step.name if len(step.parts) == 1 else f"{step.name}, part {number}"
                tail = part.files.tail(TAIL)
                lines += [f"{name} {how}; {part.files.log()} {'ends with:' if tail else 'is empty'}"]
                lines += [f"  {line}" for line in tail]
    return lines


class Watch:
    """Follows a pipeline to its end: a line whenever a step changes, failures with the end of their log."""

    def __init__(self, pipeline: Pipeline, backend: Backend, console: Console, seconds: float) -> None:
        self.pipeline, self.backend, self.console, self.seconds = pipeline, backend, console, seconds
        self._said: dict[str, tuple[str, float]] = {}  # step -> its text, and when it was printed
        self._failed: set[str] = set()

    def run(self) -> int:
        """Returns the exit code: 0 if all jobs succeeded."""
        while True:
            self.pipeline.look(self.backend, patient)
            self._say()
            patient(lambda: self.pipeline.advance(self.backend))  # what is done already is not done again
            if self.pipeline.over:
                break
            time.sleep(self.seconds)
        say_end(self.pipeline, self.console)
        return 0 if self.pipeline.succeeded else 1

    def _say(self) -> None:
        for line in failures(self.pipeline):
            if line not in self._failed:
                self._failed.add(line)
                self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        now = time.monotonic()
        for step in self.pipeline.steps.values():
            text, line = step.text(), _last_line(step)
            before, at = self._said.get(step.name, ("waiting", 0.0))
            late = line != "" and now - at > LINE_EVERY_SECONDS
            if (text != before or late) and set(step.statuses) - {"new", "waiting"}:
                shown = f"{step.name}: {text}" + (f"; {line}" if line else "")
                self.console.print(shown, markup=False, highlight=False, soft_wrap=True)
                self._said[step.name] = (text, now)
