"""Ranks that are threads of one process, so that what they agree on is tested without starting processes."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from restrl.ranks import Ranks

T = TypeVar("T")


@dataclass
class Board:
    """Where the ranks of a run leave what they exchange, pickled as between processes."""

    size: int
    values: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = [b""] * self.size
        self.barrier = threading.Barrier(self.size, timeout=30)


@dataclass(frozen=True)
class ThreadRanks(Ranks):
    board: Any = None

    def gather(self, value: T) -> list[T]:
        if self.size == 1:
            return [value]
        self.board.values[self.rank] = pickle.dumps(value)
        self.board.barrier.wait()
        found = [pickle.loads(value) for value in self.board.values]
        self.board.barrier.wait()
        return found

    def agree(self, value: T) -> T:
        return self.gather(value if self.first else None)[0]  # type: ignore[return-value]


def on_ranks(size: int, do: Callable[[Ranks], T]) -> list[T]:
    """What ``do`` returns on each rank.  Raises what the lowest rank raised; the others stop waiting."""
    board = Board(size)

    def one(rank: int) -> T:
        try:
            return do(ThreadRanks(rank, size, rank, board=board))
        except BaseException:
            board.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        results = [pool.submit(one, rank) for rank in range(size)]
    errors = [error for result in results if (error := result.exception()) is not None]
    own = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if errors:
        raise (own or errors)[0]
    return [result.result() for result in results]
