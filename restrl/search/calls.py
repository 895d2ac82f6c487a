"""What a search asks for and what it is told, as records: a search is replayed from its replies alone."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from restrl.records import Finish, Request, State


@dataclass(frozen=True)
class Generate:
    """Completions, please."""

    request: Request


@dataclass(frozen=True)
class Rate:
    """The teacher's numbers, please: rewards of whole programs, or a scorer's scores of states."""

    states: tuple[State, ...]


Call = Generate | Rate


@dataclass(frozen=True)
class Continuation:
    """A completion as far as the search needs it.  Fields as in ``records.Completion``."""

    ids: tuple[int, ...]
    text: str
    finish: Finish


@dataclass(frozen=True)
class Reply:
    """The answer to one call: ``samples`` to Generate, ``ratings`` (one per state) to Rate."""

    samples: tuple[Continuation, ...] = ()
    ratings: tuple[float | None, ...] = ()  # None: could not be judged
    seconds: float = 0.0  # this call's share of the wall clock of its wave


@dataclass(frozen=True)
class Wave:
    """The replies to the calls of all trees that were served together, in the order of the trees."""

    replies: tuple[Reply, ...]


Search = Generator[Call, Reply, None]  # yields calls, is sent their replies, ends when the tree is done
