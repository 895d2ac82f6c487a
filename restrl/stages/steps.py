"""The steps of stage 1 before the training.  Each reads artifacts, calls the library and writes one artifact.

The fingerprint of a step covers only what the step reads, so a sweep over ``grpo.sigma0`` samples only once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from restrl.actions import cut_positions, text_of
from restrl.artifacts import Artifact, Work
from restrl.model.peaks import OF_THE_POLICY
from restrl.prompts import Prompter
from restrl.protocols import Progress
from restrl.records import Cost, Group, Pair, Problem, StartState
from restrl.rollout import initial_state, judge_samples, sample
from restrl.seeds import derive_seed
from restrl.select.accepted import accepted
from restrl.select.pairs import best_and_worst
from restrl.select.report import SelectionReport
from restrl.select.start_states import Assembly, assemble, unfiltered
from restrl.stages.chunks import in_chunks, own_items
from restrl.stages.resources import PolicyRef, Resources
from restrl.stages.session import Session


def sample_step(session: Session, resources: Resources, policy: PolicyRef, iteration: int) -> Artifact:
    """Step 1: N judged completions of each training problem (a Group per problem)."""
    problems, sampling = resources.problems("train"), session.config.grpo.sample
    inputs = {"policy": policy.fingerprint, "problems": problems.fingerprint}
    with session.open("sample", inputs, iteration=iteration) as work:
        if work.done:
            return session.found(work.artifact)
        size = session.config.engine.chunk_problems
        total = len(own_items(session, problems.problems, size)) * sampling.n
        with session.console.progress(f"sample (iteration {iteration})", total) as advance:
            cost = in_chunks(
                session,
                work,
                Group,
                problems.problems,
                size,
                make=lambda share: _sample(session, resources, policy, share, iteration, advance),
                found=lambda items: advance.of_all(len(items) * sampling.n),
            )
        summary = _sample_summary(work.records(Group).read()) | problems.left_out
        return work.finish(cost, summary)


def _sample(
    session: Session,
    resources: Resources,
    policy: PolicyRef,
    problems: Sequence[Problem],
    iteration: int,
    advance: Progress,
) -> tuple[list[Group], Cost]:
    """A group for each of this rank's problems, and their total cost."""
    loaded = resources.load(policy, train=any(kind in resources.trains for kind in OF_THE_POLICY))
    started, prompter = time.monotonic(), loaded.prompter
    states = [initial_state(problem, prompter) for problem in problems]
    seeds = [derive_seed(session.config.seed, "sample", iteration, state.task_id) for state in states]
    sampling = session.config.grpo.sample
    samples = sample(loaded.engine, states, sampling, prompter.stop, seeds, advance)
    by_id = {problem.task_id: problem for problem in problems}
    groups = judge_samples(resources.sandbox, prompter, by_id, states, samples)
    return groups, _cost(groups, time.monotonic() - started)


def assemble_step(
    session: Session, resources: Resources, policy: PolicyRef, samples: Artifact, iteration: int
) -> Artifact:
    """Steps 2 and 3: keeps the problems whose rewards vary, and assembles the states for training."""

    def assembled() -> Assembly:
        tokenizer = resources.tokenizer(policy)
        return assemble(
            samples.read(Group),
            lambda ids: cut_positions(ids, tokenizer),
            lambda ids, k: text_of(ids, k, tokenizer),
            session.config.grpo,
            np.random.default_rng(derive_seed(session.config.seed, "assemble", iteration)),
            resources.positions,
        )

    with session.open("assemble", {"samples": samples.fingerprint}) as work:
        artifact = session.found(work.artifact) if work.done else _keep_states(session, work, assembled)
        session.console.say(f"assemble (iteration {iteration}): {artifact.summary['text']}")
        return artifact


def initial_states_step(
    session: Session, resources: Resources, policy: PolicyRef, iteration: int
) -> Artifact:
    """Replaces steps 1 to 3 if there is no filter and no partial state: every problem's initial state."""
    problems = resources.problems("train")

    def initial_states() -> Assembly:
        prompter = Prompter(resources.tokenizer(policy), policy.model)
        return unfiltered([initial_state(problem, prompter) for problem in problems.problems])

    inputs = {"policy": policy.fingerprint, "problems": problems.fingerprint}
    with session.open("initial_states", inputs) as work:
        artifact = session.found(work.artifact) if work.done else _keep_states(session, work, initial_states)
        session.console.say(f"assemble (iteration {iteration}): {artifact.summary['text']}")
        return artifact


def _keep_states(session: Session, work: Work, assembled: Callable[[], Assembly]) -> Artifact:
    """Stores the start states.  Only the first rank calls ``assembled``."""
    log = work.records(StartState)
    log.truncate(0)
    assembly = session.ranks.by_first(assembled)
    log.append(assembly.states)
    return work.finish(summary={"text": assembly.report.text(), **assembly.report.to_json()})


def pairs_step(session: Session, samples: Artifact, iteration: int) -> Artifact:
    """Replaces step 3 for DPO: best against worst completion of each problem that the filter keeps."""
    grpo, dpo = session.config.grpo, session.config.dpo

    def pairs() -> tuple[list[Pair], SelectionReport]:
        return best_and_worst(samples.read(Group), grpo.sigma0, dpo.margin)

    return _keep_examples(session, "pairs", Pair, samples, iteration, pairs)


def accepted_step(session: Session, samples: Artifact, iteration: int) -> Artifact:
    """Replaces steps 2 and 3 for SFT: the completions that the tests accept, by problem."""
    sft = session.config.sft

    def chosen() -> tuple[list[Group], SelectionReport]:
        return accepted(samples.read(Group), sft.reward, sft.per_problem)

    return _keep_examples(session, "accepted", Group, samples, iteration, chosen)


def _keep_examples(
    session: Session,
    step: str,
    kind: type[Any],
    samples: Artifact,
    iteration: int,
    make: Callable[[], tuple[list[Any], SelectionReport]],
) -> Artifact:
    """Stores what ``make`` takes from the samples.  Only the first rank calls it."""
    with session.open(step, {"samples": samples.fingerprint}) as work:
        if work.done:
            artifact = session.found(work.artifact)
        else:
            log = work.records(kind)
            log.truncate(0)
            examples, report = session.ranks.by_first(make)
            log.append(examples)
            artifact = work.finish(summary={"text": report.text(), **report.to_json()})
        session.console.say(f"{step} (iteration {iteration}): {artifact.summary['text']}")
        return artifact


def _cost(groups: Sequence[Group], seconds: float) -> Cost:
    completions = [completion for group in groups for completion in group.completions]
    tokens = sum(len(c.ids) for c in completions)
    return Cost(len(completions), tokens, verifier_calls=len(completions), seconds=seconds)


def _sample_summary(groups: Iterable[Group]) -> dict[str, Any]:
    rewards: list[float] = []
    statuses: Counter[str] = Counter()
    for group in groups:
        rewards += [reward for reward in group.rewards if reward is not None]
        statuses.update(verdict.status for verdict in group.verdicts)
    return {
        "mean_reward": float(np.mean(rewards)) if rewards else None,
        "statuses": dict(sorted(statuses.items())),
    }
