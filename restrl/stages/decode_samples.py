"""The decode_samples step: independent samples of a policy, stored so that several decoders can share them.

``decoder=sample`` and ``best_of_n`` with any scorer answer from the same completions: they are sampled once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from restrl.artifacts import Artifact
from restrl.config import SamplingConfig
from restrl.decode.base import Policy, Sampled
from restrl.decode.sampling import sample_with_engine
from restrl.protocols import Progress
from restrl.records import Cost, Problem
from restrl.stages.chunks import in_chunks
from restrl.stages.console import StepProgress
from restrl.stages.resources import PolicyRef, ProblemSet, Resources
from restrl.stages.session import Session


@dataclass(frozen=True)
class ProblemSamples:
    """The samples of one problem: a record of the artifact."""

    task_id: str
    samples: tuple[Sampled, ...]


def decoding_policy(resources: Resources, ref: PolicyRef) -> Policy:
    """The policy in memory, as decoders use it."""
    loaded = resources.load(ref)
    return Policy(loaded.engine, loaded.prompter, loaded.tokenizer, resources.config.engine.name)


class SharedSamples:
    """The samples of one evaluation, backed by artifacts that hold those of all problems."""

    def __init__(self, session: Session, resources: Resources, ref: PolicyRef, problems: ProblemSet) -> None:
        self.session, self.resources = session, resources
        self.ref, self.problems = ref, problems
        # of each sampling: the samples by task_id, and whether the artifact was done before
        self.taken: dict[str, tuple[dict[str, tuple[Sampled, ...]], bool]] = {}

    def take(
        self, problems: Sequence[Problem], sampling: SamplingConfig, advance: StepProgress
    ) -> list[Sampled]:
        """The samples of these problems.  The first call with a ``sampling`` makes or opens its artifact.

        ``advance`` counts completions when they are sampled, or when they are taken from a finished artifact.
        """
        if (key := repr(sampling)) not in self.taken:
            whole = self.session if self.session.part is None else self.session.reading
            artifact, before = samples_step(whole, self.resources, self.ref, self.problems, sampling, advance)
            by_task = {record.task_id: record.samples for record in artifact.read(ProblemSamples)}
            self.taken[key] = by_task, before
        by_task, before = self.taken[key]
        if before:
            advance(len(problems) * sampling.n)
        return [sample for problem in problems for sample in by_task[problem.task_id]]


def samples_step(
    session: Session,
    resources: Resources,
    ref: PolicyRef,
    problems: ProblemSet,
    sampling: SamplingConfig,
    advance: StepProgress,
) -> tuple[Artifact, bool]:
    """The artifact with a ProblemSamples for each problem, and whether it was done before."""
    inputs = {"policy": ref.fingerprint, "problems": problems.fingerprint}
    decoder = dataclasses.replace(session.config.decoder, sampling=sampling)
    config = dataclasses.replace(session.config, decoder=decoder)
    with session.open("decode_samples", inputs, config) as work:
        if work.done:
            return work.artifact, True

        def make(chunk: Sequence[Problem]) -> tuple[list[ProblemSamples], Cost]:
            records = _sample(decoding_policy(resources, ref), chunk, sampling, session.config.seed, advance)
            return records, sum(map(_cost, records), Cost())

        cost = in_chunks(
            session,
            work,
            ProblemSamples,
            problems.problems,
            session.config.engine.chunk_problems,
            make,
            found=lambda items: advance.of_all(len(items) * sampling.n),
        )
        return work.finish(cost, problems.left_out), False


def _sample(
    policy: Policy, chunk: Sequence[Problem], sampling: SamplingConfig, seed: int, advance: Progress
) -> list[ProblemSamples]:
    samples, n = sample_with_engine(policy, chunk, sampling, seed, advance), sampling.n
    return [
        ProblemSamples(problem.task_id, tuple(samples[index * n : (index + 1) * n]))
        for index, problem in enumerate(chunk)
    ]


def _cost(record: ProblemSamples) -> Cost:
    return Cost(
        completions=len(record.samples),
        model_tokens=sum(len(sample.completion.ids) for sample in record.samples),
        seconds=sum(sample.seconds for sample in record.samples),
    )
