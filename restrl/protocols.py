"""The interfaces between the parts of restrl, as protocols: any class with the methods fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from restrl.records import Problem, Verdict

Progress = Callable[[int], None]  # receives the number of further completions (or programs) that are done
Program = tuple[str, Mapping[str, Any]]  # source code, and the tests that judge it


class Judge(Protocol):
    """Runs programs against their tests, such as ``restrl.sandbox.Sandbox``."""

    def judge(self, programs: Sequence[Program], progress: Progress | None = None, /) -> Sequence[Verdict]:
        """``judge(programs)[i]`` is the verdict of ``programs[i]``."""
        ...


class Prompter(Protocol):
    """Converts problems to tokens and sampled text to programs, such as ``restrl.prompts.Prompter``."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings; the first one that appears ends a completion."""
        ...

    def encode(self, problem: Problem, /) -> tuple[tuple[int, ...], str]:
        """The prompt's token ids, and the problem's initial state as text."""
        ...

    def program(self, code: str, completion: str, /) -> str:
        """The whole program of a state and its completion."""
        ...
