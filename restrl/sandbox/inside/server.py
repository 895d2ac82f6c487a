"""The fork server: a warm interpreter that forks one confined child per program and kills it whole.

It never sees a program or a test.  The tests' process asks for a child and gets a socket to it; the child
reads its program from there.  Messages from the tests' process: ``F`` fork, ``S`` fork for tests
in the program's process, ``K`` kill.  Answers: to ``F`` and ``S``
the letter ``F``, the process id and the socket, or ``E`` and a reason; to ``K`` a line of JSON (``_kill``).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
from typing import Any

from . import child, shared, wire
from .isolate import Entry, Isolation, Settings

BUFFER = 1 << 18  # of the socket between a child and the tests


def serve(control: socket.socket, settings: Settings) -> None:
    """Answers until the tests' process closes ``control``."""
    preload(settings.preload)
    isolation = Isolation(settings)
    child.rehearse()
    isolation.prepare()
    entry = Entry()
    report = {"active": isolation.active, "missing": isolation.missing}
    print(json.dumps(report), flush=True)
    while True:
        message = control.recv(1)
        if message not in (b"F", b"S"):
            return
        if message == b"S":
            shared.warm()
        try:
            inside, pid = _fork(isolation, entry)
        except OSError as error:
            control.sendall(b"E" + str(error).encode()[:200])
            continue
        wire.send_fd(control, b"F%d" % pid, inside.fileno())
        inside.close()
        started = time.monotonic()
        if control.recv(1) != b"K":
            _end(pid, isolation)
            return
        control.sendall(_kill(pid, isolation, started, entry) + b"\n")


# What solutions import most: loaded once here, found loaded by every child.
COMMON = (
    "bisect collections copy dataclasses datetime decimal fractions functools hashlib heapq itertools json "
    "math operator random re statistics string typing"
)


def preload(modules: list[str]) -> None:
    """Imports the listed modules; one that cannot be imported is left to the programs that want it."""
    for name in [*COMMON.split(), *modules]:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"sandbox: preload of {name}: {error}", file=sys.stderr)


def _fork(isolation: Isolation, entry: Entry) -> tuple[socket.socket, int]:
    entry.clear()
    inside, outside = socket.socketpair()
    for end in (inside, outside):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    try:
        pid = isolation.fork()
    except OSError:
        inside.close()
        outside.close()
        raise
    if pid == 0:
        child.main(outside.fileno(), isolation, entry)  # never returns
    outside.close()
    return inside, pid


def _kill(pid: int, isolation: Isolation, started: float, entry: Entry) -> bytes:
    """Ends the program.  JSON: its exit status if it had ended itself, CPU and wall seconds, and why it was
    not run, if so."""
    early, status, usage = os.wait4(pid, os.WNOHANG)
    cpu = usage.ru_utime + usage.ru_stime
    if not early:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _end(pid, isolation)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    else:
        _end_orphans(pid, isolation)
    _empty(isolation.settings.folder)
    answer: dict[str, Any] = {"status": status if early else None, "cpu": cpu}
    answer["seconds"] = time.monotonic() - started
    answer["problem"] = entry.problem()
    return json.dumps(answer).encode()


def _end(pid: int, isolation: Isolation) -> None:
    """SIGKILL for the whole tree, then reap.  Process 1 of a namespace takes all others with it."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    _end_orphans(pid, isolation)


def _end_orphans(pid: int, isolation: Isolation) -> None:
    """Without a pid namespace: the group (the filter keeps all in it), and whoever was adopted by us."""
    if "pidns" in isolation.active:
        return
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        for orphan in _children():
            os.kill(orphan, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return  # nobody is left
        select.select([], [], [], 0.001)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as children:
            return [int(word) for word in children.read().split()]
    except OSError:
        return []


def _empty(folder: str) -> None:
    """Removes what is in the folder, or nothing where the host has removed it: it closes."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _open_modes(entry.path)
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def _open_modes(folder: str) -> None:
    """Folders that a program made without any right (mkdir(mode=0)) can be emptied again."""
    os.chmod(folder, 0o700)
    for path, names, _files in os.walk(folder):
        for name in names:
            inner = os.path.join(path, name)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
