"""Cluster bootstrap: confidence intervals of a mean, or of the difference between two policies.

Clusters are resampled, each with all of its values, because problems of one family depend on each other, and
so do samples of one problem.  Assumes that clusters are independent.

The plain percentile interval (Efron 1979) is too narrow for few clusters.  The expanded percentile interval
(Hesterberg 2015, arXiv 1411.5279) reads the quantiles further out, so that the interval of the mean of k
values is as wide as its t interval.  In simulations with 4 binary samples per problem it covers 95 +- 2 % for
32 families of 6 problems and for 64 or more single problems.  With 10 to 16 families it still does so for
differences and for pass rates near 1/2; it covers about 90 % if one sample in ten passes or fails.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CHUNK_ELEMENTS = 2**22  # elements of the index matrix that exist at a time: 32 MiB
T_GRID = 2**17  # steps of the integral for the t quantile, whose relative error is at most 1e-4

Interval = tuple[float, float]


def bootstrap_means(
    values: Sequence[float], clusters: Sequence[str], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """[resamples] means; each is over all values of resampled clusters (with replacement, as many as given).

    ``clusters[i]`` names the cluster of ``values[i]``.  A mean is a ratio of sums: each value counts equally.
    """
    index = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums, counts = np.bincount(index, weights=values), np.bincount(index)
    means = np.empty(resamples)
    chunk = max(1, CHUNK_ELEMENTS // len(sums))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        chosen = rng.integers(len(sums), size=(rows, len(sums)))
        means[start : start + rows] = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    return means


def bootstrap_interval(
    values: Sequence[float],
    clusters: Sequence[str],
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> Interval | None:
    """Interval (low, high) of the mean of ``values``; ``clusters[i]`` names the cluster of ``values[i]``.

    None if there is only one cluster, whose variance is unknown.  Raises ValueError if there is no value, or
    if the lengths differ.
    """
    if not len(values):
        raise ValueError("an interval needs at least one value")
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values, but the clusters of {len(clusters)}")
    if (count := len(set(clusters))) < 2:
        return None
    return expanded_percentiles(bootstrap_means(values, clusters, resamples, rng), count, confidence)


def paired_difference(
    base: Sequence[float],
    other: Sequence[float],
    clusters: Sequence[str],
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[float, Interval | None]:
    """Mean of ``other[i] - base[i]`` over problems i, and its interval (low, high).

    Paired, because most of the variance is between problems and cancels.  Raises ValueError if there is no
    problem, or if the lengths differ.
    """
    differences = [b - a for a, b in zip(base, other, strict=True)]
    interval = bootstrap_interval(differences, clusters, confidence, resamples, rng)
    return float(np.mean(differences)), interval


def expanded_percentiles(
    resampled: Sequence[float] | NDArray[np.float64], clusters: int, confidence: float
) -> Interval:
    """Interval (low, high) from a statistic of resamples of ``clusters`` >= 2 clusters.

    Reads the quantiles at Phi(-+ sqrt(k / (k - 1)) t), t the quantile of Student's distribution with k - 1
    degrees of freedom (Hesterberg 2015).
    """
    t = student_quantile((1.0 + confidence) / 2.0, clusters - 1)
    tail = NormalDist().cdf(-np.sqrt(clusters / (clusters - 1)) * t)
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return float(low), float(high)


@functools.cache
def student_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t distribution for a ``probability`` in [0.5, 1).

    t = sqrt(freedom) tan(angle), where the density of the angle is proportional to cos(angle)^(freedom - 1).
    """
    angles = np.linspace(0.0, np.pi / 2, T_GRID + 1)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = np.interp(2.0 * probability - 1.0, mass / mass[-1], angles)
    return float(np.sqrt(freedom) * np.tan(angle))
