"""What came out of the tests of one program, while they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .failures import Failure, one_line
from .solution import Solution, Stop

Start = Callable[[dict[str, Any]], Solution]  # a job for the program's process -> the running solution
NO_TEST = "the tests test nothing: no test ran"


class CannotJudge(Exception):  # noqa: N818
    """The tests cannot judge any program, and why.

    Only for what every program would meet that has passed so far: a program must not be able to choose it.
    """


@dataclass
class Tally:
    """Passed and failed tests of one program.

    ``whole``: without partial credit.  Then the first failure decides, and the tests are ``over``.
    """

    whole: bool = False
    passed: int = 0
    total: int = 0
    over: bool = False
    detail: str = ""  # the first failure in one line
    failure: Failure | None = None  # the same with its parts
    stop: str = ""  # kind of Stop that ended the program early
    memory: bool = False
    flags: list[str] = field(default_factory=list)  # what the program was seen trying

    def fail(self, failure: Failure, detail: str = "") -> None:
        """Counts a failure.  ``detail``: its line, if that is not the failure's summary."""
        self.over = self.whole
        if self.failure is None:
            self.failure, self.detail = failure, one_line(detail or failure.summary())
        self.memory = self.memory or (failure.error or "").startswith("MemoryError")

    def stopped(self, stop: Stop, failure: Failure | None = None) -> None:
        """Counts a failure after which the program is asked nothing more; ``failure`` says in which test."""
        self.stop = self.stop or stop.kind
        self.fail(dataclasses.replace(failure or Failure(), error=stop.detail), stop.detail)

    def without_tests(self) -> None:
        """Nothing was tested: no program passes."""
        self.total = 1
        self.fail(Failure(error=NO_TEST))
