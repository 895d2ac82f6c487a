"""Files of a step's searches: replies, so that a kill loses no batch, and finished trees.

The searches of a step are divided by problem among workers: the ranks of a run, or those of all the runs
that make a part each.  A worker keeps its own files.  When all workers have finished, their trees are read in
the order in which a single process would finish them, so that later steps read the same for any number of
workers.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from restrl.artifacts import RecordLog, Records, is_done
from restrl.files import user_errors, write_json_atomic
from restrl.ranks import Ranks
from restrl.search.calls import ReplyBatch
from restrl.search.forest import finishing_order
from restrl.search.saved import SavedTree
from restrl.stages.parts import NotReady, Part, PartDone

T = TypeVar("T")


class SearchFiles:
    """The files of this worker below ``folder``: temporary ones, no part of the artifact.

    Files of another number of workers hold other searches.  They are ignored until ``remove``, unless all of
    those workers have finished.
    """

    def __init__(self, folder: Path, ranks: Ranks, part: Part | None = None, makes: bool = True) -> None:
        """``part`` and ``makes`` as in ``Session``."""
        self._folder, self._ranks, self._part, self._makes = folder, ranks, part, makes
        own = part or Part()
        self.worker, self.workers = own.index * ranks.size + ranks.rank, own.count * ranks.size
        self._replies: RecordLog[ReplyBatch] | None = None
        self._trees: RecordLog[SavedTree] | None = None
        self._calls: list[tuple[int, str]] = []  # per tree: the index of its search, and its calls

    def share(self, problems: Sequence[T]) -> list[T]:
        """The problems whose searches are this worker's."""
        return list(problems[self.worker :: self.workers])

    def grow(self, search: Callable[[], object]) -> None:
        """Calls ``search``, which grows this worker's trees, unless all trees are there.

        Raises PartDone in a run that makes a part, and NotReady in one that may not search.
        """
        if self._part is None and self._ranks.by_first(self._finished) is not None:
            return
        if not self._makes:
            raise NotReady(
                f"{self._folder.name}: some of its searches are not there yet; the jobs that make them have "
                "not run or have failed"
            )
        with self._alone():
            done = self._path("done", ".json").exists() or is_done(self._folder)
            if not all(self._ranks.gather(done)):
                search()
                write_json_atomic(self._path("done", ".json"), [list(pair) for pair in self._calls])
        self._ranks.wait()
        if self._part is not None:
            raise PartDone

    def read(self) -> Iterator[ReplyBatch]:
        """The reply batches of an interrupted run, one at a time, because all of them may be large."""
        self._replies = RecordLog(self._path("replies"), ReplyBatch)
        yield from self._replies.read()

    def append(self, records: Sequence[ReplyBatch]) -> None:
        if self._replies is None:
            raise RuntimeError("read the recorded replies before you append to them")
        self._replies.append(records)

    def keep(self, tree: SavedTree, search: int, calls: str) -> None:
        """Stores a finished tree: of this worker's search number ``search``, which made these ``calls``."""
        if self._trees is None:
            self._trees = RecordLog(self._path("grown"), SavedTree)
            self._trees.truncate(0)  # the trees of an interrupted run grow again from the recorded replies
        self._trees.append([tree])
        self._calls.append((search, calls))

    def merged(self, in_flight: int, per_problem: int = 1) -> Iterator[SavedTree]:
        """The trees of all workers, on every rank, in the order in which a single process would finish them.

        ``per_problem``: searches of each problem.
        """
        workers = self._ranks.by_first(self._finished)
        if workers is None:
            raise RuntimeError(f"{self._folder}: not all searches have been made")
        kept = [self._kept(worker, workers) for worker in range(workers)]
        problems = sum(len(calls) for calls in kept) // per_problem
        calls = []
        for problem in range(problems):
            first = problem // workers * per_problem
            own = sorted(kept[problem % workers])
            calls += [text for _, text in own[first : first + per_problem]]
        places = [{search: place for place, (search, _) in enumerate(own)} for own in kept]
        files = [
            Records(self._path("grown", worker=worker, workers=workers), SavedTree) if kept[worker] else None
            for worker in range(workers)
        ]
        for index in finishing_order(calls, in_flight):
            problem, sample = divmod(index, per_problem)
            worker, search = problem % workers, problem // workers * per_problem + sample
            trees = files[worker]
            assert trees is not None
            yield trees[places[worker][search]]

    def remove(self) -> None:
        """Removes all files once the artifact is done, also those of other numbers of workers.

        A run that made a part removes nothing, since others may still work.
        """

        def unlink() -> None:
            for name in ("replies*.jsonl", "grown*.jsonl", "done*.json", "worker*.lock"):
                for path in self._folder.glob(name):
                    with contextlib.suppress(FileNotFoundError):
                        path.unlink()

        if self._part is None:
            self._ranks.wait()  # another rank may still read
            self._ranks.by_first(unlink)

    def _finished(self) -> int | None:
        """A number of workers all of which have finished: this run's, if it is one of several."""
        others = {int(path.stem.split("-of-")[1]) for path in self._folder.glob("done-*.json")}
        for count in sorted({self.workers, *others}, key=lambda count: (count != self.workers, count)):
            if all(self._path("done", ".json", worker, count).exists() for worker in range(count)):
                return count
        return None

    def _kept(self, worker: int, workers: int) -> list[tuple[int, str]]:
        path = self._path("done", ".json", worker, workers)
        with user_errors(path):
            return [(search, calls) for search, calls in json.loads(path.read_text(encoding="utf-8"))]

    def _path(
        self, name: str, suffix: str = ".jsonl", worker: int | None = None, workers: int | None = None
    ) -> Path:
        worker, workers = self.worker if worker is None else worker, workers or self.workers
        return self._folder / f"{name}{'' if workers == 1 else f'-{worker}-of-{workers}'}{suffix}"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Another process with the same part waits."""
        with user_errors(self._folder):
            lock = FileLock(self._path("worker", ".lock"))
            lock.acquire(poll_interval=0.5)
        try:
            yield
        finally:
            lock.release()
