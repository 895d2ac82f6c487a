"""Value targets by hand, from a tree of three expansions."""

from __future__ import annotations

import copy
import dataclasses
import json
import tracemalloc
from random import Random

import pytest

from restrl.records import TreeTargets, from_json, to_json
from restrl.search.mcts import TESTS
from restrl.search.saved import SavedTree
from restrl.search.targets import step_labels, value_targets
from tests.search.reference_targets import listed, reference_parents, reference_targets
from tests.search.scripted import World, grow, ids_of, script, settings, some_lines, some_rating, start

LINES = {
    "p": ["\na\nb\nx.", "\nc.", "\na\nb\ny."],
    "p\na": ["\nb\nx.", "\nd.", "\nb."],
    "p\na\nb": ["\nx.", "\nz.", "."],
}
REWARDS = {"p\na\nb\nx": 1.0, "p\nc": 0.0, "p\na\nb\ny": 0.5, "p\na\nd": 0.25, "p\na\nb": 0.75}  # not z


@pytest.fixture(scope="module")
def tree() -> SavedTree:
    """The root, a and b below it are expanded; c, d and all below b are terminal."""
    config = settings(iterations=3, revisit_terminals=False, num_decision=5)
    config.sampling.n = 3
    return grow(World(script(LINES), lambda program, _whole: REWARDS.get(program)), start(), TESTS, config)


def by_state(tree: SavedTree, reuse_rollouts: bool) -> dict:
    targets = listed(tree, value_targets(tree, reuse_rollouts))
    return {("".join(map(chr, t.ids)), t.terminal): (round(t.value, 9), t.visits, t.depth) for t in targets}


def close(targets: dict) -> dict:
    return {key: (round(value, 9), *rest) for key, (value, *rest) in targets.items()}


# Rollouts: from the root x 1, c 0, y 1/2; from a: x 1, d 1/4, b 3/4; from b: x 1, z not judged, b 3/4.
TERMINAL = {
    ("\na\nb\nx.", True): (1.0, 3, 3),  # sampled three times, each time the same program
    ("\nc.", True): (0.0, 1, 1),
    ("\na\nb\ny.", True): (0.5, 1, 3),
    ("\na\nd.", True): (0.25, 1, 2),
    ("\na\nb.", True): (0.75, 2, 2),
}


def test_as_in_the_paper(tree: SavedTree) -> None:
    assert by_state(tree, False) == close(
        TERMINAL
        | {
            ("", False): ((1.5 + 2.0 + 1.75) / 8, 8, 0),
            ("\na", False): ((2.0 + 1.75) / 5, 5, 1),
            ("\na\nb", False): (1.75 / 2, 2, 2),
        }
    )


def test_every_prefix_of_a_rollout_gets_its_credit(tree: SavedTree) -> None:
    """Through a went x, y (from the root), x, d, b (from a) and x, b (from b); through a, b all but d.

    The program b that ends there passes through the state b, from where more could have come.
    """
    assert by_state(tree, True) == close(
        TERMINAL
        | {
            ("", False): ((1.5 + 2.0 + 1.75) / 8, 8, 0),
            ("\na", False): ((1.5 + 2.0 + 1.75) / 7, 7, 1),
            ("\na\nb", False): ((1.5 + 1.0 + 1.75) / 5, 5, 2),
        }
    )


@pytest.mark.parametrize("reuse_rollouts", [False, True])
def test_the_labels_of_a_process_reward_model(tree: SavedTree, reuse_rollouts: bool) -> None:
    """Only x passes all tests, three times; through the root went 8 judged rollouts, a 7, a and b 5."""
    targets = value_targets(tree, reuse_rollouts)
    shares = {("", False): 3 / 8, ("\na", False): 3 / 7, ("\na\nb", False): 3 / 5, ("\na\nb\nx.", True): 1.0}
    for label, expected in (("soft", shares), ("hard", dict.fromkeys(shares, 1.0))):
        found = step_labels(tree, targets, label)
        states = [("".join(map(chr, t.ids)), t.terminal) for t in listed(tree, targets)]
        assert dict(zip(states, found.value, strict=True)) == {
            state: pytest.approx(expected.get(state, 0.0)) for state in states
        }
        assert dataclasses.replace(found, value=targets.value) == targets  # nothing else changes
    assert step_labels(tree, targets, "value") is targets


def test_more_targets_from_the_same_tokens() -> None:
    """One expansion: the paper's way has the root and the programs, prefixes come on top."""
    config = settings(iterations=1)
    config.sampling.n = 1
    lines = {"p": ["\na\nb\nc\nd."]}
    tree = grow(World(script(lines), lambda _program, _whole: 1.0), start(), TESTS, config)
    assert len(value_targets(tree, False)) == 2
    assert set(by_state(tree, True)) == {
        ("", False), ("\na", False), ("\na\nb", False), ("\na\nb\nc", False), ("\na\nb\nc\nd.", True),
    }  # fmt: skip


def test_reading_changes_nothing_and_a_tree_is_a_record(tree: SavedTree) -> None:
    before = copy.deepcopy(tree)
    value_targets(tree, True)
    tree.best()
    assert tree == before
    assert from_json(SavedTree, to_json(tree)) == tree
    targets = value_targets(tree, True)
    assert from_json(TreeTargets, to_json(targets)) == targets
    assert tree.prompt_ids == ids_of("p")


@pytest.mark.parametrize("reuse_rollouts", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_references_into_a_tree_are_the_copies_they_stand_for(reuse_rollouts: bool, seed: int) -> None:
    """Programs sampled again and again, unjudged ones, empty and cut-off ones: the same targets, in order."""
    begin = start("pqrstu"[seed], seed)
    tree = grow(World(some_lines("ab", 4), some_rating), begin, TESTS, settings(iterations=30))
    targets = value_targets(tree, reuse_rollouts)
    expected = reference_targets(tree, reuse_rollouts)
    assert listed(tree, targets) == expected
    assert list(targets.parent) == reference_parents(expected)
    assert max(targets.parent) >= 0


def test_a_tree_at_the_papers_settings_is_small() -> None:
    """Programs of 30 lines that differ; each state with a copy of its tokens would be tens of megabytes."""

    def texts(program: str, n: int) -> list[str]:
        draw = Random(program)
        lines = 30 - program.count("\n")
        return ["".join(f"\n{draw.randrange(10**11):011}" for _ in range(lines)) + "." for _ in range(n)]

    config = settings(iterations=100, num_decision=3)
    config.sampling.n, config.sampling.max_tokens = 5, 999
    world = World(texts, lambda program, _whole: Random(program).random())
    tree = grow(world, start(), TESTS, config)
    targets = value_targets(tree, reuse_rollouts=True)
    assert len(tree.rollouts) == 500
    assert len(targets) > 10_000
    lines = [json.dumps(to_json(record), separators=(",", ":")) for record in (tree, targets)]
    assert sum(map(len, lines)) < 2_000_000
    tracemalloc.start()
    try:
        kept = [from_json(SavedTree, json.loads(lines[0])), from_json(TreeTargets, json.loads(lines[1]))]
        assert tracemalloc.get_traced_memory()[0] < 4_000_000
        assert kept == [tree, targets]
    finally:
        tracemalloc.stop()
