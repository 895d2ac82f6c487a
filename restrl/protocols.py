"""What the parts of restrl need of each other, as protocols: whoever has the methods fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from restrl.records import Problem, Verdict

Progress = Callable[[int], None]  # told how many more completions (or programs) of the caller's are done
Program = tuple[str, Mapping[str, Any]]  # its source, and the tests that judge it


class Judge(Protocol):
    """What runs programs against their tests, such as ``restrl.sandbox.Sandbox``."""

    def judge(self, programs: Sequence[Program], progress: Progress | None = None, /) -> Sequence[Verdict]:
        """``judge(programs)[i]`` is the verdict of ``programs[i]``."""
        ...


class Prompter(Protocol):
    """Problems to a policy's tokens, and its text back to programs, such as ``restrl.prompts.Prompter``."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings of which the first ends a completion."""
        ...

    def encode(self, problem: Problem, /) -> tuple[tuple[int, ...], str]:
        """The prompt's token ids, and the problem's initial state as text."""
        ...

    def program(self, code: str, completion: str, /) -> str:
        """The whole program that a state and its completion make."""
        ...
