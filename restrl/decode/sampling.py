"""Greedy decoding and independent samples."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from restrl.config import DecoderConfig, SamplingConfig
from restrl.decode.base import DecodeJob, Policy, Sampled
from restrl.errors import UserError
from restrl.protocols import Progress
from restrl.records import Answer, Cost, Problem
from restrl.rollout import initial_state
from restrl.rollout import sample as sample_states
from restrl.seeds import derive_seed


def sample(job: DecodeJob) -> list[Answer]:
    """``sampling.n`` independent samples of each problem.

    A problem's samples depend only on the run's seed and the problem's task_id.  Raises UserError if pass@k
    needs more samples than ``sampling.n``.
    """
    sampling = job.config.sampling
    if max(job.config.k, default=1) > sampling.n:
        raise UserError(
            f"decoder.k: pass@{max(job.config.k)} needs as many samples, and decoder.sampling.n is "
            f"{sampling.n}; raise it, or leave larger values out of decoder.k"
        )
    return _answers(job)


def greedy(job: DecodeJob) -> list[Answer]:
    """The most likely token at each step: one answer per problem.  Only ``sampling.max_tokens`` is used."""
    return _answers(job)


def independent_samplings(decoder: DecoderConfig) -> list[SamplingConfig]:
    """How a decoder samples what it answers from; none: it does not take independent samples.

    The second one, if there is one, samples the greedy completion of ``greedy_first``.
    """
    sampling = decoder.sampling
    greedy = replace(sampling, n=1, temperature=0.0, top_p=1.0)
    chosen_from = replace(sampling, n=sampling.n * decoder.answers)
    of_decoder = {
        "greedy": [greedy],
        "sample": [sampling],
        "best_of_n": [chosen_from, greedy] if decoder.greedy_first else [chosen_from],
    }
    return of_decoder.get(decoder.name, [])


def independent_samples(job: DecodeJob) -> list[Sampled]:
    """The completions of each problem (``independent_samplings``), grouped by problem.

    They depend on policy, problem, sampling and seed, but not on the decoder, so decoders can share them.
    With ``greedy_first`` each answer's n completions are the greedy one and the first n - 1 of its samples.
    """
    samples, *greedy = (_samples(job, sampling) for sampling in independent_samplings(job.config))
    if not greedy:
        return samples
    n, answers = job.config.sampling.n, job.config.answers
    return [
        sampled
        for number in range(len(job.problems) * answers)
        for sampled in (greedy[0][number // answers], *samples[number * n : number * n + n - 1])
    ]


def _samples(job: DecodeJob, sampling: SamplingConfig) -> list[Sampled]:
    if job.stored_samples is not None:
        return job.stored_samples(job.problems, sampling)
    return sample_with_engine(job.policy(), job.problems, sampling, job.seed, job.progress)


def sample_with_engine(
    policy: Policy,
    problems: Sequence[Problem],
    sampling: SamplingConfig,
    seed: int,
    progress: Progress | None = None,
) -> list[Sampled]:
    """The independent samples of the problems, from the engine."""
    prompter = policy.prompter
    states = [initial_state(problem, prompter) for problem in problems]
    seeds = [derive_seed(seed, "decode", problem.task_id) for problem in problems]
    started = time.perf_counter()
    results = sample_states(policy.engine, states, sampling, prompter.stop, seeds, progress)
    # each completion gets an equal share of the batch's wall clock
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


def _answers(job: DecodeJob) -> list[Answer]:
    """Each completion is an answer."""
    n = 1 if job.config.name == "greedy" else job.config.sampling.n
    return [
        Answer(
            sampled.task_id,
            index % n,
            sampled.program,
            cost=Cost(completions=1, model_tokens=len(sampled.completion.ids), seconds=sampled.seconds),
        )
        for index, sampled in enumerate(independent_samples(job))
    ]
