"""The solution's side of the wall: the forked child, which knows the program and its inputs, nothing else.

Everything here is at the solution's mercy, and may be: it can only claim values, and what a value is worth is
decided in the tests' process.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the other wraps it for enums: slow in a new process
import builtins
import os
import signal
import socket
import sys
import types
from typing import Any

from . import codec, shared, stdio, values, wire
from .isolate import CHANNEL_FD, Entry, Isolation

JOB_LIMIT = 1 << 30
LOADED = codec.encode(("loaded", []))  # without the program's names, for tests that name their function


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
    """The same in a process that a cell has forked, and so is confined already.  Never returns."""
    try:
        isolation.limit_time()
        _signal.signal(signal.SIGINT, signal.default_int_handler)  # a cell has none
        os.dup2(channel, CHANNEL_FD, inheritable=False)  # in the place of the cell's own connection
        os.close(channel)
    except BaseException:
        os._exit(1)
    _work(isolation.settings.disable)


def _work(disable: list[str]) -> None:
    """Does what the first message says.  ``disable``: layers of the shared tier to leave out."""
    try:
        link = wire.Channel(CHANNEL_FD, JOB_LIMIT)
        job = codec.decode(link.receive())
        if job["mode"] == "stdio":
            stdio.run(link, job)
        elif job["mode"] == "shared":
            shared.serve(link, job, disable)
        else:
            _serve_objects(link, job)
    finally:
        os._exit(0)


def rehearse() -> None:
    """Does in the server what children do: what an interpreter has done before, it does faster."""
    near, far = socket.socketpair()
    with near, far:
        for _ in range(10):
            job = {
                "mode": "call",
                "source": "def f(x): return x",
                "fn_name": "f",
                "inputs": wire.frame(codec.encode([1])),
                "more": False,
            }
            _serve_objects(wire.Channel(near.fileno(), JOB_LIMIT), codec.decode(codec.encode(job)))
            far.recv(wire.READ)
    del sys.modules["solution"]


def load(source: str, name: str) -> dict[str, Any]:
    """Runs the program as module ``name``; its globals."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    module.__dict__["__builtins__"] = builtins
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    return module.__dict__


def failure(error: BaseException) -> tuple[str, str, str]:
    """The message for an exception of the solution."""
    try:
        text = str(error)[:300]
    except BaseException:
        text = ""
    return ("raise", type(error).__name__[:100], text)


def _serve_objects(link: wire.Channel, job: dict[str, Any]) -> None:
    """Loads the program, then runs the calls of the job (mode "call") or those that come (mode "serve")."""
    objects = values.Objects()
    try:
        names = load(job["source"], "solution")
    except BaseException as error:
        link.send(codec.encode(failure(error)))
        return
    if job["mode"] == "call":
        link.send(LOADED)
        try:
            function = find(names, job["fn_name"])
        except BaseException as error:
            link.send(codec.encode(failure(error)))
            return
        for arguments in wire.frames(job["inputs"]):
            link.send(_result(objects, function, arguments))
        if job["more"]:
            for arguments in wire.frames(link.receive()):
                link.send(_result(objects, function, arguments))
        return
    link.send(codec.encode(("loaded", [str(n) for n in list(names)[:2000] if type(n) is str])))
    while True:
        request = codec.decode(link.receive(), objects.get)
        changeable = request[-1] if request[0] == "call" else None
        link.send(_answer(objects, lambda r=request: operate(objects, names, r), changeable))


def _result(objects: values.Objects, function: Any, arguments: bytes) -> bytes:
    """The encoded outcome of a call."""
    try:
        return codec.BEFORE_RESULT + objects.encode(function(*codec.decode(arguments))) + codec.AFTER_RESULT
    except BaseException as error:
        return codec.encode(failure(error))


def _answer(objects: values.Objects, run: Any, arguments: Any) -> bytes:
    """The encoded outcome of ``run()``; with the arguments as it left them, if it changed them."""
    before = objects.snapshot(arguments)
    try:
        value = run()
        after = objects.snapshot(arguments)
        if after == before:
            return codec.BEFORE_RESULT + objects.encode(value) + codec.AFTER_RESULT
        return objects.encode(("value", value, arguments[0]))
    except BaseException as error:
        return codec.encode(failure(error))


def find(names: dict[str, Any], name: str) -> Any:
    """The function ``name`` of the program, or the method of that name of its class ``Solution``."""
    if name in names:
        return names[name]
    if "Solution" in names:
        return getattr(names["Solution"](), name)
    raise NameError(f"name {name!r} is not defined")


def operate(objects: values.Objects, names: dict[str, Any], request: tuple[Any, ...]) -> Any:
    """One operation on the solution's objects that a test asks for through a proxy."""
    operation: str = request[0]
    target: Any = request[1]
    rest = request[2:]
    if operation == "name":
        return objects.keep(find(names, target))
    if operation == "builtin":
        return objects.keep(getattr(builtins, target))
    if operation == "call":
        arguments, keywords = rest[-1]
        return target(*arguments, **keywords)
    action: Any = values.OPERATIONS[operation]
    return action(target, *rest[-1])
