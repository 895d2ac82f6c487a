"""Where the jobs of a pipeline run: SLURM, or processes of this machine."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from launchers.job import Job, JobFiles
from launchers.shapes import Shape
from restrl.errors import UserError

State = Literal["waiting", "running"]  # of a job that has not ended


class NoAnswer(UserError):  # noqa: N818 (it may be over soon)
    """SLURM's controller does not answer, or refuses."""


WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "SUSPENDED")


# reasons to wait that end by themselves
ITS_TURN = ("None", "(null)", "Priority", "Resources", "Dependency", "JobArrayTaskLimit", "BeginTime")


class Backend(Protocol):
    watched: bool  # jobs start and go on only while somebody watches

    def submit(self, name: str, jobs: Sequence[Job], shape: Shape, after: Sequence[str]) -> list[str]:
        """Submits jobs of one step, to start when the jobs ``after`` have succeeded; returns their ids."""

    def states(self) -> dict[str, State]:
        """The jobs that have not ended, by id; also others of this user."""

    def reasons(self) -> dict[str, str]:
        """Why jobs that wait do not start, by id, where it is not for others to end."""

    def wait_for(self, job: str, after: Sequence[str]) -> None:
        """Lets a job that has not started wait for other jobs than before."""

    def cancel(self, jobs: Sequence[str]) -> None:
        """Ends jobs, also those that have ended already."""

    def close(self) -> None:
        """Called when nobody watches any more."""


class Slurm:
    """Jobs through submitit.  Those of one step are an array."""

    watched = False

    def __init__(self, folder: Path) -> None:
        """``folder``: for submitit's files."""
        self._folder = folder

    def submit(self, name: str, jobs: Sequence[Job], shape: Shape, after: Sequence[str]) -> list[str]:
        import submitit

        executor = submitit.AutoExecutor(
            folder=self._folder / "%j", cluster="slurm", slurm_max_num_timeout=shape.requeues
        )
        parameters = shape.submitit()
        extra = dict(parameters.pop("slurm_additional_parameters", None) or {})
        if after:
            extra["dependency"] = _after(after)
        executor.update_parameters(name=name, slurm_additional_parameters=extra, **parameters)
        try:
            if len(jobs) == 1:
                return [executor.submit(jobs[0]).job_id]
            with executor.batch():
                submitted = [executor.submit(job) for job in jobs]
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError, OSError) as error:
            raise UserError(f"SLURM did not take the job {name}: {error}") from error
        return [job.job_id for job in submitted]

    def states(self) -> dict[str, State]:
        return slurm_states()

    def reasons(self) -> dict[str, str]:
        return slurm_reasons()

    def wait_for(self, job: str, after: Sequence[str]) -> None:
        _slurm("scontrol", "update", f"JobId={job}", f"Dependency={_after(after)}")

    def cancel(self, jobs: Sequence[str]) -> None:
        if jobs:
            _slurm("scancel", "--quiet", *jobs)

    def close(self) -> None:
        """The jobs go on."""


def slurm_states() -> dict[str, State]:
    """This user's jobs that have not ended, by id, without those that SLURM holds after a failed launch.

    Nobody but a user would release these.  Raises UserError where SLURM is missing, and NoAnswer.
    """
    return {
        job: "waiting" if state in WAITING else "running"
        for job, state, reason in _queue()
        if reason.replace(" ", "_") != "launch_failed_requeued_held"
    }


def slurm_reasons() -> dict[str, str]:
    """Why this user's jobs do not start, such as PartitionConfig, by id, unless they wait their turn.

    Nothing where SLURM does not answer.
    """
    try:
        return {
            job: reason for job, state, reason in _queue() if state == "PENDING" and reason not in ITS_TURN
        }
    except NoAnswer:
        return {}


def _queue() -> list[tuple[str, str, str]]:
    """Id, state and reason of this user's jobs that have not ended."""
    lines = _slurm("squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i|%T|%r").splitlines()
    return [(job, state, reason) for job, state, reason in (line.strip().split("|", 2) for line in lines)]


def _after(jobs: Sequence[str]) -> str:
    return "afterok:" + ":".join(jobs) if jobs else ""


def _slurm(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise UserError(f"{command[0]}: not found; is this a machine of the SLURM cluster?") from error
    except subprocess.CalledProcessError as error:
        raise NoAnswer(f"{' '.join(command)}: {' '.join(error.stderr.split())}") from error


class Local:
    """Processes of this machine, of which at most ``at_a_time`` run; the ids are made up."""

    watched = True

    def __init__(self, at_a_time: int, others: Mapping[str, JobFiles]) -> None:
        """``others``: jobs that another process may have started, by id."""
        self._at_a_time, self._others = at_a_time, others
        self._waiting: dict[str, tuple[Job, list[str]]] = {}  # by id: and the ids that it waits for
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._failed: set[str] = set()
        self._count = 0

    def submit(self, name: str, jobs: Sequence[Job], shape: Shape, after: Sequence[str]) -> list[str]:
        del shape
        ids = []
        for job in jobs:
            self._count += 1
            ids.append(f"{name}-{os.getpid()}-{self._count}")
            self._waiting[ids[-1]] = (job, list(after))
        return ids

    def states(self) -> dict[str, State]:
        for id_, process in list(self._running.items()):
            if process.poll() is not None:
                del self._running[id_]
                if process.returncode != 0:
                    self._failed.add(id_)
        for id_, (job, after) in list(self._waiting.items()):
            if len(self._running) >= self._at_a_time:
                break
            if not {*after} & {*self._waiting, *self._running, *self._failed}:
                del self._waiting[id_]
                self._running[id_] = _started(job)
        others = [id_ for id_, files in self._others.items() if files.alive()]
        return {
            **dict.fromkeys(self._waiting, "waiting"),
            **dict.fromkeys([*self._running, *others], "running"),
        }

    def reasons(self) -> dict[str, str]:
        return {}

    def wait_for(self, job: str, after: Sequence[str]) -> None:
        waiting, _ = self._waiting[job]
        self._waiting[job] = (waiting, list(after))

    def cancel(self, jobs: Sequence[str]) -> None:
        running = [self._running.pop(job) for job in jobs if job in self._running]
        for job in jobs:
            self._waiting.pop(job, None)
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait()

    def close(self) -> None:
        """Ends what runs, so that it saves its work."""
        self.cancel([*self._waiting, *self._running])


def _started(job: Job) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "launchers.job", str(job.files.folder), str(job.cwd), *job.command],
        cwd=Path(__file__).parents[1],
        start_new_session=True,  # the terminal's Ctrl-C must not reach it: we end it ourselves
    )
