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
from restrl.artifacts import Artifact
from restrl.model.peaks import OF_THE_POLICY
from restrl.prompts import Prompter
from restrl.protocols import Progress
from restrl.records import Cost, Group, Pair, Problem, StartState
from restrl.rollout import initial_state, judge_samples, sample
from restrl.seeds import derive_seed
from restrl.select.accepted import accepted
from restrl.select.pairs import best_and_worst
from restrl.select.report import AssemblyReport, SelectionReport
from restrl.select.start_states import assemble, unfiltered
from restrl.stages.chunks import in_chunks, own_items
from restrl.stages.resources import PolicyRef, Resources
from restrl.stages.session import Session

# what a training learns from, and how it was chosen
Made = tuple[list[Any], AssemblyReport | SelectionReport]


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

    def assembled() -> Made:
        tokenizer = resources.tokenizer(policy)
        assembly = assemble(
            samples.read(Group),
            lambda ids: cut_positions(ids, tokenizer),
            lambda ids, k: text_of(ids, k, tokenizer),
            session.config.grpo,
            np.random.default_rng(derive_seed(session.config.seed, "assemble", iteration)),
            resources.positions,
        )
        return assembly.states, assembly.report

    inputs = {"samples": samples.fingerprint}
    return _keep(session, "assemble", inputs, StartState, f"assemble (iteration {iteration})", assembled)


def initial_states_step(
    session: Session, resources: Resources, policy: PolicyRef, iteration: int
) -> Artifact:
    """Replaces steps 1 to 3 if there is no filter and no partial state: every problem's initial state."""
    problems = resources.problems("train")

    def initial_states() -> Made:
        prompter = Prompter(resources.tokenizer(policy), policy.model)
        assembly = unfiltered([initial_state(problem, prompter) for problem in problems.problems])
        return assembly.states, assembly.report

    inputs = {"policy": policy.fingerprint, "problems": problems.fingerprint}
    title = f"assemble (iteration {iteration})"
    return _keep(session, "initial_states", inputs, StartState, title, initial_states)


def pairs_step(session: Session, samples: Artifact, iteration: int) -> Artifact:
    """Replaces step 3 for DPO: best against worst completion of each problem that the filter keeps."""
    sigma0, margin = session.config.grpo.sigma0, session.config.dpo.margin
    inputs, title = {"samples": samples.fingerprint}, f"pairs (iteration {iteration})"
    return _keep(
        session, "pairs", inputs, Pair, title, lambda: best_and_worst(samples.read(Group), sigma0, margin)
    )


def accepted_step(session: Session, samples: Artifact, iteration: int) -> Artifact:
    """Replaces steps 2 and 3 for SFT: the completions that the tests accept, by problem."""
    sft = session.config.sft
    inputs, title = {"samples": samples.fingerprint}, f"accepted (iteration {iteration})"
    return _keep(
        session, "accepted", inputs, Group, title,
        lambda: accepted(samples.read(Group), sft.reward, sft.per_problem),
    )  # fmt: skip


def _keep(
    session: Session,
    step: str,
    inputs: dict[str, str],
    kind: type[Any],
    title: str,
    make: Callable[[], Made],
) -> Artifact:
    """Stores what the training learns from, records of a ``kind``.  Only the first rank calls ``make``."""
    with session.open(step, inputs) as work:
        if work.done:
            artifact = session.found(work.artifact)
        else:
            log = work.records(kind)
            log.truncate(0)
            examples, report = session.ranks.by_first(make)
            log.append(examples)
            artifact = work.finish(summary={"text": report.text(), **report.to_json()})
        session.console.say(f"{title}: {artifact.summary['text']}")
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
