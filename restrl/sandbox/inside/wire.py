"""Frames on a stream socket: four bytes of length, then the payload.  One end may be hostile."""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import time

_LENGTH = struct.Struct(">I")
READ = 1 << 16  # bytes at a time: a larger buffer is a mapping of its own, made and dropped at each read


class WireError(Exception):
    """The peer broke the framing or sent more than it may."""


class Closed(WireError):  # noqa: N818
    """The peer is gone."""


class TimedOut(Exception):  # noqa: N818
    """No whole frame came before the deadline."""


def frame(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload


class Channel:
    """One end of a connection.  ``limit`` is the largest payload in bytes that it accepts.

    ``lifeline``: a descriptor whose hanging up, while this end waits, ends the process.
    ``linger``: seconds to let more come before reading what has come, so that a peer that sends many small
    frames does not wake this end, and lose its processor, for each.
    """

    linger = 0.0

    def __init__(self, sock: socket.socket, limit: int, lifeline: int | None = None) -> None:
        self.sock = sock
        self.limit = limit
        self.buffer = bytearray()
        self.lifeline = lifeline
        self.poller = select.poll()
        if lifeline is not None:
            self.poller.register(lifeline, 0)  # reports a hang-up only

    def send(self, payload: bytes, deadline: float | None = None) -> None:
        """Writes a frame.  Raises Closed, or TimedOut at ``deadline`` (of time.monotonic)."""
        data = memoryview(frame(payload))
        try:
            while data:
                try:
                    data = data[self.sock.send(data, socket.MSG_DONTWAIT) :]
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
            if self.linger:
                time.sleep(self.linger)
            try:
                data = self.sock.recv(READ)
            except OSError:
                raise Closed from None
            if not data:
                raise Closed
            self.buffer += data

    def _wait(self, event: int, deadline: float | None) -> None:
        self.poller.register(self.sock.fileno(), event)
        left = None if deadline is None else (deadline - time.monotonic()) * 1000
        events = self.poller.poll(left) if left is None or left > 0 else []
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

    def close(self) -> None:
        self.sock.close()


def stream(fd: int) -> socket.socket:
    """The stream socket behind a descriptor.  Told its kind, Python does not ask the kernel for it."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)


def send_fd(sock: socket.socket, payload: bytes, fd: int) -> None:
    """A short datagram-like message (below 4 KiB) with one file descriptor."""
    sock.sendmsg([payload], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])


def receive_fd(sock: socket.socket) -> tuple[bytes, int | None]:
    """What ``send_fd`` or a plain send of a short message sent."""
    payload, ancillary, _flags, _address = sock.recvmsg(4096, socket.CMSG_SPACE(4))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds = array.array("i")
            fds.frombytes(data[:4])
            return payload, fds[0]
    return payload, None
