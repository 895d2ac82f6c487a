"""The fork server: a warm interpreter from which every program is forked, confined, and killed whole.

The server never sees a program or a test: a program crosses a socket to its own process, and tests stay in
theirs.  ``wire/control.py`` describes what the tests' process asks and what is answered.

Where programs may share a confined process, that process answers (``cell``), and the server only starts one
cell after another.  Elsewhere the server answers, and each program's process is confined by itself.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import time

from ..confine import folder
from ..confine.entry import Entry
from ..confine.isolate import Isolation
from ..confine.settings import Settings
from ..inprocess import session
from ..program import child, fresh, streams
from ..wire import control as protocol
from . import cell


def serve(control: socket.socket, settings: Settings) -> None:
    """Answers until the tests' process closes ``control``."""
    preload(settings.preload)
    isolation = Isolation(settings)
    child.rehearse()
    fresh.forget_start(settings.memory)
    isolation.prepare()
    report = {"active": isolation.active, "missing": isolation.missing, "cells": isolation.cells}
    print(json.dumps(report), flush=True)
    os.dup2(isolation.null, 1)
    streams.open_standard()
    step = _run_cell if isolation.cells else _run_program
    while step(control, isolation):
        with contextlib.suppress(FileNotFoundError):  # the host closes, and has removed it
            folder.empty(isolation.settings.folder)


def _run_cell(control: socket.socket, isolation: Isolation) -> bool:
    """Lets a cell answer until it ends; whether another cell shall take over."""
    pid = isolation.fork()
    if pid == 0:
        cell.main(control, isolation)  # never returns
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == cell.WARM:
        session.warm()
    return status in (cell.MORE, cell.WARM)


def _run_program(control: socket.socket, isolation: Isolation) -> bool:
    """Answers for one program; whether another may follow."""
    request, channel = protocol.receive_fd(control)
    if channel is None:
        return False
    if request == protocol.FORK_INPROCESS:
        session.warm()
    entry = Entry()
    try:
        pid = isolation.fork()
    except OSError as error:
        control.sendall(protocol.refusal(error))
        return False
    if pid == 0:
        child.main(channel, isolation, entry)  # never returns
    os.close(channel)
    control.sendall(protocol.FORK)
    connected = control.recv(1) == protocol.KILL  # otherwise the tests' process is gone
    ended = cell.end(pid)
    _end_orphans(pid, isolation)
    if connected:
        control.sendall(ended._replace(problem=entry.problem()).pack())
    return connected


# What solutions import most: the server loads it once, and every child has it.
COMMON = (
    "bisect collections copy dataclasses datetime decimal fractions functools hashlib heapq itertools json "
    "math operator random re statistics string typing"
)


def preload(modules: list[str]) -> None:
    """Imports the listed modules.  One that cannot be imported is reported; a program that needs it fails."""
    for name in [*COMMON.split(), *modules]:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"sandbox: preload of {name}: {error}", file=sys.stderr)


def _end_orphans(pid: int, isolation: Isolation) -> None:
    """Without a pid namespace: kills the program's process group, and the children that this process adopted.

    The filter on system calls keeps a program's processes in their group.
    """
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
