"""A confined process that forks programs, one after another.

They inherit its confinement, so that none has to be confined by itself, and it is process 1 of their pid
namespace: no signal from inside reaches it, none of them outlives it, and orphans become its children.  It
holds nothing that a program must not see: the others cross to their own processes, and no test comes here.
"""

from __future__ import annotations

import errno
import os
import signal
import socket

from . import child, folder, linux, shared, wire
from .isolate import CHANNEL_FD, Isolation, in_child

PROGRAMS = 128  # then a new one takes over
MORE, WARM = 10, 11  # exit statuses: another cell shall go on; and it shall be ready for the shared tier


def main(control: socket.socket, isolation: Isolation) -> None:
    """Confines this process, then answers on ``control`` as the server's docstring says.  Never returns."""
    status = 1
    try:
        status = _serve(control, isolation)
    finally:
        os._exit(status)


def _serve(control: socket.socket, isolation: Isolation) -> int:
    try:
        isolation.enter(control.fileno())
        control.detach()  # closed: it is this now, and nothing else is open
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, CHANNEL_FD)
        if in_child(isolation.limit_time) != 0:
            raise OSError(errno.EINVAL, "its processor time cannot be limited")
    except BaseException as error:
        wire.receive_fd(control)
        control.sendall(wire.refusal(error))
        return 1
    forget_handlers()
    return _answer(control, isolation)


def forget_handlers() -> None:
    """Process 1 of a namespace can be sent from inside what it has a handler for, and nothing else.

    Handlers of C libraries are not known to Python: every signal is set.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        ignored = signal.getsignal(number) is signal.SIG_IGN
        signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)


def _answer(control: socket.socket, isolation: Isolation) -> int:
    warm = shared.is_warm()
    for _ in range(PROGRAMS):
        message, channel = wire.receive_fd(control)
        if channel is None:
            return 0
        if message == b"S":
            shared.warm()
        try:
            pid = linux.plain_fork()
        except OSError as error:
            control.sendall(wire.refusal(error))
            return 1
        if pid == 0:
            child.begin(channel, isolation)
        os.close(channel)
        control.send(b"F")
        if control.recv(1) != b"K":
            return 0
        status, cpu = end(pid)
        _end_orphans()
        control.send(wire.ended(status, cpu))
        try:
            folder.empty(isolation.settings.folder)
        except OSError:
            return MORE  # the server has the right to
        if message == b"S" and not warm:
            return WARM
    return MORE


def end(pid: int) -> tuple[int | None, float]:
    """Ends a child of this process; its exit status if it had ended by itself, its CPU seconds."""
    early, status, usage = os.wait4(pid, os.WNOHANG)
    if not early:
        os.kill(pid, signal.SIGKILL)
        usage = os.wait4(pid, 0)[2]
    return status if early else None, usage.ru_utime + usage.ru_stime


def _end_orphans() -> None:
    """They are this process's children: without children nobody is left."""
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                os.kill(-1, signal.SIGKILL)
                os.waitpid(-1, 0)
    except ChildProcessError:
        return
