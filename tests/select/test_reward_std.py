import pytest

from restrl.select.reward_std import below, best_index, reward_std


def test_population_std():
    # mean 0.5, squared distances 0.25 each: sqrt(0.25) = 0.5 (the sample std would be 0.577)
    assert reward_std([0.0, 1.0, 0.0, 1.0]) == pytest.approx(0.5)
    # mean 0.2, (0.64 + 4 x 0.04) / 5 = 0.16
    assert reward_std([1.0, 0.0, 0.0, 0.0, 0.0]) == pytest.approx(0.4)


def test_what_was_not_judged_is_not_zero():
    assert reward_std([1.0, None, 1.0]) == 0.0  # a None read as 0 would give 0.47
    assert reward_std([None, None]) is None
    assert reward_std([]) is None


def test_equal_rewards_have_a_std_of_exactly_0():
    assert reward_std([0.1, 0.1, 0.1]) == 0.0  # numpy's std gives 1.4e-17


def test_the_threshold_itself_is_kept():
    std = reward_std([0.5, 0.6])  # 0.05, and 0.04999999999999999 in floats
    assert std is not None
    assert std < 0.05
    assert not below(std, 0.05)
    assert below(0.049, 0.05)
    assert not below(0.0, 0.0)


def test_best_is_the_first_maximum():
    assert best_index([0.2, None, 0.9, 0.9]) == 2
    assert best_index([None, 0.0]) == 1
    assert best_index([None]) is None
