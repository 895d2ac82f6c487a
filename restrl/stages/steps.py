"""The steps of stage 1.  Each step reads artifacts, calls the library and writes one artifact.

The fingerprint of a step covers only what the step reads, so a sweep over ``grpo.sigma0`` samples only once.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from restrl.actions import cut_positions, text_of
from restrl.artifacts import Artifact, Work
from restrl.config import LoraConfig
from restrl.model.adapters import add_lora
from restrl.model.save import check_room_for, save_model
from restrl.prompts import Prompter
from restrl.protocols import Progress
from restrl.records import Cost, Group, Problem, StartState
from restrl.rollout import initial_state, judge_samples, sample
from restrl.seeds import derive_seed
from restrl.select.start_states import Assembly, assemble, unfiltered
from restrl.stages.chunks import in_chunks, own_items
from restrl.stages.resolution import policy_resolution
from restrl.stages.resources import PolicyRef, Resources
from restrl.stages.session import Session
from restrl.train.checkpoint import remove_checkpoints
from restrl.train.extras import Extras
from restrl.train.grpo import train_grpo
from restrl.train.strategy import load_dtype
from restrl.train.update import MISMATCH

POLICY = "policy"  # folder of a grpo artifact, in Hugging Face layout


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
    loaded = resources.load(policy, train="grpo" in resources.trains)
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


def grpo_step(
    session: Session, resources: Resources, policy: PolicyRef, states: Artifact, iteration: int
) -> tuple[PolicyRef, Artifact]:
    """Step 4: trains the policy on the start states."""
    problems = resources.problems("train")
    inputs = {"policy": policy.fingerprint, "states": states.fingerprint, "problems": problems.fingerprint}
    with session.open("grpo", inputs, iteration=iteration) as work:
        if work.done:
            artifact = session.found(work.artifact)
        else:
            session.console.say(f"grpo (iteration {iteration}): {work.folder}")
            artifact = _train(session, resources, policy, list(states.read(StartState)), iteration, work)
        # also needed if an earlier run was killed just before this line
        session.write(lambda: remove_checkpoints(work.folder))
        model = dataclasses.replace(
            policy.model, source="hub", path=str(artifact.folder / POLICY), revision=None, lora=LoraConfig()
        )
        return PolicyRef(model, artifact.fingerprint), artifact


def _train(
    session: Session,
    resources: Resources,
    policy: PolicyRef,
    states: Sequence[StartState],
    iteration: int,
    work: Work,
) -> Artifact:
    config = session.config
    loaded = resources.load(policy, load_dtype(config.trainer, config.model.lora), train=True)
    if config.model.lora.r is not None:
        seed = derive_seed(config.seed, "grpo", iteration, "lora")
        loaded.model = add_lora(loaded.model, config.model.lora, seed)
    session.ranks.by_first(lambda: check_room_for(loaded.model, work.folder))
    if config.grpo.overlap and not loaded.engine.capabilities.remote:
        session.console.say(
            "grpo.overlap: the engine samples on the trainer's device, so the two slow each other down and "
            "little or nothing is gained"
        )
    result = train_grpo(
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        engine=loaded.engine,
        sandbox=resources.sandbox,
        prompter=loaded.prompter,
        problems=resources.problems("train").by_id,
        states=states,
        grpo=config.grpo,
        trainer=config.trainer,
        folder=work.folder,
        seed=derive_seed(config.seed, "grpo", iteration),
        signature=work.fingerprint,
        ranks=session.ranks,
        extras=Extras(session.config.logger, session.config.callbacks),
    )

    def saved() -> dict[str, Any]:
        save_model(loaded.model, loaded.tokenizer, work.folder / POLICY)
        return policy_resolution(session, policy, loaded.model, f"grpo (iteration {iteration})")

    resolved = session.ranks.by_first(saved)
    resources.release()  # the weights in memory are no longer those of ``policy``
    return work.finish(result.cost, _training_summary(result.metrics) | resolved, folders=[POLICY])


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


def _training_summary(metrics: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean metrics of the first and the last quarter of the run."""
    quarter = max(1, len(metrics) // 4)
    keys = (
        "reward",
        "passed",
        "reward_std",
        "zero_variance",
        "completion_length",
        "truncated",
        "tokens_per_second",
    )

    def means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
        return {key: float(np.mean([row[key] for row in rows])) for key in keys}

    return {
        "steps": len(metrics),
        "engine_gap": _engine_gap(metrics),
        "skipped_updates": int(sum(row["skipped_updates"] for row in metrics)),  # not finite
        "first": means(metrics[:quarter]),
        "last": means(metrics[-quarter:]),
    }


def _engine_gap(metrics: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """|log-probability of the engine - of the trainer| before a step's first update; None: nothing trained.

    It is rounding if both have the same weights; ``grpo.objective.tis_cap`` corrects the loss for it.
    """
    trained = [row for row in metrics if "logprob_mismatch" in row]
    if not trained:
        return None
    return {
        "mean": float(np.mean([row["logprob_mismatch"] for row in trained])),
        "max": max(row["logprob_mismatch_max"] for row in trained),
        f"share_above_{MISMATCH:g}": float(np.mean([row["logprob_mismatch_share"] for row in trained])),
    }
