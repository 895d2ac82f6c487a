"""Tests of kind "stdio": what the whole program prints for an input must be the expected output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire.messages import Output, Raised
from .compare import Rules, same_output
from .failures import CUT, Failure, describe, program_line
from .preamble import Preamble
from .solution import Solution, Stop
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
        index = 0
        try:
            for index, expected in enumerate(self.outputs):
                solution.begin_test()
                failed = self._judge(solution, expected, limit, source)
                tally.passed += not failed
                if failed:
                    self._fail(tally, index, failed)
                if tally.over:
                    break
        except Stop as stop:
            tally.stopped(stop, self._failure(index, {}))
        return tally

    def _fail(self, tally: Tally, index: int, failed: Mapping[str, Any]) -> None:
        memory = str(failed.get("error")).startswith("MemoryError")
        tally.fail(self._failure(index, failed), failed["error"] if memory else "")

    def _failure(self, index: int, failed: Mapping[str, Any]) -> Failure:
        return Failure(
            f"test {index}", self.inputs[index][: CUT + 1], self.outputs[index][: CUT + 1], **failed
        )

    def _judge(self, solution: Solution, expected: str, limit: int, source: str) -> dict[str, Any]:
        """What this run failed by, as fields of a Failure; empty if it passed."""
        message = solution.read_or_raised(solution.receive_raw(), Output)
        if isinstance(message, Raised):
            return {"error": describe(message)}
        output, status, error = message
        if (type(output), type(status), type(error)) != (bytes, int, bytes):
            raise Stop("broken", "not a known message")
        if status:
            return _error(error, status, source)
        if len(output) > limit:
            return {"error": f"more than {limit} bytes of output"}
        text = output.decode("utf-8", "replace")
        return {} if same_output(text, expected, self.rules) else {"got": text[: CUT + 1]}


def _error(claim: bytes, status: int, source: str) -> dict[str, Any]:
    """The fields of a run that ended with an error; the claim begins with a line (program/failure.py)."""
    line, _end, text = claim.partition(b"\n")
    if not (line.isdigit() and len(line) < 8):
        line, text = b"0", claim
    error = text.decode("utf-8", "replace") or f"exit status {status}"
    return {"error": error, **program_line(source, int(line))}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "\n".join(map(str, value))
