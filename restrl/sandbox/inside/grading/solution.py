"""The tests' side of the wall: one running solution, as the process that judges it sees it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from ..wire import codec, control, frames
from ..wire.control import Ended
from ..wire.messages import Callback, Loaded, Raised, Value, message_of
from .failures import describe

CREDIT = 3  # program limits that a program may get back for time without a processor
BUFFER = 1 << 18  # bytes, of a connection to a program
FRAME_LIMIT = 64 << 20  # bytes of one value that a solution may return
Message = TypeVar("Message")  # of the types in wire/messages.py
_CALL, _HEAD = codec.encode("call"), 5  # how the encoded tuple of a call begins, after its tag and length


class Stop(Exception):  # noqa: N818
    """The solution cannot go on.  ``kind``: timeout, gone, broken, harness."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class HarnessError(Exception):
    """The sandbox itself failed; says nothing about the program."""


@dataclass
class Limits:
    """Seconds of wall clock."""

    test: float
    program: float


class Started(NamedTuple):
    """A process for a program."""

    connection: int  # descriptor of a socket to it, which does not block
    parent: int  # the process that forked it, as this one numbers it


class Server:
    """The fork server, or the cell that answers for it, at the other end of ``connection``."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.connection = connection
        self.ending = False  # whether the server has still to say how the last program ended

    def start(self, inprocess: bool) -> Started:
        """Starts a process for a program; one at a time.  ``inprocess``: its tests run there too.

        Raises HarnessError.
        """
        near, far = socket.socketpair()
        with near, far:
            for end in (near, far):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            near.setblocking(False)
            try:
                request = control.FORK_INPROCESS if inprocess else control.FORK
                control.send_fd(self.connection, request, far.fileno())
                if self.ending:
                    self.ended()
                answer, parent = control.receive_with_sender(self.connection)
            except OSError:
                raise HarnessError("the server is gone") from None
            if answer != control.FORK:
                raise HarnessError(answer[1:].decode("utf-8", "replace") or "the server is gone")
            return Started(near.detach(), parent)

    def kill(self) -> None:
        """Asks the server to kill all processes of the program.  They are gone before another one starts."""
        self.connection.sendall(control.KILL)
        self.ending = True

    def ended(self) -> Ended:
        """Waits until the program is gone; how it ended.

        Raises HarnessError if the server is gone or the program was never run.
        """
        self.ending = False
        try:
            ended = control.receive_ended(self.connection)
        except frames.Closed:
            raise HarnessError("the server is gone") from None
        if ended.problem:
            raise HarnessError(ended.problem)
        return ended


class Solution:
    """A process for one program, ended by ``end``.  ``host``: the lifeline's descriptor."""

    def __init__(self, server: Server, limits: Limits, inprocess: bool, host: int) -> None:
        self.server = server
        self.limits = limits
        self.stop: Stop | None = None
        self.tasks = 1  # of a program that starts none itself
        self.harness_error = ""
        self.credit = 0.0  # seconds that this program was kept from the processor and got back
        self.last_call: bytes | None = None  # of the running test: the last call, as it was sent
        self.raised: Raised | None = None  # of the running test: the last exception of the program
        fd, self.parent = server.start(inprocess)
        self.channel = frames.Channel(fd, FRAME_LIMIT, lifeline=host)

    def begin(self, job: dict[str, Any]) -> None:
        """Sends the program, and starts the clocks.  Where it cannot be sent, the first question says so."""
        self.tasks = 2 if job["mode"] == "stdio" else 1
        self.end_of_program = time.monotonic() + self.limits.program
        self.begin_test()
        with contextlib.suppress(Stop):
            self.send(codec.encode(job))

    def begin_test(self) -> None:
        """Starts the clock of the next test."""
        self.last_call = self.raised = None
        self.deadline = min(time.monotonic() + self.limits.test, self.end_of_program)

    def guarded(self, step: Callable[[], Any]) -> Any:
        """``step()``.  An error becomes a Stop, which this and every later call raise."""
        if self.stop is not None:
            raise self.stop
        try:
            while True:
                try:
                    return step()
                except frames.TimedOut:
                    self._out_of_time()
        except Stop as stop:
            self.stop = stop
        except HarnessError as error:
            self.harness_error = str(error)
            self.stop = Stop("harness", str(error))
        except frames.Closed:
            self.stop = Stop("gone", "the program ended before its tests did")
        except (frames.WireError, codec.CodecError) as error:
            self.stop = Stop("broken", f"unreadable result: {error}")
        except RecursionError:
            self.stop = Stop("broken", "unreadable result: nested too deep")
        raise self.stop

    def _out_of_time(self) -> None:
        """Gives the program the time back for which it had no processor, or raises Stop or HarnessError.

        So a busy machine does not make a program late, and a slow program is late.
        """
        late = waiting_seconds(self.parent, self.tasks) - self.credit
        if late > 0.02 * self.limits.test:
            if self.credit > CREDIT * self.limits.program:
                raise HarnessError("the machine was too busy to judge this program")
            self.credit += late
            self.end_of_program += late
            self.deadline = min(self.deadline + late, self.end_of_program)
        elif self.deadline == self.end_of_program:
            raise Stop("timeout", f"all tests together took more than {self.limits.program:g} s")
        else:
            raise Stop("timeout", f"no result within {self.limits.test:g} s")

    def send(self, raw: bytes) -> None:
        """Sends a message.  The program must be waiting for one, or have read what fits.  Raises Stop."""
        self.guarded(lambda: self.channel.send(raw, self.deadline))

    def receive_raw(self) -> bytes:
        """The solution's next message.  Raises Stop."""
        return bytes(self.guarded(lambda: self.channel.receive(self.deadline)))

    def _read(self, raw: bytes, types: tuple[Any, ...], handle: Callable[[int], Any] | None) -> Any:
        def parse() -> Any:
            message = message_of(codec.decode(raw, codec.Hooks(handle)))
            if type(message) not in types:
                raise codec.CodecError("not a message that may stand here")
            return message

        return self.guarded(parse)

    def read(self, raw: bytes, kind: type[Message]) -> Message:
        """The message in ``raw``, of this type (``wire/messages.py``).  Raises Stop."""
        message: Message = self._read(raw, (kind,), None)
        return message

    def read_or_raised(
        self, raw: bytes, kind: type[Message], handle: Callable[[int], Any] | None = None
    ) -> Message | Raised:
        """The message in ``raw``, of this type or an exception of the program.  Raises Stop."""
        message: Message | Raised = self._read(raw, (kind, Raised), handle)
        return message

    def answer(self, raw: bytes) -> Value | Raised | Callback:
        """One question, or the outcome of a callback, and what the program says next.  Raises Stop."""
        if raw.startswith(_CALL, _HEAD):
            self.last_call = raw
        self.send(raw)
        message: Value | Raised | Callback = self._read(self.receive_raw(), (Value, Raised, Callback), None)
        if isinstance(message, Raised):
            self.raised = message
        return message

    def loaded(self) -> list[str]:
        """Waits until the program's top level has run; its global names.  Raises Stop or LoadError."""
        message = self.read_or_raised(self.receive_raw(), Loaded)
        if isinstance(message, Raised):
            raise LoadError(describe(message), message.line)
        if type(message.names) is not list:
            raise Stop("broken", "not a known message")
        return [name for name in message.names if type(name) is str]

    def end(self, wait: bool) -> Ended:
        """Kills the program; how it ended.  That is not known if the caller does not ``wait``."""
        self.channel.close()
        self.server.kill()
        return self.server.ended() if wait else Ended(None, 0.0)


def waiting_seconds(parent: int, tasks: int) -> float:
    """Seconds for which the program below the process ``parent`` was ready to run but had no processor.

    0 where the kernel does not tell, and for a program of more than ``tasks`` processes and threads: it may
    have kept itself from the processor.
    """
    nanoseconds, threads = 0, 0
    try:
        processes = _children(parent)
        while processes:
            process = processes.pop()
            threads += len(os.listdir(f"/proc/{process}/task"))
            if threads > tasks:
                return 0.0
            with open(f"/proc/{process}/schedstat") as stat:
                nanoseconds += int(stat.read().split()[1])
            processes += _children(process)
    except (OSError, IndexError, ValueError):
        return 0.0
    return nanoseconds / 1e9


def _children(task: int) -> list[int]:
    with open(f"/proc/{task}/task/{task}/children") as children:
        return [int(word) for word in children.read().split()]


class LoadError(Exception):
    """The program's top level raised, at ``line`` as the program claims."""

    def __init__(self, detail: str, line: Any = None) -> None:
        super().__init__(detail)
        self.line = line
