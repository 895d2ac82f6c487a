"""The tests' process: knows the tests and the expected values, drives one solution at a time, tells the host.

It runs test code of the data set, never of a model, and decodes what solutions claim.  Both can be led by a
solution to take memory or time without end: each job has a limit on memory, and one that does not end is
ended by an alarm that kills the process; the host starts a new one.
"""

from __future__ import annotations

import gc
import resource
import signal
import socket
import sys
import time
from typing import Any

from . import clock, codec, linux, wire
from .codetests import AssertTests, CheckTests
from .kinds import CallTests, StdioTests, Tally
from .sharedtests import Ds1000Tests, UnittestTests
from .solution import CREDIT, FRAME_LIMIT, HarnessError, Limits, Server, Solution

KINDS: dict[str, Any] = {
    "call": CallTests,
    "stdio": StdioTests,
    "asserts": AssertTests,
    "check": CheckTests,
    "unittest": UnittestTests,
    "ds1000": Ds1000Tests,
}
GRACE = 5.0  # seconds that a job may take beyond the program's own limit
COPIES = 4 * FRAME_LIMIT  # bytes beyond the solution's memory: its largest result is also held encoded


def serve(host: socket.socket, control: socket.socket, memory: int) -> None:
    """Answers jobs until the host closes its end.  ``memory``: the solution's limit in bytes."""
    sys.setrecursionlimit(5000)
    clock.prepare()
    server = Server(control)
    link = wire.Channel(host.fileno(), 1 << 31)
    prepared: dict[bytes, Any] = {}
    while True:
        try:
            job = codec.decode(link.receive())
        except wire.Closed:
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
        if answer["status"] == "harness_error":
            return  # whatever is broken, the host starts both processes anew


def limit_memory(room: int | None) -> int:
    """Lets this process map ``room`` more bytes than it has now (None: no limit); what it has now."""
    own, hard = linux.address_space(), resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = hard if room is None else own + room if hard < 0 else min(own + room, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    return own


def _judge(tests: Any, source: str, server: Server, limits: Limits, link: wire.Channel) -> dict[str, Any]:
    """The verdict as plain data; status "harness_error" if it says nothing about the program."""
    if isinstance(tests, Exception):
        return _error(f"the tests cannot be used: {type(tests).__name__}: {tests}")
    started = time.monotonic()
    running: list[Solution] = []
    tally = Tally(total=1)
    status, cpu = None, 0.0

    def start(job: dict[str, Any]) -> Solution:
        running.append(Solution(server, limits, job["mode"] == "shared", link.fd))
        running[-1].begin(job)
        clock.start(limits.program)
        return running[-1]

    try:
        try:
            tally = tests.run(start, source)
        except (MemoryError, SystemError):  # the latter where the interpreter has lost the former
            limit_memory(None)  # to end the program and to answer
            detail = "MemoryError: the tests ran out of memory with what this program returned"
            tally = Tally(total=1, memory=True, detail=detail)
        except clock.OutOfTime:
            detail = "the tests did not end with what this program returned"
            tally = Tally(total=1, stop="timeout", detail=detail)
        finally:
            clock.stop()
            if running:  # where its end decides nothing and there is more to do, that is not waited for
                status, cpu = running[-1].end(wait=tally.passed < tally.total or not link.ready())
    except (HarnessError, OSError) as error:
        return _error(str(error))
    if not running:
        return _error("there was no memory for a program")
    if running[-1].harness_error:
        return _error(running[-1].harness_error)
    answer = {
        "status": _status(tally, status, cpu, limits),
        "passed": tally.passed,
        "total": tally.total,
        "detail": tally.detail,
    }
    answer["flags"] = tally.flags
    return answer | {"seconds": time.monotonic() - started - running[-1].credit}


def _status(tally: Tally, ended: int | None, cpu: float, limits: Limits) -> str:
    """``ended``: the exit status of a program that ended by itself; ``cpu``: its processor seconds."""
    if tally.passed == tally.total:
        return "passed"
    killed = ended is not None and ended & 127 == signal.SIGKILL
    if tally.stop == "timeout" or (killed and cpu >= 0.9 * limits.program):
        return "timeout"
    return "memory" if tally.memory else "failed"


def _error(detail: str) -> dict[str, Any]:
    return {"status": "harness_error", "passed": 0, "total": 0, "detail": " ".join(detail.split())[:200],
            "seconds": 0.0}  # fmt: skip
