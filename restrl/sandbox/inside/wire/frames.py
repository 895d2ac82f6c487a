"""Frames on a stream socket: four bytes of length, then the payload.  One end may be hostile."""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Iterator

_LENGTH = struct.Struct(">I")
_read, _write = os.read, os.write  # kept: beside in-process tests the program can replace the module's own
READ = 1 << 16  # bytes at a time: malloc would map and unmap a larger buffer at each read


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

    Deadlines need a descriptor that does not block.  ``lifeline``: another descriptor; if its peer hangs up
    while this end waits, this process ends.
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
        milliseconds = None if deadline is None else (deadline - time.monotonic()) * 1000
        events = poller.poll(milliseconds) if milliseconds is None or milliseconds > 0 else []
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
        """Whether bytes wait to be read."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(self.buffer) or bool(poller.poll(0))

    def close(self) -> None:
        os.close(self.fd)
