"""Searches that several ranks divide: their trees come in the order of one process, and no batch is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from restrl.ranks import Ranks
from restrl.search.mcts import Rules
from restrl.search.run import run_searches
from restrl.search.saved import SavedTree
from restrl.search.tree import Start
from restrl.stages.searches import SearchFiles
from tests.search.scripted import REWARD_SOURCES, World, cut, ids_of, settings, some_lines, some_rating
from tests.thread_ranks import on_ranks

PROBLEMS = "abcdefo"
WORLD = some_lines("abc", 2)


def searched(folder: Path, ranks: Ranks, mode: str, in_flight: int, answers: int) -> list[SavedTree]:
    world = World(WORLD, some_rating)
    rules = Rules(settings(in_flight=in_flight), REWARD_SOURCES[mode], cut, (".",))
    starts = [
        Start(name, sample, ids_of(name), name, 10 * PROBLEMS.index(name) + sample)
        for name in ranks.share(PROBLEMS)
        for sample in range(answers)
    ]
    files = SearchFiles(folder, ranks)
    finished = [(tree.task_id, tree.sample) for tree in run_searches(starts, rules, world.services(), files)]
    trees = [replace(t, cost=replace(t.cost, seconds=0.0)) for t in files.merged(in_flight, answers)]
    if ranks.size == 1:
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
