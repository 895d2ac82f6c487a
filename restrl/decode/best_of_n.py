"""Best of n: a scorer chooses one of n independent samples."""

from __future__ import annotations

import time

from restrl.decode.base import DecodeJob, Sampled, need_answers, need_scorer
from restrl.decode.choice import choose
from restrl.decode.sampling import independent_samples
from restrl.records import Answer, Cost, State


def best_of_n(job: DecodeJob) -> list[Answer]:
    """``answers`` answers to each problem, each the best-scored of ``sampling.n`` completions.

    The completions are those of decoder=sample with n x answers samples, in the same order; ``choose`` says
    which one wins.  Behind each answer stand those of smaller
    ``budgets``, chosen from its first completions.  Raises UserError without a scorer.
    """
    need_answers(job)
    scorer, sampling = need_scorer(job), job.config.sampling
    samples = independent_samples(job)
    states = [
        State(sample.task_id, sample.prompt_ids, sample.completion.ids, sample.program, terminal=True)
        for sample in samples
    ]
    started = time.perf_counter()
    scores = scorer.score(states)
    seconds = (time.perf_counter() - started) / max(1, len(states))
    rated = list(zip(samples, scores, strict=True))
    groups = [rated[first : first + sampling.n] for first in range(0, len(rated), sampling.n)]
    return [
        _best(group[:budget], index % job.config.answers, seconds, budget, job.config.vote)
        for index, group in enumerate(groups)
        for budget in (None, *job.config.budgets)
    ]


def _best(
    rated: list[tuple[Sampled, float | None]],
    sample: int,
    scoring_seconds: float,
    budget: int | None,
    vote: bool,
) -> Answer:
    """``scoring_seconds``: the time to score one program."""
    programs, scores = [sampled.program for sampled, _ in rated], [score for _, score in rated]
    best, score = rated[choose(programs, scores, vote)]
    cost = Cost(
        completions=len(rated),
        model_tokens=sum(len(sampled.completion.ids) for sampled, _ in rated),
        scorer_calls=len(rated),
        seconds=sum(sampled.seconds for sampled, _ in rated) + scoring_seconds * len(rated),
    )
    return Answer(best.task_id, sample, best.program, score, cost, budget)
