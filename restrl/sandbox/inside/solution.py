"""The tests' side of the wall: one running solution, as the process that judges it sees it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import codec, wire

CREDIT = 3  # program limits that a program may get back for time without a processor
SIZES = {"value": 3, "raise": 3, "loaded": 2, "output": 4, "ended": 1, "proof": 4}  # parts, the word included
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


class Solution:
    """A child with the program; used once, then ended by ``end``.  ``host``: the lifeline's descriptor."""

    def __init__(self, server: socket.socket, limits: Limits, job: dict[str, Any], host: int) -> None:
        self.server = server
        self.limits = limits
        self.stop: Stop | None = None
        server.sendall(b"S" if job["mode"] == "shared" else b"F")
        answer, fd = wire.receive_fd(server)
        if fd is None:
            raise HarnessError(answer[1:].decode("utf-8", "replace") or "the server is gone")
        self.pid = int(answer[1:])
        self.tasks = 2 if job["mode"] == "stdio" else 1  # of a program that starts none itself
        self.harness_error = ""
        self.credit = 0.0  # seconds that this program was kept from the processor and got back
        self.channel = wire.Channel(wire.stream(fd), FRAME_LIMIT, lifeline=host)
        self.end_of_program = time.monotonic() + limits.program
        self.begin_test()
        self.guarded(lambda: self.channel.send(codec.encode(job), self.deadline))

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
        late = waiting_seconds(self.pid, self.tasks) - self.credit
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
        self.guarded(lambda: self.channel.send(raw, self.deadline))
        return self.read(self.receive_raw(), handle)

    def loaded(self) -> list[str]:
        """Waits until the program's top level has run; its global names.  Raises Stop or LoadError."""
        message = self.read(self.receive_raw(), words=("loaded", "raise"))
        if message[0] == "raise":
            raise LoadError(describe(message))
        if type(message[1]) is not list:
            raise Stop("broken", "not a known message")
        return [name for name in message[1] if type(name) is str]

    def end(self) -> dict[str, Any]:
        """Kills the program's whole tree.  Its exit status if it had ended itself, its seconds.

        Raises HarnessError if the server is gone or the program was never run.
        """
        self.channel.close()
        self.server.sendall(b"K")
        answer = b""
        while not answer.endswith(b"\n"):
            data = self.server.recv(4096)
            if not data:
                raise HarnessError("the server is gone")
            answer += data
        result: dict[str, Any] = json.loads(answer)
        if result["problem"]:
            raise HarnessError(result["problem"])
        return result


def waiting_seconds(pid: int, tasks: int) -> float:
    """Seconds that a program stood ready without a processor.

    0 where the kernel is silent, and for a program of more than ``tasks`` processes and threads: it may have
    kept itself from the processor.
    """
    total, found, new = 0, 0, [pid]
    try:
        while new:
            task = new.pop()
            found += len(os.listdir(f"/proc/{task}/task"))
            if found > tasks:
                return 0.0
            with open(f"/proc/{task}/schedstat") as stat:
                total += int(stat.read().split()[1])
            with open(f"/proc/{task}/task/{task}/children") as children:
                new += [int(word) for word in children.read().split()]
    except (OSError, IndexError, ValueError):
        return 0.0
    return total / 1e9


class LoadError(Exception):
    """The program's top level raised."""


def describe(message: tuple[Any, ...]) -> str:
    """An exception of the solution in one line.  Whatever it claims, the line is text of bounded length."""
    kind, text = (part if type(part) is str else "?" for part in message[1:3])
    return " ".join(f"{kind}: {text}".split())[:200]
