"""One worker: a fork server and a tests' process, both fresh interpreters, as the host sees them.

The host may be a process with threads and torch loaded, so it never forks without exec: it starts new
interpreters.  Both children are in sessions of their own, so that Ctrl-C reaches the host alone, and end by
themselves when the host is gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections import OrderedDict, deque
from typing import Any

from restrl.errors import UserError
from restrl.sandbox.inside.confine import folder
from restrl.sandbox.inside.confine.settings import Settings
from restrl.sandbox.inside.wire.codec import CodecError, decode, encode

BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside", "boot.py")
DEPTH = 2  # jobs a worker holds: the next one waits in its socket while one runs
TESTS_HELD = 512  # prepared tests that a worker keeps


class Worker:
    """A pair of processes that judges one program at a time.

    ``core``: the processor to which both and their programs keep; None: any.  They take turns, so one
    processor is enough, and waking a process on the processor that is in use is faster than on another.
    """

    def __init__(self, python: str, settings: Settings, core: int | None = None) -> None:
        self.python = python
        self.settings = settings
        self.core = core
        self.jobs: deque[int] = deque()  # what it works on, oldest first
        self.judged = 0
        self.held: OrderedDict[bytes, None] = OrderedDict()
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.report: dict[str, Any] = {}
        self._start()

    def _start(self) -> None:
        os.makedirs(self.settings.folder, exist_ok=True)
        if self.settings.uid is not None:
            os.chown(self.settings.folder, self.settings.uid, self.settings.uid)
        self.socket, tester_host = socket.socketpair()
        tester_control, server_control = socket.socketpair()
        try:
            self.server = self._run(
                "server",
                {
                    "control": server_control.fileno(),
                    "core": self.core,
                    "settings": dataclasses.asdict(self.settings),
                },
                [server_control],
                stdout=subprocess.PIPE,
            )
            self.tester = self._run(
                "tester",
                {
                    "control": tester_control.fileno(),
                    "core": self.core,
                    "host": tester_host.fileno(),
                    "memory": self.settings.memory,
                },
                [tester_control, tester_host],
                stdout=subprocess.DEVNULL,
            )
        finally:
            for end in (tester_host, tester_control, server_control):
                end.close()
        self.socket.setblocking(False)

    def _run(self, role: str, options: dict[str, Any], ends: list[socket.socket], stdout: int) -> Any:
        command = [self.python, "-s", "-W", "ignore", BOOT, role, json.dumps(options)]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                env=environment(self.settings.folder, self.python),
                pass_fds=[end.fileno() for end in ends],
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise UserError(f"sandbox.python={self.python}: cannot be run ({error.strerror})") from None

    def wait_ready(self) -> None:
        """Waits for the server's report on what it enforces.  Raises UserError if there is no server."""
        line = self.server.stdout.readline()
        self.server.stdout.close()
        if not line:
            raise UserError(f"sandbox.python={self.python}: the sandbox server did not start (see above)")
        self.report = json.loads(line)

    def give(self, job: int, source: str, key: bytes, tests: bytes, seconds: tuple[float, float]) -> None:
        """Queues a program.  ``tests``, encoded, cross only if the worker does not hold ``key``."""
        message = {"source": source, "key": key, "test_seconds": seconds[0], "program_seconds": seconds[1]}
        forget = []
        if key not in self.held:
            message["tests"] = tests
            if len(self.held) >= TESTS_HELD:
                forget.append(self.held.popitem(last=False)[0])
        self.held[key] = None
        self.held.move_to_end(key)
        payload = encode(message | {"forget": forget})
        self.outbox += struct.pack(">I", len(payload)) + payload
        self.jobs.append(job)
        self.flush()

    def flush(self) -> None:
        """Writes what the socket takes now."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self.outbox:
                sent = self.socket.send(self.outbox)
                del self.outbox[:sent]

    def answers(self) -> list[tuple[int, dict[str, Any]]] | None:
        """Verdicts that have come, by job; None if the worker is gone."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self.inbox += data
        result = []
        while len(self.inbox) >= 4:
            (size,) = struct.unpack_from(">I", self.inbox)
            if len(self.inbox) < 4 + size:
                break
            try:
                result.append((self.jobs.popleft(), decode(bytes(self.inbox[4 : 4 + size]))))
            except (CodecError, IndexError):
                return None
            del self.inbox[: 4 + size]
            self.judged += 1
        return result

    @property
    def stopped(self) -> bool:
        return self.socket.fileno() < 0

    def stop(self) -> int | None:
        """Kills both processes and all below them; the exit code of the tests' process if it had ended."""
        self.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.tester.wait(1.0)  # its lifeline is cut, or it is ending already
        ended: int | None = self.tester.poll()
        for process in (self.tester, self.server):
            process.send_signal(signal.SIGKILL)  # the running child dies with the server
            process.wait()
        if self.server.stdout:
            self.server.stdout.close()
        folder.remove(self.settings.folder)
        return ended


def environment(folder: str, python: str) -> dict[str, str]:
    """All that programs see of the environment.  ``python`` is the one that they run as a command."""
    single_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = f"{os.path.dirname(os.path.abspath(python))}:/usr/local/bin:/usr/bin:/bin"
    fixed = {"PATH": path, "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
    quiet = {"PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg"}
    return single_thread | fixed | quiet | {"HOME": folder, "TMPDIR": folder}


def default_python(python: str | None) -> str:
    return python or sys.executable
