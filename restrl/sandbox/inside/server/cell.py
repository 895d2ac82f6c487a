"""A confined process that forks programs, one after another.

Programs inherit its confinement, so that none has to be confined by itself.  It is process 1 of their pid
namespace: no signal from inside reaches it, none of them outlives it, and it adopts their orphans.  It holds
nothing that a program must not see: programs cross to their own processes, and no test comes here.
"""

from __future__ import annotations

import errno
import os
import signal
import socket

from ..confine import folder, linux, namespaces
from ..confine.isolate import Isolation
from ..confine.settings import CHANNEL_FD
from ..inprocess import session
from ..program import child
from ..wire import control as protocol
from ..wire.control import Ended

PROGRAMS = 128  # after so many a new cell takes over
# exit statuses: another cell shall take over; and it shall be ready for in-process tests
MORE, WARM = 10, 11


def main(control: socket.socket, isolation: Isolation) -> None:
    """Confines this process, then answers on ``control`` (``wire/control.py``).  Never returns."""
    status = 1
    try:
        status = _serve(control, isolation)
    finally:
        os._exit(status)


def _serve(control: socket.socket, isolation: Isolation) -> int:
    try:
        isolation.enter(control.fileno())
        control.detach()  # ``enter`` has closed it: CHANNEL_FD is the connection, and nothing else is open
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, CHANNEL_FD)
        if linux.in_child(isolation.limit_time) != 0:
            raise OSError(errno.EINVAL, "its processor time cannot be limited")
    except BaseException as error:
        protocol.receive_fd(control)
        control.sendall(protocol.refusal(error))
        return 1
    forget_handlers()
    return _answer(control, isolation)


def forget_handlers() -> None:
    """Removes all signal handlers: programs can send process 1 of their namespace only what it handles.

    Python does not know the handlers of C libraries, so every signal is set.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        ignored = signal.getsignal(number) is signal.SIG_IGN
        signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)


def _answer(control: socket.socket, isolation: Isolation) -> int:
    was_warm = session.is_warm()
    for _ in range(PROGRAMS):
        request, channel = protocol.receive_fd(control)
        if channel is None:
            return 0
        if request == protocol.FORK_INPROCESS:
            session.warm()
        try:
            pid = linux.plain_fork()
        except OSError as error:
            control.sendall(protocol.refusal(error))
            return 1
        if pid == 0:
            child.begin(channel, isolation)
        os.close(channel)
        control.send(protocol.FORK)
        if control.recv(1) != protocol.KILL:
            return 0
        ended = end(pid)
        _end_orphans()
        control.send(ended.pack())
        namespaces.clear_streams()
        try:
            folder.empty(isolation.settings.folder)
        except OSError:
            return MORE  # the server has the right to
        if request == protocol.FORK_INPROCESS and not was_warm:
            return WARM
    return MORE


def end(pid: int) -> Ended:
    """Ends a child of this process, and says how it ended."""
    pid_of_ended, status, usage = os.wait4(pid, os.WNOHANG)
    if not pid_of_ended:
        os.kill(pid, signal.SIGKILL)
        usage = os.wait4(pid, 0)[2]
    return Ended(status if pid_of_ended else None, usage.ru_utime + usage.ru_stime)


def _end_orphans() -> None:
    """Kills what the program has left running: all of it is this process's children by now."""
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                os.kill(-1, signal.SIGKILL)
                os.waitpid(-1, 0)
    except ChildProcessError:
        return
