"""Fitting a value model to the targets that search found (ReST-RL, arXiv 2508.19576, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restrl.config import TrainerConfig, VmConfig
from restrl.errors import UserError
from restrl.model.value_lm import ValueLM
from restrl.ranks import ALONE, Ranks
from restrl.records import TreeTargets
from restrl.search.saved import SavedTree
from restrl.train.data import StepData
from restrl.train.extras import Extras
from restrl.train.head_init import start_head
from restrl.train.loop import run_steps
from restrl.train.metrics_file import all_metrics
from restrl.train.strategy import autocast, build_strategy
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
    """The result of a fit.  The value model itself was trained in place."""

    steps: int
    resumed_from: int  # step of the checkpoint that it resumed from; 0 = none
    metrics: tuple[dict[str, float], ...]  # a row per step, including steps before a resume
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
    ranks: Ranks = ALONE,
    extras: Extras | None = None,
) -> FitResult:
    """Fits ``model`` (see ``restrl.model.value``) in place: squared error, or cross-entropy for two outputs.

    ``targets[i]`` belong to ``trees[i]``; each step reads only the trees and targets that it needs.
    ``families``: task_id -> family, for the split.  ``signature``: the fingerprint of all that decides the
    numbers.  ``report`` computes metrics of the held-out states, which are logged after each epoch.
    ``folder`` receives checkpoints, ``metrics.jsonl`` and TensorBoard events; an interrupted run resumes from
    its last complete checkpoint and ends with the same numbers as an uninterrupted run.  ``extras``: loggers
    and callbacks; None: TensorBoard.  Every rank calls this with the same arguments and ends with the same
    weights.  Raises UserError for targets that leave nothing to fit, bad settings, an unwritable folder, or a
    folder with the checkpoint of another run.
    """
    problems = ValueProblems(trees, targets, vm)
    task_ids = _task_ids(problems, targets)
    strategy, value_lm = build_strategy(trainer, ranks), ValueLM(model)
    strategy.prepare(value_lm.decoder)
    value_lm.head.float()  # it is small, and bfloat16 would lose its small updates
    split = split_problems(task_ids, families, vm.heldout_fraction, seed)
    schedule = epoch_schedule(len(split.fit), vm.problems_per_step, vm.epochs, seed)
    fit_states, constant = problems.weighted_mean(split.fit)
    module = ValueModule(
        value_lm, problems, split.heldout, vm, constant, report,
        strategy=strategy, folder=folder, total_steps=len(schedule), signature=signature,
    )  # fmt: skip
    if vm.head_init == "ridge":
        with autocast(trainer, value_lm.device):
            start_head(value_lm, problems, split.fit, task_ids, families)
    resumed_from = run_steps(
        module,
        StepData(schedule, lambda step: [tree for i in step for tree in problems.read(split.fit[i])]),
        trainer=trainer, extras=extras or Extras(), checkpoint_every=vm.checkpoint_every, seed=seed,
    )  # fmt: skip
    with autocast(trainer, value_lm.device):
        predicted = predictions(value_lm, problems, split.heldout, ranks)
    return FitResult(
        steps=module.steps_done,
        resumed_from=resumed_from,
        metrics=tuple(all_metrics(folder, ranks)),
        split=split,
        fit_states=fit_states,
        constant=constant,
        heldout=module.table,
        predictions=predicted,
    )


def _task_ids(problems: ValueProblems, targets: Sequence[TreeTargets]) -> list[str]:
    """The task ids of all problems (see ``ValueProblems``).  Raises UserError if no state is left."""
    task_ids = problems.task_ids()
    if not any(task_ids):
        kind = "terminal value targets" if any(len(tree) for tree in targets) else "value targets"
        raise UserError(f"vm.targets={problems.vm.targets}: there are no {kind}; collect from more problems")
    return task_ids
