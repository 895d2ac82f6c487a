"""Tests of kind "stdio": what the whole program prints for an input must be the expected output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire.messages import Output, Raised
from .compare import Rules, same_output
from .preamble import Preamble
from .solution import Solution, Stop, describe
from .tally import Start, Tally


class StdioTests:
    """A run of the program per input; its output must be the expected one (compare.same_output)."""

    def __init__(self, tests: Mapping[str, Any]) -> None:
        self.inputs = [_text(value) for value in tests["inputs"]]
        self.outputs = [_text(value) for value in tests["outputs"]]
        self.limit = int(tests["output_limit"])
        self.whole = bool(tests.get("whole"))
        self.rules = Rules.of(tests)
        self.preamble = Preamble(tests.get("preamble", ""))

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole, total=len(self.outputs))
        limit = max(self.limit, 2 * max(map(len, self.outputs), default=0))
        job = {"mode": "stdio", "source": source, "inputs": self.inputs, "output_limit": limit,
               "preamble": self.preamble.of(source)}  # fmt: skip
        solution = start(job)
        try:
            for index, expected in enumerate(self.outputs):
                solution.begin_test()
                problem = self._judge(solution, expected, limit)
                tally.passed += not problem
                if problem:
                    tally.fail(problem if problem.startswith("MemoryError") else f"test {index}: {problem}")
                if tally.over:
                    break
        except Stop as stop:
            tally.stopped(stop)
        return tally

    def _judge(self, solution: Solution, expected: str, limit: int) -> str:
        """Why this run failed the test, "" if it passed."""
        message = solution.read_or_raised(solution.receive_raw(), Output)
        if isinstance(message, Raised):
            return describe(message)
        output, status, error = message
        if (type(output), type(status), type(error)) != (bytes, int, bytes):
            raise Stop("broken", "not a known message")
        if status:
            return error.decode("utf-8", "replace") or f"exit status {status}"
        if len(output) > limit:
            return f"more than {limit} bytes of output"
        text = output.decode("utf-8", "replace")
        if same_output(text, expected, self.rules):
            return ""
        return f"printed {text[:80]!r}, expected {expected[:80]!r}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "\n".join(map(str, value))
