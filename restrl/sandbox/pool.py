"""The sandbox as the project uses it: programs and tests go in, verdicts come out.

A verdict comes from the tests' process (``inside/grading/tester.py``); here it is kept, and vetoes and the
reward are applied to it.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from restrl.config import SandboxConfig
from restrl.errors import UserError
from restrl.records import Failure, Verdict
from restrl.sandbox.cache import VerdictCache
from restrl.sandbox.calibration import Machine, probe
from restrl.sandbox.flags import FLAGS, flags_of
from restrl.sandbox.inside.confine import folder
from restrl.sandbox.inside.confine.settings import PROTECTIONS, Settings
from restrl.sandbox.jobs import Job, Program, context_of, distinct
from restrl.sandbox.worker import DEPTH, Worker, default_python

RECYCLE = 10_000  # programs after which a worker is replaced; a cell lives for far fewer


class Sandbox:
    """Judges programs that nobody trusts.  A context manager; see the package's docstring."""

    disable: tuple[str, ...] = ()  # protections to leave out, for tests and benchmarks

    def __init__(self, config: SandboxConfig) -> None:
        """Starts the workers.

        Raises UserError off Linux, if ``config.require`` cannot be had, or for a cache that cannot be used.
        """
        if sys.platform != "linux":
            raise UserError(
                f"the sandbox needs Linux, not {sys.platform}: run in a Linux machine or container"
            )
        self.config = config
        self.lock = threading.Lock()
        self.folder = tempfile.mkdtemp(prefix="restrl_sandbox_")
        os.chmod(self.folder, 0o711)
        self.started = 0
        self.workers: list[Worker] = []
        self.cache: VerdictCache | None = None
        self.known = 0  # verdicts that the cache had
        try:
            cores = sorted(os.sched_getaffinity(0))
            count, self.python = config.workers or len(cores), default_python(config.python)
            self.machine: Machine | None = None
            if config.calibrate or config.cache is not None:
                self.machine = probe(self.python, min(count, len(cores)))
            # with fewer workers than cores, two runs might pin theirs to the same cores while others are idle
            places = cores if count == len(cores) else [None] * count
            self.workers = [self._start(core) for core in places]
            for worker in self.workers:
                worker.wait_ready()
            self._require(config.require)
            self._open_cache()
        except BaseException:
            self.close()
            raise

    @property
    def active(self) -> tuple[str, ...]:
        """The protections that this machine enforces, of ``PROTECTIONS``."""
        return tuple(self.workers[0].report["active"])

    @property
    def missing(self) -> dict[str, str]:
        """The protections that it does not enforce, and why."""
        return dict(self.workers[0].report["missing"])

    @property
    def inherited(self) -> bool:
        """Whether programs are forked by a confined process, not confined one by one."""
        return bool(self.workers[0].report["cells"])

    @property
    def factor(self) -> float:
        """By what the configured limits in seconds are multiplied, because this machine is slow."""
        return self.machine.factor if self.machine and self.config.calibrate else 1.0

    @property
    def facts(self) -> dict[str, Any]:
        """What a manifest says about this machine."""
        return {"active": list(self.active), "missing": self.missing, "limits_factor": self.factor}

    @property
    def notices(self) -> list[str]:
        """Lines that a run should begin with: what this machine lacks."""
        lines = []
        if self.missing:
            gaps = ", ".join(f"{name} ({why})" for name, why in self.missing.items())
            lines.append(f"sandbox: this machine does not enforce {gaps}")
        if self.factor > 1:
            lines.append(f"sandbox: limits in seconds are {self.factor:g} times longer on this slow machine")
        return lines

    def _open_cache(self) -> None:
        self.context = b""
        if self.config.cache is not None and self.machine is not None:
            self.context = context_of(self.config, self.active, self.machine.identity)
            self.cache = VerdictCache(Path(self.config.cache))

    def _require(self, names: Sequence[str]) -> None:
        for flag in self.config.veto:
            if flag not in FLAGS:
                raise UserError(f"sandbox.veto: {flag!r} is not one of {', '.join(FLAGS)}")
        for name in names:
            if name not in PROTECTIONS:
                raise UserError(f"sandbox.require: {name!r} is not one of {', '.join(PROTECTIONS)}")
            if name not in self.active:
                why = self.missing.get(name, "not available")
                raise UserError(f"sandbox.require: this machine does not enforce {name} ({why})")

    def _start(self, core: int | None) -> Worker:
        c, slot = self.config, self.started
        self.started += 1
        settings = Settings(
            folder=os.path.join(self.folder, f"program_{slot}"),
            memory=c.memory_mb << 20,
            processes=c.processes,
            file_size=c.file_mb << 20,
            cpu_seconds=math.ceil(c.program_seconds * self.factor) + 1,
            uid=_unprivileged_uid(slot),
            preload=list(c.preload),
            disable=list(self.disable),
        )
        return Worker(self.python, settings, core)

    def judge(
        self, programs: Sequence[Program], progress: Callable[[int], None] | None = None
    ) -> list[Verdict]:
        """The verdict of each (source of the whole program, tests) pair, in order.

        Pairs run in parallel, identical pairs once, and pairs whose verdict is in the cache not at all.
        ``progress`` is called with the number of pairs just judged.  Raises UserError for tests that are not
        of a known form.
        """
        with self.lock:
            for worker in self.workers:
                if worker.stopped:
                    self._renew(worker)
            settings = {"output_limit": self.config.output_kb << 10, "whole": not self.config.partial_credit}
            jobs, order = distinct(programs, settings, self.context)
            shares = [order.count(i) for i in range(len(jobs))] if len(jobs) < len(order) else [1] * len(jobs)
            note = (lambda i: progress(shares[i])) if progress else (lambda _i: None)
            try:
                again = self._run_all(jobs, self._unknown(jobs, note), self.workers, note)
                for index in again:  # alone: no other program of this sandbox competes for the machine
                    self._run_all(jobs, [index], self.workers[:1], note)
            except BaseException:  # no half-done job may answer later
                for worker in self.workers:
                    if worker.jobs:
                        worker.stop()
                raise
            finally:
                if self.cache is not None:
                    self.cache.flush()
        return [self._final(jobs[index]) for index in order]

    def _unknown(self, jobs: list[Job], note: Callable[[int], None]) -> list[int]:
        """The jobs that have to be judged; the others have their verdicts from the cache."""
        known = self.cache.find([job.digest for job in jobs]) if self.cache is not None else {}
        self.known += len(known)
        for index, job in enumerate(jobs):
            if job.digest in known:
                job.verdict = known[job.digest]
                note(index)
        return [index for index, job in enumerate(jobs) if job.verdict is None]

    def _run_all(
        self, jobs: list[Job], todo: list[int], workers: list[Worker], note: Callable[[int], None]
    ) -> list[int]:
        """Judges the jobs ``todo``; returns those that must be tried again, alone."""
        queue, again = deque(todo), list[int]()
        with selectors.DefaultSelector() as selector:
            for worker in workers:
                selector.register(worker.socket, selectors.EVENT_READ, worker)
            while queue or any(worker.jobs for worker in workers):
                for worker in workers:
                    self._feed(worker, jobs, queue)
                    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outbox else 0)
                    selector.modify(worker.socket, events, worker)
                for key, _events in selector.select():
                    worker = key.data
                    worker.flush()
                    answers = worker.answers()
                    lost = answers is None
                    broken = any(_sandbox_failed(answer) for _index, answer in answers or [])
                    for index, answer in answers or []:
                        self._settle(jobs, index, answer, again, note)
                    if lost or broken or (worker.judged >= RECYCLE and not worker.jobs):
                        selector.unregister(worker.socket)
                        self._replace(worker, jobs, queue, again, note, blame=lost)
                        selector.register(worker.socket, selectors.EVENT_READ, worker)
        return again

    def _feed(self, worker: Worker, jobs: list[Job], queue: deque[int]) -> None:
        seconds = (self.config.test_seconds * self.factor, self.config.program_seconds * self.factor)
        while queue and len(worker.jobs) < DEPTH and worker.judged < RECYCLE:
            index = queue.popleft()
            job = jobs[index]
            worker.give(index, job.source, job.key, job.tests, seconds)

    def _replace(
        self,
        worker: Worker,
        jobs: list[Job],
        queue: deque[int],
        again: list[int],
        note: Callable[[int], None],
        blame: bool,
    ) -> None:
        """Puts a new pair of processes in the place of a dead or old one, and queues the jobs it held again.

        ``blame``: the pair died of the first program that it held; the others had not begun.
        """
        held = list(worker.jobs)
        ended = worker.stop()
        if blame and held and ended == -signal.SIGALRM:
            # the tests did not end with what this program returned
            answer = {"status": "timeout", "passed": 0, "total": 1, "detail": "the tests did not end",
                      "failure": {"error": "the tests did not end"},
                      "seconds": self.config.program_seconds * self.factor}  # fmt: skip
            self._settle(jobs, held.pop(0), answer, again, note)
        elif blame and held:
            self._settle(jobs, held.pop(0), _lost("a sandbox process died"), again, note)
        queue.extendleft(reversed(held))
        self._renew(worker)

    def _renew(self, worker: Worker) -> None:
        fresh = self._start(worker.core)
        fresh.wait_ready()
        worker.__dict__.update(fresh.__dict__)

    def _settle(
        self,
        jobs: list[Job],
        index: int,
        answer: dict[str, Any],
        again: list[int],
        note: Callable[[int], None],
    ) -> None:
        """Takes a verdict, or puts the job among those to try again."""
        job = jobs[index]
        if answer["status"] == "harness_error":
            job.lost += 1
            if job.lost == 1 and _sandbox_failed(answer):
                again.append(index)
                return
            detail = answer["detail"]
            failure = Failure(error=detail)
            job.verdict = Verdict("harness_error", 0, 0, None, answer["seconds"], detail, (), failure)
        else:
            job.verdict = self._verdict(answer, flags_of(job.source, answer.get("flags", ())))
            if self.cache is not None:
                self.cache.add(job.digest, job.verdict)
        note(index)

    def _verdict(self, answer: dict[str, Any], flags: tuple[str, ...]) -> Verdict:
        status, passed, total = answer["status"], answer["passed"], max(1, answer["total"])
        detail = answer["detail"]
        failure = Failure(**answer["failure"]) if answer.get("failure") else None
        vetoed = [flag for flag in flags if flag in self.config.veto]
        if vetoed and passed:
            status, passed, detail = "failed", 0, f"vetoed: {', '.join(vetoed)}"
            failure = Failure(error=detail)
        reward = passed / total if self.config.partial_credit else float(status == "passed")
        return Verdict(status, passed, total, reward, answer["seconds"], detail, flags, failure)

    def _final(self, job: Job) -> Verdict:
        if job.verdict is None:
            raise RuntimeError("a job was left without a verdict")
        return job.verdict

    def close(self) -> None:
        """Ends all processes and removes the folder.  May be called more than once."""
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.stop()
        if self.cache is not None:
            self.cache.close()
            self.cache = None
        folder.remove(self.folder)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sandbox_failed(answer: dict[str, Any]) -> bool:
    """Whether the sandbox could not judge, which it may do at a second try; the tests fail every time."""
    return answer["status"] == "harness_error" and not answer.get("final")


def _lost(detail: str) -> dict[str, Any]:
    return {"status": "harness_error", "passed": 0, "total": 0, "detail": detail, "seconds": 0.0}


def _unprivileged_uid(slot: int) -> int | None:
    """A user of its own for each worker, so that one program's processes do not count against another's."""
    return 20000 + os.getpid() % 1000 * 40 + slot % 40 if os.getuid() == 0 else None
