"""Greedy decoding and independent samples."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from restrl.config import SamplingConfig
from restrl.decode.base import DecodeJob, Policy, Sampled
from restrl.errors import UserError
from restrl.protocols import Progress
from restrl.records import Answer, Cost, Problem
from restrl.rollout import initial_state
from restrl.rollout import sample as sample_states
from restrl.seeds import derive_seed


def sample(job: DecodeJob) -> list[Answer]:
    """``sampling.n`` independent samples of each problem.

    A problem's samples depend on the run's seed and its task_id alone.  Raises UserError where pass@k is
    asked for more samples than are taken.
    """
    sampling = job.config.sampling
    if max(job.config.k, default=1) > sampling.n:
        raise UserError(
            f"decoder.k: pass@{max(job.config.k)} needs as many samples, and decoder.sampling.n is "
            f"{sampling.n}; raise it, or leave larger values out of decoder.k"
        )
    return _answers(job, sampling)


def greedy(job: DecodeJob) -> list[Answer]:
    """The most likely token at each step: one answer per problem.  Of ``sampling`` only max_tokens counts."""
    return _answers(job, replace(job.config.sampling, n=1, temperature=0.0, top_p=1.0))


def draw(job: DecodeJob, sampling: SamplingConfig) -> list[Sampled]:
    """``sampling.n`` completions of each problem, by problem, each problem's in the order of its samples.

    They depend on policy, problem, sampling and seed alone, not on the decoder: they may be kept and shared.
    """
    if job.drawn is not None:
        return job.drawn(job.problems, sampling)
    return draw_samples(job.policy(), job.problems, sampling, job.seed, job.progress)


def draw_samples(
    policy: Policy,
    problems: Sequence[Problem],
    sampling: SamplingConfig,
    seed: int,
    progress: Progress | None = None,
) -> list[Sampled]:
    """What ``draw`` gives, from the engine."""
    prompter = policy.prompter
    states = [initial_state(problem, prompter) for problem in problems]
    seeds = [derive_seed(seed, "decode", problem.task_id) for problem in problems]
    started = time.perf_counter()
    results = sample_states(policy.engine, states, sampling, prompter.stop, seeds, progress)
    # the batch is shared, so each completion carries an equal part of its wall clock
    seconds = (time.perf_counter() - started) / max(1, len(states) * sampling.n)
    return [
        Sampled(
            state.task_id,
            state.prompt_ids,
            completion,
            prompter.program(state.code, completion.text),
            seconds,
        )
        for state, completions in zip(states, results, strict=True)
        for completion in completions
    ]


def _answers(job: DecodeJob, sampling: SamplingConfig) -> list[Answer]:
    """Each completion is an answer."""
    return [
        Answer(
            one.task_id,
            index % sampling.n,
            one.program,
            cost=Cost(completions=1, model_tokens=len(one.completion.ids), seconds=one.seconds),
        )
        for index, one in enumerate(draw(job, sampling))
    ]
