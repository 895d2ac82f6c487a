"""Runs programs against their tests with nothing in between: no sandbox, no limit but time.

``python plain.py`` reads lines of JSON ``{"id", "source", "tests"}`` (kinds unittest and ds1000) and writes a
line for each: ``{"id", "passed", "error", "network"}``.  ``error`` is the end of the first traceback,
``network`` whether the program looked for another machine.  It tells what an environment can do from what the
sandbox forbids, so it runs under the environment's own interpreter, with the standard library alone.
For references of published benchmarks only: a program has every right of the user.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
import types
import unittest
from typing import Any

SECONDS = 100  # of wall clock per program
LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "", None)


def run(source: str, tests: dict[str, Any]) -> str:
    """Why ``source`` fails its tests; empty if it passes."""
    if tests["kind"] == "ds1000":
        names: dict[str, Any] = {}
        exec(compile(tests["code_context"], "<context>", "exec"), names)
        for test in ("test_execution", "test_string"):
            if test in names:
                names[test](source)
        return ""
    module = types.ModuleType("program")
    sys.modules[module.__name__] = module
    exec(compile(f"{source}\n{tests['test']}", "<program>", "exec"), module.__dict__)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.__dict__["TestCases"])
    result = unittest.TestResult()
    suite.run(result)
    bad = result.errors + result.failures + result.skipped
    return bad[0][1] if bad else "" if result.testsRun else "no tests"


def child(task: dict[str, Any], folder: str, result: str) -> None:
    """Runs one program in ``folder`` and writes the file ``result``."""
    answer: dict[str, Any] = {"id": task["id"], "network": False}

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(("socket.getaddrinfo", "socket.gethost", "socket.getname", "socket.connect")):
            target = arguments[1] if event == "socket.connect" else arguments[0]
            host = target[0] if isinstance(target, tuple) else target
            answer["network"] |= host not in LOCAL

    os.setsid()
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder, MPLBACKEND="Agg", OMP_NUM_THREADS="1")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    sys.addaudithook(watch)
    try:
        answer["error"] = run(task["source"], task["tests"])
    except BaseException:
        answer["error"] = traceback.format_exc()
    answer["passed"] = not answer["error"]
    answer["error"] = answer["error"][-2000:]
    with open(result, "w") as file:
        json.dump(answer, file)


def judge(task: dict[str, Any]) -> dict[str, Any]:
    """``task``'s line of the output.  Kills what the program leaves behind."""
    folder = tempfile.mkdtemp(prefix="plain-")
    result = folder + ".json"
    pid = os.fork()
    if pid == 0:
        try:
            child(task, folder, result)
        finally:
            os._exit(0)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.alarm(SECONDS)
    status = os.waitpid(pid, 0)[1]
    signal.alarm(0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    if not os.path.exists(result):
        killed = os.WIFSIGNALED(status)
        error = f"no result within {SECONDS} s" if killed else "the program ended before its tests did"
        return {"id": task["id"], "passed": False, "error": error, "network": False}
    with open(result) as file:
        answer: dict[str, Any] = json.load(file)
    os.unlink(result)
    return answer


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(judge(json.loads(line))), flush=True)
