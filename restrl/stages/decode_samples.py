"""The decode_samples step: independent samples of a policy, stored so that several decoders can share them.

``decoder=sample`` and ``best_of_n`` with any scorer answer from the same completions: they are sampled once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from restrl.config import SamplingConfig
from restrl.decode.base import Policy, Sampled
from restrl.decode.sampling import sample_with_engine
from restrl.protocols import Progress
from restrl.records import Cost, Problem
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
    """The samples of one evaluation, backed by an artifact that holds the samples of all problems."""

    def __init__(self, session: Session, resources: Resources, ref: PolicyRef, problems: ProblemSet) -> None:
        self.session, self.resources = session, resources
        self.ref, self.problems = ref, problems
        self.by_task: dict[str, tuple[Sampled, ...]] = {}
        self.sampled_before = False

    def take(
        self, problems: Sequence[Problem], sampling: SamplingConfig, advance: StepProgress
    ) -> list[Sampled]:
        """The samples of these problems.  The first call makes or opens the artifact, with its ``sampling``.

        ``advance`` counts completions when they are sampled, or when they are taken from a finished artifact.
        """
        if not self.by_task:
            self._open(sampling, advance)
        if self.sampled_before:
            advance(len(problems) * sampling.n)
        return [sample for problem in problems for sample in self.by_task[problem.task_id]]

    def _open(self, sampling: SamplingConfig, advance: StepProgress) -> None:
        session, problems = self.session, self.problems.problems
        inputs = {"policy": self.ref.fingerprint, "problems": self.problems.fingerprint}
        decoder = dataclasses.replace(session.config.decoder, sampling=sampling)
        config = dataclasses.replace(session.config, decoder=decoder)
        with session.open("decode_samples", inputs, config) as work:
            self.sampled_before = work.done
            if not work.done:
                log = work.records(ProblemSamples)
                session.in_chunks(
                    log,
                    problems,
                    session.config.engine.chunk_problems,
                    lambda chunk: self._sample(chunk, sampling, advance),
                    resumed=lambda done: advance.of_all(done * sampling.n),
                )
                cost = sum((_cost(record) for record in log.read()), Cost())
                work.finish(cost, self.problems.left_out)
            artifact = session.found(work.artifact) if self.sampled_before else work.artifact
            self.by_task = {record.task_id: record.samples for record in artifact.read(ProblemSamples)}

    def _sample(
        self, chunk: Sequence[Problem], sampling: SamplingConfig, advance: Progress
    ) -> list[ProblemSamples]:
        policy = decoding_policy(self.resources, self.ref)
        samples = sample_with_engine(policy, chunk, sampling, self.session.config.seed, advance)
        n = sampling.n
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
