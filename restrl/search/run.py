"""Searches from start to record: what the collect step and the decoder have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from restrl.config import MctsConfig
from restrl.protocols import Progress
from restrl.search.calls import Search, Wave
from restrl.search.forest import Services, grow_forest, noted
from restrl.search.mcts import Rules, search
from restrl.search.saved import SavedTree, save_tree
from restrl.search.tree import Start, Tree


class Journal(Protocol):
    """Keeps waves, so that an interrupted run goes on after the last of them, and finished trees."""

    def read(self) -> Iterable[Wave]: ...

    def append(self, records: Sequence[Wave], /) -> None: ...

    def keep(self, tree: SavedTree, search: int, calls: str, /) -> None:
        """``search``: the number of its start; ``calls``: a letter for each (``forest.noted``)."""
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

    ``progress`` counts up to ``planned_completions`` for each tree: one that ends early counts as whole.
    """

    def note(completions: int) -> None:
        if progress is not None and completions:
            progress(completions)

    def past() -> Iterator[Wave]:
        for wave in journal.read() if journal is not None else ():
            note(_completions(wave))
            yield wave

    def keep(wave: Wave) -> None:
        if journal is not None:
            journal.append([wave])
        note(_completions(wave))

    def planted() -> Iterator[tuple[_Planted, Search]]:
        for number, start in enumerate(starts):
            item = _Planted(number, Tree(start))
            yield item, noted(search(item.tree, rules), item.calls)

    for item in grow_forest(planted(), services, rules.config.in_flight, past(), keep):
        note(max(0, planned_completions(rules.config) - item.tree.cost.completions))
        saved = save_tree(item.tree)
        if journal is not None:
            journal.keep(saved, item.search, "".join(item.calls))
        yield saved


def planned_completions(config: MctsConfig) -> int:
    """The most that a tree samples where iterations or completions limit it; else a guess of one."""
    limits = [config.completions, config.iterations and config.iterations * config.sampling.n]
    return min((limit for limit in limits if limit is not None), default=1)


def _completions(wave: Wave) -> int:
    return sum(len(reply.samples) for reply in wave.replies)
