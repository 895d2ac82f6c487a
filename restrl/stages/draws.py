"""The draw step: independent samples of a policy, kept so that every decoder that wants them shares them.

``decoder=sample`` and ``best_of_n`` with any scorer answer from the same completions: they are sampled once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from restrl.config import SamplingConfig
from restrl.decode.base import Policy, Sampled
from restrl.decode.sampling import draw_samples
from restrl.protocols import Progress
from restrl.records import Cost, Problem
from restrl.stages.console import StepProgress
from restrl.stages.resources import PolicyRef, ProblemSet, Resources
from restrl.stages.session import Session


@dataclass(frozen=True)
class Draws:
    """The samples of one problem: a record of a draw artifact."""

    task_id: str
    samples: tuple[Sampled, ...]


def decoding_policy(resources: Resources, ref: PolicyRef) -> Policy:
    """The policy in memory, as decoders use it."""
    loaded = resources.load(ref)
    return Policy(loaded.engine, loaded.prompter, loaded.tokenizer)


class KeptDraws:
    """The samples of one evaluation: the artifact holds those of all problems."""

    def __init__(self, session: Session, resources: Resources, ref: PolicyRef, problems: ProblemSet) -> None:
        self.session, self.resources = session, resources
        self.ref, self.problems = ref, problems
        self.by_task: dict[str, tuple[Sampled, ...]] = {}
        self.found = False

    def take(
        self, problems: Sequence[Problem], sampling: SamplingConfig, advance: StepProgress
    ) -> list[Sampled]:
        """Those of some of the problems.  The first call makes or opens all, with its ``sampling``.

        ``advance`` counts completions: as they are sampled, or, where they were before, as they are taken.
        """
        if not self.by_task:
            self._open(sampling, advance)
        if self.found:
            advance(len(problems) * sampling.n)
        return [one for problem in problems for one in self.by_task[problem.task_id]]

    def _open(self, sampling: SamplingConfig, advance: StepProgress) -> None:
        session, problems = self.session, self.problems.problems
        inputs = {"policy": self.ref.fingerprint, "problems": self.problems.fingerprint}
        decoder = dataclasses.replace(session.config.decoder, sampling=sampling)
        with session.open("draw", inputs, dataclasses.replace(session.config, decoder=decoder)) as work:
            self.found = work.done
            if not work.done:
                log = work.records(Draws)
                session.in_chunks(
                    log,
                    problems,
                    session.config.engine.chunk_problems,
                    lambda chunk: self._draw(chunk, sampling, advance),
                    resumed=lambda done: advance.of_all(done * sampling.n),
                )
                cost = sum((_cost(draws) for draws in log.read()), Cost())
                work.finish(cost, self.problems.left_out)
            artifact = session.found(work.artifact) if self.found else work.artifact
            self.by_task = {draws.task_id: draws.samples for draws in artifact.read(Draws)}

    def _draw(self, chunk: Sequence[Problem], sampling: SamplingConfig, advance: Progress) -> list[Draws]:
        policy = decoding_policy(self.resources, self.ref)
        samples = draw_samples(policy, chunk, sampling, self.session.config.seed, advance)
        n = sampling.n
        return [
            Draws(problem.task_id, tuple(samples[index * n : (index + 1) * n]))
            for index, problem in enumerate(chunk)
        ]


def _cost(draws: Draws) -> Cost:
    return Cost(
        completions=len(draws.samples),
        model_tokens=sum(len(one.completion.ids) for one in draws.samples),
        seconds=sum(one.seconds for one in draws.samples),
    )
