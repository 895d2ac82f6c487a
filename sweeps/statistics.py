"""Figures of a sweep: pass@1 of each group of runs with its interval, and the marginal means of each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restrl.evaluate.bootstrap import Interval, bootstrap_interval, crossed_interval, crossed_values
from restrl.seeds import derive_seed
from sweeps.cells import SEED, Cell, Sweep

CONFIDENCE, RESAMPLES = 0.95, 10000
Values = Mapping[str, float]  # problem -> pass@1, or the difference of two, of one run


@dataclass(frozen=True)
class Figure:
    """A mean over runs and problems."""

    mean: float
    interval: Interval | None  # None: a single cluster of problems, whose variance is unknown
    seeds: int  # 1: the interval is over problems alone


@dataclass(frozen=True)
class Group:
    """The runs that differ in their seed alone; of a marginal mean also in the other keys."""

    values: tuple[str, ...]  # of the swept keys; of a marginal mean that of its key
    runs: int
    pass_at_1: Figure
    difference: Figure | None  # to the reference, paired by problem; None: there is no reference
    cost: Mapping[str, float]  # mean over the runs


@dataclass(frozen=True)
class RowReport:
    """What the sweep says about one row: "trained", or a method of stage=rest_rl or decode.py."""

    row: str
    reference: str | None  # the row that it is compared with, in the same run
    groups: tuple[Group, ...]
    marginals: Mapping[str, tuple[Group, ...]]  # key -> one per value, over runs that all its values share


def rows_of(sweep: Sweep) -> list[str]:
    """The rows worth a table: "trained" alone where it is compared with "base", else all."""
    names = dict.fromkeys(line.row for cell in sweep.cells for line in cell.outcomes)
    return ["trained"] if "trained" in names and "base" in names else list(names)


def row_report(sweep: Sweep, row: str) -> RowReport:
    """Raises ValueError if no finished run has the row."""
    cells = [cell for cell in sweep.cells if any(line.row == row for line in cell.outcomes)]
    if not cells:
        raise ValueError(f"no finished run has the row {row!r}")
    references = {_reference(cell, row) for cell in cells}
    reference = references.pop() if len(references) == 1 else None
    by_group: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        by_group.setdefault(sweep.group_of(cell), []).append(cell)
    groups = tuple(_group(values, members, row, reference) for values, members in by_group.items())
    marginals = {
        key: marginal for key in sweep.swept if (marginal := _marginal(sweep, cells, key, row, reference))
    }
    return RowReport(row, reference, groups, marginals if len(sweep.swept) > 1 else {})


def figure(
    by_seed: Mapping[str, Sequence[Values]], cluster_of: Mapping[str, str], lowest: float, *names: str
) -> Figure:
    """The mean over seeds of each seed's mean over problems.

    ``by_seed``: seed -> its runs, over which each problem's value is averaged first.  Values are in
    [``lowest``, 1], and the interval is cut there.  ``names`` seed the resampling.
    """
    seeds = [_mean_values(runs) for runs in by_seed.values()]
    values = crossed_values(seeds, cluster_of)
    rng = np.random.default_rng(derive_seed(0, "sweep", *names))
    if len(seeds) > 1:
        interval = crossed_interval(values, CONFIDENCE, RESAMPLES, rng)
    else:
        (alone,) = seeds
        clusters = [cluster_of[problem] for problem in alone]
        interval = bootstrap_interval(list(alone.values()), clusters, CONFIDENCE, RESAMPLES, rng)
    if interval is not None:
        interval = max(lowest, interval[0]), min(1.0, interval[1])
    return Figure(float(values.mean()), interval, len(seeds))


def _mean_values(runs: Sequence[Values]) -> Values:
    problems = dict.fromkeys(problem for values in runs for problem in values)
    return {p: float(np.mean([values[p] for values in runs if p in values])) for p in problems}


def _group(values: tuple[str, ...], cells: Sequence[Cell], row: str, reference: str | None) -> Group:
    cluster_of = {line.task_id: line.cluster for cell in cells for line in cell.outcomes}
    plain: dict[str, list[Values]] = {}
    paired: dict[str, list[Values]] = {}
    for cell in cells:
        seed = cell.overrides.get(SEED, "")
        own, other = _values(cell, row), _values(cell, reference)
        plain.setdefault(seed, []).append(own)
        if both := {problem: own[problem] - other[problem] for problem in own if problem in other}:
            paired.setdefault(seed, []).append(both)
    costs = [_cost(cell, row) for cell in cells]
    names = dict.fromkeys(name for cost in costs for name in cost)
    return Group(
        values,
        len(cells),
        figure(plain, cluster_of, 0.0, row, *values),
        figure(paired, cluster_of, -1.0, row, "difference", *values) if paired else None,
        {name: float(np.mean([cost[name] for cost in costs if name in cost])) for name in names},
    )


def _marginal(
    sweep: Sweep, cells: Sequence[Cell], key: str, row: str, reference: str | None
) -> tuple[Group, ...]:
    """One group per value, over the runs whose other keys and seed exist for every value; () without one.

    Otherwise a value would look good because its hard neighbours are not finished.
    """

    def rest(cell: Cell) -> tuple[str | None, ...]:
        return tuple(cell.overrides.get(other) for other in (*sweep.swept, SEED) if other != key)

    by_value: dict[str, dict[tuple[str | None, ...], Cell]] = {}
    for cell in cells:
        by_value.setdefault(cell.overrides.get(key, "-"), {})[rest(cell)] = cell
    shared = set.intersection(*(set(members) for members in by_value.values()))
    if len(by_value) < 2 or not shared:
        return ()
    return tuple(
        _group((value,), [cell for name, cell in members.items() if name in shared], row, reference)
        for value, members in by_value.items()
    )


def _values(cell: Cell, row: str | None) -> Values:
    """Problem -> pass@1, for problems with a judged sample."""
    lines = (line for line in cell.outcomes if line.row == row)
    return {line.task_id: rate for line in lines if (rate := line.pass_at_1) is not None}


def _reference(cell: Cell, row: str) -> str | None:
    results: Mapping[str, Any] = cell.results or {}
    if row == "trained" and "base" in results:
        return "base"
    paired: str | None = results.get("rows", {}).get(row, {}).get("paired_with")
    return paired


def _cost(cell: Cell, row: str) -> dict[str, float]:
    """Costs of a run, those of shared steps included: of its training, and per answer of the row."""
    results: Mapping[str, Any] = cell.results or {}
    of_row = results.get("rows", results).get(row, results)
    training = results.get("training_cost", {})
    cost = {f"training {key}": float(training[key]) for key in ("completions", "seconds") if key in training}
    if (per_answer := of_row.get("cost_per_answer")) is None and of_row.get("samples"):
        per_answer = {key: value / of_row["samples"] for key, value in of_row["cost"].items()}
    if per_answer:
        cost |= {f"{key} per answer": float(per_answer[key]) for key in ("completions", "seconds")}
    return cost
