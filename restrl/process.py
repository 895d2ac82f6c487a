"""How processes end: exit codes, with the parent, and without taking the interpreter apart."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from restrl.errors import UserError

EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143
_PR_SET_PDEATHSIG = 1
SAME_SECONDS = 1.0  # a terminal and a launcher may both send a signal for one Ctrl-C


def run_process(main: Callable[[], int]) -> NoReturn:
    """Runs ``main`` and ends this process with its exit code, as ``sys.exit(main())`` would.

    But the interpreter is not taken apart.  Threads of gloo may still hold a tensor; a thread that drops its
    tensor while the interpreter is being taken apart aborts the process (SIGABRT), and a finished rank would
    count as one that died (PyTorch's pull request 179291).
    """
    code: object
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    _late_interrupts(code)
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(_number(code))


def _number(code: object) -> int:
    return code if isinstance(code, int) else int(code is not None)


def _late_interrupts(code: object) -> None:
    """Keeps SIGINT from raising in this process, which is about to end with ``code``.

    A traceback out of an exit function would follow a result or the line that says "interrupted".  A Ctrl-C
    after more than a second still ends a process that does not end by itself.
    """
    began = time.monotonic()

    def late(_signal: int, _frame: Any) -> None:
        if time.monotonic() - began > SAME_SECONDS:
            os._exit(_number(code))

    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, late)


def exit_code(command: Callable[[], object]) -> int:
    """Runs a command: 0, or its own exit code if it returns a number; bad input is one line and 2."""
    try:
        code = command()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USER_ERROR
    return code if isinstance(code, int) else 0


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Lets the kernel send this process ``number`` when its parent dies, the process with id ``parent``."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it has died already
        raise SystemExit(1)
