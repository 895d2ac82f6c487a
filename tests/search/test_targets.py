"""Value targets by hand, from a tree of three expansions."""

from __future__ import annotations

import copy

import pytest

from restrl.records import from_json, to_json
from restrl.search.mcts import TESTS
from restrl.search.saved import SavedTree
from restrl.search.targets import value_targets
from tests.search.scripted import World, grow, ids_of, script, settings, start

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


def by_state(targets) -> dict:
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
    assert by_state(value_targets(tree, reuse_rollouts=False)) == close(
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
    assert by_state(value_targets(tree, reuse_rollouts=True)) == close(
        TERMINAL
        | {
            ("", False): ((1.5 + 2.0 + 1.75) / 8, 8, 0),
            ("\na", False): ((1.5 + 2.0 + 1.75) / 7, 7, 1),
            ("\na\nb", False): ((1.5 + 1.0 + 1.75) / 5, 5, 2),
        }
    )


def test_more_targets_from_the_same_tokens() -> None:
    """One expansion: the paper's way has the root and the programs, prefixes come on top."""
    config = settings(iterations=1)
    config.sampling.n = 1
    lines = {"p": ["\na\nb\nc\nd."]}
    tree = grow(World(script(lines), lambda _program, _whole: 1.0), start(), TESTS, config)
    assert len(value_targets(tree, False)) == 2
    assert set(by_state(value_targets(tree, True))) == {
        ("", False), ("\na", False), ("\na\nb", False), ("\na\nb\nc", False), ("\na\nb\nc\nd.", True),
    }  # fmt: skip


def test_reading_changes_nothing_and_a_tree_is_a_record(tree: SavedTree) -> None:
    before = copy.deepcopy(tree)
    value_targets(tree, True)
    tree.best()
    assert tree == before
    assert from_json(SavedTree, to_json(tree)) == tree
    assert tree.prompt_ids == ids_of("p")
