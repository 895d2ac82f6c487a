import numpy as np
import pytest

from restrl.evaluate import bootstrap
from restrl.evaluate.bootstrap import (
    bootstrap_interval,
    bootstrap_means,
    expanded_percentiles,
    paired_difference,
    student_quantile,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def alone(values):
    """Names for values that are a cluster each."""
    return [f"{i:04}" for i in range(len(values))]


def test_interval_of_a_coin():
    # 100 problems, half solved: the standard error of the mean is sqrt(0.25 / 99) = 0.0503, and 95 % are
    # 0.5 +- t x 0.0503 = [0.400, 0.600] with t = 1.984 of 99 degrees of freedom; means are multiples of 0.01
    low, high = bootstrap_interval([0.0, 1.0] * 50, alone(range(100)), 0.95, 10000, rng())
    assert low == pytest.approx(0.400, abs=0.011)
    assert high == pytest.approx(0.600, abs=0.011)


def test_a_cluster_counts_once_however_often_it_is_copied():
    # 25 clusters of 4 equal values: 0.5 +- t sqrt(0.24 / 24), t = 2.064 of 24 degrees of freedom
    values = [float(i % 2) for i in range(25) for _ in range(4)]
    low, high = bootstrap_interval(values, [f"{i}" for i in range(25) for _ in range(4)], 0.95, 10000, rng())
    assert low == pytest.approx(0.48 - 0.206, abs=0.02)
    assert high == pytest.approx(0.48 + 0.206, abs=0.02)


def test_values_count_alike_in_clusters_of_all_sizes():
    # drawn are a and a (mean 1), a and b (3 ones of 4 values), or b and b (mean 0)
    means = bootstrap_means([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"], 1000, rng())
    assert set(means) == {1.0, 0.75, 0.0}


def test_more_confidence_is_wider():
    values = list(np.linspace(0, 1, 30))
    low90, high90 = bootstrap_interval(values, alone(values), 0.90, 2000, rng())
    low99, high99 = bootstrap_interval(values, alone(values), 0.99, 2000, rng())
    assert low99 < low90 < 0.5 < high90 < high99


def test_no_variance_no_width():
    assert bootstrap_interval([0.25] * 7, alone(range(7)), 0.95, 100, rng()) == (0.25, 0.25)


def test_one_cluster_tells_nothing_of_others():
    assert bootstrap_interval([0.2, 0.9], ["a", "a"], 0.95, 100, rng()) is None
    assert paired_difference([0.2, 0.9], [1.0, 1.0], ["a", "a"], 0.95, 100, rng()) == (
        pytest.approx(0.45),
        None,
    )


@pytest.mark.parametrize(  # of the tables in any textbook
    ("probability", "freedom", "t"),
    [(0.975, 1, 12.706), (0.95, 2, 2.920), (0.975, 9, 2.262), (0.995, 31, 2.744), (0.975, 10**6, 1.960)],
)
def test_quantiles_of_student(probability, freedom, t):
    assert student_quantile(probability, freedom) == pytest.approx(t, abs=1e-3)


def test_expanded_percentiles_by_hand():
    # k = 10: sqrt(10 / 9) x 2.262 = 2.3846, and Phi(-2.3846) = 0.00855 of the values lie below the interval
    low, high = expanded_percentiles(np.linspace(0, 1, 100001), 10, 0.95)
    assert low == pytest.approx(0.00855, abs=1e-5)
    assert high == pytest.approx(1 - 0.00855, abs=1e-5)


def test_chunks_draw_like_one_matrix(monkeypatch):
    values = list(np.linspace(0, 1, 10))
    whole = bootstrap_means(values, alone(values), 55, rng())
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 70)  # 7 rows at a time
    assert np.array_equal(bootstrap_means(values, alone(values), 55, rng()), whole)


def test_pairs_cancel_what_problems_have_in_common():
    base = list(np.linspace(0, 0.9, 40))
    other = [value + 0.1 for value in base]  # the same gain on each: no doubt, however much problems differ
    difference, interval = paired_difference(base, other, alone(base), 0.95, 1000, rng())
    assert (difference, *interval) == pytest.approx((0.1, 0.1, 0.1))


def test_the_difference_has_the_sign_of_the_gain():
    difference, interval = paired_difference(
        [1.0, 1.0, 1.0], [0.0, 0.0, 1.0], ["a", "b", "c"], 0.95, 1000, rng()
    )
    assert difference == pytest.approx(-2 / 3)
    assert interval == (-1.0, 0.0)


def test_nothing_to_resample():
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([], [], 0.95, 100, rng())
    with pytest.raises(ValueError, match="2 values, but the clusters of 1"):
        bootstrap_interval([0.0, 1.0], ["a"], 0.95, 100, rng())
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired_difference([1.0], [1.0, 0.0], ["a"], 0.95, 100, rng())


# --- coverage: in how many worlds does the interval hold the truth?


def logistic(x):
    return 1 / (1 + np.exp(-x))


def pass_rates(generator, worlds, families, per_family, level, paired):
    """pass@1 of 4 samples of each problem, or its gain after a training: [worlds, families x per_family].

    Log-odds are ``level`` plus normal effects of the family (std 1.5) and of the problem (1); a training adds
    0.5, and of effects 0.6 and 0.5.
    """

    def effects(of_family, of_problem):
        family = generator.normal(0, of_family, (worlds, families, 1))
        return family + generator.normal(0, of_problem, (worlds, families, per_family))

    odds = level + effects(1.5, 1.0)
    rates = generator.binomial(4, logistic(odds)) / 4
    if paired:
        rates = generator.binomial(4, logistic(odds + 0.5 + effects(0.6, 0.5))) / 4 - rates
    return rates.reshape(worlds, -1)


def coverage(families, per_family, level, paired, clusters, worlds=1200):
    truth = pass_rates(rng(1), 1, 400_000, 1, level, paired).mean()
    held = 0
    for values in pass_rates(rng(2), worlds, families, per_family, level, paired):
        low, high = bootstrap_interval(values, clusters, 0.95, 500, rng(3))
        held += low <= truth <= high
    return held / worlds


@pytest.mark.parametrize("paired", [False, True], ids=["one policy", "paired"])
@pytest.mark.parametrize(
    ("families", "per_family", "level"),
    [(32, 6, 0.0), (32, 6, -1.5), (12, 6, 0.0), (64, 1, -1.5), (192, 1, 0.0)],
)
def test_the_interval_covers_95_percent(families, per_family, level, paired):
    names = [f"{i:03}" for i in range(families) for _ in range(per_family)]
    assert coverage(families, per_family, level, paired, names) == pytest.approx(0.95, abs=0.02)


def test_problems_of_a_family_are_no_independent_draws():
    every = [f"{i:03}" for i in range(32 * 6)]
    assert coverage(32, 6, 0.0, False, every, worlds=300) < 0.8
    assert coverage(32, 6, 0.0, True, every, worlds=600) < 0.92
