"""How well a value model's predictions fit held-out value targets.

Pure functions of columns with a row per state.  Intervals resample families of problems, because states of
one problem depend on each other, and so do problems of one family.  An undefined statistic (a rank
correlation with constant targets) is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restrl.evaluate.bootstrap import expanded_percentiles

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Booleans = NDArray[np.bool_]
DEPTHS = ((0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, None))  # buckets of actions, both ends included
BINS = 10


@dataclass(frozen=True)
class Rated:
    """States with predictions: [S] each."""

    problem: Indices  # index of the problem
    cluster: Indices  # index of the family, or of the problem if it has no family; resampled as a unit
    values: Floats  # value targets
    predicted: Floats  # in [0, 1]
    weights: Floats  # of the squared errors
    depth: Indices  # number of actions
    terminal: Booleans  # whole programs
    parent: Indices  # row of the state one action before; -1: it is not among the states
    constant: float  # the baseline: the best constant prediction

    def where(self, chosen: Booleans) -> Rated:
        """The chosen rows, without their parents."""
        return Rated(
            problem=self.problem[chosen],
            cluster=self.cluster[chosen],
            values=self.values[chosen],
            predicted=self.predicted[chosen],
            weights=self.weights[chosen],
            depth=self.depth[chosen],
            terminal=self.terminal[chosen],
            parent=np.full(int(chosen.sum()), -1),
            constant=self.constant,
        )


def diagnostics(
    rated: Rated,
    *,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """All statistics of this module as plain data."""
    intervals = _intervals(rated, confidence, resamples, rng)
    return {
        "states": len(rated.values),
        "problems": len(np.unique(rated.problem)),
        "clusters": len(np.unique(rated.cluster)),
        "constant": rated.constant,
        **_numbers(rated),
        "spearman_within": within_problems(rated),
        **intervals,
        "best_child": best_child(rated),
        "by_depth": by_depth(rated),
        "calibration": calibration(rated),
    }


def spearman(a: Floats, b: Floats) -> float | None:
    """Rank correlation with mean ranks for ties; None if one side is constant or has only one value."""
    return _repeated_spearman(_Ranks(a), _Ranks(b), np.ones(len(a)))


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
    """Mean over problems of the rank correlation within each problem, on which a search relies."""
    correlations = [
        rho
        for rows in _rows_of(rated.problem)
        if (rho := spearman(rated.predicted[rows], rated.values[rows])) is not None
    ]
    return float(np.mean(correlations)) if correlations else None


def calibration(rated: Rated) -> list[dict[str, float]]:
    """Mean prediction and mean target of the states in each tenth of [0, 1] that is not empty."""
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
    depths, terminal = rated.depth, rated.terminal
    rows = []
    for low, high in DEPTHS:
        name = f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"
        rows.append((name, ~terminal & (depths >= low) & (depths <= (np.inf if high is None else high))))
    rows.append(("whole", terminal))
    return [
        {"depth": name, "states": int(chosen.sum()), **_numbers(rated.where(chosen))}
        for name, chosen in rows
        if chosen.any()
    ]


def best_child(rated: Rated) -> dict[str, float | None]:
    """How often the sibling with the best prediction also has the best target.

    Groups of siblings with equal targets are left out.  If several predictions tie for the first place, the
    share of correct ones among them counts.  ``chance`` is the result of random predictions.
    """
    hits, chances = [], []
    values = rated.values
    for group in sibling_groups(rated.problem, rated.depth, rated.parent):
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


def sibling_groups(problem: Indices, depth: Indices, parent: Indices) -> list[Indices]:
    """The rows of siblings, for each parent with at least two children among the states.

    Children of a problem's prompt are siblings even if the prompt is not a state itself.
    """
    above = np.where((parent < 0) & (depth == 1), -2 - problem, parent)  # -2, -3, ...: a problem's prompt
    known = np.flatnonzero(above != -1)
    return [known[rows] for rows in _rows_of(above[known], least=2)]


def _intervals(
    rated: Rated, confidence: float, resamples: int, rng: np.random.Generator
) -> dict[str, list[float] | None]:
    """Intervals of mse_constant - mse (above 0: better than the constant) and of the rank correlation.

    None if there is only one cluster, or if no resample has a rank correlation.
    """
    _, unit = np.unique(rated.cluster, return_inverse=True)
    units = int(unit.max()) + 1
    errors = (rated.constant - rated.values) ** 2 - (rated.predicted - rated.values) ** 2
    gain = np.bincount(unit, rated.weights * errors)
    weight = np.bincount(unit, rated.weights)
    predicted, values = _Ranks(rated.predicted), _Ranks(rated.values)
    gains: list[float] = []
    correlations: list[float] = []
    for _ in range(resamples if units > 1 else 0):
        times = np.bincount(rng.integers(units, size=units), minlength=units).astype(float)
        gains.append(float(times @ gain / (times @ weight)))
        rho = _repeated_spearman(predicted, values, times[unit])
        correlations += [] if rho is None else [rho]

    def interval(resampled: list[float]) -> list[float] | None:
        return list(expanded_percentiles(resampled, units, confidence)) if resampled else None

    return {"mse_gain_interval": interval(gains), "spearman_interval": interval(correlations)}


class _Ranks:
    """Ranks of values with repetitions.  The values are sorted only once for all resamples."""

    def __init__(self, values: Floats) -> None:
        unique, self._place = np.unique(values, return_inverse=True)
        self._unique = len(unique)

    def of(self, times: Floats) -> Floats:
        """[S] ranks 0, 1, ... if value i occurs ``times[i]`` times; equal values get their mean rank."""
        counts = np.bincount(self._place, times, minlength=self._unique)
        mean_ranks: Floats = np.cumsum(counts) - (counts + 1) / 2
        return mean_ranks[self._place]


def _repeated_spearman(a: _Ranks, b: _Ranks, times: Floats) -> float | None:
    """``spearman`` of values that occur ``times[i]`` times each."""
    ranks_a, ranks_b = (ranks.of(times) - (times.sum() - 1) / 2 for ranks in (a, b))
    scale = np.sqrt((times @ ranks_a**2) * (times @ ranks_b**2))
    return float(times @ (ranks_a * ranks_b) / scale) if scale > 0 else None


def _rows_of(labels: Indices, least: int = 1) -> list[Indices]:
    """The rows of each label that has at least ``least`` rows, in ascending order of the labels."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=np.nan))
    ends = np.append(starts[1:], len(labels))
    kept = ends - starts >= least
    return [order[start:end] for start, end in zip(starts[kept], ends[kept], strict=True)]
