import numpy as np
import pytest

from restrl.evaluate import bootstrap
from restrl.evaluate.bootstrap import bootstrap_interval, bootstrap_means, paired_difference


def rng(seed=0):
    return np.random.default_rng(seed)


def test_interval_of_a_coin():
    # 100 problems, half solved: the standard error of the mean is sqrt(0.25 / 100) = 0.05, and 95 % are
    # 0.5 +- 1.96 x 0.05 = [0.402, 0.598]; means are multiples of 0.01
    low, high = bootstrap_interval([0.0, 1.0] * 50, 0.95, 10000, rng())
    assert low == pytest.approx(0.402, abs=0.012)
    assert high == pytest.approx(0.598, abs=0.012)


def test_more_confidence_is_wider():
    values = list(np.linspace(0, 1, 30))
    low90, high90 = bootstrap_interval(values, 0.90, 2000, rng())
    low99, high99 = bootstrap_interval(values, 0.99, 2000, rng())
    assert low99 < low90 < 0.5 < high90 < high99


def test_no_variance_no_width():
    assert bootstrap_interval([0.25] * 7, 0.95, 100, rng()) == (0.25, 0.25)
    assert bootstrap_interval([0.7], 0.95, 100, rng()) == (0.7, 0.7)


def test_chunks_draw_like_one_matrix(monkeypatch):
    values = list(np.linspace(0, 1, 10))
    whole = bootstrap_means(values, 55, rng())
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 70)  # 7 rows at a time
    assert np.array_equal(bootstrap_means(values, 55, rng()), whole)


def test_pairs_cancel_what_problems_have_in_common():
    base = list(np.linspace(0, 0.9, 40))
    other = [value + 0.1 for value in base]  # the same gain on each: no doubt, however much problems differ
    difference, low, high = paired_difference(base, other, 0.95, 1000, rng())
    assert (difference, low, high) == pytest.approx((0.1, 0.1, 0.1))


def test_the_difference_has_the_sign_of_the_gain():
    difference, low, high = paired_difference([1.0, 1.0, 1.0], [0.0, 0.0, 1.0], 0.95, 1000, rng())
    assert difference == pytest.approx(-2 / 3)
    assert (low, high) == (-1.0, 0.0)


def test_nothing_to_resample():
    with pytest.raises(ValueError, match="at least one problem"):
        bootstrap_interval([], 0.95, 100, rng())
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired_difference([1.0], [1.0, 0.0], 0.95, 100, rng())
