"""The fork server: a warm interpreter from which every program is forked, confined, and killed whole.

It never sees a program or a test.  Messages from the tests' process: ``F`` fork, ``S`` fork for tests in the
program's process, each with a socket from which the new process reads its program; ``K`` kill.  Answers: to
``F`` and ``S`` the letter ``F``, or ``E`` and a reason; to ``K`` what ``wire.ended`` packs.

Where programs may share a confined process, that process answers (``cell``), and the server only starts one
after another.  Elsewhere the server answers, and each program's process is confined by itself.
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

from . import cell, child, folder, shared, wire
from .isolate import Entry, Isolation, Settings


def serve(control: socket.socket, settings: Settings) -> None:
    """Answers until the tests' process closes ``control``."""
    preload(settings.preload)
    isolation = Isolation(settings)
    child.rehearse()
    isolation.prepare()
    report = {"active": isolation.active, "missing": isolation.missing, "cells": isolation.cells}
    print(json.dumps(report), flush=True)
    step = _run_cell if isolation.cells else _run_program
    while step(control, isolation):
        with contextlib.suppress(FileNotFoundError):  # the host closes, and has removed it
            folder.empty(isolation.settings.folder)


def _run_cell(control: socket.socket, isolation: Isolation) -> bool:
    """Has a cell answer; whether another shall go on where it ended."""
    pid = isolation.fork()
    if pid == 0:
        cell.main(control, isolation)  # never returns
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == cell.WARM:
        shared.warm()
    return status in (cell.MORE, cell.WARM)


def _run_program(control: socket.socket, isolation: Isolation) -> bool:
    """Answers for one program; whether there may be another."""
    message, channel = wire.receive_fd(control)
    if channel is None:
        return False
    if message == b"S":
        shared.warm()
    entry = Entry()
    try:
        pid = isolation.fork()
    except OSError as error:
        control.sendall(wire.refusal(error))
        return False
    if pid == 0:
        child.main(channel, isolation, entry)  # never returns
    os.close(channel)
    control.sendall(b"F")
    wanted = control.recv(1) == b"K"
    status, cpu = cell.end(pid)
    _end_orphans(pid, isolation)
    if wanted:
        control.sendall(wire.ended(status, cpu, entry.problem()))
    return wanted


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
