"""Tests of kind "call": a function's results must be the expected ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire import codec, frames
from ..wire.messages import Raised, Value
from .compare import EVALPLUS_RTOL, Rules, same
from .preamble import Preamble
from .solution import LoadError, Solution, Stop, describe
from .tally import Start, Tally

FIRST = 16  # inputs that cross together with the source


class CallTests:
    """``fn_name(*inputs[i])`` must be ``outputs[i]``.  The program's process gets inputs, and no output.

    Each list of arguments and each result comes encoded by itself.  So the message of a right result is known
    byte for byte, and only other messages are decoded.  The first inputs cross together with the program, the
    others when the first results are there: a wrong program mostly fails at one of the first tests.

    The tests are prepared once; ``run`` judges one program.
    """

    def __init__(self, tests: Mapping[str, Any]) -> None:
        inputs = list(map(frames.frame, tests["inputs"]))
        self.first, self.later = b"".join(inputs[:FIRST]), b"".join(inputs[FIRST:])
        self.outputs: list[bytes] = tests["outputs"]
        self.right = [codec.BEFORE_RESULT + output + codec.AFTER_RESULT for output in self.outputs]
        self.fn_name = tests["fn_name"]
        self.whole = bool(tests.get("whole"))
        self.rules = Rules.of(tests, EVALPLUS_RTOL)
        self.preamble = Preamble(tests.get("preamble", ""))

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole, total=len(self.outputs))
        job = {"mode": "call", "source": source, "fn_name": self.fn_name, "inputs": self.first,
               "more": bool(self.later), "preamble": self.preamble.of(source)}  # fmt: skip
        solution = start(job)
        try:
            solution.loaded()
            for index in range(tally.total):
                solution.begin_test()
                self._judge(solution, index, tally)
                if tally.over:
                    break
                if index + 1 == FIRST and self.later:
                    solution.send(self.later)
        except LoadError as error:
            tally.fail(str(error))
        except Stop as stop:
            tally.stopped(stop)
        return tally

    def _judge(self, solution: Solution, index: int, tally: Tally) -> None:
        raw = solution.receive_raw()
        if raw == self.right[index]:
            tally.passed += 1
            return
        message = solution.read_or_raised(raw, Value, lambda _number: _FOREIGN)
        if isinstance(message, Raised):
            tally.fail(describe(message))
            return
        if message.value is None and tally.detail:  # the most common wrong result, known without decoding
            return
        expected = codec.decode(self.outputs[index])
        if same(message.value, expected, self.rules):
            tally.passed += 1
        elif not tally.detail:  # only the first failure is described: that takes longer than to judge
            tally.fail(f"test {index}: got {brief(message.value)}, expected {brief(expected)}")


class _Foreign:
    """Stands for an object that is no builtin value; equal to nothing expected."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<object of the solution>"


_FOREIGN = _Foreign()


def brief(value: Any) -> str:
    """A value in at most 80 characters; never raises."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of more than 4300 digits; too deep
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."
