"""The connection between the tests' process and whoever forks programs: the fork server or one of its cells.

No program holds an end of this connection.

Requests: ``FORK`` a process for a program, or ``FORK_INPROCESS`` one for a program with its tests, each with
one end of a socket from which the new process reads its job; then ``KILL``.  Answers: to the first ``FORK``,
or ``REFUSED`` and a reason; to the second ``Ended``.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from .frames import Closed

FORK, FORK_INPROCESS, KILL, REFUSED = b"F", b"S", b"K", b"E"
_ENDED = struct.Struct("=id200s")  # exit status, CPU seconds, problem
_STILL_RUNNING = -1  # in the place of an exit status
_CREDENTIALS = struct.Struct("=iII")  # process, user, group
_FD = struct.Struct("=i")
_FD_SPACE = socket.CMSG_SPACE(_FD.size)


class Ended(NamedTuple):
    """How a program's process ended."""

    status: int | None  # as waitpid gives it, if the process had ended by itself; None: it was killed
    cpu: float  # seconds of a processor
    problem: str = ""  # why no program was run at all, or ""

    def pack(self) -> bytes:
        status = _STILL_RUNNING if self.status is None else self.status
        return _ENDED.pack(status, self.cpu, self.problem.encode("utf-8", "replace"))


def receive_ended(sock: socket.socket) -> Ended:
    """What ``Ended.pack`` wrote.  Raises Closed."""
    data = sock.recv(_ENDED.size, socket.MSG_WAITALL)
    if len(data) < _ENDED.size:
        raise Closed
    status, cpu, problem = _ENDED.unpack(data)
    status = None if status == _STILL_RUNNING else status
    return Ended(status, cpu, problem.rstrip(b"\0").decode("utf-8", "replace"))


def refusal(error: BaseException) -> bytes:
    """The message that there is no process for a program, and why."""
    return REFUSED + f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:200]


def send_fd(sock: socket.socket, payload: bytes, fd: int) -> None:
    """Sends a short message (below 4 KiB) with one file descriptor."""
    sock.sendmsg([payload], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _FD.pack(fd))])


def receive_fd(sock: socket.socket) -> tuple[bytes, int | None]:
    """One byte that ``send_fd``, or a plain send, sent; the descriptor, if one came with it."""
    payload, ancillary, _flags, _address = sock.recvmsg(1, _FD_SPACE)
    return payload, _FD.unpack(ancillary[0][2])[0] if ancillary else None


def receive_with_sender(sock: socket.socket) -> tuple[bytes, int]:
    """A short message and the process that sent it, as this process numbers it (0: unknown).

    Needs ``SO_PASSCRED`` on the socket.
    """
    payload, ancillary, _flags, _address = sock.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
    return payload, _CREDENTIALS.unpack(ancillary[0][2])[0] if ancillary else 0
