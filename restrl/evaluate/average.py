"""The average over several data sets, as ReST-RL (arXiv 2508.19576, tables 1 and 2) takes it.

Data sets come in groups.  The average is the mean of the groups' means, and a group's mean is that of its
data sets: ((HumanEval + HumanEval+) / 2 + (MBPP + MBPP+) / 2 + APPS + BigCodeBench) / 4.  The data sets of a
group pose the same problems with other tests, so an interval resamples a problem in all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restrl.config import DecoderConfig
from restrl.evaluate.bootstrap import CHUNK_ELEMENTS, expanded_percentiles
from restrl.evaluate.results import Results, metric_values, problem_scores
from restrl.records import Cost, Outcome, Problem, to_json
from restrl.seeds import derive_seed


@dataclass(frozen=True)
class Part:
    """The outcomes on one data set."""

    problems: Sequence[Problem]
    outcomes: Sequence[Outcome]
    results: Results  # of ``results.evaluate``


def groups_of(names: Sequence[str], groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """The ``groups`` of those data sets that there are; a data set that none of them names is its own."""
    there = [[name for name in group if name in names] for group in groups]
    grouped = {name for group in there for name in group}
    return [group for group in there if group] + [[name] for name in names if name not in grouped]


def average(
    parts: Mapping[str, Part], groups: Sequence[Sequence[str]], config: DecoderConfig, seed: int
) -> Results:
    """The results of ``results.summarize``, with the average in place of each metric and counts summed.

    In addition "average" (metric -> average, and "groups") and "datasets" (name -> results).  A metric that a
    data set lacks has no average.
    """
    grouped = groups_of(list(parts), groups)
    values = {name: _values(part, config) for name, part in parts.items()}
    first = next(iter(parts.values())).results
    metrics: Results = {}
    intervals: dict[str, list[float] | None] = {}
    for metric in first["confidence_interval"]:
        by_part = {name: values[name][metric] for name in parts}
        metrics[metric], intervals[metric] = _figure(metric, by_part, grouped, config, seed)
    total = {key: sum(part.results[key] for part in parts.values()) for key in COUNTS}
    costs = [outcome.answer.cost for part in parts.values() for outcome in part.outcomes]
    return {
        **metrics,
        **total,
        "resampled": "problems",
        "confidence": config.confidence,
        "confidence_interval": intervals,
        "cost": to_json(sum(costs, Cost(verifier_calls=len(costs)))),
        "average": {**metrics, "groups": grouped},
        "datasets": {name: _without(part.results, "datasets") for name, part in parts.items()},
    }


Values = Mapping[str, float]  # problem -> value of a metric, in [0, 1], or a difference of two
AVERAGE = "average pass@1"  # the metric that the functions below add


def with_average(
    results: Results,
    outcomes: Sequence[Outcome],
    problems: Sequence[Problem],
    groups: Sequence[Sequence[str]],
    config: DecoderConfig,
    seed: int,
) -> Results:
    """``results.evaluate``'s results with the metric ``AVERAGE`` beside the plain means over all problems.

    Unchanged if there are no ``groups`` of data sets.
    """
    if not groups:
        return results
    by_part = _pass_at_1(outcomes, problems)
    value, interval = _figure("pass@1", by_part, groups_of(list(by_part), groups), config, seed)
    intervals = results["confidence_interval"] | {AVERAGE: interval}
    return results | {AVERAGE: value, "confidence_interval": intervals}


def paired_with_average(
    paired: Results,
    base: Sequence[Outcome],
    other: Sequence[Outcome],
    problems: Sequence[Problem],
    groups: Sequence[Sequence[str]],
    config: DecoderConfig,
    seed: int,
) -> Results:
    """``results.compare``'s results with the paired difference of ``AVERAGE``, as ``with_average``."""
    if not groups:
        return paired
    before, after = _pass_at_1(base, problems), _pass_at_1(other, problems)
    differences = {
        name: {key: after[name][key] - value for key, value in values.items() if key in after[name]}
        for name, values in before.items()
    }
    value, interval = _figure("pass@1", differences, groups_of(list(differences), groups), config, seed)
    if value is None:
        return paired
    count = sum(map(len, differences.values()))
    return paired | {AVERAGE: {"difference": value, "interval": interval, "n": count}}


def _pass_at_1(outcomes: Sequence[Outcome], problems: Sequence[Problem]) -> Mapping[str, Values]:
    """Data set -> number of the problem -> pass@1; every data set of ``problems`` has an entry."""
    dataset_of = {problem.task_id: problem.dataset for problem in problems}
    values: dict[str, dict[str, float]] = {name: {} for name in dataset_of.values()}
    for task_id, value in metric_values(problem_scores(outcomes), [1])["pass@1"].items():
        if task_id in dataset_of:
            values[dataset_of[task_id]][task_id.rsplit("/", 1)[-1]] = value
    return values


def _figure(
    metric: str,
    by_part: Mapping[str, Values],
    groups: Sequence[Sequence[str]],
    config: DecoderConfig,
    seed: int,
) -> tuple[float | None, list[float] | None]:
    """The average of a metric and its interval; None, None if a data set has no value."""
    if not all(by_part.values()):
        return None, None
    rng = np.random.default_rng(derive_seed(seed, "average", metric))
    mean = float(np.mean([_mean(by_part, group) for group in groups]))
    return mean, _interval(by_part, groups, config, rng)


COUNTS = ("n", "clusters", "samples", "harness_errors", "unanswered")


def _values(part: Part, config: DecoderConfig) -> dict[str, dict[str, float]]:
    """Metric -> number of the problem -> value.

    The data sets of a group write the ids of a problem differently, but for their last part.
    """
    by_metric = metric_values(problem_scores(part.outcomes), config.k)
    return {
        metric: {task_id.rsplit("/", 1)[-1]: value for task_id, value in by_task.items()}
        for metric, by_task in by_metric.items()
    }


def _without(results: Results, key: str) -> Results:
    return {name: value for name, value in results.items() if name != key}


def _mean(by_part: Mapping[str, Values], group: Sequence[str]) -> float:
    return float(np.mean([np.mean(list(by_part[name].values())) for name in group]))


def _interval(
    by_part: Mapping[str, Values],
    groups: Sequence[Sequence[str]],
    config: DecoderConfig,
    rng: np.random.Generator,
) -> list[float] | None:
    """None if a group has only one problem, whose variance is unknown."""
    counts = [len({problem for name in group for problem in by_part[name]}) for group in groups]
    if min(counts) < 2:
        return None
    means = [_group_means([by_part[name] for name in group], config.bootstrap, rng) for group in groups]
    averages = np.mean(means, axis=0)
    # a resample may miss all problems of a data set that shares few with its group
    return list(expanded_percentiles(averages[~np.isnan(averages)], min(counts), config.confidence))


def _group_means(parts: Sequence[Values], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[resamples] means over the data sets of a group, whose problems are drawn together."""
    problems = sorted({problem for part in parts for problem in part})
    count = len(problems)
    values = np.array([[part.get(problem, np.nan) for problem in problems] for part in parts]).T
    there = ~np.isnan(values)  # [problems, data sets]
    sums = np.where(there, values, 0.0)
    means = np.empty(resamples)
    chunk = max(1, CHUNK_ELEMENTS // count)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=rows)  # times of each problem
        with np.errstate(invalid="ignore"):
            means[start : start + rows] = (drawn @ sums / (drawn @ there)).mean(axis=1)
    return means
