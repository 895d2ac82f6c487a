"""What the search does at its edges, and that it finds what is there to find."""

from __future__ import annotations

import math
from itertools import takewhile
from random import Random

import pytest

from restrl.search.mcts import OUTCOME, STATE, TESTS
from tests.search.scripted import (
    REWARD_SOURCES,
    Texts,
    World,
    grow,
    script,
    settings,
    some_lines,
    some_rating,
    start,
)


def small(n: int, **changes):
    config = settings(**changes)
    config.sampling.n = n
    return config


def tree_of(lines: dict, ratings: dict, reward_source=TESTS, n: int = 2, **changes):
    world = World(script(lines), lambda program, _whole: ratings.get(program))
    return world, grow(world, start(), reward_source, small(n, **changes))


def actions(tree):
    """state -> (N, terminal, visible)"""
    return {
        tree.state_text(i).removeprefix("p"): (node.visits, node.terminal, node.visible)
        for i, node in enumerate(tree.nodes)
    }


def test_an_empty_completion_says_that_the_state_is_a_program() -> None:
    _, tree = tree_of({"p": ["\na\nb.", "."], "p\na": [".", "\n."]}, {"p": 0.5, "p\na": 1.0, "p\na\nb": 0.0},
                      iterations=2, c=0.0)  # fmt: skip
    ends = [(tree.program(rollout), rollout.rating) for rollout in tree.rollouts[:2]]
    assert ends == [("p\na\nb", 0.0), ("p", 0.5)]
    kids = [(node.action, node.terminal, node.parent) for node in tree.nodes]
    assert ("", True, 0) in kids
    # below a, an empty and a blank completion are the same end
    assert sum(node.terminal and node.parent == 1 for node in tree.nodes) in (0, 1)


def test_an_empty_program_has_its_tests_reward() -> None:
    _, tree = tree_of({"p": [".", "\n."]}, {"p": 0.25, "p\n": 0.25}, iterations=5)
    assert tree.exhausted
    assert tree.iterations == 1  # nothing to expand: the budget of 5 is left
    assert actions(tree) == {"": (2, False, True)} | {"": (0, True, True)}
    assert tree.nodes[0].value == 0.25


def test_a_completion_at_the_limit_is_judged_as_it_stands() -> None:
    """With 4 tokens in all, "\\na\\nb" has them and no stop string; its unfinished line makes no child."""
    lines = {"p": ["\na\nb", "\nc\nd."], "p\na": ["\nx", "\ny"]}
    world, tree = tree_of(lines, {"p\na\nb": 1.0, "p\nc\nd": 0.0}, iterations=1)
    assert {text: terminal for text, (_, terminal, _) in actions(tree).items()} == {
        "": False, "\na": False, "\nc": False,
    }  # fmt: skip
    assert [(rollout.finish, rollout.rating) for rollout in tree.rollouts] == [("length", 1.0), ("stop", 0.0)]
    assert [state.text for state in world.rated] == ["p\na\nb", "p\nc\nd"]
    # an unfinished only line is terminal
    _, tree = tree_of({"p": ["\na", "\nb"]}, {"p\na": 1.0, "p\nb": 0.0}, iterations=1)
    assert tree.exhausted


def test_a_state_may_take_the_tokens_that_are_left() -> None:
    world = World(some_lines(), some_rating)
    grow(world, start(), TESTS, settings())
    assert len({request.max_tokens for request in world.requests}) > 1
    for request in world.requests:
        assert len(request.prompt_ids) - 1 + request.max_tokens == 40
        assert request.max_tokens >= 1


@pytest.mark.parametrize("reward_source", [TESTS, OUTCOME], ids=["collect", "orm"])
def test_where_nothing_can_be_judged_the_search_goes_on_blindly(reward_source) -> None:
    lines = {"p": ["\na\nb.", "\nc\nd."], "p\na": ["\nx\ny.", "\nb."], "p\nc": ["\nd.", "\ne\nf."]}
    _, tree = tree_of(lines, {}, reward_source, iterations=2, c=1.0)
    assert all((node.visits, node.value_sum) == (0, 0.0) for node in tree.nodes)
    assert len(tree.rollouts) == 4
    assert all(rollout.rating is None for rollout in tree.rollouts)
    assert tree.best() == tree.rollouts[0]


def test_a_terminal_child_without_a_verdict_gives_its_place_to_the_next() -> None:
    _, tree = tree_of({"p": ["\na.", "\nb.", "\nc."]}, {"p\nb": 0.5, "p\nc": 0.0}, n=3, num_decision=2,
                      iterations=1)  # fmt: skip
    assert actions(tree) == {
        "": (2, False, True), "\na": (0, True, False), "\nb": (0, True, True), "\nc": (0, True, True),
    }  # fmt: skip
    assert tree.nodes[0].value == 0.25  # of two, not of three


@pytest.mark.parametrize("mode", sorted(REWARD_SOURCES))
def test_an_expansion_without_children_is_a_dead_end(mode: str) -> None:
    lines = {"p": ["\na\nb.", "\nc."], "p\na": []}
    rate = {"p\na": 0.9, "p\na\nb": 0.5, "p\nc": 0.1}
    _, tree = tree_of(lines, rate, REWARD_SOURCES[mode], iterations=9, c=1.0)
    assert tree.exhausted
    assert {text: visible for text, (_, _, visible) in actions(tree).items()} == {
        "": True, "\na": False, "\nc": True,
    }  # fmt: skip
    _, tree = tree_of({"p": []}, {}, REWARD_SOURCES[mode], iterations=9)
    assert tree.exhausted
    assert (tree.iterations, tree.best()) == (1, None)


