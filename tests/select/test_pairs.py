"""Pairs for DPO and accepted completions for SFT: which are taken, and why others are not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from restrl.errors import UserError
from restrl.records import Completion, Group, Verdict
from restrl.select.accepted import accepted
from restrl.select.pairs import best_and_worst


def group(task_id: str, rewards: Sequence[float | None], texts: Sequence[str] | None = None) -> Group:
    """Completion i has the text and token i, unless ``texts`` say otherwise."""
    names = texts or [f"{i}" for i in range(len(rewards))]
    completions = tuple(Completion((i,), name, (0.0,), "stop") for i, name in enumerate(names))
    verdicts = tuple(Verdict("passed" if r == 1 else "failed", 0, 1, r, 0.0) for r in rewards)
    return Group(task_id, (9,), "code", completions, verdicts)


def test_the_first_best_against_the_first_worst() -> None:
    pairs, report = best_and_worst([group("a", [0.5, None, 1.0, 0.25, 1.0, 0.25])], sigma0=0.05, margin=0.0)
    (pair,) = pairs
    assert (pair.task_id, pair.prompt_ids, pair.code) == ("a", (9,), "code")
    assert (pair.chosen.ids, pair.rejected.ids) == ((2,), (3,))
    assert (pair.chosen_reward, pair.rejected_reward) == (1.0, 0.25)
    assert report.text() == "kept 1 of 1 problems; 1 pairs"


def test_why_a_problem_gives_no_pair() -> None:
    empty = group("empty", [1.0, 0.0])
    empty.completions[0].__dict__["ids"] = ()
    groups = [
        group("kept", [0.9, 0.1]),
        group("flat", [0.5, 0.52]),  # std 0.01
        group("no difference", [1.0, 1.0]),
        group("nothing", []),
        group("not judged", [None, None]),
        group("near", [0.5, 0.3]),  # difference 0.2, std 0.1
        empty,
    ]
    pairs, report = best_and_worst(groups, sigma0=0.05, margin=0.3)
    assert [pair.task_id for pair in pairs] == ["kept"]
    assert report.dropped == {
        "reward std below sigma0": 2,
        "no completion": 1,
        "nothing judged": 1,
        "difference below margin": 1,
        "empty completion": 1,
    }
    assert report.kept + sum(report.dropped.values()) == report.problems == 7


def test_without_a_filter_equal_rewards_give_no_pair_either() -> None:
    groups = [group("a", [1.0, 1.0]), group("b", [None]), group("c", [0.3, 0.1])]
    pairs, report = best_and_worst(groups, sigma0=0.0, margin=0.2)  # 0.3 - 0.1 < 0.2 in floats
    assert [pair.task_id for pair in pairs] == ["c"]
    assert report.dropped == {"best and worst are equal": 1, "nothing judged": 1}


def test_no_pair_is_an_error_that_says_why() -> None:
    with pytest.raises(
        UserError, match=r"no pair to train on: kept 0 of 1 .*1 reward std below.*sigma0=0\.05"
    ):
        best_and_worst([group("a", [0.0, 0.0])], sigma0=0.05, margin=0.0)


def test_accepted_are_the_first_of_equal_programs_with_enough_reward() -> None:
    rewards = [1.0, 0.5, 1.0, None, 1.0]
    groups = [group("a", rewards, ["x\n", "y", "x", "z", "w"]), group("b", [0.9]), group("c", [])]
    chosen, report = accepted(groups, reward=1.0, per_problem=None)
    assert [[c.ids for c in g.completions] for g in chosen] == [[(0,), (4,)]]
    assert chosen[0].rewards == (1.0, 1.0)
    assert report.dropped == {"no completion accepted": 1, "no completion": 1}
    assert report.text().endswith("; 2 completions")


def test_a_problem_gives_at_most_so_many() -> None:
    chosen, report = accepted([group("a", [1.0] * 4), group("b", [None])], reward=0.5, per_problem=3)
    assert [c.ids for c in chosen[0].completions] == [(0,), (1,), (2,)]
    assert (report.examples, report.dropped) == (3, {"nothing judged": 1})


def test_a_problem_that_is_always_solved_stays() -> None:
    chosen, _ = accepted([group("a", [1.0, 1.0])], reward=1.0, per_problem=10)
    assert len(chosen[0].completions) == 2


def test_nothing_accepted_is_an_error_that_says_why() -> None:
    with pytest.raises(UserError, match=r"no completion to learn: kept 0 of 1 .*sft\.reward=1\)"):
        accepted([group("a", [0.5])], reward=1.0, per_problem=None)
