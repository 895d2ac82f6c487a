"""The step that trains a policy, by GRPO, DPO or SFT: all that differs is in a ``Learner``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restrl.artifacts import Artifact, Work
from restrl.config import LoraConfig
from restrl.model.adapters import add_lora
from restrl.model.save import check_room_for, save_model
from restrl.records import Group, Pair, StartState
from restrl.seeds import derive_seed
from restrl.stages.resolution import policy_resolution
from restrl.stages.resources import LoadedPolicy, PolicyRef, Resources
from restrl.stages.session import Session
from restrl.train.checkpoint import remove_checkpoints
from restrl.train.completions import Place
from restrl.train.dpo import train_dpo
from restrl.train.extras import Extras
from restrl.train.grpo import train_grpo
from restrl.train.loop import TrainResult
from restrl.train.sft import train_sft
from restrl.train.strategy import load_dtype
from restrl.train.update import MISMATCH

POLICY = "policy"  # folder of a training's artifact, in Hugging Face layout
Learn = Callable[[Session, Resources, LoadedPolicy, Artifact, Place], TrainResult]


@dataclass(frozen=True)
class Learner:
    """A way to train a policy in place from the examples in an artifact."""

    name: str  # of the step
    examples: str  # what the artifact holds, as the name of the step's input
    learn: Learn
    metrics: tuple[str, ...]  # shown in the summary
    rollouts: bool = False  # it samples while it trains


def train_step(
    learner: Learner, session: Session, resources: Resources, policy: PolicyRef, examples: Artifact, t: int
) -> tuple[PolicyRef, Artifact]:
    """Trains the policy on the examples of iteration ``t``; returns the new policy."""
    inputs = {"policy": policy.fingerprint, learner.examples: examples.fingerprint}
    if learner.rollouts:
        inputs["problems"] = resources.problems("train").fingerprint
    with session.open(learner.name, inputs, iteration=t) as work:
        if work.done:
            artifact = session.found(work.artifact)
        else:
            session.console.say(f"{learner.name} (iteration {t}): {work.folder}")
            artifact = _train(learner, session, resources, policy, examples, t, work)
        # also needed if an earlier run was killed just before this line
        session.write(lambda: remove_checkpoints(work.folder))
        model = dataclasses.replace(
            policy.model, source="hub", path=str(artifact.folder / POLICY), revision=None, lora=LoraConfig()
        )
        return PolicyRef(model, artifact.fingerprint), artifact


def _train(
    learner: Learner,
    session: Session,
    resources: Resources,
    policy: PolicyRef,
    examples: Artifact,
    t: int,
    work: Work,
) -> Artifact:
    config = session.config
    loaded = resources.load(policy, load_dtype(config.trainer, config.model.lora), train=True)
    if config.model.lora.r is not None:
        loaded.model = add_lora(
            loaded.model, config.model.lora, derive_seed(config.seed, learner.name, t, "lora")
        )
    session.ranks.by_first(lambda: check_room_for(loaded.model, work.folder))
    seed, extras = derive_seed(config.seed, learner.name, t), Extras(config.logger, config.callbacks)
    place = Place(config.trainer, work.folder, seed, work.fingerprint, session.ranks, extras)
    result = learner.learn(session, resources, loaded, examples, place)

    def saved() -> dict[str, Any]:
        save_model(loaded.model, loaded.tokenizer, work.folder / POLICY)
        return policy_resolution(session, policy, loaded.model, f"{learner.name} (iteration {t})")

    resolved = session.ranks.by_first(saved)
    resources.release()  # the weights in memory are no longer those of ``policy``
    return work.finish(result.cost, _summary(learner, result.metrics) | resolved, folders=[POLICY])


def _grpo(
    session: Session, resources: Resources, loaded: LoadedPolicy, states: Artifact, place: Place
) -> TrainResult:
    grpo = session.config.grpo
    if grpo.overlap and not loaded.engine.capabilities.remote:
        session.console.say(
            "grpo.overlap: the engine samples on the trainer's device, so the two slow each other down and "
            "little or nothing is gained"
        )
    return train_grpo(
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        engine=loaded.engine,
        sandbox=resources.sandbox,
        prompter=loaded.prompter,
        problems=resources.problems("train").by_id,
        states=list(states.read(StartState)),
        grpo=grpo,
        trainer=place.trainer,
        folder=place.folder,
        seed=place.seed,
        signature=place.signature,
        ranks=place.ranks,
        extras=place.extras,
    )


def _dpo(
    session: Session, _resources: Resources, loaded: LoadedPolicy, pairs: Artifact, place: Place
) -> TrainResult:
    return train_dpo(model=loaded.model, pairs=list(pairs.read(Pair)), dpo=session.config.dpo, place=place)


def _sft(
    session: Session, _resources: Resources, loaded: LoadedPolicy, accepted: Artifact, place: Place
) -> TrainResult:
    return train_sft(
        model=loaded.model, accepted=list(accepted.read(Group)), sft=session.config.sft, place=place
    )


GRPO = Learner(
    "grpo", "states", _grpo,
    ("reward", "passed", "reward_std", "zero_variance", "completion_length", "truncated",
     "tokens_per_second"),
    rollouts=True,
)  # fmt: skip
DPO = Learner("dpo", "pairs", _dpo, ("loss", "accuracy", "reward_difference", "tokens_per_second"))
SFT = Learner("sft", "accepted", _sft, ("loss", "entropy", "tokens_per_second"))


def _summary(learner: Learner, metrics: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean metrics of the first and the last quarter of the run."""
    quarter = max(1, len(metrics) // 4)

    def means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
        return {
            key: float(np.mean([row[key] for row in rows if key in row]))
            for key in learner.metrics
            if any(key in row for row in rows)
        }

    gap = {"engine_gap": _engine_gap(metrics)} if learner.rollouts else {}
    return (
        gap
        | {
            "steps": len(metrics),
            "skipped_updates": int(sum(row["skipped_updates"] for row in metrics)),  # not finite
            "first": means(metrics[:quarter]),
            "last": means(metrics[-quarter:]),
        }
    )


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
