"""The steps of a plan that answer problems: samples that decoders share, then each method's answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from restrl.artifacts import Artifact
from restrl.config import DecoderConfig, SamplingConfig
from restrl.decode.sampling import independent_samplings
from restrl.records import Outcome
from restrl.stages.chunks import own_items
from restrl.stages.decode_samples import samples_step
from restrl.stages.evaluation import Method, evaluate_step
from restrl.stages.plan import Machine, Results, Step
from restrl.stages.resources import PolicyRef, ProblemSet, Resources
from restrl.stages.session import Session

JUDGED_ONLY = ("none", "verifier")  # scorers without a model


@dataclass(frozen=True)
class Question:
    """Who answers what.  The functions read the results of the steps in ``needs``."""

    subject: str  # names the policy or the data set in the names of steps
    policy: Callable[[Resources, Results], PolicyRef]
    problems: Callable[[Resources], ProblemSet]
    needs: tuple[str, ...] = ()


def sampling_steps(question: Question, decoder: DecoderConfig) -> list[Step]:
    """The steps that sample what the decoder chooses from; none for one that does not take such samples."""
    return [_sampling_step(question, sampling) for sampling in independent_samplings(decoder)]


def _sampling_step(question: Question, sampling: SamplingConfig) -> Step:
    def run(session: Session, resources: Resources, results: Results) -> Artifact:
        problems = question.problems(resources)
        return _sampled(session, resources, question.policy(resources, results), problems, sampling, name)

    kind = "greedy" if sampling.temperature == 0 else f"samples{sampling.n}"
    name = f"{kind}_{question.subject}"
    return Step(name, run, question.needs, "model", divisible=True)


def _sampled(
    session: Session,
    resources: Resources,
    policy: PolicyRef,
    problems: ProblemSet,
    sampling: SamplingConfig,
    title: str,
) -> Artifact:
    mine = own_items(session, problems.problems, session.config.engine.chunk_problems)
    with session.console.progress(title, len(mine) * sampling.n) as advance:
        artifact, before = samples_step(session, resources, policy, problems, sampling, advance)
    return session.found(artifact) if before else artifact


def answer_step(
    question: Question,
    name: str,
    decoder: DecoderConfig,
    scorer: str,
    method: Callable[[Results], Method],
    needs: tuple[str, ...],
    title: str,
) -> Step:
    """The judged answers of a method: an evaluation's artifact and its outcomes.

    ``needs``: the step that samples for it, and the one that fits its scorer.
    """

    def run(session: Session, resources: Resources, results: Results) -> tuple[Artifact, list[Outcome]]:
        policy, problems = question.policy(resources, results), question.problems(resources)
        return evaluate_step(session, resources, policy, problems, method(results), title)

    runs_model = decoder.name == "mcts" or scorer not in JUDGED_ONLY
    machine: Machine = "model" if runs_model else "cpu"
    return Step(name, run, (*question.needs, *needs), machine, divisible=True)
