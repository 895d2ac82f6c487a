"""A thread that runs the calls of an engine, so that every wait for the engine has a limit.

A call is a generator that yields after each of its steps.  The caller waits for one step at a time and, if a
step takes too long, raises an error that says so, although the engine's own code cannot be interrupted.  The
thread also keeps the engine apart from what is set for the caller's thread: autocast, gradients, the
affinity of memory.  Calls from several threads are run one after the other.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from restrl.protocols import Progress

T = TypeVar("T")

Work = Generator[int, None, T]  # yields the number of further completions that are done; returns the result


POLL_SECONDS = 0.5


class StuckError(Exception):
    """A step took longer than its limit."""


class DeadError(Exception):
    """What the call waits for has ended."""


class CallThread:
    """Runs calls in a daemon thread, which does not keep a process alive whose main thread has ended."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Work[Any], queue.SimpleQueue[Any], threading.Event] | None]
        self._calls = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run(
        self,
        work: Work[T],
        seconds: float,
        advance: Progress | None = None,
        alive: Callable[[], bool] = lambda: True,
    ) -> T:
        """The result of ``work``.  ``advance`` is called in the caller's thread.

        Raises StuckError if a step takes more than ``seconds``, DeadError if ``alive`` says so, and what
        ``work`` raises.  If the caller is interrupted (Ctrl-C), ``work`` ends after its current step.
        """
        replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        left = threading.Event()
        with self._lock:
            self._calls.put((work, replies, left))
            try:
                while True:
                    kind, value = _reply(replies, seconds, alive)
                    if kind == "step":
                        if advance is not None and value:
                            advance(value)
                    elif kind == "result":
                        return value  # type: ignore[no-any-return]
                    else:
                        raise value
            finally:
                left.set()

    def end(self, seconds: float) -> None:
        """Ends the thread after the current call; waits for it, at most ``seconds``.

        A process that ends while its thread frees what the engine held may be aborted.
        """
        self._calls.put(None)
        self._thread.join(seconds)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            work, replies, left = call
            try:
                replies.put(("result", _result(work, replies, left)))
            except BaseException as error:  # raised again in the caller's thread
                replies.put(("error", error))
            del call, work, replies, left  # they may hold weights


def _reply(replies: queue.SimpleQueue[Any], seconds: float, alive: Callable[[], bool]) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(queue.Empty):
            return replies.get(timeout=min(POLL_SECONDS, seconds))
        if not alive():
            raise DeadError
        if time.monotonic() >= deadline:
            raise StuckError


def _result(work: Work[T], replies: queue.SimpleQueue[Any], left: threading.Event) -> T | None:
    while not left.is_set():
        try:
            replies.put(("step", next(work)))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
    work.close()
    return None
