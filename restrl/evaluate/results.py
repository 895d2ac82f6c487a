"""From outcomes to figures: pass@1, pass@k and mean reward with intervals, per data set and paired.

A sample that the harness could not judge is no failure: it is left out and counted.  Intervals resample
families of problems where the data set has them (``Problem.cluster``), and the results say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restrl.config import DecoderConfig
from restrl.evaluate.bootstrap import bootstrap_interval, paired_difference
from restrl.evaluate.pass_at_k import pass_at_k
from restrl.records import Cost, Outcome, Problem, to_json
from restrl.seeds import derive_seed

Results = dict[str, Any]  # JSON-ready; the keys are at `summarize`


@dataclass(frozen=True)
class ProblemScore:
    """The judged samples of one problem."""

    n: int  # judged samples, >= 1
    passed: int  # of these
    mean_reward: float  # in [0, 1]


def problem_scores(outcomes: Sequence[Outcome]) -> dict[str, ProblemScore]:
    """task_id -> score, for each problem with at least one judged sample, in the order of the outcomes."""
    judged: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.verdict.reward is not None:
            judged[outcome.answer.task_id].append(
                (outcome.verdict.status == "passed", outcome.verdict.reward)
            )
    return {
        task_id: ProblemScore(
            len(rows), sum(passed for passed, _ in rows), sum(r for _, r in rows) / len(rows)
        )
        for task_id, rows in judged.items()
    }


def metric_values(scores: Mapping[str, ProblemScore], k: Sequence[int]) -> dict[str, dict[str, float]]:
    """Metric -> task_id -> value in [0, 1]: "pass@1", "pass@k" for each k, "mean_reward".

    pass@k takes the problems with at least k judged samples.
    """
    metrics = {
        f"pass@{size}": {t: pass_at_k(s.n, s.passed, size) for t, s in scores.items() if s.n >= size}
        for size in sorted({1, *k})
    }
    return metrics | {"mean_reward": {task_id: score.mean_reward for task_id, score in scores.items()}}


def evaluate(
    outcomes: Sequence[Outcome], problems: Sequence[Problem], config: DecoderConfig, seed: int
) -> Results:
    """``summarize`` over all ``problems``, and under "datasets" the same for each data set."""
    datasets: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        datasets[problem.dataset].append(problem)
    results = summarize(outcomes, problems, config, seed)
    return results | {
        "datasets": {name: summarize(outcomes, part, config, seed) for name, part in sorted(datasets.items())}
    }


def summarize(
    outcomes: Sequence[Outcome], problems: Sequence[Problem], config: DecoderConfig, seed: int
) -> Results:
    """Figures of the outcomes that belong to ``problems``.

    Keys: "pass@1" and "pass@k" (None where no problem has k judged samples), "mean_reward", "n" (problems
    behind them), "samples" (judged), "harness_errors" (samples left out), "unanswered" (problems without a
    judged sample), "confidence", "confidence_interval" (metric -> [low, high]; None where fewer than two
    clusters have a value), "resampled" ("families" or "problems"), "clusters" (how many of these are behind
    the figures), "cost".
    """
    wanted = {problem.task_id: problem.cluster for problem in problems}
    outcomes = [outcome for outcome in outcomes if outcome.answer.task_id in wanted]
    scores = problem_scores(outcomes)
    results: Results = {}
    intervals: dict[str, list[float] | None] = {}
    for metric, by_task in metric_values(scores, config.k).items():
        values = list(by_task.values())
        rng = np.random.default_rng(derive_seed(seed, "bootstrap", metric))
        results[metric] = float(np.mean(values)) if values else None
        clusters = [wanted[task_id] for task_id in by_task]
        intervals[metric] = (
            _list(bootstrap_interval(values, clusters, config.confidence, config.bootstrap, rng))
            if values
            else None
        )
    samples = sum(score.n for score in scores.values())
    cost = sum((outcome.answer.cost for outcome in outcomes), Cost(verifier_calls=len(outcomes)))
    return results | {
        "n": len(scores),
        "samples": samples,
        "harness_errors": len(outcomes) - samples,
        "unanswered": len(wanted) - len(scores),
        "confidence": config.confidence,
        "confidence_interval": intervals,
        **_resampled([wanted[task_id] for task_id in scores]),
        "cost": to_json(cost),
    }


def compare(
    base: Sequence[Outcome],
    other: Sequence[Outcome],
    problems: Sequence[Problem],
    config: DecoderConfig,
    seed: int,
) -> Results:
    """Paired difference ``other - base`` per metric, over those of ``problems`` that both have a value for.

    Metric -> {"difference", "interval" ([low, high]; None for fewer than two clusters), "n", "resampled",
    "clusters"}; metrics without a common problem are left out.
    """
    pairs: Results = {}
    cluster_of = {problem.task_id: problem.cluster for problem in problems}
    before, after = (metric_values(problem_scores(outcomes), config.k) for outcomes in (base, other))
    for metric in before:
        common = [t for t in before[metric] if t in after[metric] and t in cluster_of]
        if not common:
            continue
        rng = np.random.default_rng(derive_seed(seed, "paired", metric))
        clusters = [cluster_of[t] for t in common]
        difference, interval = paired_difference(
            [before[metric][t] for t in common], [after[metric][t] for t in common], clusters,
            config.confidence, config.bootstrap, rng,
        )  # fmt: skip
        pairs[metric] = {
            "difference": difference, "interval": _list(interval), "n": len(common), **_resampled(clusters),
        }  # fmt: skip
    return pairs


def _list(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _resampled(clusters: Sequence[str]) -> dict[str, Any]:
    """What an interval over problems with these labels has resampled."""
    count = len(set(clusters))
    return {"resampled": "families" if count < len(clusters) else "problems", "clusters": count}
