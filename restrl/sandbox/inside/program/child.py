"""A program's process: it confines itself, reads one job and does it.  It knows the program and its inputs.

The program can change everything in this process once it runs.  It may: this process can only claim values,
and what a claim is worth is decided in the tests' process.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal wraps it in enums, which is slow in a new process
import os
import signal
import socket
import sys
from typing import Any

from ..confine.entry import Entry
from ..confine.isolate import Isolation
from ..confine.settings import CHANNEL_FD
from ..inprocess import session as inprocess
from ..wire import codec, frames
from . import stdio
from .failure import failure
from .loading import load
from .objects import encode_lowered
from .session import Session, find, in_turn

JOB_LIMIT = 1 << 30
LOADED = codec.encode(("loaded", []))  # without the program's names: tests of kind "call" ask for none


def main(channel: int, isolation: Isolation, entry: Entry) -> None:
    """Confines this process, then does what the first message says.  Never returns."""
    try:
        isolation.enter(channel)
        isolation.limit_time()
    except BaseException as error:
        entry.failed(error)
        os._exit(1)
    entry.confined()
    _work(isolation.settings.disable)


def begin(channel: int, isolation: Isolation) -> None:
    """As ``main``, in a process that a cell has forked: it is confined already.  Never returns."""
    try:
        isolation.limit_time()
        _signal.signal(signal.SIGINT, signal.default_int_handler)  # a cell has none
        os.dup2(channel, CHANNEL_FD, inheritable=False)  # in the place of the cell's own connection
        os.close(channel)
    except BaseException:
        os._exit(1)
    _work(isolation.settings.disable)


def _work(disable: list[str]) -> None:
    """Does what the first message says.  ``disable``: layers of ``inprocess`` to leave out."""
    try:
        link = frames.Channel(CHANNEL_FD, JOB_LIMIT)
        job = codec.decode(link.receive())
        if job["mode"] == "stdio":
            stdio.run(link, job)
        elif job["mode"] == "inprocess":
            inprocess.serve(link, job, disable)
        else:
            _serve_objects(link, job)
    finally:
        os._exit(0)


def rehearse() -> None:
    """Does in the server what children do: an interpreter is faster at what it has done before."""
    near, far = socket.socketpair()
    with near, far:
        for _ in range(10):
            job = {
                "mode": "call",
                "source": "def f(x): return x",
                "fn_name": "f",
                "inputs": frames.frame(codec.encode([1])),
                "more": False,
                "in_turn": False,
            }
            _serve_objects(frames.Channel(near.fileno(), JOB_LIMIT), codec.decode(codec.encode(job)))
            far.recv(frames.READ)
    del sys.modules["solution"]


def _serve_objects(link: frames.Channel, job: dict[str, Any]) -> None:
    """Loads the program, then runs the calls of the job (mode "call") or those that come (mode "serve")."""
    try:
        names = load(job["source"], "solution")
    except BaseException as error:
        link.send(codec.encode(failure(error)))
        return
    if job["mode"] == "serve":
        Session(link, names, job["arrays"]).serve()
    link.send(LOADED)
    try:
        function = find(names, job["fn_name"])
    except BaseException as error:
        link.send(codec.encode(failure(error)))
        return
    if job["in_turn"]:
        function = in_turn(function)
    for arguments in frames.frames(job["inputs"]):
        link.send(_result(function, arguments))
    if job["more"]:
        for arguments in frames.frames(link.receive()):
            link.send(_result(function, arguments))


def _result(function: Any, arguments: bytes) -> bytes:
    """The encoded outcome of a call."""
    try:
        return codec.BEFORE_RESULT + encode_lowered(function(*codec.decode(arguments))) + codec.AFTER_RESULT
    except BaseException as error:
        return codec.encode(failure(error))
