"""The jobs of a pipeline: what each is doing, and what has to be submitted next."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launchers.backends import Backend, State
from launchers.job import Job, JobFiles
from launchers.shapes import Shape
from restrl.errors import UserError
from restrl.files import write_json_atomic
from restrl.process import EXIT_USER_ERROR

GRACE_SECONDS = 2.0  # between two looks
GRACE = 2  # looks for which an exit code may come later than the cluster forgets the job
JOBS = "jobs.json"

# Of a job: new (not submitted), waiting, running, done, failed (it will be tried again), lost (the same, and
# it was killed without a trace), given up (no attempt is left), blocked (a step that it needs was given up).
OVER = ("done", "given up", "blocked")


Ask = Callable[[], Mapping[str, State]]


@dataclass
class Part:
    """A job: a step of the stage, or a part of one."""

    files: JobFiles
    command: Sequence[str]
    ids: list[str] = field(default_factory=list)  # of its attempts
    after: list[str] = field(default_factory=list)  # the jobs that the last attempt was told to wait for
    absent: int = 0  # looks in a row without a trace of it
    status: str = "new"
    reason: str = ""  # why it does not start, where it waits for more than its turn

    def look(self, alive: Mapping[str, State]) -> None:
        """Updates ``status``; ``alive``: the jobs that have not ended."""
        code = self.files.exit_code()
        if code is not None:
            self.status = "done" if code == 0 else "failed"
        elif not self.ids:
            self.status = "new"
        elif self.ids[-1] in alive:
            self.absent, self.status = 0, alive[self.ids[-1]]
        else:
            self.absent += 1
            self.status = "lost" if self.absent >= GRACE else "running"

    def forget(self) -> None:
        """It is as if it had not been submitted."""
        self.files.forget()
        self.ids, self.after, self.absent, self.status = [], [], 0, "new"


@dataclass
class StepJobs:
    """The jobs of a step."""

    name: str
    needs: Sequence[str]  # names of steps
    shape: Shape
    parts: list[Part]

    @property
    def statuses(self) -> list[str]:
        return [part.status for part in self.parts]

    def text(self) -> str:
        """Such as "6 done, 2 running"; just the status where there is one job."""
        counts = Counter(self.statuses)
        if len(self.parts) == 1:
            return self.parts[0].status
        return ", ".join(f"{count} {status}" for status, count in counts.items())


class Pipeline:
    """The jobs of a stage.  ``steps`` are in an order in which one process could make them."""

    def __init__(self, folder: Path, steps: Sequence[StepJobs], retries: int, cwd: Path) -> None:
        """``retries``: attempts of a job after its first; ``cwd``: the working directory of the jobs."""
        self.folder, self.retries, self.cwd = folder, retries, cwd
        self.steps = {step.name: step for step in steps}
        self._load()

    @property
    def parts(self) -> list[Part]:
        """The jobs of all steps."""
        return [part for step in self.steps.values() for part in step.parts]

    @property
    def over(self) -> bool:
        return all(part.status in OVER for part in self.parts)

    @property
    def succeeded(self) -> bool:
        return all(part.status == "done" for part in self.parts)

    def look(
        self, backend: Backend, ask: Callable[[Ask], Mapping[str, State]] = lambda states: states()
    ) -> None:
        """Updates the status of each job, and submits nothing; ``ask`` may ask a silent cluster again."""
        alive = ask(backend.states)
        for step in self.steps.values():
            for part in step.parts:
                part.look(alive)
                if part.status in ("failed", "lost") and self._hopeless(part):
                    part.status = "given up"
            if self._blocked(step):
                for part in step.parts:
                    part.status = part.status if part.status == "done" else "blocked"

        waiting = [part for part in self.parts if part.status == "waiting"]
        reasons = backend.reasons() if waiting else {}
        for part in self.parts:
            part.reason = reasons.get(part.ids[-1], "") if part.status == "waiting" else ""

    def settled_look(self, backend: Backend) -> None:
        """A look that waits for exit codes: they may come a little later than the cluster forgets a job."""
        self.look(backend)
        if any(part.absent for part in self.parts):
            time.sleep(GRACE_SECONDS)
            self.look(backend)

    def advance(self, backend: Backend) -> None:
        """Submits, after a ``look``, jobs that were not submitted yet or failed and have attempts left.

        A job that waits for one that failed is told to wait for its next attempt: SLURM would let it wait for
        ever.  Jobs that need what was given up are cancelled.
        """
        for step in self.steps.values():
            if "blocked" in step.statuses:
                backend.cancel([part.ids[-1] for part in step.parts if part.ids and part.status == "blocked"])
                continue
            after = self._unfinished(step)
            for part in step.parts:
                if part.status == "waiting" and not set(after) <= set(part.after):
                    backend.wait_for(part.ids[-1], after)
                    part.after = after
            again = [part for part in step.parts if part.status in ("new", "failed", "lost")]
            if again:
                self._submit(backend, step, again, after)
        self._save()

    def forget_failures(self, backend: Backend) -> None:
        """Gives jobs that failed or were interrupted all their attempts again, since the user asks for it."""
        self.settled_look(backend)
        stopped = [part for part in self.parts if part.status not in ("done", "waiting", "running")]
        self._end(backend, stopped)  # those that wait for ever for a job that failed
        for part in stopped:
            part.forget()
        self._save()

    def cancel(self, backend: Backend) -> int:
        """Ends the jobs; returns their number.  They count as not submitted, and not as attempts."""
        self.look(backend)
        ended = self._end(backend, [part for part in self.parts if part.status != "done"])
        for part in ended:
            part.forget()
        self._save()
        return len(ended)

    def _end(self, backend: Backend, parts: Sequence[Part]) -> list[Part]:
        """Ends those of the jobs that have not ended, also the blocked ones; returns them."""
        alive = backend.states()
        ended = [part for part in parts if part.ids and part.ids[-1] in alive]
        backend.cancel([part.ids[-1] for part in ended])
        return ended

    def forget_unstarted(self) -> None:
        """After the end of a backend whose jobs do not outlive it."""
        for part in self.parts:
            if part.status == "waiting":
                part.ids, part.after, part.status = part.ids[:-1], [], "new"
        self._save()

    def _hopeless(self, part: Part) -> bool:
        """Bad input would end another attempt the same."""
        return part.files.exit_code() == EXIT_USER_ERROR or len(part.ids) > self.retries

    def _blocked(self, step: StepJobs) -> bool:
        needed = [status for name in step.needs for status in self.steps[name].statuses]
        return "given up" in needed or "blocked" in needed

    def _unfinished(self, step: StepJobs) -> list[str]:
        """The jobs that the step has to wait for."""
        needed = [part for name in step.needs for part in self.steps[name].parts]
        return [part.ids[-1] for part in needed if part.status != "done"]

    def _submit(self, backend: Backend, step: StepJobs, parts: Sequence[Part], after: Sequence[str]) -> None:
        # SLURM may hold for ever what was lost
        backend.cancel([part.ids[-1] for part in parts if part.status == "lost"])
        for part in parts:
            part.files.forget()
        jobs = [Job(part.files.folder, part.command, self.cwd) for part in parts]
        ids = backend.submit(step.name, jobs, step.shape, after)
        for part, job in zip(parts, ids, strict=True):
            part.ids.append(job)
            part.after, part.absent, part.status = list(after), 0, "waiting"
        self._save()  # at once, so that a pipeline that is killed here finds its jobs again

    def _load(self) -> None:
        path = self.folder / JOBS
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not readable ({error}); remove it to submit all jobs again") from error
        for step in self.steps.values():
            for part, (ids, after) in zip(step.parts, known.get(step.name, []), strict=False):
                part.ids, part.after = ids, after

    def _save(self) -> None:
        data = {step.name: [[part.ids, part.after] for part in step.parts] for step in self.steps.values()}
        write_json_atomic(self.folder / JOBS, data)
