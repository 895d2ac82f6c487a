from math import nan, sqrt

import pytest
import torch

from restrl.config import ObjectiveConfig, ShapingConfig
from restrl.objective.advantages import group_advantages, reward_std, shaped_rewards, trained_groups


def advantages(rewards: list[float], **settings: object) -> list[float]:
    objective = ObjectiveConfig(**settings)  # type: ignore[arg-type]
    values: list[float] = group_advantages(torch.tensor([rewards], dtype=torch.float64), objective)[
        0
    ].tolist()
    return values


def test_group_std_divides_by_the_sample_standard_deviation_plus_delta() -> None:
    # mean 1/2, sum of squares 4 x 1/4 = 1, std (ddof 1) = sqrt(1 / 3); (1 - 1/2) / (std + 1e-4)
    expected = 0.5 / (sqrt(1 / 3) + 1e-4)
    assert advantages([1, 0, 0, 1]) == pytest.approx([expected, -expected, -expected, expected], rel=1e-12)


def test_group_mean_only_subtracts_the_mean() -> None:
    assert advantages([1, 0, 0.5, 0.5], advantage="group_mean") == pytest.approx([0.5, -0.5, 0, 0])


def test_leave_one_out_subtracts_the_mean_of_the_others() -> None:
    # 1 - (0 + 0.5) / 2, 0 - (1 + 0.5) / 2, 0.5 - (1 + 0) / 2
    assert advantages([1, 0, 0.5], advantage="leave_one_out") == pytest.approx([0.75, -0.75, 0])


@pytest.mark.parametrize("kind", ["group_std", "group_mean", "leave_one_out"])
def test_an_unjudged_completion_changes_nothing_for_the_others(kind: str) -> None:
    with_none = advantages([1, nan, 0, 0.25], advantage=kind)
    without = advantages([1, 0, 0.25], advantage=kind)
    assert with_none[1] == 0
    assert [with_none[0], *with_none[2:]] == pytest.approx(without, rel=1e-12)


@pytest.mark.parametrize("rewards", [[nan, nan, nan], [1, nan, nan], [0.5, 0.5, 0.5]])
def test_nothing_to_compare_with_gives_advantages_of_exactly_zero(rewards: list[float]) -> None:
    assert advantages(rewards) == [0, 0, 0]


def test_reward_std_is_the_population_standard_deviation_of_judged_rewards() -> None:
    rewards = torch.tensor([[1, 0, nan], [0.5, 0.5, 0.5], [nan, nan, nan]])
    assert reward_std(rewards).tolist() == [0.5, 0, 0]


def test_shaping_adds_the_bonus_and_takes_the_penalties() -> None:
    shaping = ShapingConfig(symbol_reward=0.1, trailing_penalty=0.01, overlong_max=10, overlong_cache=0.4)
    rewards = shaped_rewards(
        torch.tensor([[1.0, 1.0, 0.0, nan]]),
        stopped=torch.tensor([[True, False, False, True]]),
        trailing=torch.tensor([[3, 0, 0, 0]]),
        lengths=torch.tensor([[6, 8, 12, 5]]),
        shaping=shaping,
    )
    # free up to 10 - 4 = 6 tokens; 8 tokens are 2 of 4 over: -0.5; 12 are beyond 10: -1
    assert rewards[0, :3].tolist() == pytest.approx([1 + 0.1 - 0.03, 1 - 0.5, 0 - 1])
    assert rewards[0, 3].isnan()


def test_a_tie_in_the_tests_is_not_trained_by_the_bonus() -> None:
    tests = torch.tensor([[0.5, 0.5], [0, 1.0], [0.5, 0.52]])
    rewards = tests + torch.tensor([[1e-3, 0], [1e-3, 0], [0, 0]])
    assert trained_groups(rewards, tests, variance_floor=0.0).tolist() == [False, True, True]
    assert trained_groups(rewards, tests, variance_floor=0.05).tolist() == [False, True, False]
    assert trained_groups(rewards, tests, variance_floor=None).tolist() == [True, True, True]  # as published


def test_a_tie_of_rounded_numbers_is_a_tie() -> None:
    third = torch.full((1, 7), 1 / 3)  # whose computed variance is not exactly 0
    assert not trained_groups(third, third, variance_floor=0.0).any()


def test_a_group_without_rewards_is_not_trained() -> None:
    none = torch.full((1, 3), nan)
    assert not trained_groups(none, none, variance_floor=None).any()
