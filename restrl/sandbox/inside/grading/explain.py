"""Why a test that is code failed: read from the exception and from the frames of the tests that it left."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

from ..wire import codec, graph
from .boundary import TESTS
from .failures import Failure, arguments_text, brief, cut, describe, program_line
from .solution import LoadError, Solution
from .splitter import LEFT, RIGHT, Operands

Places = Mapping[tuple[str, int], Operands]  # (file name, line) of an assert -> how to read its operands


class _Shown:
    """Makes values of what tests sent, to be shown; for others an instance of a class of that name."""

    arrays = False

    def __init__(self) -> None:
        self.arrays = "numpy" in sys.modules

    def take(self, value: Any) -> Any:
        raise codec.CodecError(f"a {type(value).__name__} is not sent")

    def handle(self, _number: int) -> Any:
        return self.record("object of the program")

    def make(self, name: str, content: Any) -> Any:
        return self.record(str(content[1]) if name == "function" else name)

    def record(self, name: str) -> Any:
        return type(name, (), {"__module__": TESTS})()

    def fill(self, record: Any, fields: dict[str, Any]) -> None:
        vars(record).update(fields)


def explain(error: BaseException, test: str, solution: Solution, source: str, places: Places) -> Failure:
    """The failure of ``test`` by ``error``.  ``source``: of the program."""
    given = _last_input(solution)
    frame, last = last_frame(error)
    if isinstance(error, AssertionError) and last and frame is not None:
        operands = places.get((frame.f_code.co_filename, last))
        if operands is not None:
            return Failure(test, given, *_values(frame, operands), error=_message(error))
    text, line = error_text(error), None
    raised = solution.raised
    if isinstance(error, LoadError):
        line = error.line
    elif raised is not None and type(raised.text) is str and raised.text in str(error):
        text, line = describe(raised), raised.line
    return Failure(test, given, error=text, **program_line(source, line))


def error_text(error: BaseException) -> str:
    if isinstance(error, LoadError):
        return str(error)
    kind = "MemoryError" if isinstance(error, MemoryError) else type(error).__name__
    return cut(f"{kind}: {error}")


def last_frame(error: BaseException) -> tuple[FrameType | None, int]:
    """The innermost frame of the tests' code; its line if the error was raised there, else 0."""
    frame, line, trace = None, 0, error.__traceback__
    while trace is not None:
        line = 0
        if trace.tb_frame.f_code.co_filename.startswith("<tests"):
            frame, line = trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
    return frame, line


def _values(frame: FrameType, operands: Operands) -> tuple[str, str]:
    """(expected, got) of a failed assert."""
    names = frame.f_locals
    left, right = (brief(names[name]) if name in names else "" for name in (LEFT, RIGHT))
    got, other = (right, left) if operands.swapped else (left, right)
    return other if operands.expected is None else operands.expected, got


def _message(error: BaseException) -> str | None:
    """What the assert itself says, if it says something."""
    return cut(f"AssertionError: {error}") if error.args else None


def _last_input(solution: Solution) -> str | None:
    """The arguments of the last call of the program in the running test."""
    if solution.last_call is None:
        return None
    try:
        shown = _Shown()
        packed = codec.decode(solution.last_call, codec.Hooks(shown.handle))[2]
        (positional, keywords), _objects = graph.unpack(packed, shown)
        return arguments_text(positional, dict(keywords))
    except (codec.CodecError, ValueError, TypeError, IndexError):
        return None
