"""How well a value model's predictions fit held-out value targets.

Pure functions of columns, a row per state.  Intervals resample families of problems: states of one problem
depend on each other, and so do problems of one family.  A statistic that is not defined (a rank correlation
where all targets tie) is None.
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

    problem: Indices  # 0, 1, ...: which problem's
    cluster: Indices  # 0, 1, ...: of which family, or of which problem where it has none: drawn together
    values: Floats  # their targets
    predicted: Floats  # in [0, 1]
    weights: Floats  # of the squared errors
    depth: Indices  # actions
    terminal: Booleans  # whole programs
    parent: Indices  # row of the state one action before; -1: there is none
    constant: float  # what the predictor that knows no state says

    def where(self, chosen: Booleans) -> Rated:
        """Some of the rows; their parents are not told any more."""
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
    """All of the below as plain data."""
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
    """Rank correlation, ties at their mean rank; None where one side is constant or has one value."""
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
    """Mean over problems of the rank correlation inside each: what a search has to rely on."""
    found = [
        rho
        for some in _rows_of(rated.problem)
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
    depths, whole = rated.depth, rated.terminal
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
    """Rows of the children of each state that has at least two among the states.

    The children of the prompt are siblings whether or not it is a state itself.
    """
    above = np.where((parent < 0) & (depth == 1), -2 - problem, parent)  # -2, -3, ...: a problem's prompt
    known = np.flatnonzero(above != -1)
    return [known[rows] for rows in _rows_of(above[known], least=2)]


def _intervals(
    rated: Rated, confidence: float, resamples: int, rng: np.random.Generator
) -> dict[str, list[float] | None]:
    """Intervals of mse_constant - mse (above 0: better than the constant) and of the rank correlation.

    None where one cluster is all there is, or where no resample has a rank correlation.
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

    def interval(found: list[float]) -> list[float] | None:
        return list(expanded_percentiles(found, units, confidence)) if found else None

    return {"mse_gain_interval": interval(gains), "spearman_interval": interval(correlations)}


class _Ranks:
    """Ranks of values that are repeated: sorted once, however often they are drawn."""

    def __init__(self, values: Floats) -> None:
        unique, self._place = np.unique(values, return_inverse=True)
        self._unique = len(unique)

    def of(self, times: Floats) -> Floats:
        """[S] where value i stands ``times[i]`` times: 0, 1, ..., equal values at the mean of theirs."""
        counts = np.bincount(self._place, times, minlength=self._unique)
        mean_ranks: Floats = np.cumsum(counts) - (counts + 1) / 2
        return mean_ranks[self._place]


def _repeated_spearman(a: _Ranks, b: _Ranks, times: Floats) -> float | None:
    """``spearman`` of values that stand ``times[i]`` times each."""
    ranks_a, ranks_b = (ranks.of(times) - (times.sum() - 1) / 2 for ranks in (a, b))
    scale = np.sqrt((times @ ranks_a**2) * (times @ ranks_b**2))
    return float(times @ (ranks_a * ranks_b) / scale) if scale > 0 else None


def _rows_of(labels: Indices, least: int = 1) -> list[Indices]:
    """The rows of each label that has at least so many, in ascending order of the labels."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=np.nan))
    ends = np.append(starts[1:], len(labels))
    kept = ends - starts >= least
    return [order[start:end] for start, end in zip(starts[kept], ends[kept], strict=True)]
