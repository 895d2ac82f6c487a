"""The calls of a search and the replies to them, as records: the replies alone suffice to replay a search."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from restrl.records import Finish, Request, State


@dataclass(frozen=True)
class Generate:
    """Asks for completions."""

    request: Request


@dataclass(frozen=True)
class Rate:
    """Asks the reward source for numbers: rewards of whole programs, or a scorer's scores of states."""

    states: tuple[State, ...]


Call = Generate | Rate


@dataclass(frozen=True)
class Continuation:
    """The part of a completion that the search needs.  Fields as in ``records.Completion``."""

    ids: tuple[int, ...]
    text: str
    finish: Finish


@dataclass(frozen=True)
class Reply:
    """The answer to one call: ``samples`` for Generate, ``ratings`` (one per state) for Rate."""

    samples: tuple[Continuation, ...] = ()
    ratings: tuple[float | None, ...] = ()  # None: could not be judged
    seconds: float = 0.0  # this call's share of the wall clock of its batch


@dataclass(frozen=True)
class ReplyBatch:
    """The replies to one batch of requests, one per tree that took part, in the order of the trees."""

    replies: tuple[Reply, ...]


Search = Generator[Call, Reply, None]  # yields calls, receives their replies, ends when the tree is done
