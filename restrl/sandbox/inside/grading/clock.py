"""A limit on the processor seconds that tests take for themselves.

Waiting for a solution has limits of its own (``solution.Limits``).  This one ends tests that do not end with
what a solution returned: a ``while`` that counts up to it, a search in it.
"""

from __future__ import annotations

import signal
from typing import Any

AFTER_STOP = 1.0  # seconds that tests may take once the solution has stopped: they only count failures then
AGAIN = 0.05  # seconds until OutOfTime is raised again: tests may catch everything

_running = False


class OutOfTime(BaseException):
    """The tests have used up their seconds."""


def prepare() -> None:
    """Called once, in the process's only thread."""
    signal.signal(signal.SIGPROF, _expired)


def start(seconds: float) -> None:
    """From here on ``OutOfTime`` is raised, again and again, after that many seconds of processor time."""
    global _running
    _running = True
    signal.setitimer(signal.ITIMER_PROF, seconds, AGAIN)


def shorten() -> None:
    """The solution has stopped."""
    if _running and signal.getitimer(signal.ITIMER_PROF)[0] > AFTER_STOP:
        start(AFTER_STOP)


def stop() -> None:
    global _running
    _running = False  # before the timer stops: a signal that is on its way then raises nothing
    signal.setitimer(signal.ITIMER_PROF, 0)


def _expired(_number: int, _frame: Any) -> None:
    if _running:
        raise OutOfTime
