"""Runs a training on completions that are given: what DPO and SFT share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restrl.config import LearningConfig, TrainerConfig
from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import TokenGroup
from restrl.ranks import ALONE, Ranks
from restrl.records import Cost
from restrl.train.completions_module import CompletionsModule
from restrl.train.data import StepData
from restrl.train.extras import Extras
from restrl.train.loop import TrainResult, run_steps
from restrl.train.metrics_file import all_metrics
from restrl.train.schedule import step_schedule
from restrl.train.strategy import build_strategy


@dataclass(frozen=True)
class Place:
    """Where and how a training runs."""

    trainer: TrainerConfig
    folder: Path  # receives checkpoints, metrics.jsonl and the files of the loggers
    seed: int
    signature: str  # the fingerprint of all that decides the numbers
    ranks: Ranks = ALONE
    extras: Extras = field(default_factory=Extras)  # loggers and callbacks


def train_on(
    kind: type[CompletionsModule],
    model: Any,
    groups: Sequence[TokenGroup],
    learning: LearningConfig,
    place: Place,
) -> TrainResult:
    """Trains ``model`` in place with a module of this ``kind``; a group is a problem's completions.

    An interrupted run resumes from its last complete checkpoint and ends with the same numbers as an
    uninterrupted run.  Every rank calls this with the same arguments and ends with the same weights.  Raises
    UserError for bad settings, an unwritable folder, or a folder with the checkpoint of another run.
    """
    strategy = build_strategy(place.trainer, place.ranks)
    strategy.prepare(model)  # before a reference copies the weights
    schedule = step_schedule(len(groups), learning, place.seed)
    module = kind(
        PolicyLM(model, chunk=learning.logit_chunk),
        learning,
        strategy=strategy,
        folder=place.folder,
        total_steps=len(schedule),
        signature=place.signature,
    )
    resumed_from = run_steps(
        module,
        StepData(schedule, lambda step: [groups[i] for i in step]),
        trainer=place.trainer,
        extras=place.extras,
        checkpoint_every=learning.checkpoint_every,
        seed=place.seed,
    )
    rows = all_metrics(place.folder, place.ranks)
    cost = Cost(seconds=sum(row["seconds"] for row in rows))
    return TrainResult(module.steps_done, module.updates, resumed_from, tuple(rows), cost)
