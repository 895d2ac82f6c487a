"""Files of a step's searches: replies, so that a kill loses no batch, and finished trees.

Each rank searches its share of the problems and writes its own journal.  The trees of all ranks go to the
artifact's log in the order in which a single process would finish them, so that later steps read the same
log for any number of ranks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from restrl.artifacts import RecordLog
from restrl.ranks import Ranks
from restrl.search.calls import ReplyBatch
from restrl.search.forest import finishing_order
from restrl.search.saved import SavedTree

SLICE = 32  # trees that ranks exchange at a time


class SearchFiles:
    """This rank's journal and trees below ``folder``: temporary files, not part of the artifact.

    Files of a run with another number of ranks hold other searches and are ignored until ``remove``.
    """

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        part = "" if ranks.size == 1 else f"-{ranks.rank}-of-{ranks.size}"
        self._folder, self._ranks = folder, ranks
        self._replies_path = folder / f"replies{part}.jsonl"
        self._trees_path = folder / f"grown{part}.jsonl"
        self._replies: RecordLog[ReplyBatch] | None = None
        self._trees: RecordLog[SavedTree] | None = None
        self._calls: list[tuple[int, str]] = []  # per tree: the index of its search, and its calls

    def read(self) -> Iterator[ReplyBatch]:
        """The reply batches of an interrupted run, one at a time, because all of them may be large."""
        self._replies = RecordLog(self._replies_path, ReplyBatch)
        yield from self._replies.read()

    def append(self, records: Sequence[ReplyBatch]) -> None:
        if self._replies is None:
            raise RuntimeError("read the recorded replies before you append to them")
        self._replies.append(records)

    def keep(self, tree: SavedTree, search: int, calls: str) -> None:
        """Stores a finished tree: of this rank's search number ``search``, which made these ``calls``."""
        if self._trees is None:
            self._trees = RecordLog(self._trees_path, SavedTree)
            self._trees.truncate(0)  # the trees of an interrupted run grow again from the recorded replies
        self._trees.append([tree])
        self._calls.append((search, calls))

    def merged(self, in_flight: int, per_problem: int = 1) -> Iterator[SavedTree]:
        """The trees of all ranks, on every rank, in the order in which a single process would finish them.

        ``per_problem``: searches of each problem.  The ranks divided the work by problem.
        """
        mine = [calls for _, calls in sorted(self._calls)]
        my_problems = [mine[first : first + per_problem] for first in range(0, len(mine), per_problem)]
        all_calls = [calls for problem in self._ranks.merge(my_problems) for calls in problem]
        order = finishing_order(all_calls, in_flight)
        places = {search: place for place, (search, _) in enumerate(self._calls)}
        for start in range(0, len(order), SLICE):
            chosen = order[start : start + SLICE]
            trees: dict[int, SavedTree] = {}
            for index in chosen:
                problem, sample = divmod(index, per_problem)
                if problem % self._ranks.size == self._ranks.rank:
                    search = problem // self._ranks.size * per_problem + sample
                    trees[index] = self._tree(places[search])
            gathered = {index: tree for part in self._ranks.gather(trees) for index, tree in part.items()}
            yield from (gathered[index] for index in chosen)

    def _tree(self, place: int) -> SavedTree:
        assert self._trees is not None
        return self._trees.read()[place]

    def remove(self) -> None:
        """Removes all files once the artifact is done, also those of runs with another number of ranks."""

        def unlink() -> None:
            for name in ("replies*.jsonl", "grown*.jsonl"):
                for path in self._folder.glob(name):
                    with contextlib.suppress(FileNotFoundError):
                        path.unlink()

        self._ranks.by_first(unlink)
