"""Unbiased pass@k (Chen et al., arXiv 2107.03374, equation 1)."""

from __future__ import annotations

import math


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that one of k samples passes, from n samples of which c passed: 1 - C(n-c, k) / C(n, k).

    Computed with exact integers, without loss of precision.  Raises ValueError unless 1 <= k <= n and
    0 <= c <= n.
    """
    if not (1 <= k <= n and 0 <= c <= n):
        raise ValueError(f"pass@{k} of {c} in {n} samples: needs 1 <= k <= n and 0 <= c <= n")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)