def test_equal_actions_share_a_child_and_a_program_is_judged_once() -> None:
    lines = {"p": ["\na\nb.", "\na \nb.", "\na\nb.", "\na."]}
    world, tree = tree_of(lines, {"p\na\nb": 1.0, "p\na \nb": 0.5, "p\na": 0.0}, n=4, iterations=1)
    # the same line as the last one is another child than with more to come
    assert [(node.action, node.terminal) for node in tree.nodes[1:]] == [("\na", False), ("\na", True)]
    assert {state.text for state in world.rated} == {"p\na\nb", "p\na \nb", "p\na"}
    assert len(world.rated) == 3
    assert (tree.nodes[0].visits, tree.nodes[0].value_sum) == (4, 2.5)
    assert (tree.cost.completions, tree.cost.verifier_calls, tree.cost.scorer_calls) == (4, 3, 0)
    assert tree.cost.model_tokens == 5 + 6 + 5 + 3


def test_a_value_model_rates_children_and_programs() -> None:
    lines = {"p": ["\na\nb.", "\nc.", "\na\nd."]}
    ratings = {"p\na": 0.2, "p\nc": 0.9, "p\na\nb": 0.4, "p\na\nd": 0.6}
    world, tree = tree_of(lines, ratings, STATE, n=3, iterations=1, num_decision=1)
    assert [(state.text, state.terminal) for state in world.rated] == [
        ("p\na", False), ("p\nc", True), ("p\na\nb", True), ("p\na\nd", True),
    ]  # fmt: skip
    assert actions(tree) == {"": (3, False, True), "\na": (2, False, False), "\nc": (1, True, True)}
    assert math.isclose(tree.nodes[0].value_sum, 0.2 + 0.9 + 0.2)
    assert tree.exhausted  # the only visible child is a whole program
    assert tree.cost.scorer_calls == 4
    best = tree.best()
    assert best is not None
    assert tree.program(best) == "p\nc"


def test_any_score_is_better_than_none() -> None:
    for scores, best in (({"p\nb": -3.0}, "p\nb"), ({"p\na": -3.0, "p\nb": -3.0}, "p\na"), ({}, "p\na")):
        _, tree = tree_of({"p": ["\na.", "\nb."]}, scores, OUTCOME, iterations=1)
        chosen = tree.best()
        assert chosen is not None
        assert tree.program(chosen) == best


@pytest.mark.parametrize(
    ("limit", "value", "spent"),
    [("iterations", 5, 5), ("completions", 18, 18), ("model_tokens", 60, 60), ("seconds", 3.0, 3.0)],
)
def test_each_budget_ends_the_tree(limit: str, value: float, spent: float, monkeypatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))  # a batch takes a second
    budget = {"iterations": None, "revisit_terminals": False} | {limit: value}
    tree = grow(World(some_lines("abcdefg", 9), some_rating), start(), TESTS, settings(**budget))
    used = tree.iterations if limit == "iterations" else getattr(tree.cost, limit)
    assert not tree.exhausted
    if limit in ("iterations", "completions"):  # never more: the last expansion samples what is left
        assert used == spent
    else:
        assert used >= spent
        last = tree.rollouts[-4:]
        before = used - (sum(len(r.ids) for r in last) if limit == "model_tokens" else 2)
        assert before < spent


def test_without_revisits_every_iteration_samples() -> None:
    texts, begin = some_lines("abcde", 5), start()
    again = grow(World(texts, some_rating), begin, TESTS, settings(iterations=20, c=0.0))
    once = grow(World(texts, some_rating), begin, TESTS, settings(iterations=20, revisit_terminals=False))
    assert again.iterations > len(again.rollouts) / 4
    assert once.iterations == len(once.rollouts) / 4
    assert all(node.visits == 0 for node in once.nodes if node.terminal)


def test_seeds_name_every_draw() -> None:
    world = World(some_lines(), some_rating)
    grow(world, start(seed=3), TESTS, settings())
    seeds = [request.seed for request in world.requests]
    assert len(set(seeds)) == len(seeds)
    other = World(some_lines(), some_rating)
    grow(other, start(seed=4), TESTS, settings())
    assert not set(seeds) & {request.seed for request in other.requests}
    assert {(r.n, r.stop, r.temperature) for r in world.requests} == {(4, (".",), 0.7)}


@pytest.mark.parametrize("mode", sorted(REWARD_SOURCES))
def test_the_best_line_is_found(mode: str) -> None:
    """Ten letters; the reward is the share up to the first wrong one: one program in 1024 has reward 1.

    300 samples find it with probability 0.25; a search that follows the rewards finds it always.
    """
    goal = "abbabaabba"

    def guesses(seed: int) -> Texts:
        def texts(program: str, n: int) -> list[str]:
            random, left = Random(f"{program}{seed}"), 10 - program.count("\n")
            return ["".join(f"\n{random.choice('ab')}" for _ in range(left)) + "." for _ in range(n)]

        return texts

    def rate(program: str, whole: bool) -> float:
        letters = program.removeprefix("p").replace("\n", "")
        right = len(list(takewhile(bool, (a == b for a, b in zip(letters, goal, strict=False)))))
        return right / 10 if whole else right / len(letters)

    config = small(10, iterations=None, completions=300, c=0.1, revisit_terminals=False)
    for seed in range(10):
        best = grow(World(guesses(seed), rate), start(seed=seed), REWARD_SOURCES[mode], config).best()
        assert best is not None
        assert best.rating == 1.0
