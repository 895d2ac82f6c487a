"""Searches that several ranks divide: their trees come in the order of one process, and no batch is lost."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from restrl.ranks import Ranks
from restrl.search.mcts import Rules
from restrl.search.run import run_searches
from restrl.search.saved import SavedTree
from restrl.search.tree import Start
from restrl.stages.parts import NotReady, Part, PartDone
from restrl.stages.searches import SearchFiles
from tests.search.scripted import REWARD_SOURCES, World, cut, ids_of, settings, some_lines, some_rating
from tests.thread_ranks import on_ranks

PROBLEMS = "abcdefo"
WORLD = some_lines("abc", 2)


def searched(
    folder: Path, ranks: Ranks, mode: str, in_flight: int, answers: int, part: Part | None = None
) -> list[SavedTree]:
    files = SearchFiles(folder, ranks, part)
    world = World(WORLD, some_rating)
    rules = Rules(settings(in_flight=in_flight), REWARD_SOURCES[mode], cut, (".",))
    starts = [
        Start(name, sample, ids_of(name), name, 10 * PROBLEMS.index(name) + sample)
        for name in files.share(PROBLEMS)
        for sample in range(answers)
    ]
    finished = list[tuple[str, int]]()

    def search() -> None:
        grown = run_searches(starts, rules, world.services(), files)
        finished.extend((tree.task_id, tree.sample) for tree in grown)

    with contextlib.suppress(PartDone):
        files.grow(search)
    if part is not None:
        return []
    trees = [replace(t, cost=replace(t.cost, seconds=0.0)) for t in files.merged(in_flight, answers)]
    if ranks.size == 1 and finished:
        assert [(tree.task_id, tree.sample) for tree in trees] == finished
    files.remove()
    return trees


@pytest.mark.parametrize(("in_flight", "answers"), [(1, 1), (3, 1), (3, 2), (100, 2)])
@pytest.mark.parametrize("mode", sorted(REWARD_SOURCES))
def test_trees_come_in_the_order_of_one_process(
    tmp_path: Path, mode: str, in_flight: int, answers: int
) -> None:
    alone = searched(tmp_path, Ranks(), mode, in_flight, answers)
    assert len(alone) == 7 * answers
    for size in (2, 3):
        found = on_ranks(size, lambda ranks: searched(tmp_path, ranks, mode, in_flight, answers))
        assert found == [alone] * size
    assert list(tmp_path.iterdir()) == []


def test_the_order_is_not_that_of_the_starts(tmp_path: Path) -> None:
    """Else the test above would show little."""
    names = [tree.task_id for tree in searched(tmp_path, Ranks(), "collect", 3, 1)]
    assert sorted(names) == list(PROBLEMS) != names


def test_journals_of_another_number_of_ranks_are_not_read(tmp_path: Path) -> None:
    for ranks in (Ranks(), Ranks(1, 2), Ranks(0, 3)):
        files = SearchFiles(tmp_path, ranks)
        assert list(files.read()) == []
        files.append([])
    assert {path.name for path in tmp_path.iterdir()} == {
        "replies.jsonl",
        "replies-1-of-2.jsonl",
        "replies-0-of-3.jsonl",
    }
    SearchFiles(tmp_path, Ranks()).remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ranks_of_a_part", [1, 2])
def test_parts_that_separate_runs_search_give_the_trees_of_one(tmp_path: Path, ranks_of_a_part: int) -> None:
    alone = searched(tmp_path, Ranks(), "collect", 3, 2)
    for index in (2, 0, 1):
        on_ranks(
            ranks_of_a_part, lambda ranks, i=index: searched(tmp_path, ranks, "collect", 3, 2, Part(i, 3))
        )
    files = SearchFiles(tmp_path, Ranks(), makes=False)
    files.grow(lambda: pytest.fail("all searches were there"))
    assert searched(tmp_path, Ranks(), "collect", 3, 2) == alone
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_may_not_search_says_what_is_missing(tmp_path: Path) -> None:
    searched(tmp_path, Ranks(), "collect", 3, 1, Part(0, 2))
    with pytest.raises(NotReady, match="some of its searches are not there yet"):
        SearchFiles(tmp_path, Ranks(), makes=False).grow(lambda: None)


def test_a_part_is_not_searched_twice(tmp_path: Path) -> None:
    searched(tmp_path, Ranks(), "collect", 3, 1, Part(0, 2))
    with pytest.raises(PartDone):
        SearchFiles(tmp_path, Ranks(), Part(0, 2)).grow(lambda: pytest.fail("it was done"))
