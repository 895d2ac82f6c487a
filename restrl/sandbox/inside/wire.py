"""Frames on a stream socket: four bytes of length, then the payload.  One end may be hostile."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterator

_LENGTH = struct.Struct(">I")
_ENDED = struct.Struct("=id200s")  # exit status, CPU seconds, problem
_CREDENTIALS = struct.Struct("=iII")  # process, user, group
_FD = struct.Struct("=i")
_FD_SPACE = socket.CMSG_SPACE(_FD.size)
_STILL = -1  # in the place of an exit status
_read, _write = os.read, os.write  # of the shared tier's child too, whose program can patch a module's
READ = 1 << 16  # bytes at a time: a larger buffer is a mapping of its own, made and dropped at each read


class WireError(Exception):
    """The peer broke the framing or sent more than it may."""


class Closed(WireError):  # noqa: N818
    """The peer is gone."""


class TimedOut(Exception):  # noqa: N818
    """No whole frame came before the deadline."""


def frame(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload


def frames(data: bytes) -> Iterator[bytes]:
    """The payloads of whole frames."""
    at = 0
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += 4 + size
        yield data[at - size : at]


class Channel:
    """One end of a connection: a descriptor.  ``limit`` is the largest payload in bytes that it accepts.

    Deadlines need a descriptor that does not block.
    ``lifeline``: a descriptor whose hanging up, while this end waits, ends the process.
    """

    def __init__(self, fd: int, limit: int, lifeline: int | None = None) -> None:
        self.fd = fd
        self.limit = limit
        self.buffer = bytearray()
        self.lifeline = lifeline

    def send(self, payload: bytes, deadline: float | None = None) -> None:
        """Writes a frame.  Raises Closed, or TimedOut at ``deadline`` (of time.monotonic)."""
        data: bytes | memoryview = frame(payload)
        try:
            while data:
                try:
                    sent = _write(self.fd, data)
                    data = memoryview(data)[sent:] if sent < len(data) else b""
                except BlockingIOError:
                    self._wait(select.POLLOUT, deadline)
        except OSError:
            raise Closed from None

    def receive(self, deadline: float | None = None) -> bytes:
        """The next payload.  Raises Closed, WireError, or TimedOut at ``deadline`` (of time.monotonic)."""
        while True:
            payload = self._take()
            if payload is not None:
                return payload
            if deadline is not None:
                self._wait(select.POLLIN, deadline)
            try:
                data = _read(self.fd, READ)
            except OSError:
                raise Closed from None
            if not data:
                raise Closed
            self.buffer += data

    def _wait(self, event: int, deadline: float | None) -> None:
        poller = select.poll()
        poller.register(self.fd, event)
        if self.lifeline is not None:
            poller.register(self.lifeline, 0)  # reports a hang-up only
        left = None if deadline is None else (deadline - time.monotonic()) * 1000
        events = poller.poll(left) if left is None or left > 0 else []
        if any(fd == self.lifeline for fd, _event in events):
            os._exit(0)
        if not events:
            raise TimedOut

    def _take(self) -> bytes | None:
        if len(self.buffer) < 4:
            return None
        (size,) = _LENGTH.unpack_from(self.buffer)
        if size > self.limit:
            raise WireError(f"a frame of {size} bytes, {self.limit} are allowed")
        if len(self.buffer) < 4 + size:
            return None
        payload = bytes(self.buffer[4 : 4 + size])
        del self.buffer[: 4 + size]
        return payload

    def ready(self) -> bool:
        """Whether more has come already."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(self.buffer) or bool(poller.poll(0))

    def close(self) -> None:
        os.close(self.fd)


def refusal(error: BaseException) -> bytes:
    """The server's message that there is no process for a program, and why."""
    return b"E" + f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:200]


def ended(status: int | None, cpu: float, problem: str = "") -> bytes:
    """The server's message on a program that it has ended.

    ``status``: the exit status if the program had ended by itself; ``cpu``: seconds; ``problem``: why it was
    not run at all, or "".
    """
    return _ENDED.pack(_STILL if status is None else status, cpu, problem.encode("utf-8", "replace"))


def receive_ended(sock: socket.socket) -> tuple[int | None, float, str]:
    """What ``ended`` was given.  Raises Closed."""
    data = sock.recv(_ENDED.size, socket.MSG_WAITALL)
    if len(data) < _ENDED.size:
        raise Closed
    status, cpu, problem = _ENDED.unpack(data)
    return None if status == _STILL else status, cpu, problem.rstrip(b"\0").decode("utf-8", "replace")


def send_fd(sock: socket.socket, payload: bytes, fd: int) -> None:
    """A short datagram-like message (below 4 KiB) with one file descriptor."""
    sock.sendmsg([payload], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _FD.pack(fd))])


def receive_fd(sock: socket.socket) -> tuple[bytes, int | None]:
    """What ``send_fd``, or a plain send of a byte, sent."""
    payload, ancillary, _flags, _address = sock.recvmsg(1, _FD_SPACE)
    return payload, _FD.unpack(ancillary[0][2])[0] if ancillary else None


def receive_with_sender(sock: socket.socket) -> tuple[bytes, int]:
    """A short message and the process that sent it, as this one numbers it (0: unknown).

    Needs ``SO_PASSCRED`` on the socket.
    """
    payload, ancillary, _flags, _address = sock.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
    return payload, _CREDENTIALS.unpack(ancillary[0][2])[0] if ancillary else 0
