"""What runs inside a job of a pipeline: one ``train.py`` command, on SLURM or on this machine.

The command's output goes to the job's log, and its exit code to a file, which tells a pipeline that looks
later how the job ended, where the cluster keeps no accounts.  Before SLURM takes the machine away the command
gets SIGTERM, so that a training saves a checkpoint, and the job is queued again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from restrl.files import write_json_atomic
from restrl.process import EXIT_TERMINATED, die_with_parent
from restrl.ranks import ranks_of

LEAVE_SECONDS = 60.0  # for a command to save its work after SIGTERM
ENDING_SECONDS = 300.0  # for SLURM to end a job whose command it has ended
LOG = "log.txt"
TERMINATED = (EXIT_TERMINATED, -signal.SIGTERM)


@dataclass(frozen=True)
class JobFiles:
    """The files of one job: a step, or a part of one."""

    folder: Path

    def log(self, rank: int = 0) -> Path:
        return self.folder / (LOG if rank == 0 else f"rank{rank}.log")

    def exit_code(self) -> int | None:
        """How the last attempt ended; None: it has not ended, or was killed without a trace."""
        try:
            return int(json.loads((self.folder / "exit.json").read_text(encoding="utf-8"))["code"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def alive(self) -> bool:
        """Whether a process of this machine runs the job."""
        try:
            with FileLock(self.folder / "alive.lock", timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False  # not even its folder is there

    def ended(self, code: int) -> None:
        write_json_atomic(self.folder / "exit.json", {"code": code, "time": time.time()})

    def forget(self) -> None:
        """Before another attempt."""
        (self.folder / "exit.json").unlink(missing_ok=True)

    def tail(self, lines: int) -> list[str]:
        """The last lines of the log."""
        try:
            with open(self.log(), "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 400 * lines))
                return file.read().decode(errors="replace").splitlines()[-lines:]
        except OSError:
            return []


class Job:
    """A command in a job.  submitit pickles it, calls it, and calls ``checkpoint`` before a preemption."""

    def __init__(self, folder: Path, command: Sequence[str], cwd: Path) -> None:
        self.files, self.command, self.cwd = JobFiles(folder), list(command), cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._leaving = False  # whether we have ended the command ourselves

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_process": None, "_leaving": False}

    def __call__(self) -> None:
        """Raises RuntimeError unless the command's exit code is 0, so that SLURM knows the job as failed."""
        rank = ranks_of().rank
        self.files.folder.mkdir(parents=True, exist_ok=True)
        with open(self.files.log(rank), "ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_ignore_preemption,
            )
            if rank > 0:  # submitit lets the first task alone act on its signal
                signal.signal(signal.SIGUSR2, self._pass_on)
            code = self._process.wait()
        if code in TERMINATED and not self._leaving:
            # SLURM has told the command that the job ends.  A job that ended by itself now would count as
            # failed, and would not be queued again.
            time.sleep(ENDING_SECONDS)
        if rank == 0:
            self.files.ended(code)
        if code != 0:
            raise RuntimeError(f"exit code {code}; see {self.files.log(rank)}")

    def _pass_on(self, _number: int, _frame: Any) -> None:
        """Lets this rank's training save its part, as the first rank's does."""
        if self._process is not None and not _ended(self._process.pid):
            os.kill(self._process.pid, signal.SIGTERM)

    def checkpoint(self) -> Any:
        """Ends the command, so that it saves what it has; the same job is queued again."""
        import submitit

        self.leave()
        return submitit.helpers.DelayedSubmission(self)

    def leave(self) -> None:
        """Ends the command and waits for it; for handlers of signals."""
        self._leaving = True
        if self._process is None:
            return
        deadline = time.monotonic() + LEAVE_SECONDS
        os.kill(self._process.pid, signal.SIGTERM)
        while not _ended(self._process.pid):
            if time.monotonic() > deadline:
                os.kill(self._process.pid, signal.SIGKILL)
            time.sleep(0.1)


def _ended(pid: int) -> bool:
    """Whether a child has ended.

    A signal's handler may call it while Popen.wait holds its lock, so it neither waits nor reaps.
    """
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _ignore_preemption() -> None:
    """SLURM sends submitit's signal to all processes of a job; to the command it would be deadly."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def main(arguments: list[str]) -> int:
    """Runs a job on this machine: ``python -m launchers.job FOLDER CWD COMMAND...``."""
    folder, cwd, *command = arguments
    job = Job(Path(folder), command, Path(cwd))
    die_with_parent(os.getppid(), signal.SIGTERM)  # with the pipeline that started it

    def leave(number: int, _frame: Any) -> None:
        job.leave()
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    job.files.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(job.files.folder / "alive.lock"), contextlib.suppress(RuntimeError):
        job()
    return job.files.exit_code() or 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
