"""Tests of kind "call": a function's results must be the expected ones."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from ..wire import codec, frames
from ..wire.messages import Raised, Value
from .compare import same
from .failures import Failure, arguments_text, brief, describe, program_line
from .solution import LoadError, Solution, Stop
from .tally import Start, Tally

FIRST = 16  # inputs that cross together with the source


class CallTests:
    """``fn_name(*inputs[i])`` must be ``outputs[i]``; ``fn_name`` is a function or an expression for one.

    Where it names a class and each input is the names of its constructor and of methods, and the lists of
    their arguments, a new instance's methods are called in turn, and ``outputs[i]`` is the list of all
    results.

    The program's process gets inputs, and no output.  Each list of arguments and each result comes encoded by
    itself.  So the message of a right result is known byte for byte, and only other messages are decoded.
    The first inputs cross together with the program, the others when the first results are there: a wrong
    program mostly fails at one of the first tests.

    The tests are prepared once; ``run`` judges one program.
    """

    def __init__(self, tests: Mapping[str, Any]) -> None:
        inputs = list(map(frames.frame, tests["inputs"]))
        self.first, self.later = b"".join(inputs[:FIRST]), b"".join(inputs[FIRST:])
        self.outputs: list[bytes] = tests["outputs"]
        self.right = [codec.BEFORE_RESULT + output + codec.AFTER_RESULT for output in self.outputs]
        self.fn_name = tests["fn_name"]
        self.in_turn = all(map(self._is_in_turn, tests["inputs"], tests["outputs"]))
        self.whole = bool(tests.get("whole"))
        self.atol = tests.get("atol")
        self.tuples = bool(tests.get("tuples_as_lists"))

    def _is_in_turn(self, inputs: bytes, output: bytes) -> bool:
        """Whether the arguments are the names of the constructor and of methods, and their arguments."""
        match codec.decode(inputs):
            case [[name, *_] as names, [*values]] if name == self.fn_name:
                count = codec.decode(output)
                fits = all(type(name) is str for name in names) and all(type(v) is list for v in values)
                return fits and type(count) is list and len(names) == len(values) == len(count)
        return False

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole, total=len(self.outputs))
        job = {"mode": "call", "source": source, "fn_name": self.fn_name, "inputs": self.first,
               "more": bool(self.later), "in_turn": self.in_turn}  # fmt: skip
        solution = start(job)
        index = -1  # of the test that runs; the program is loaded first
        try:
            solution.loaded()
            for index in range(tally.total):
                solution.begin_test()
                self._judge(solution, index, tally, source)
                if tally.over:
                    break
                if index + 1 == FIRST and self.later:
                    solution.send(self.later)
        except LoadError as error:
            tally.fail(Failure(error=str(error), **program_line(source, error.line)))
        except Stop as stop:
            tally.stopped(stop, None if index < 0 or tally.failure else self._failure(index))
        return tally

    def _judge(self, solution: Solution, index: int, tally: Tally, source: str) -> None:
        raw = solution.receive_raw()
        if raw == self.right[index]:
            tally.passed += 1
            return
        message = solution.read_or_raised(raw, Value, lambda _number: _FOREIGN)
        if isinstance(message, Raised):
            error = describe(message)
            more = {"error": error, **program_line(source, message.line)}
            # only the first failure is described: that takes longer than to judge
            tally.fail(Failure(error=error) if tally.failure else self._failure(index, **more), error)
            return
        if message.value is None and tally.failure:  # the most common wrong result, known without decoding
            return
        expected = codec.decode(self.outputs[index])
        if self._equal(message.value, expected):
            tally.passed += 1
        elif not tally.failure:
            tally.fail(self._failure(index, got=brief(message.value)))

    def _failure(self, index: int, **more: Any) -> Failure:
        """Test ``index`` as one that failed."""
        blob, at = (self.first, index) if index < FIRST else (self.later, index - FIRST)
        arguments = next(itertools.islice(frames.frames(blob), at, None))
        expected = brief(codec.decode(self.outputs[index]))
        given = arguments_text(codec.decode(arguments))
        return Failure(f"test {index}", given, expected, **more)

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
