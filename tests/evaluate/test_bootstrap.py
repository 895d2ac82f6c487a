import numpy as np
import pytest

from restrl.evaluate import bootstrap
from restrl.evaluate.bootstrap import (
    bootstrap_interval,
    bootstrap_means,
    expanded_interval,
    expanded_tail,
    paired_difference,
    student_t,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def alone(values):
    """Labels of values that are independent of each other."""
    return range(len(values))


def test_interval_of_a_coin():
    # 100 problems, half solved: the standard error of the mean is sqrt(0.25 / 100) = 0.05, and 95 % are
    # 0.5 +- 1.96 x 0.05 = [0.402, 0.598]; means are multiples of 0.01
    values = [0.0, 1.0] * 50
    low, high = bootstrap_interval(values, alone(values), 0.95, 10000, rng())
    assert low == pytest.approx(0.402, abs=0.012)
    assert high == pytest.approx(0.598, abs=0.012)


def test_more_confidence_is_wider():
    values = list(np.linspace(0, 1, 30))
    low90, high90 = bootstrap_interval(values, alone(values), 0.90, 2000, rng())
    low99, high99 = bootstrap_interval(values, alone(values), 0.99, 2000, rng())
    assert low99 < low90 < 0.5 < high90 < high99


def test_no_variance_no_width():
    assert bootstrap_interval([0.25] * 7, range(7), 0.95, 100, rng()) == (0.25, 0.25)


def test_one_cluster_says_nothing_of_others():
    assert bootstrap_interval([0.7], ["a"], 0.95, 100, rng()) is None
    assert bootstrap_interval([0.7, 0.1, 0.9], ["a", "a", "a"], 0.95, 100, rng()) is None
    assert paired_difference([0.0, 0.0], [1.0, 0.0], ["a", "a"], 0.95, 100, rng()) == (0.5, None)


def test_a_cluster_is_drawn_whole():
    # a holds 0, b holds 1 and 1: two draws give a a, a b, b a or b b, with means 0, 2/3 and 1
    means = bootstrap_means([0.0, 1.0, 1.0], ["a", "b", "b"], 4000, rng())
    shares = dict(zip(*np.unique(means.round(6), return_counts=True), strict=True))
    assert shares == pytest.approx({0.0: 1000, 0.666667: 2000, 1.0: 1000}, rel=0.1)


def test_clusters_of_one_problem_are_problems():
    values = list(np.linspace(0, 1, 10))
    draws = rng().integers(10, size=(50, 10))
    assert bootstrap_means(values, alone(values), 50, rng()) == pytest.approx(
        np.array(values)[draws].mean(axis=1)
    )


def test_copies_of_a_problem_make_nothing_surer():
    values = list(rng(1).random(12))
    once = bootstrap_interval(values, alone(values), 0.95, 2000, rng())
    many = bootstrap_interval(values * 9, [*alone(values)] * 9, 0.95, 2000, rng())
    assert many == pytest.approx(once)


def test_chunks_draw_like_one_matrix(monkeypatch):
    values, clusters = list(np.linspace(0, 1, 20)), [i % 10 for i in range(20)]
    whole = bootstrap_means(values, clusters, 55, rng())
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 70)  # 7 rows at a time
    assert np.array_equal(bootstrap_means(values, clusters, 55, rng()), whole)


def test_pairs_cancel_what_problems_have_in_common():
    base = list(np.linspace(0, 0.9, 40))
    other = [value + 0.1 for value in base]  # the same gain on each: no doubt, however much problems differ
    difference, interval = paired_difference(base, other, alone(base), 0.95, 1000, rng())
    assert (difference, *interval) == pytest.approx((0.1, 0.1, 0.1))


def test_the_difference_has_the_sign_of_the_gain():
    difference, interval = paired_difference([1.0, 1.0, 1.0], [0.0, 0.0, 1.0], range(3), 0.95, 1000, rng())
    assert difference == pytest.approx(-2 / 3)
    assert interval == (-1.0, 0.0)


def test_nothing_to_resample():
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([], [], 0.95, 100, rng())
    with pytest.raises(ValueError, match="2 values need as many cluster labels, not 1"):
        bootstrap_interval([0.0, 1.0], ["a"], 0.95, 100, rng())
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired_difference([1.0], [1.0, 0.0], ["a"], 0.95, 100, rng())


@pytest.mark.parametrize(
    ("confidence", "degrees", "t"),  # from any table of Student's distribution
    [(0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 9, 2.262), (0.95, 31, 2.040), (0.99, 9, 3.250),
     (0.5, 1, 1.0), (0.9, 120, 1.658), (0.95, 100000, 1.960)],
)  # fmt: skip
def test_students_quantiles(confidence, degrees, t):
    assert student_t(confidence, degrees) == pytest.approx(t, abs=0.001)


def test_the_expanded_tail():
    # k = 10: sqrt(10 / 9) x 2.262 = 2.384 standard deviations, and Phi(-2.384) = 0.00855
    assert expanded_tail(0.95, 10) == pytest.approx(0.00855, abs=1e-5)
    assert expanded_tail(0.95, 100000) == pytest.approx(0.025, abs=1e-5)
    draws = rng().normal(size=100000)
    assert expanded_interval(draws, 0.95, 10) == pytest.approx((-2.384, 2.384), abs=0.03)


# --- coverage: of 100 intervals at 95 %, 93 to 97 hold the truth

REPEATS, RESAMPLES = 1000, 600
FAMILY, PROBLEM, GAIN = 1.5, 1.0, 0.7  # standard deviations in log-odds: of families, problems, gains


def pass_rates(draw, families, problems, samples, paired):
    """[families, problems]: pass@1 of ``samples`` samples, or its change; log-odds vary by family too."""

    def rates(log_odds):
        return draw.binomial(samples, 1 / (1 + np.exp(-log_odds))) / samples

    log_odds = FAMILY * draw.normal(size=(families, 1)) + PROBLEM * draw.normal(size=(families, problems)) - 1
    if not paired:
        return rates(log_odds)
    return rates(log_odds + 0.4 + GAIN * draw.normal(size=(families, 1))) - rates(log_odds)


def coverage(families, problems, samples, paired, by_family, repeats=REPEATS):
    """Share of simulated data sets whose interval holds the mean over all families that there could be."""
    draw = rng(0)
    truth = pass_rates(draw, 200000, 1, samples, paired).mean()
    clusters = np.repeat(np.arange(families), problems) if by_family else np.arange(families * problems)
    held = 0
    for _ in range(repeats):
        values = pass_rates(draw, families, problems, samples, paired).ravel()
        low, high = bootstrap_interval(values, clusters.tolist(), 0.95, RESAMPLES, draw)
        held += low <= truth <= high
    return held / repeats


@pytest.mark.parametrize("paired", [False, True], ids=["figure", "difference"])
@pytest.mark.parametrize(
    ("families", "problems", "samples"),
    [(32, 6, 4), (16, 6, 4), (10, 6, 4), (192, 1, 4), (64, 1, 1)],
)
def test_an_interval_covers_what_it_promises(families, problems, samples, paired):
    assert coverage(families, problems, samples, paired, by_family=True) == pytest.approx(0.95, abs=0.02)


def test_an_interval_by_problem_would_not():
    assert coverage(32, 6, 4, paired=False, by_family=False, repeats=200) < 0.8
    assert coverage(32, 6, 4, paired=True, by_family=False, repeats=200) < 0.9
