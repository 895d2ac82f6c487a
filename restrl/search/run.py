"""Runs searches from their starts to saved trees: shared by the collect step and the decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from restrl.config import MctsConfig, completion_limit
from restrl.protocols import Progress
from restrl.search.calls import ReplyBatch, Search
from restrl.search.forest import Services, grow_forest, recording
from restrl.search.mcts import Rules, search
from restrl.search.saved import SavedTree, save_tree
from restrl.search.tree import Start, Tree


class Journal(Protocol):
    """Stores finished trees, and reply batches so that an interrupted run resumes after the last of them."""

    def read(self) -> Iterable[ReplyBatch]: ...

    def append(self, records: Sequence[ReplyBatch], /) -> None: ...

    def keep(self, tree: SavedTree, search: int, calls: str, /) -> None:
        """``search``: the index of its start; ``calls``: a letter per call (``forest.recording``)."""
        ...


@dataclass(eq=False)
class _Planted:
    search: int
    tree: Tree
    calls: list[str] = field(default_factory=list)


def run_searches(
    starts: Iterable[Start],
    rules: Rules,
    services: Services,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Iterator[SavedTree]:
    """Yields each start's tree when it is done.

    ``progress`` counts up to ``planned_completions`` per tree, also for a tree that ends early.
    """

    def report(completions: int) -> None:
        if progress is not None and completions:
            progress(completions)

    def past() -> Iterator[ReplyBatch]:
        for batch in journal.read() if journal is not None else ():
            report(_completions(batch))
            yield batch

    def keep(batch: ReplyBatch) -> None:
        if journal is not None:
            journal.append([batch])
        report(_completions(batch))

    def planted() -> Iterator[tuple[_Planted, Search]]:
        for number, start in enumerate(starts):
            item = _Planted(number, Tree(start))
            yield item, recording(search(item.tree, rules), item.calls)

    for item in grow_forest(planted(), services, rules.config.in_flight, past(), keep):
        report(max(0, planned_completions(rules.config) - item.tree.cost.completions))
        saved = save_tree(item.tree)
        if journal is not None:
            journal.keep(saved, item.search, "".join(item.calls))
        yield saved
    services.settle()


def planned_completions(config: MctsConfig) -> int:
    """An upper bound on a tree's completions; 1 where neither iterations nor completions are limited."""
    limit = completion_limit(config)
    return 1 if limit is None else limit


def _completions(batch: ReplyBatch) -> int:
    return sum(len(reply.samples) for reply in batch.replies)
