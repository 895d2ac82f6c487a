"""Fitting a value model to the targets that search found (ReST-RL, arXiv 2508.19576, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restrl.config import TrainerConfig, VmConfig
from restrl.errors import UserError
from restrl.model.value import decoder_and_score
from restrl.ranks import ALONE, Ranks
from restrl.records import TreeTargets
from restrl.search.saved import SavedTree
from restrl.train.head_init import start_head
from restrl.train.loop import autocast, prepare_weights, run_steps
from restrl.train.metrics_file import read_metrics
from restrl.train.value_data import (
    Floats,
    ProblemSplit,
    StateTable,
    ValueProblems,
    epoch_schedule,
    split_problems,
)
from restrl.train.value_module import Report, ValueModule, predictions


@dataclass(frozen=True)
class FitResult:
    """What a fit did.  The value model itself was trained in place."""

    steps: int
    resumed_from: int  # step of the checkpoint it went on from; 0 = none
    metrics: tuple[dict[str, float], ...]  # a row per step, also of the steps before a resume
    split: ProblemSplit
    fit_states: int
    constant: float  # weighted mean of the fit set: the predictor to beat
    heldout: StateTable
    predictions: Floats  # of the held-out states, in [0, 1]


def fit_value_model(
    *,
    model: Any,
    trees: Sequence[SavedTree],
    targets: Sequence[TreeTargets],
    families: Mapping[str, str],
    vm: VmConfig,
    trainer: TrainerConfig,
    folder: Path,
    seed: int,
    signature: str,
    report: Report,
    ranks: Ranks = ALONE,  # noqa: ARG001 (every rank fits the same)
) -> FitResult:
    """Fits ``model`` (see ``restrl.model.value``) in place: squared error, or cross-entropy for two outputs.

    ``targets[i]`` are those of ``trees[i]``; of neither more is read at a time than a step needs.
    ``families``: task_id -> family, for the split.  ``signature``: the fingerprint of all that decides the
    numbers.  ``report`` of the held-out states is logged after each epoch.  ``folder`` gets checkpoints and
    metrics; an interrupted run goes on from its last whole checkpoint and ends in the same numbers.  Raises
    UserError for targets that leave nothing to fit, bad settings, or a folder that cannot be used.
    """
    problems = ValueProblems(trees, targets, vm)
    task_ids = problems.task_ids()
    if not any(task_ids):
        kind = "terminal value targets" if any(len(some) for some in targets) else "value targets"
        raise UserError(f"vm.targets={vm.targets}: there are no {kind}; collect from more problems")
    decoder, head = decoder_and_score(model)
    prepare_weights(decoder, trainer)
    head.float()  # a few numbers, whose small updates bfloat16 would lose
    split = split_problems(task_ids, families, vm.heldout_fraction, seed)
    schedule = epoch_schedule(len(split.fit), vm.problems_per_step, vm.epochs, seed)
    fit_states, constant = problems.weighted_mean(split.fit)
    module = ValueModule(
        model, problems, split.fit, split.heldout, vm, folder, len(schedule), constant, report
    )
    if vm.head_init == "ridge":
        with autocast(trainer, model.device):
            start_head(model, problems, split.fit, task_ids, families)
    resumed_from = run_steps(
        module,
        schedule,
        trainer=trainer,
        folder=folder,
        checkpoint_every=vm.checkpoint_every,
        signature=signature,
        seed=seed,
    )
    with autocast(trainer, model.device):
        predicted = predictions(model, problems, split.heldout)
    return FitResult(
        steps=module.steps_done,
        resumed_from=resumed_from,
        metrics=tuple(read_metrics(folder)),
        split=split,
        fit_states=fit_states,
        constant=constant,
        heldout=module.table,
        predictions=predicted,
    )
