"""Steps that work through their problems in chunks, each of which is on the disk before the next begins.

A resumed run continues after the last complete chunk.  It resumes at chunks and not at single records because
rounding depends on the batch: equal chunks give bit-identical samples.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock, Timeout

from restrl.artifacts import PARTS, Work, is_done
from restrl.files import user_errors, write_lines_atomic
from restrl.ranks import Ranks
from restrl.records import Cost, from_json, to_json
from restrl.stages.parts import NotReady, Part, PartDone
from restrl.stages.session import Session

R = TypeVar("R")
T = TypeVar("T")

COSTS = "costs.jsonl"  # a line per chunk, so that a resumed run adds up
WAIT_SECONDS = 1.0


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def own_items(session: Session, items: Sequence[T], size: int) -> list[T]:
    """The items of the chunks that this run makes: all of them, or those of its part."""
    part = session.part or Part()
    return [item for chunk in chunks(items, size)[part.index :: part.count] for item in chunk]


def in_chunks(
    session: Session,
    work: Work,
    cls: type[R],
    items: Sequence[T],
    size: int,
    make: Callable[[Sequence[T]], tuple[list[R], Cost]],
    found: Callable[[Sequence[T]], object],
) -> Cost:
    """Appends a record (``cls``) per item to the artifact's log, chunk by chunk; returns the total cost.

    Each rank computes its share of a chunk with ``make``, which is also called for an empty share; ``found``
    receives the items that need not be made.  Raises PartDone when a part is made (``stage.part``), and
    NotReady if a chunk is missing in a run that may not make it.
    """
    files = _ChunkFiles(work.folder, cls, session.ranks)
    divided = chunks(items, size)

    def made(number: int) -> tuple[list[R], Cost]:
        records, cost = make(session.ranks.share(divided[number]))
        return session.ranks.merge(records), _total_of_ranks(session.ranks.gather(cost))

    if session.part is not None:
        if not files.artifact_done():
            for number in _of_part(session, files, len(divided), made):
                found(divided[number])
        raise PartDone
    log, costs = work.records(cls), work.records(Cost, COSTS)
    whole = len(divided) if len(log) == len(items) else len(log) // size
    done = min(whole, len(costs))
    log.truncate(min(done * size, len(items)))
    costs.truncate(done)
    found(items[: done * size])
    for number in range(done, len(divided)):
        if files.has(number):
            records, cost = files.read(number)
            found(divided[number])
        elif session.makes:
            records, cost = made(number)
        else:
            first, last = number * size + 1, number * size + len(divided[number])
            raise NotReady(
                f"{work.folder.name}: problems {first} to {last} of {len(items)} are not there yet; the jobs "
                "that make them have not run or have failed"
            )
        log.append(records)
        costs.append([cost])
    return sum(costs.read(), Cost())


def _total_of_ranks(costs: Sequence[Cost]) -> Cost:
    """The sum of the costs of all ranks.  Ranks work in parallel, so the seconds are those of the slowest."""
    return dataclasses.replace(sum(costs, Cost()), seconds=max(cost.seconds for cost in costs))


def _of_part(
    session: Session,
    files: _ChunkFiles[R],
    count: int,
    made: Callable[[int], tuple[list[R], Cost]],
) -> Iterator[int]:
    """Makes the chunks of this part; yields the numbers of those that were there.

    A chunk that another process is making comes last: it is made here only if that process gives up.
    """
    assert session.part is not None
    waiting = list(range(session.part.index, count, session.part.count))
    said = False
    while waiting:
        busy = []
        for number in waiting:
            if files.has(number):
                yield number
                continue
            with files.claim(number) as claimed:
                if not claimed:
                    busy.append(number)
                elif files.has(number) or files.artifact_done():  # since the look above
                    yield number
                else:
                    files.write(number, *made(number))
        if len(busy) == len(waiting):
            if not said:
                session.console.say(f"waiting: another process is making {files.path(busy[0])}")
                said = True
            time.sleep(WAIT_SECONDS)
        waiting = busy


class _ChunkFiles(Generic[R]):
    """A file for each chunk that a separate process made: its cost, then its records, a line each.

    The files are in a folder of the artifact, and go when it is done.
    """

    def __init__(self, folder: Path, cls: type[R], ranks: Ranks) -> None:
        self._artifact, self._folder = folder, folder / PARTS
        self._cls, self._ranks = cls, ranks

    def artifact_done(self) -> bool:
        return self._ranks.by_first(lambda: is_done(self._artifact))

    def path(self, number: int) -> Path:
        return self._folder / f"{number:06}.jsonl"

    def has(self, number: int) -> bool:
        return self._ranks.by_first(self.path(number).exists)

    def read(self, number: int) -> tuple[list[R], Cost]:
        def lines() -> list[str]:
            with user_errors(self.path(number)):
                return self.path(number).read_text(encoding="utf-8").splitlines()

        cost, *records = map(json.loads, self._ranks.by_first(lines))
        return [from_json(self._cls, record) for record in records], from_json(Cost, cost)

    def write(self, number: int, records: Sequence[R], cost: Cost) -> None:
        lines = (json.dumps(to_json(record), separators=(",", ":")) + "\n" for record in (cost, *records))
        self._ranks.by_first(lambda: write_lines_atomic(self.path(number), lines))

    @contextlib.contextmanager
    def claim(self, number: int) -> Iterator[bool]:
        """Whether this run alone may make the chunk while the block runs."""
        lock = FileLock(self.path(number).with_suffix(".lock"))

        def acquired() -> bool:
            with user_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    return False
            return True

        claimed = self._ranks.by_first(acquired)
        try:
            yield claimed
        finally:
            lock.release()
