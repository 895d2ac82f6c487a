"""The interval over seeds and problems."""

import numpy as np
import pytest

from restrl.evaluate.bootstrap import crossed_interval, crossed_values, crossed_variance, student_quantile


def rng(seed=0):
    return np.random.default_rng(seed)


def test_contributions_of_clusters_of_different_sizes():
    # seed 1: (1 + 0 + 1) / 3 = 2/3, seed 2: 1/3, so m = 1/2; K = 2 clusters, N = 3 problems:
    # cluster f of seed 1: 1/2 + 2/3 (1 + 0 - 2/2) = 1/2, cluster g: 1/2 + 2/3 (1 - 1/2) = 5/6
    cluster_of = {"a": "f", "b": "f", "c": "g"}
    values = crossed_values([{"a": 1.0, "b": 0.0, "c": 1.0}, {"a": 1.0, "b": 0.0, "c": 0.0}], cluster_of)
    assert values == pytest.approx(np.array([[1 / 2, 5 / 6], [1 / 2, 1 / 6]]))
    assert values.mean(axis=1) == pytest.approx([2 / 3, 1 / 3])


def test_a_problem_that_one_seed_lacks_is_no_failure():
    cluster_of = {"a": "f", "b": "g"}
    values = crossed_values([{"a": 1.0, "b": 0.0}, {"a": 1.0}], cluster_of)
    assert values.mean(axis=1) == pytest.approx([0.5, 1.0])
    with pytest.raises(ValueError, match="each seed needs at least one value"):
        crossed_values([{"a": 1.0}, {}], cluster_of)


def test_variance_by_hand():
    # rows (1, 0), (1, 1): mean 3/4, row means 1/2 and 1, column means 1 and 1/2, residuals all +-1/4
    # S = 2 (1/8) = 1/4, C = 1/4, R = 4 (1/16) / 1 = 1/4: variance (S + C - R) / 4 = 1/16,
    # freedom (1/4)^2 / (3 (1/4)^2) = 1/3, but at least that of the smaller part, 1
    variance, freedom = crossed_variance(np.array([[1.0, 0.0], [1.0, 1.0]]))
    assert variance == pytest.approx(1 / 16)
    assert freedom == 1


def test_freedom_by_hand():
    # rows (0, 0, 0), (1, 1, 2): row means 0 and 4/3, column means 1/2, 1/2 and 1, mean 2/3
    # S = 3 (2/3)^2 2 = 8/3, C = 2 (1/36 + 1/36 + 1/9) / 2 = 1/6, residuals +-(1/6, 1/6, -1/3): R = 1/6
    # variance (8/3 + 1/6 - 1/6) / 6 = 4/9, freedom (8/3)^2 / ((8/3)^2 / 1 + (1/6)^2 / 2 + (1/6)^2 / 2)
    variance, freedom = crossed_variance(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 2.0]]))
    assert variance == pytest.approx(4 / 9)
    assert freedom == pytest.approx(1, abs=1e-2)
    wide, more = crossed_variance(
        np.array([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]])
    )
    assert (wide, more) == pytest.approx((5 / 12, 3))  # seeds agree: variance 5/3 of 4 problems


def test_seeds_that_agree_add_no_variance():
    # the same problems for each seed: C / (S K) is the variance of the mean of one seed's problems
    problems = np.array([0.0, 1.0, 1.0, 0.5, 0.25])
    variance, freedom = crossed_variance(np.array([problems] * 3))
    assert variance == pytest.approx(np.var(problems, ddof=1) / 5)
    assert freedom == pytest.approx(4)


def test_problems_are_shared_by_seeds():
    """Repeating a run with another seed does not make its problems more."""
    row = [0.0, 1.0] * 20
    one = np.sqrt(0.25 / 39)  # standard error over 40 problems, half solved
    low, high = crossed_interval(np.array([row] * 5), 0.95, 10000, rng())
    assert (low, high) == pytest.approx((0.5 - 2.02 * one, 0.5 + 2.02 * one), abs=0.02)  # t of 39


def test_seeds_alone_by_hand():
    # problems agree, seeds are 0.4, 0.5, 0.6: 0.5 +- t s / sqrt(3), t = 4.303 of 2 degrees, s = 0.1;
    # quantiles of three seeds' resamples are coarse: the mean of 27 draws lies 1/27 at each end
    low, high = crossed_interval(np.array([[0.4] * 30, [0.5] * 30, [0.6] * 30]), 0.95, 10000, rng())
    exact = 4.303 * 0.1 / np.sqrt(3)
    assert (0.5 - low, high - 0.5) == pytest.approx((exact, exact), rel=0.3)


def test_residuals_are_counted_once():
    """Pure noise: seeds and problems differ by chance alone, and each of them would count it."""
    values = rng(3).standard_normal((5, 40))
    variance, freedom = crossed_variance(values)
    assert variance == pytest.approx(1 / 200, rel=0.3)
    low, high = crossed_interval(values, 0.95, 10000, rng())
    assert high - low == pytest.approx(2 * student_quantile(0.975, freedom) * np.sqrt(variance), rel=0.04)


def test_too_few():
    assert crossed_interval(np.array([[0.1, 0.2]]), 0.95, 100, rng()) is None
    assert crossed_interval(np.array([[0.1], [0.2]]), 0.95, 100, rng()) is None
    assert crossed_interval(np.full((3, 4), 0.25), 0.95, 100, rng()) == (0.25, 0.25)


@pytest.mark.parametrize("between_seeds", [0.0, 0.08])
def test_it_covers(between_seeds):
    """5 seeds x 40 clusters, 4 binary samples each: 95 +- 3 % of 400 intervals hold the true mean."""
    draw = rng(1)
    hits = 0
    for _ in range(400):
        chance = 0.5 + between_seeds * draw.standard_normal((5, 1)) + 0.2 * draw.standard_normal((1, 40))
        chance = np.clip(chance + 0.1 * draw.standard_normal((5, 40)), 0.0, 1.0)  # symmetric around 1/2
        low, high = crossed_interval(draw.binomial(4, chance) / 4, 0.95, 1000, draw)
        hits += low <= 0.5 <= high
    assert 0.92 <= hits / 400 <= 0.98
