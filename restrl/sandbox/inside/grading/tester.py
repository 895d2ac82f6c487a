"""The tests' process: it holds the tests, judges one program after another and sends the host the verdicts.

It runs test code of the data set, never code of a model, and decodes what solutions claim.  A claim can lead
test code to take memory or time without end: each job has a limit on memory, and an alarm kills this process
if a job does not end; the host then starts a new one.
"""

from __future__ import annotations

import gc
import resource
import signal
import socket
import sys
import time
from typing import Any

from ..confine import linux
from ..wire import codec
from ..wire.control import Ended
from ..wire.frames import Channel, Closed
from . import clock
from .call_tests import CallTests
from .code_tests import AssertTests, CheckTests
from .failures import Failure, one_line
from .inprocess_tests import Ds1000Tests, UnittestTests
from .solution import CREDIT, FRAME_LIMIT, HarnessError, Limits, Server, Solution
from .stdio_tests import StdioTests
from .tally import CannotJudge, Tally

KINDS: dict[str, Any] = {
    "call": CallTests,
    "stdio": StdioTests,
    "asserts": AssertTests,
    "check": CheckTests,
    "unittest": UnittestTests,
    "ds1000": Ds1000Tests,
    "pytest": CheckTests,  # without an entry point: the tests import what they call
}
GRACE = 5.0  # seconds that a job may take beyond the program's own limit
COPIES = 4 * FRAME_LIMIT  # bytes beyond the solution's memory: its largest result is also held encoded


def serve(host: socket.socket, control: socket.socket, memory: int) -> None:
    """Answers jobs until the host closes its end.  ``memory``: the solution's limit in bytes."""
    sys.setrecursionlimit(5000)
    clock.prepare()
    server = Server(control)
    link = Channel(host.fileno(), 1 << 31)
    prepared: dict[bytes, Any] = {}
    while True:
        try:
            job = codec.decode(link.receive())
        except Closed:
            return
        for key in job["forget"]:
            prepared.pop(key, None)
        if "tests" in job:
            tests = codec.decode(job["tests"])
            try:
                prepared[job["key"]] = KINDS[tests["kind"]](tests)
            except Exception as error:
                prepared[job["key"]] = error
        limits = Limits(job["test_seconds"], job["program_seconds"])
        before = limit_memory(memory + COPIES)
        signal.setitimer(signal.ITIMER_REAL, (1 + CREDIT) * limits.program + GRACE)
        answer = _judge(prepared[job["key"]], job["source"], server, limits, link)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if limit_memory(None) > before + memory // 8:
            gc.collect()  # scopes of tests are cycles; the collector does not see how large they are
        link.send(codec.encode(answer))
        if answer["status"] == "harness_error" and not answer["final"]:
            return  # whatever is broken, the host starts both processes anew


def limit_memory(room: int | None) -> int:
    """Lets this process map ``room`` more bytes than it has now (None: no limit); what it has now."""
    own, hard = linux.address_space(), resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = hard if room is None else own + room if hard < 0 else min(own + room, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    return own


class Starter:
    """Starts the process of the one program that is judged, when its tests ask for it."""

    def __init__(self, server: Server, limits: Limits, host: int) -> None:
        self.server, self.limits, self.host = server, limits, host
        self.solution: Solution | None = None

    def __call__(self, job: dict[str, Any]) -> Solution:
        """Raises HarnessError or OSError where there can be no process."""
        self.solution = Solution(self.server, self.limits, job["mode"] == "inprocess", self.host)
        self.solution.begin(job)
        clock.start(self.limits.program)
        return self.solution


def _judge(tests: Any, source: str, server: Server, limits: Limits, link: Channel) -> dict[str, Any]:
    """The verdict as plain data; status "harness_error" if it says nothing about the program."""
    if isinstance(tests, Exception):
        text = str(tests) if type(tests) in (ValueError, CannotJudge) else f"{type(tests).__name__}: {tests}"
        return _error(f"cannot be judged: {text}", final=not isinstance(tests, (MemoryError, OSError)))
    started = time.monotonic()
    start = Starter(server, limits, link.fd)
    ended = Ended(None, 0.0)
    tally = Tally(total=1)
    try:
        try:
            tally = tests.run(start, source)
        except (MemoryError, SystemError):  # the latter where the interpreter has lost the former
            limit_memory(None)  # to end the program and to answer
            tally = Tally(total=1)
            tally.fail(
                Failure(error="MemoryError: the tests ran out of memory with what this program returned")
            )
        except clock.OutOfTime:
            tally = Tally(total=1, stop="timeout")
            tally.fail(Failure(error="the tests did not end with what this program returned"))
        finally:
            clock.stop()
            if start.solution is not None:
                # how a program ends that has passed decides nothing: with another job at hand, do not wait
                ended = start.solution.end(wait=tally.passed < tally.total or not link.ready())
    except CannotJudge as error:
        return _error(f"cannot be judged: {error}", final=True)
    except (HarnessError, OSError) as error:
        return _error(str(error))
    solution = start.solution
    if solution is None:
        return _error("there was no memory for a program")
    if solution.harness_error:
        return _error(solution.harness_error)
    return {
        "status": _status(tally, ended, limits),
        "passed": tally.passed,
        "total": tally.total,
        "detail": tally.detail,
        "failure": tally.failure.bounded() if tally.failure and tally.passed < tally.total else None,
        "flags": tally.flags,
        "seconds": time.monotonic() - started - solution.credit,
    }


def _status(tally: Tally, ended: Ended, limits: Limits) -> str:
    """The status of the verdict: here a completion becomes one.  Only passed tests make ``passed``."""
    if tally.passed == tally.total:
        return "passed"
    killed = ended.status is not None and ended.status & 127 == signal.SIGKILL
    if tally.stop == "timeout" or (killed and ended.cpu >= 0.9 * limits.program):
        return "timeout"
    return "memory" if tally.memory else "failed"


def _error(detail: str, final: bool = False) -> dict[str, Any]:
    """``final``: the tests are to blame, so another try would end the same way."""
    return {"status": "harness_error", "passed": 0, "total": 0, "detail": one_line(detail), "seconds": 0.0,
            "final": final}  # fmt: skip
