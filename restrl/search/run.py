"""Searches from start to record: what the collect step and the decoder have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from restrl.config import MctsConfig
from restrl.search.calls import Search, Wave
from restrl.search.forest import Services, grow_forest
from restrl.search.mcts import Rules, search
from restrl.search.saved import SavedTree, save_tree
from restrl.search.tree import Start, Tree

Progress = Callable[[int], None]  # called with a number of completions


class Journal(Protocol):
    """Where waves are kept, so that an interrupted run goes on after the last of them."""

    def read(self) -> Iterable[Wave]: ...

    def append(self, records: Sequence[Wave]) -> None: ...


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

    def planted() -> Iterator[tuple[Tree, Search]]:
        for start in starts:
            tree = Tree(start)
            yield tree, search(tree, rules)

    for tree in grow_forest(planted(), services, rules.config.in_flight, past(), keep):
        note(max(0, planned_completions(rules.config) - tree.cost.completions))
        yield save_tree(tree)


def planned_completions(config: MctsConfig) -> int:
    """The most that a tree samples where iterations or completions limit it; else a guess of one."""
    limits = [config.completions, config.iterations and config.iterations * config.sampling.n]
    return min((limit for limit in limits if limit is not None), default=1)


def _completions(wave: Wave) -> int:
    return sum(len(reply.samples) for reply in wave.replies)
