"""What a decoder is: problems in, answers out.  It never sees what the tests say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from restrl.config import DecoderConfig
from restrl.engine.base import Engine, Progress
from restrl.records import Answer, Problem


class Prompter(Protocol):
    """Problems to the policy's tokens, and its text back to programs."""

    @property
    def stop(self) -> tuple[str, ...]: ...  # strings that end an answer

    def encode(self, problem: Problem) -> tuple[tuple[int, ...], str]: ...  # prompt ids, the state as text

    def program(self, code: str, text: str) -> str: ...  # a whole program from a state and its completion


@dataclass(frozen=True)
class Policy:
    """What samples: an engine with the prompter of its model."""

    engine: Engine
    prompter: Prompter


@dataclass(frozen=True)
class Job:
    """One run of a decoder."""

    problems: Sequence[Problem]
    config: DecoderConfig
    seed: int
    policy: Callable[[], Policy]  # loads the model on the first call; only called by decoders that sample
    progress: Progress | None = None


Decoder = Callable[[Job], list[Answer]]  # answers by problem, each problem's in the order of its samples
