"""How each kind of tests is judged.  ``CallTests(tests)`` prepares the tests once; its ``run(start, source)``
judges one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import codec, wire
from .compare import same, same_output
from .solution import LoadError, Solution, Stop, describe

Start = Callable[[dict[str, Any]], Solution]  # a job for the child -> a running solution


@dataclass
class Tally:
    """What came out of the tests of one program.

    ``whole``: without partial credit.  Then nothing is left to find out after the first failure (``over``).
    """

    whole: bool = False
    passed: int = 0
    total: int = 0
    over: bool = False
    detail: str = ""  # the first failure
    stop: str = ""  # kind of Stop that ended the program early
    memory: bool = False
    flags: list[str] = field(default_factory=list)  # what the program was seen trying

    def fail(self, detail: str) -> None:
        self.over = self.whole
        self.detail = self.detail or " ".join(detail.split())[:200]
        self.memory = self.memory or detail.startswith("MemoryError")

    def stopped(self, stop: Stop) -> None:
        self.stop = self.stop or stop.kind
        self.fail(stop.detail)


FIRST = 16  # inputs that a program is sent with its source


class CallTests:
    """``fn_name(*inputs[i])`` must be ``outputs[i]``; the solution is sent inputs and no output.

    Lists of arguments and results come encoded, each for itself: the solution's message of the expected
    result is known byte for byte, and only what differs from it is decoded.  Some inputs go with the program,
    the others when their results are there: many programs are wrong, and few of those at a later test.
    """

    def __init__(self, tests: Mapping[str, Any]) -> None:
        frames = list(map(wire.frame, tests["inputs"]))
        self.first, self.later = b"".join(frames[:FIRST]), b"".join(frames[FIRST:])
        self.outputs: list[bytes] = tests["outputs"]
        self.frames = [codec.BEFORE_RESULT + output + codec.AFTER_RESULT for output in self.outputs]
        self.fn_name = tests["fn_name"]
        self.whole = bool(tests.get("whole"))
        self.atol = tests.get("atol")
        self.tuples = bool(tests.get("tuples_as_lists"))

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole, total=len(self.outputs))
        job = {"mode": "call", "source": source, "fn_name": self.fn_name, "inputs": self.first,
               "more": bool(self.later)}  # fmt: skip
        solution = start(job)
        try:
            solution.loaded()
            for index in range(tally.total):
                solution.begin_test()
                self._one(solution, index, tally)
                if tally.over:
                    break
                if index + 1 == FIRST and self.later:
                    solution.send(self.later)
        except LoadError as error:
            tally.fail(str(error))
        except Stop as stop:
            tally.stopped(stop)
        return tally

    def _one(self, solution: Solution, index: int, tally: Tally) -> None:
        raw = solution.receive_raw()
        if raw == self.frames[index]:
            tally.passed += 1
            return
        message = solution.read(raw, lambda _number: _FOREIGN)
        if message[0] == "raise":
            tally.fail(describe(message))
            return
        if message[1] is None and tally.detail:  # the most common wrong result, and known without a look
            return
        expected = codec.decode(self.outputs[index])
        if self._equal(message[1], expected):
            tally.passed += 1
        elif not tally.detail:  # the first failure is told; to tell takes longer than to judge
            tally.fail(f"test {index}: got {brief(message[1])}, expected {brief(expected)}")

    def _equal(self, got: Any, expected: Any) -> bool:
        if self.tuples:
            got, expected = _lists(got), _lists(expected)
        return same(got, expected, self.atol)


class _Foreign:
    """Stands for an object that is no builtin value; equal to nothing expected."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<object of the solution>"


_FOREIGN = _Foreign()


def _lists(value: Any) -> Any:
    if type(value) in (list, tuple):
        return [_lists(item) for item in value]
    return {key: _lists(item) for key, item in value.items()} if type(value) is dict else value


class StdioTests:
    """A run of the program per input; its output must be the expected one (compare.same_output)."""

    def __init__(self, tests: Mapping[str, Any]) -> None:
        self.inputs = [_text(value) for value in tests["inputs"]]
        self.outputs = [_text(value) for value in tests["outputs"]]
        self.limit = int(tests["output_limit"])
        self.whole = bool(tests.get("whole"))
        self.atol = tests.get("atol")

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole, total=len(self.outputs))
        limit = max(self.limit, 2 * max(map(len, self.outputs), default=0))
        solution = start({"mode": "stdio", "source": source, "inputs": self.inputs, "output_limit": limit})
        try:
            for index, expected in enumerate(self.outputs):
                solution.begin_test()
                problem = self._one(solution, expected, limit)
                tally.passed += not problem
                if problem:
                    tally.fail(problem if problem.startswith("MemoryError") else f"test {index}: {problem}")
                if tally.over:
                    break
        except Stop as stop:
            tally.stopped(stop)
        return tally

    def _one(self, solution: Solution, expected: str, limit: int) -> str:
        message = solution.read(solution.receive_raw(), words=("output", "raise"))
        if message[0] == "raise":
            return describe(message)
        output, status, error = message[1:]
        if (type(output), type(status), type(error)) != (bytes, int, bytes):
            raise Stop("broken", "not a known message")
        if error or status:
            return error.decode("utf-8", "replace") or f"exit status {status}"
        if len(output) > limit:
            return f"more than {limit} bytes of output"
        text = output.decode("utf-8", "replace")
        return (
            ""
            if same_output(text, expected, self.atol)
            else f"printed {text[:80]!r}, expected {expected[:80]!r}"
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "\n".join(map(str, value))


def brief(value: Any) -> str:
    """A value in at most 80 characters; never raises."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of more than 4300 digits; too deep
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."
