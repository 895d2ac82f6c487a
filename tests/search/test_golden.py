"""The search against trees that were worked out without it: by the naive reference, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from restrl.search.saved import SavedTree
from restrl.seeds import derive_seed
from tests.search.reference import reference_trees
from tests.search.scripted import (
    REWARD_SOURCES,
    World,
    grow,
    script,
    settings,
    some_lines,
    some_rating,
    start,
)

MODES = sorted(REWARD_SOURCES)


def nodes_of(tree: SavedTree) -> dict:
    return {
        (tree.state_text(i), node.terminal): (node.visits, node.value_sum, node.visible)
        for i, node in enumerate(tree.nodes)
    }


def same(tree: SavedTree, expected: dict) -> bool:
    found = nodes_of(tree)
    return list(found) == list(expected) and all(
        (n, shown) == (found[key][0], found[key][2]) and w == pytest.approx(found[key][1])
        for key, (n, w, shown) in expected.items()
    )


@pytest.mark.parametrize("problem", ["p", "q"])
@pytest.mark.parametrize("mode", MODES)
def test_visit_by_visit_as_the_reference(mode: str, problem: str) -> None:
    texts = some_lines()
    trees = reference_trees(problem, mode, settings(), texts, some_rating)
    assert len(trees) == 12
    for iterations, expected in enumerate(trees, start=1):
        tree = grow(
            World(texts, some_rating), start(problem), REWARD_SOURCES[mode], settings(iterations=iterations)
        )
        assert tree.iterations == iterations
        assert same(tree, expected), iterations


@pytest.mark.parametrize("mode", MODES)
def test_many_more_trees_as_the_reference(mode: str) -> None:
    """Other settings, other seeds; what the golden trees are to show does occur in them."""
    seen = dict.fromkeys(["hidden", "repeated", "exhausted", "terminal again", "unjudged"], 0)
    for seed in range(40):
        config = settings(iterations=8 + seed % 9, num_decision=1 + seed % 4, c=0.1 * (seed % 4))
        texts = some_lines("ab" if seed % 2 else "abcd", 1 + seed % 3)
        trees = reference_trees(f"p{seed}", mode, config, texts, some_rating, seed)
        tree = grow(World(texts, some_rating), start(f"p{seed}", seed), REWARD_SOURCES[mode], config)
        assert same(tree, trees[-1]), seed
        assert tree.iterations == len(trees)
        seen["hidden"] += any(not node.visible for node in tree.nodes)
        seen["exhausted"] += tree.exhausted
        seen["terminal again"] += any(node.terminal and node.visits > 1 for node in tree.nodes)
        seen["unjudged"] += any(rollout.rating is None for rollout in tree.rollouts)
        seen["repeated"] += len(tree.rollouts) > len({(r.node, r.text) for r in tree.rollouts})
    assert all(count >= 3 for count in seen.values()), seen


# --- by hand.  n = 3 completions, num_decision = 2, c = 1, eps = 1.

LINES = {
    "p": ["\na\nx.", "\nb.", "\na\ny."],
    "p\na": ["\nx.", "\nc\nd.", "\nc\ne."],
    "p\na\nc": ["\nd.", "\ne.", "\nd."],
}
REWARDS = {"p\na\nx": 0.5, "p\nb": 0.25, "p\na\ny": 0.0, "p\na\nc\nd": 1.0, "p\na\nc\ne": 0.75}
HAND = {"c": 1.0, "eps": 1.0, "num_decision": 2}


def by_hand(mode: str, iterations: int, ratings: dict) -> dict:
    """Actions -> (N, W), W to six digits."""
    config = settings(**HAND, iterations=iterations)
    config.sampling.n = 3
    world = World(script(LINES), lambda program, _whole: ratings.get(program))
    return {
        text.removeprefix("p").replace("\n", ""): (n, round(w, 6))
        for (text, _), (n, w, _) in nodes_of(grow(world, start(), REWARD_SOURCES[mode], config)).items()
    }


def test_collect_by_hand() -> None:
    assert np.random.default_rng(derive_seed(0, "ties")).integers(2, size=2).tolist() == [1, 1]
    # 1. The root's rollouts earn 0.5, 0.25, 0: W = 0.75, N = 3.  Children a and b (terminal), N = 0 each.
    assert by_hand("collect", 1, REWARDS) == {"": (3, 0.75), "a": (0, 0), "b": (0, 0)}
    # 2. A tie, and the draw is 1: b, which is terminal: its verdict 0.25, one visit.
    assert by_hand("collect", 2, REWARDS) == {"": (4, 1.0), "a": (0, 0), "b": (1, 0.25)}
    # 3. sqrt(1 + ln 4) = 1.545: a: 0 + 1.545 = 1.545; b: 0.25 + 1.545 / sqrt 2 = 1.342: a.
    #    Its rollouts earn 0.5, 1, 0.75: W = 2.25, N = 3; its children are x (terminal) and c.
    assert by_hand("collect", 3, REWARDS) == {
        "": (7, 3.25), "a": (3, 2.25), "ax": (0, 0), "ac": (0, 0), "b": (1, 0.25),
    }  # fmt: skip
    # 4. sqrt(1 + ln 7) = 1.716: a: 0.75 + 1.716 / 2 = 1.608; b: 0.25 + 1.716 / sqrt 2 = 1.464: a again.
    #    Below it a tie of x and c, and the draw is 1: c, whose rollouts earn 1, 0.75, 1.
    assert by_hand("collect", 4, REWARDS) == {
        "": (10, 6.0), "a": (6, 5.0), "ax": (0, 0), "ac": (3, 2.75), "acd": (0, 0), "ace": (0, 0),
        "b": (1, 0.25),
    }  # fmt: skip
    # 5. Whatever is visible is terminal now.
    assert by_hand("collect", 5, REWARDS) == by_hand("collect", 4, REWARDS)


# what a value model might say
SCORES = {
    "p\na": 0.6, "p\nb": 0.4, "p\na\nx": 0.3, "p\na\ny": 0.1, "p\na\nc": 0.9, "p\na\nc\nd": 1.0,
    "p\na\nc\ne": 0.2,
}  # fmt: skip


def test_vm_by_hand() -> None:
    """No ties: every child has the visits that its arrivals gave it."""
    # 1. a came twice: W = 0.6 + 0.6, N = 2; b once: 0.4, N = 1.  The root gets all of it: W = 1.6, N = 3.
    assert by_hand("vm", 1, SCORES) == ({"": (3, 1.6), "a": (2, 1.2), "b": (1, 0.4)})
    # 2. sqrt(1 + ln 3) = 1.449: a: 0.6 + 1.449 / sqrt 3 = 1.437; b: 0.4 + 1.449 / sqrt 2 = 1.425: a.
    #    x (terminal) 0.3, c twice 0.9: W = 2.1, N = 3 on top of a's own 1.2 and 2.
    assert by_hand("vm", 2, SCORES) == (
        {"": (6, 3.7), "a": (5, 3.3), "ax": (1, 0.3), "ac": (2, 1.8), "b": (1, 0.4)}
    )
    # 3. sqrt(1 + ln 6) = 1.671: a: 0.66 + 1.671 / sqrt 6 = 1.342; b: 0.4 + 1.671 / sqrt 2 = 1.582: b, which
    #    is terminal: its score once more.
    assert by_hand("vm", 3, SCORES) == (
        {"": (7, 4.1), "a": (5, 3.3), "ax": (1, 0.3), "ac": (2, 1.8), "b": (2, 0.8)}
    )
    # 4. sqrt(1 + ln 7) = 1.716: a: 0.66 + 1.716 / sqrt 6 = 1.361; b: 0.4 + 1.716 / sqrt 3 = 1.391: b again.
    assert by_hand("vm", 4, SCORES) == (
        {"": (8, 4.5), "a": (5, 3.3), "ax": (1, 0.3), "ac": (2, 1.8), "b": (3, 1.2)}
    )
    # 5. sqrt(1 + ln 8) = 1.755: a: 0.66 + 0.716 = 1.376; b: 0.4 + 1.755 / 2 = 1.277: a.
    #    Below, sqrt(1 + ln 5) = 1.615: x: 0.3 + 1.142 = 1.442; c: 0.9 + 1.615 / sqrt 3 = 1.833: c.
    #    d twice 1.0, e once 0.2: W = 2.2, N = 3 on top, up to the root.
    assert by_hand("vm", 5, SCORES) == (
        {"": (11, 6.7), "a": (8, 5.5), "ax": (1, 0.3), "ac": (5, 4.0), "acd": (2, 2.0), "ace": (1, 0.2),
         "b": (3, 1.2)}
    )  # fmt: skip
