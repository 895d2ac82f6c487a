"""Many trees together: the same trees as alone, full batches, and the same again from recorded replies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from restrl.artifacts import RecordLog
from restrl.search.calls import ReplyBatch
from restrl.search.forest import grow_forest
from restrl.search.saved import SavedTree, save_tree
from tests.search.scripted import (
    REWARD_SOURCES,
    World,
    grow,
    plant,
    settings,
    some_lines,
    some_rating,
    start,
    timeless,
)

STARTS = [start(name, seed=i) for i, name in enumerate("abcdefo")]
TEXTS = some_lines("abc", 2)


class Killed(BaseException):
    pass


def forest(mode: str, in_flight: int, recorded=(), kill_at: int | None = None, world: World | None = None):
    """(trees in the order of finishing, batches); ``kill_at``: dies before it keeps batch ``kill_at``."""
    batches: list[ReplyBatch] = list(recorded)

    def keep(batch: ReplyBatch) -> None:
        if kill_at is not None and len(batches) >= kill_at:
            raise Killed
        batches.append(batch)

    planted = (plant(begin, REWARD_SOURCES[mode], settings()) for begin in STARTS)
    world = world or World(TEXTS, some_rating)
    trees: list[SavedTree] = []
    try:
        for tree in grow_forest(planted, world.services(), in_flight, tuple(recorded), keep):
            trees.append(save_tree(tree))
    except Killed:
        assert kill_at is not None
    return [timed(tree) for tree in trees], batches


def timed(tree: SavedTree) -> SavedTree:
    return replace(tree, cost=replace(tree.cost, seconds=0.0))


@pytest.mark.parametrize("in_flight", [1, 3, 100])
@pytest.mark.parametrize("mode", sorted(REWARD_SOURCES))
def test_a_tree_is_the_same_alone_and_in_a_forest(mode: str, in_flight: int) -> None:
    alone = [
        timed(grow(World(TEXTS, some_rating), begin, REWARD_SOURCES[mode], settings())) for begin in STARTS
    ]
    together, _ = forest(mode, in_flight)
    assert sorted(together, key=lambda tree: tree.task_id) == alone
    assert any(tree.exhausted for tree in alone)  # trees of different lengths
    assert len({tree.iterations for tree in alone}) > 1


def test_the_calls_of_all_trees_go_into_one_batch() -> None:
    world = World(TEXTS, some_rating)
    forest("collect", 100, world=world)
    kinds = [kind for kind, _ in world.batches]
    # samples and verdicts take turns, as long as any tree wants more of them; no tree gets a batch of its own
    assert kinds[:6] == ["generate", "rate"] * 3
    assert world.batches[0] == ("generate", 7)
    assert len(kinds) <= 2 * 12
    single = World(TEXTS, some_rating)
    forest("collect", 1, world=single)
    assert sum(n for kind, n in world.batches if kind == "generate") == len(
        [kind for kind, _ in single.batches if kind == "generate"]
    )


def test_no_more_trees_in_flight_than_allowed_and_always_as_many() -> None:
    world = World(TEXTS, some_rating)
    trees, _ = forest("vm", 3, world=world)
    assert len(trees) == 7
    sizes = [n for kind, n in world.batches if kind == "generate"]
    assert max(sizes) == 3
    assert sum(size == 3 for size in sizes) > len(sizes) / 2


@pytest.mark.parametrize("mode", sorted(REWARD_SOURCES))
def test_killed_at_any_batch_it_ends_in_the_same_trees(mode: str) -> None:
    whole, batches = forest(mode, 3)
    assert len(batches) > 15
    for kill_at in range(len(batches) + 1):
        begun, kept = forest(mode, 3, kill_at=kill_at)
        assert len(kept) == kill_at
        assert begun == whole[: len(begun)]
        world = World(TEXTS, some_rating)
        trees, again = forest(mode, 3, recorded=kept, world=world)
        assert trees == whole
        assert timeless(again) == timeless(batches)
        # what was kept is not asked for again
        assert len([k for k, _ in world.batches]) <= 2 * (len(batches) - kill_at)


def test_reply_batches_are_records_that_survive_a_torn_line(tmp_path) -> None:
    whole, batches = forest("collect", 3)
    log = RecordLog(tmp_path / "replies.jsonl", ReplyBatch)
    log.append(batches[:9])
    assert list(log.read()) == batches[:9]
    with open(log.path, "a") as file:
        file.write('{"replies":[{"samples":[{"ids"')
    kept = RecordLog(log.path, ReplyBatch).read()
    assert forest("collect", 3, recorded=kept)[0] == whole


def test_reply_batches_of_other_trees_are_refused() -> None:
    _, batches = forest("collect", 3)
    with pytest.raises(ValueError, match="zip"):
        forest("collect", 4, recorded=batches)


def test_a_scorer_that_loses_states_is_an_error() -> None:
    services = replace(World(TEXTS, some_rating).services(), rate=lambda states: [0.0] * (len(states) - 1))
    with pytest.raises(ValueError, match="states were to be rated, and there are"):
        list(grow_forest([plant(STARTS[0], REWARD_SOURCES["collect"], settings())], services, 1))
