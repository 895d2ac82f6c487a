"""How sure a mean, or a difference of two policies, is: bootstrap intervals over independent clusters.

What is resampled are clusters of values (``Problem.cluster``): the problems of one family are variations of
each other, so they rise and fall together, and the samples of one problem do too.  A drawn cluster counts
with all its values (Field and Welsh, J. R. Stat. Soc. B 69, 2007; for evaluations of language models
arXiv 2411.00640).  Assumes that the clusters are independent draws.

The plain percentile interval (Efron 1979) is too narrow for few clusters: with 10 of them it covers 90 %
where it promises 95 %.  So the percentiles are taken further out, where the interval of a mean is as wide as
Student's (the expanded percentile interval: Hesterberg, arXiv 1411.5279).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CHUNK_ELEMENTS = 2**22  # of the index matrix that exists at a time: 32 MiB


def cluster_indices(clusters: Sequence[Hashable]) -> NDArray[np.intp]:
    """For each value the number of its cluster: 0, 1, ... in the order in which the labels first occur."""
    numbers = {label: number for number, label in enumerate(dict.fromkeys(clusters))}
    return np.array([numbers[label] for label in clusters], dtype=np.intp)


def bootstrap_means(
    values: Sequence[float], clusters: Sequence[Hashable], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means over the values of as many clusters, drawn with replacement, as there are: [resamples].

    ``clusters``: the label of each value's cluster.
    """
    index = cluster_indices(clusters)
    sums, sizes = np.bincount(index, np.asarray(values, dtype=np.float64)), np.bincount(index)
    count = len(sums)
    means = np.empty(resamples)
    chunk = max(1, CHUNK_ELEMENTS // count)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(count, size=(rows, count))
        means[start : start + rows] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def bootstrap_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[float, float] | None:
    """Interval of the mean of ``values``; None where they are of one cluster, which says nothing of others.

    Raises ValueError where there is no value, or not one label for each.
    """
    if not len(values):
        raise ValueError("an interval needs at least one value")
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values need as many cluster labels, not {len(clusters)}")
    return expanded_interval(
        bootstrap_means(values, clusters, resamples, rng), confidence, len(set(clusters))
    )


def paired_difference(
    base: Sequence[float],
    other: Sequence[float],
    clusters: Sequence[Hashable],
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[float, tuple[float, float] | None]:
    """Mean of ``other[i] - base[i]`` over problems i, and its interval, as ``bootstrap_interval``.

    Paired, because most of the variance is between problems and cancels.  Raises ValueError where there is
    no problem, or the lengths differ.
    """
    differences = [b - a for a, b in zip(base, other, strict=True)]
    interval = bootstrap_interval(differences, clusters, confidence, resamples, rng)
    return float(np.mean(differences)), interval


def expanded_interval(
    statistics: Sequence[float] | NDArray[np.float64], confidence: float, clusters: int
) -> tuple[float, float] | None:
    """Expanded percentile interval of a statistic's resampled values; None for fewer than two clusters."""
    if clusters < 2:
        return None
    tail = expanded_tail(confidence, clusters)
    low, high = np.quantile(statistics, [tail, 1.0 - tail])
    return float(low), float(high)


def expanded_tail(confidence: float, clusters: int) -> float:
    """Probability below the expanded interval's lower end, less than (1 - confidence) / 2.

    Phi(-sqrt(k / (k - 1)) t), with t the quantile of Student's distribution with k - 1 degrees of freedom
    and k >= 2 clusters (arXiv 1411.5279): resampled means vary by (k - 1) / k too little, and a normal
    quantile does not know that the variance is estimated.
    """
    t = student_t(confidence, clusters - 1)
    return NormalDist().cdf(-math.sqrt(clusters / (clusters - 1)) * t)


def student_t(confidence: float, degrees: int) -> float:
    """The t with P(-t < T < t) = ``confidence`` for Student's T with ``degrees`` >= 1 degrees of freedom.

    With T = sqrt(v) tan(a) the density of the angle a is proportional to cos(a)^(v - 1); its integral
    is tabulated up to where the rest is nothing.
    """
    angles = np.linspace(0.0, min(math.pi / 2, 40.0 / math.sqrt(degrees)), 20001)
    density = np.cos(angles) ** (degrees - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(degrees) * math.tan(np.interp(confidence, below / below[-1], angles))
