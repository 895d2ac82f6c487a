"""From outcomes to figures: pass@1, pass@k and mean reward with intervals, per data set and paired.

Intervals resample families of problems; a problem without a family is resampled by itself (Problem.cluster).
A sample that the harness could not judge is not a failure: it is left out, and counted separately.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restrl.config import DecoderConfig
from restrl.evaluate.bootstrap import bootstrap_interval, paired_difference
from restrl.evaluate.failures import unjudged_reasons
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

    pass@k covers only problems with at least k judged samples.
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

    Keys: "pass@1" and "pass@k" (None if no problem has k judged samples), "mean_reward", "n" (number of
    problems with judged samples), "samples" (judged), "harness_errors" (samples left out),
    "harness_error_reasons" (the first three), "unanswered" (problems without a judged sample), "confidence",
    "confidence_interval" (metric -> [low, high], None if there is only one family), "resampled" ("families",
    or "problems" if no two are of one family), "clusters" (number of resampled units), "cost".
    """
    cluster_of = {problem.task_id: problem.cluster for problem in problems}
    outcomes = [outcome for outcome in outcomes if outcome.answer.task_id in cluster_of]
    scores = problem_scores(outcomes)
    results: Results = {}
    intervals: dict[str, list[float] | None] = {}
    for metric, by_task in metric_values(scores, config.k).items():
        values, clusters = list(by_task.values()), [cluster_of[task_id] for task_id in by_task]
        rng = np.random.default_rng(derive_seed(seed, "bootstrap", metric))
        results[metric] = float(np.mean(values)) if values else None
        intervals[metric] = (
            _as_list(bootstrap_interval(values, clusters, config.confidence, config.bootstrap, rng))
            if values
            else None
        )
    samples = sum(score.n for score in scores.values())
    cost = sum((outcome.answer.cost for outcome in outcomes), Cost(verifier_calls=len(outcomes)))
    cluster_count = len({cluster_of[task_id] for task_id in scores})
    return results | {
        "n": len(scores),
        "resampled": "families" if cluster_count < len(scores) else "problems",
        "clusters": cluster_count,
        "samples": samples,
        "harness_errors": len(outcomes) - samples,
        "harness_error_reasons": unjudged_reasons(outcomes),
        "unanswered": len(cluster_of) - len(scores),
        "confidence": config.confidence,
        "confidence_interval": intervals,
        "cost": to_json(cost),
    }


def compare(
    base: Sequence[Outcome],
    other: Sequence[Outcome],
    problems: Sequence[Problem],
    config: DecoderConfig,
    seed: int,
) -> Results:
    """Paired difference ``other - base`` per metric, over the ``problems`` that both have a value for.

    Metric -> {"difference", "interval": [low, high] or None as in ``summarize``, "n"}; metrics without a
    common problem are left out.
    """
    pairs: Results = {}
    cluster_of = {problem.task_id: problem.cluster for problem in problems}
    before, after = (metric_values(problem_scores(outcomes), config.k) for outcomes in (base, other))
    for metric in before:
        common = [t for t in before[metric] if t in after[metric] and t in cluster_of]
        if not common:
            continue
        rng = np.random.default_rng(derive_seed(seed, "paired", metric))
        difference, interval = paired_difference(
            [before[metric][t] for t in common], [after[metric][t] for t in common],
            [cluster_of[t] for t in common], config.confidence, config.bootstrap, rng,
        )  # fmt: skip
        pairs[metric] = {"difference": difference, "interval": _as_list(interval), "n": len(common)}
    return pairs


def _as_list(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
