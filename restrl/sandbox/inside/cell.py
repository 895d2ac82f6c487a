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
    """The loop.  Few calls, few names: after each fork this process copies every page that it touches."""
    place, warm = isolation.settings.folder, shared.is_warm()
    fork, close, listdir = linux.plain_fork, os.close, os.listdir
    for _ in range(PROGRAMS):
        message, channel = wire.receive_fd(control)
        if channel is None:
            return 0
        if message == b"S":
            shared.warm()
        try:
            pid = fork()
        except OSError as error:
            control.sendall(wire.refusal(error))
            return 1
        if pid == 0:
            child.begin(channel, isolation)
        close(channel)
        control.send(b"F")
        if control.recv(1) != b"K":
            return 0
        control.send(_end(pid))
        if listdir(place):
            try:
                folder.empty(place)
            except OSError:
                return MORE  # the server has the right to
        if message == b"S" and not warm:
            return WARM
    return MORE


def _end(pid: int) -> bytes:
    """Ends the program and whatever it started; the answer to the tests' process."""
    early, status, usage = os.wait4(pid, os.WNOHANG)
    if not early:
        os.kill(pid, signal.SIGKILL)
        _pid, status, usage = os.wait4(pid, 0)
    try:
        while True:  # orphans are this process's children: without children nobody is left
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                os.kill(-1, signal.SIGKILL)
                os.waitpid(-1, 0)
    except ChildProcessError:
        return wire.ended(status if early else None, usage.ru_utime + usage.ru_stime)
