"""Makes the server's interpreter, which every program inherits, look like one that has just started."""

from __future__ import annotations

import _thread
import sys
import threading
import types
import warnings

_SILENCE = ("ignore", None, Warning, None, 0)  # what the option -W ignore has put into the filters


def forget_start(memory: int) -> None:
    """Called once, in the server, when all that programs need is loaded.

    ``memory``: a program's limit in bytes.
    """
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = [""]
    sys.orig_argv = ["python"]
    sys.warnoptions.clear()
    warnings.filters[:] = [entry for entry in warnings.filters if entry != _SILENCE]  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]
    _limit_stacks(memory // 4)


def _limit_stacks(most: int) -> None:
    """Gives threads at most ``most`` bytes of stack, whatever a program asks for.

    Programs that recurse ask for up to 1 GiB.  A stack takes its address space at once, which is limited
    because that is what memory can be limited by; hardly a program uses more than a few MiB of it.
    """
    set_size = _thread.stack_size
    asked = 0

    def stack_size(size: int = 0, /) -> int:
        nonlocal asked
        set_size(min(size, most))
        before, asked = asked, size
        return before

    stack_size.__doc__ = set_size.__doc__
    _thread.stack_size = threading.stack_size = stack_size
