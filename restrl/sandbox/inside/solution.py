"""The tests' side of the wall: one running solution, as the process that judges it sees it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import codec, wire

CREDIT = 3  # program limits that a program may get back for time without a processor
SIZES = {"value": 3, "raise": 3, "loaded": 2, "output": 4, "ended": 1, "proof": 4}  # parts, the word included
BUFFER = 1 << 18  # bytes, of a connection to a program
FRAME_LIMIT = 64 << 20  # bytes of one value that a solution may return


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


class Server:
    """The fork server, at the other end of ``control``."""

    def __init__(self, control: socket.socket) -> None:
        control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.control = control
        self.ending = False  # whether it has still to say that the last program has ended

    def start(self, shared: bool) -> tuple[int, int]:
        """A process for a program, ``shared`` with its tests or not; one at a time.

        The descriptor of a connection to it, which does not block, and its parent.  Raises HarnessError.
        """
        near, far = socket.socketpair()
        with near, far:
            for end in (near, far):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            near.setblocking(False)
            try:
                wire.send_fd(self.control, b"S" if shared else b"F", far.fileno())
                if self.ending:
                    self.ended()
                answer, parent = wire.receive_with_sender(self.control)
            except OSError:
                raise HarnessError("the server is gone") from None
            if answer != b"F":
                raise HarnessError(answer[1:].decode("utf-8", "replace") or "the server is gone")
            return near.detach(), parent

    def kill(self) -> None:
        """Has the program's whole tree killed.  It is gone before there is another."""
        self.control.sendall(b"K")
        self.ending = True

    def ended(self) -> tuple[int | None, float]:
        """Waits until it is gone.  Its exit status if it had ended by itself, its CPU seconds.

        Raises HarnessError if the server is gone or the program was never run.
        """
        self.ending = False
        try:
            status, cpu, problem = wire.receive_ended(self.control)
        except wire.Closed:
            raise HarnessError("the server is gone") from None
        if problem:
            raise HarnessError(problem)
        return status, cpu


class Solution:
    """A process for one program, ended by ``end``.  ``host``: the lifeline's descriptor."""

    def __init__(self, server: Server, limits: Limits, shared: bool, host: int) -> None:
        self.server = server
        self.limits = limits
        self.stop: Stop | None = None
        self.tasks = 1  # of a program that starts none itself
        self.harness_error = ""
        self.credit = 0.0  # seconds that this program was kept from the processor and got back
        fd, self.parent = server.start(shared)
        self.channel = wire.Channel(fd, FRAME_LIMIT, lifeline=host)

    def begin(self, job: dict[str, Any]) -> None:
        """Sends the program, and starts the clocks.  Where it cannot be sent, the first question says so."""
        self.tasks = 2 if job["mode"] == "stdio" else 1
        self.end_of_program = time.monotonic() + self.limits.program
        self.begin_test()
        with contextlib.suppress(Stop):
            self.send(codec.encode(job))

    def begin_test(self) -> None:
        """Starts the clock of the next test."""
        self.deadline = min(time.monotonic() + self.limits.test, self.end_of_program)

    def guarded(self, step: Callable[[], Any]) -> Any:
        """``step()``; what it raises becomes a Stop, which every later call raises again."""
        if self.stop is not None:
            raise self.stop
        try:
            while True:
                try:
                    return step()
                except wire.TimedOut:
                    self._out_of_time()
        except Stop as stop:
            self.stop = stop
        except HarnessError as error:
            self.harness_error = str(error)
            self.stop = Stop("harness", str(error))
        except wire.Closed:
            self.stop = Stop("gone", "the program ended before its tests did")
        except (wire.WireError, codec.CodecError) as error:
            self.stop = Stop("broken", f"unreadable result: {error}")
        except RecursionError:
            self.stop = Stop("broken", "unreadable result: nested too deep")
        raise self.stop

    def _out_of_time(self) -> None:
        """Gives back what the program waited for a processor, or raises: busy machine, slow program."""
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

    def read(
        self,
        raw: bytes,
        handle: Callable[[int], Any] | None = None,
        words: tuple[str, ...] = ("value", "raise"),
    ) -> tuple[Any, ...]:
        """The message in ``raw``, a tuple that begins with one of ``words``.  Raises Stop."""

        def parse() -> tuple[Any, ...]:
            message = codec.decode(raw, handle)
            if type(message) is not tuple or not message or type(message[0]) is not str:
                raise codec.CodecError("not a message")
            if message[0] not in words or len(message) != SIZES[message[0]]:
                raise codec.CodecError("not a message that may stand here")
            return message

        return tuple(self.guarded(parse))

    def request(self, raw: bytes, handle: Callable[[int], Any]) -> tuple[Any, ...]:
        """One question and its answer.  Raises Stop."""
        self.send(raw)
        return self.read(self.receive_raw(), handle)

    def loaded(self) -> list[str]:
        """Waits until the program's top level has run; its global names.  Raises Stop or LoadError."""
        message = self.read(self.receive_raw(), words=("loaded", "raise"))
        if message[0] == "raise":
            raise LoadError(describe(message))
        if type(message[1]) is not list:
            raise Stop("broken", "not a known message")
        return [name for name in message[1] if type(name) is str]

    def end(self, wait: bool) -> tuple[int | None, float]:
        """Kills the program.  As ``Server.ended``; nothing is known if that is not waited for."""
        self.channel.close()
        self.server.kill()
        return self.server.ended() if wait else (None, 0.0)


def waiting_seconds(parent: int, tasks: int) -> float:
    """Seconds that the program below the process ``parent`` stood ready without a processor.

    0 where the kernel is silent, and for a program of more than ``tasks`` processes and threads: it may have
    kept itself from the processor.
    """
    total, found = 0, 0
    try:
        new = _children(parent)
        while new:
            task = new.pop()
            found += len(os.listdir(f"/proc/{task}/task"))
            if found > tasks:
                return 0.0
            with open(f"/proc/{task}/schedstat") as stat:
                total += int(stat.read().split()[1])
            new += _children(task)
    except (OSError, IndexError, ValueError):
        return 0.0
    return total / 1e9


def _children(task: int) -> list[int]:
    with open(f"/proc/{task}/task/{task}/children") as children:
        return [int(word) for word in children.read().split()]


class LoadError(Exception):
    """The program's top level raised."""


def describe(message: tuple[Any, ...]) -> str:
    """An exception of the solution in one line.  Whatever it claims, the line is text of bounded length."""
    kind, text = (part if type(part) is str else "?" for part in message[1:3])
    return " ".join(f"{kind}: {text}".split())[:200]
