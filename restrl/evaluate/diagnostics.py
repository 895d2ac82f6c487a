"""How well a value model's predictions fit held-out value targets.

Pure functions of targets and predictions, index by index.  Intervals are bootstraps over clusters that the
caller names (families of problems): states of one problem, or of two variations of it, depend on each other.
A statistic that is not defined (a rank correlation where all targets tie) is None, and so is an interval over
one cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restrl.evaluate.bootstrap import expanded_interval
from restrl.records import ValueTarget

Floats = NDArray[np.float64]
DEPTHS = ((0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, None))  # buckets of actions, both ends included
BINS = 10


@dataclass(frozen=True)
class Rated:
    """Targets with predictions: [S] each, one per state."""

    targets: tuple[ValueTarget, ...]
    predicted: Floats  # in [0, 1]
    weights: Floats  # of the squared errors
    constant: float  # what the predictor that knows no state says

    @property
    def values(self) -> Floats:
        return np.array([target.value for target in self.targets])

    def where(self, chosen: NDArray[np.bool_]) -> Rated:
        targets = tuple(t for t, keep in zip(self.targets, chosen, strict=True) if keep)
        return Rated(targets, self.predicted[chosen], self.weights[chosen], self.constant)


def diagnostics(
    rated: Rated,
    *,
    clusters: Sequence[str],
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """All of the below as plain data.  ``clusters``: for each target the label of what is resampled whole."""
    problems = [target.task_id for target in rated.targets]
    intervals = _intervals(rated, clusters, confidence, resamples, rng)
    return {
        "states": len(rated.targets),
        "problems": len(set(problems)),
        "clusters": len(set(clusters)),
        "constant": rated.constant,
        **_numbers(rated),
        "spearman_within": within_problems(rated),
        **intervals,
        "best_child": best_child(rated),
        "by_depth": by_depth(rated),
        "calibration": calibration(rated),
    }


def spearman(a: Floats, b: Floats) -> float | None:
    """Rank correlation, ties at their mean rank; None where one side is constant or has one value."""
    ranks_a, ranks_b = (_ranks(x) - (len(x) - 1) / 2 for x in (a, b))
    scale = np.sqrt((ranks_a**2).sum() * (ranks_b**2).sum())
    return float((ranks_a * ranks_b).sum() / scale) if scale > 0 else None


def _ranks(values: Floats) -> Floats:
    """0, 1, ... in ascending order; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_ranks: Floats = (ends - counts + ends - 1) / 2
    return mean_ranks[inverse]


def _numbers(rated: Rated) -> dict[str, float | None]:
    """Weighted mean squared errors of the predictions and of the constant, and the rank correlation."""
    weights, values = rated.weights, rated.values
    total = weights.sum()
    return {
        "mse": float((weights * (rated.predicted - values) ** 2).sum() / total),
        "mse_constant": float((weights * (rated.constant - values) ** 2).sum() / total),
        "spearman": spearman(rated.predicted, values),
    }


def within_problems(rated: Rated) -> float | None:
    """Mean over problems of the rank correlation inside each: what a search has to rely on."""
    found = [
        rho
        for some in _by_label([t.task_id for t in rated.targets])
        if (rho := spearman(rated.predicted[some], rated.values[some])) is not None
    ]
    return float(np.mean(found)) if found else None


def calibration(rated: Rated) -> list[dict[str, float]]:
    """Mean prediction and mean target of the states in each tenth of [0, 1] that holds any."""
    bins = np.minimum((rated.predicted * BINS).astype(int), BINS - 1)
    return [
        {
            "low": k / BINS,
            "high": (k + 1) / BINS,
            "states": int(chosen.sum()),
            "predicted": float(rated.predicted[chosen].mean()),
            "target": float(rated.values[chosen].mean()),
        }
        for k in range(BINS)
        if (chosen := bins == k).any()
    ]


def by_depth(rated: Rated) -> list[dict[str, Any]]:
    """Errors and rank correlation of unfinished states by depth, and of whole programs."""
    depths = np.array([target.depth for target in rated.targets])
    whole = np.array([target.terminal for target in rated.targets])
    rows = []
    for low, high in DEPTHS:
        name = f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"
        rows.append((name, ~whole & (depths >= low) & (depths <= (np.inf if high is None else high))))
    rows.append(("whole", whole))
    return [
        {"depth": name, "states": int(chosen.sum()), **_numbers(rated.where(chosen))}
        for name, chosen in rows
        if chosen.any()
    ]


def best_child(rated: Rated) -> dict[str, float | None]:
    """How often the child that the predictions put first among its siblings is truly the best.

    Groups of siblings whose targets all tie are left out.  Of predictions that tie for the first place each
    counts its share.  ``chance`` is what random predictions reach.
    """
    hits, chances = [], []
    values = rated.values
    for group in sibling_groups(rated.targets):
        best = values[group] == values[group].max()
        if best.all():
            continue
        first = rated.predicted[group] == rated.predicted[group].max()
        hits.append(float(best[first].mean()))
        chances.append(float(best.mean()))
    return {
        "groups": len(hits),
        "share": float(np.mean(hits)) if hits else None,
        "chance": float(np.mean(chances)) if chances else None,
    }


def sibling_groups(targets: Sequence[ValueTarget]) -> list[list[int]]:
    """Indices of the children of each state that has at least two among the targets.

    A state's parent is the target one action shorter whose tokens it begins with.
    """
    unfinished = {(t.task_id, t.depth, t.ids) for t in targets if not t.terminal}
    children: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for index, target in enumerate(targets):
        above = (target.task_id, target.depth - 1)
        ids = target.ids
        parent = next((ids[:k] for k in range(len(ids)) if (*above, ids[:k]) in unfinished), None)
        if parent is not None or target.depth == 1:  # the prompt itself need not be a target
            children.setdefault((target.task_id, parent or ()), []).append(index)
    return [group for group in children.values() if len(group) > 1]


def _intervals(
    rated: Rated, clusters: Sequence[str], confidence: float, resamples: int, rng: np.random.Generator
) -> dict[str, list[float] | None]:
    """Intervals of mse_constant - mse (above 0: better than the constant) and of the rank correlation."""
    groups = list(_by_label(clusters))
    gains: list[float] = []
    correlations: list[float] = []
    errors = rated.weights * np.stack(
        [(rated.constant - rated.values) ** 2 - (rated.predicted - rated.values) ** 2, np.ones(len(clusters))]
    )
    sums = np.stack([errors[:, some].sum(1) for some in groups])  # [clusters, 2]
    for _ in range(resamples):
        drawn = rng.integers(len(groups), size=len(groups))
        gain, weight = sums[drawn].sum(0)
        gains.append(float(gain / weight))
        some = np.concatenate([groups[k] for k in drawn])
        rho = spearman(rated.predicted[some], rated.values[some])
        correlations += [] if rho is None else [rho]

    def interval(found: list[float]) -> list[float] | None:
        ends = expanded_interval(found, confidence, len(groups)) if found else None
        return None if ends is None else list(ends)

    return {"mse_gain_interval": interval(gains), "spearman_interval": interval(correlations)}


def _by_label(labels: Sequence[str]) -> Iterator[NDArray[np.intp]]:
    """The indices of the states that share a label, for each label."""
    names = np.array(labels)
    for name in dict.fromkeys(labels):
        yield np.flatnonzero(names == name)
