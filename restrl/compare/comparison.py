"""The comparison of several answers to the same problems: figures, paired differences, changed problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from restrl.errors import UserError
from restrl.evaluate.bootstrap import Interval, bootstrap_interval, paired_difference
from restrl.evaluate.outcomes import ProblemOutcome
from restrl.seeds import derive_seed

CONFIDENCE, RESAMPLES = 0.95, 10000
SOLVED = 0.5  # least share of a problem's samples that pass


@dataclass(frozen=True)
class Side:
    """One row of a finished run."""

    name: str
    outcomes: Mapping[str, ProblemOutcome]  # by task id


@dataclass(frozen=True)
class Figure:
    """A mean over problems, in [0, 1], or a difference of two."""

    mean: float
    interval: Interval | None  # None: a single family of problems, whose variance is unknown


@dataclass(frozen=True)
class Changed:
    """A problem that one side solves and the other does not; the numbers are shares of samples that pass."""

    task_id: str
    before: float
    after: float


@dataclass(frozen=True)
class Compared:
    """A side beside the first one."""

    name: str
    metrics: Mapping[str, Figure]  # pass@1, mean_reward
    differences: Mapping[str, Figure]  # to the first side, paired by problem; of the first side itself: 0
    gained: tuple[Changed, ...]  # by the greatest change
    lost: tuple[Changed, ...]


@dataclass(frozen=True)
class Comparison:
    sides: tuple[Compared, ...]
    problems: int  # that every side answered with a judged sample
    families: int  # clusters that the intervals resample
    left_out: int  # answered by some sides only


def compare_sides(sides: Sequence[Side]) -> Comparison:
    """Compares every side with the first one.  Raises UserError if no problem is common to all."""
    values = {metric: [of(side) for side in sides] for metric, of in METRICS.items()}
    common = [task for task in values["pass@1"][0] if all(task in of_side for of_side in values["pass@1"])]
    if not common:
        names = ", ".join(side.name for side in sides)
        raise UserError(f"{names}: no problem was answered by all of them; compare runs on the same data set")
    every = {task for of_side in values["pass@1"] for task in of_side}
    clusters = [sides[0].outcomes[task].cluster for task in common]
    compared = []
    for index, side in enumerate(sides):
        figures, differences = {}, {}
        for metric, of_sides in values.items():
            first, own = ([of_sides[i][task] for task in common] for i in (0, index))
            figures[metric] = Figure(float(np.mean(own)), _interval(own, clusters, metric))
            rng = np.random.default_rng(derive_seed(0, "compare", metric, "paired"))
            differences[metric] = Figure(*paired_difference(first, own, clusters, CONFIDENCE, RESAMPLES, rng))
        gained, lost = _changed(values["pass@1"][0], values["pass@1"][index], common)
        compared.append(Compared(side.name, figures, differences, gained, lost))
    return Comparison(tuple(compared), len(common), len(set(clusters)), len(every) - len(common))


def _interval(values: Sequence[float], clusters: Sequence[str], metric: str) -> Interval | None:
    rng = np.random.default_rng(derive_seed(0, "compare", metric))
    interval = bootstrap_interval(values, clusters, CONFIDENCE, RESAMPLES, rng)
    return None if interval is None else (max(0.0, interval[0]), min(1.0, interval[1]))


def _changed(
    before: Mapping[str, float], after: Mapping[str, float], tasks: Sequence[str]
) -> tuple[tuple[Changed, ...], tuple[Changed, ...]]:
    """The problems gained and lost."""
    changed = [
        Changed(task, before[task], after[task])
        for task in tasks
        if (before[task] >= SOLVED) != (after[task] >= SOLVED)
    ]
    changed.sort(key=lambda c: (-abs(c.after - c.before), c.task_id))
    return tuple(c for c in changed if c.after > c.before), tuple(c for c in changed if c.after < c.before)


def _pass_at_1(side: Side) -> dict[str, float]:
    rates = {task: outcome.pass_at_1 for task, outcome in side.outcomes.items()}
    return {task: rate for task, rate in rates.items() if rate is not None}


def _mean_reward(side: Side) -> dict[str, float]:
    judged = {task: [r for r in o.rewards if r is not None] for task, o in side.outcomes.items()}
    return {task: sum(rewards) / len(rewards) for task, rewards in judged.items() if rewards}


# metric -> task id -> value, for problems with a judged sample
METRICS: dict[str, Callable[[Side], dict[str, float]]] = {
    "pass@1": _pass_at_1,
    "mean_reward": _mean_reward,
}
