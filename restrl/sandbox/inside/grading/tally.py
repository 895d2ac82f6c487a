"""What came out of the tests of one program, while they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .solution import Solution, Stop

Start = Callable[[dict[str, Any]], Solution]  # a job for the program's process -> the running solution


class CannotJudge(Exception):  # noqa: N818
    """The tests cannot judge any program, and why."""


@dataclass
class Tally:
    """Passed and failed tests of one program.

    ``whole``: without partial credit.  Then the first failure decides, and the tests are ``over``.
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
