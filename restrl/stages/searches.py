"""The searches of a step on the disk, so that a kill loses no wave, and their trees, in one process's order.

Each rank searches its share of the problems and keeps a journal of its own.  Trees go to the artifact's log
in the order in which one process would finish them, which is what later steps draw from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from restrl.artifacts import RecordLog
from restrl.ranks import Ranks
from restrl.search.calls import Wave
from restrl.search.forest import finishing_order
from restrl.search.saved import SavedTree

SLICE = 32  # trees that ranks exchange at a time


class SearchFiles:
    """This rank's journal and trees below ``folder``.  They are no part of the artifact, which outlives them.

    Those of a run with another number of ranks are left alone until ``remove``: they hold other searches.
    """

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        part = "" if ranks.size == 1 else f"-{ranks.rank}-of-{ranks.size}"
        self._folder, self._ranks = folder, ranks
        self._waves_path = folder / f"waves{part}.jsonl"
        self._trees_path = folder / f"grown{part}.jsonl"
        self._waves: RecordLog[Wave] | None = None
        self._trees: RecordLog[SavedTree] | None = None
        self._calls: list[tuple[int, str]] = []  # of each tree: which search, and its calls

    def read(self) -> Iterator[Wave]:
        """The waves of an interrupted run, one by one, for all together may be large."""
        self._waves = RecordLog(self._waves_path, Wave)
        yield from self._waves.read()

    def append(self, records: Sequence[Wave]) -> None:
        if self._waves is None:
            raise RuntimeError("the waves before have to be read first")
        self._waves.append(records)

    def keep(self, tree: SavedTree, search: int, calls: str) -> None:
        """Takes a finished tree: of this rank's search number ``search``, which made these ``calls``."""
        if self._trees is None:
            self._trees = RecordLog(self._trees_path, SavedTree)
            self._trees.truncate(0)  # an interrupted run's grow again from the waves
        self._trees.append([tree])
        self._calls.append((search, calls))

    def merged(self, in_flight: int, per_problem: int = 1) -> Iterator[SavedTree]:
        """The trees of all ranks, on every rank, in the order in which one process would finish them.

        ``per_problem``: searches of each problem; whole problems were divided among the ranks.
        """
        own = [calls for _, calls in sorted(self._calls)]
        own_problems = [own[first : first + per_problem] for first in range(0, len(own), per_problem)]
        every = [calls for problem in self._ranks.merge(own_problems) for calls in problem]
        order = finishing_order(every, in_flight)
        places = {search: place for place, (search, _) in enumerate(self._calls)}
        for start in range(0, len(order), SLICE):
            chosen = order[start : start + SLICE]
            trees: dict[int, SavedTree] = {}
            for index in chosen:
                problem, sample = divmod(index, per_problem)
                if problem % self._ranks.size == self._ranks.rank:
                    search = problem // self._ranks.size * per_problem + sample
                    trees[index] = self._tree(places[search])
            of_all = {index: tree for part in self._ranks.gather(trees) for index, tree in part.items()}
            yield from (of_all[index] for index in chosen)

    def _tree(self, place: int) -> SavedTree:
        assert self._trees is not None
        return self._trees.read()[place]

    def remove(self) -> None:
        """Once the artifact is done: also those of runs with another number of ranks."""

        def unlink() -> None:
            for name in ("waves*.jsonl", "grown*.jsonl"):
                for path in self._folder.glob(name):
                    with contextlib.suppress(FileNotFoundError):
                        path.unlink()

        self._ranks.by_first(unlink)
