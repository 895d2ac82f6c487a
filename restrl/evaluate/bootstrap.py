"""Percentile bootstrap over problems: how sure a mean, or a difference of two policies, is.

Problems are resampled, not samples: samples of one problem depend on each other.  Assumes that the problems
are independent draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHUNK_ELEMENTS = 2**22  # of the index matrix that exists at a time: 32 MiB


def bootstrap_means(values: Sequence[float], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of ``resamples`` draws with replacement of ``len(values)`` values: [resamples]."""
    array = np.asarray(values, dtype=np.float64)
    means = np.empty(resamples)
    chunk = max(1, CHUNK_ELEMENTS // len(array))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        means[start : start + rows] = array[rng.integers(len(array), size=(rows, len(array)))].mean(axis=1)
    return means


def bootstrap_interval(
    values: Sequence[float], confidence: float, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Percentile interval of the mean of ``values``, one value per problem (Efron 1979).

    Raises ValueError where there is no value.
    """
    if not len(values):
        raise ValueError("an interval needs at least one problem")
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(bootstrap_means(values, resamples, rng), [tail, 1.0 - tail])
    return float(low), float(high)


def paired_difference(
    base: Sequence[float], other: Sequence[float], confidence: float, resamples: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Mean of ``other[i] - base[i]`` over problems i, and its percentile interval (low, high).

    Paired, because most of the variance is between problems and cancels.  Raises ValueError where there is
    no problem, or the lengths differ.
    """
    differences = [b - a for a, b in zip(base, other, strict=True)]
    low, high = bootstrap_interval(differences, confidence, resamples, rng)
    return float(np.mean(differences)), low, high
