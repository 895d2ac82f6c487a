"""How an exception of the program is told to the tests' process: all of it is a claim."""

from __future__ import annotations

from typing import Any

_PROGRAMS = ("solution", "__main__")  # names that a program's module has
LINES = 10_000  # of a traceback that are looked at


def failure(error: BaseException, packed: bytes | None = None) -> tuple[Any, ...]:
    """The message for an exception of the solution.  ``packed``: the exception itself."""
    try:
        text = str(error)[:300]
    except BaseException:
        text = ""
    return ("raise", type(error).__name__[:100], text, packed, line_of(error))


def report(error: BaseException) -> bytes:
    """The same for a run of a whole program: the line (0: not known), then class and text."""
    return f"{line_of(error) or 0}\n{type(error).__name__}: {error}".encode("utf-8", "replace")[:300]


def line_of(error: BaseException) -> int | None:
    """The line of the program in the innermost of its frames, or where its syntax is wrong."""
    line: Any = None
    try:
        trace = error.__traceback__
        for _ in range(LINES):
            if trace is None:
                break
            if trace.tb_frame.f_globals.get("__name__") in _PROGRAMS:
                line = trace.tb_lineno
            trace = trace.tb_next
        if line is None and isinstance(error, SyntaxError):
            line = error.lineno
    except BaseException:
        return None
    return line if type(line) is int else None
