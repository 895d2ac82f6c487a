"""The end of a script, as the interpreter ends: ``Py_FinalizeEx``'s steps, as far as a program can see them.

To finalize this interpreter itself would clear all that the server has loaded, in copies of its pages: ten to
fifty times the cost of what stands here.  Differences that remain: threads that nobody waits for run on while
modules are cleared, and objects that a program keeps in a module of the server's are not finalized, only
their streams are flushed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import itertools
import sys
import threading
from typing import Any

_BYTES = (io.BufferedWriter, io.BufferedRandom, io.BufferedRWPair)
_WRITERS = (io.TextIOWrapper, *_BYTES)
FLUSH_FAILED = 120  # the exit status of an interpreter that cannot flush its standard streams
_ended = threading._shutdown  # type: ignore[attr-defined]


def finish(status: int, last_module: str) -> int:
    """Ends what the program has begun; the exit status of a program that ended with ``status``.

    ``last_module``: name of the last module that was loaded before the program began.
    """
    for step in (_ended, atexit._run_exitfuncs):
        with contextlib.suppress(BaseException):
            step()
    flushed = [_flush(name) for name in ("stdout", "stderr")]
    with contextlib.suppress(BaseException):
        gc.collect()
        _forget(last_module)
        gc.collect()
    left = [item for item in gc.get_objects() if issubclass(type(item), _WRITERS)]
    for item in sorted(left, key=lambda item: issubclass(type(item), _BYTES)):  # texts go first into bytes
        with contextlib.suppress(BaseException):
            item.flush()
    return status if all(flushed) else FLUSH_FAILED


def _flush(name: str) -> bool:
    """Flushes one of sys's streams, whatever the program has put there; whether that raised nothing."""
    stream = getattr(sys, name, None)
    try:
        if stream is not None and not _is_closed(stream):
            stream.flush()
    except BaseException:
        return False
    return True


def _is_closed(stream: Any) -> bool:
    try:
        return bool(stream.closed)
    except BaseException:
        return False


def _forget(last_module: str) -> None:
    """Drops the program's module, and those that it has loaded: their objects' finalizers run."""
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, name, getattr(sys, f"__{name}__", None))
    sys.modules.pop("__main__", None)
    for name in list(itertools.takewhile(lambda name: name != last_module, reversed(sys.modules))):
        del sys.modules[name]
