"""Fitting a value model to the targets that search found (ReST-RL, arXiv 2508.19576, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restrl.config import TrainerConfig, VmConfig
from restrl.errors import UserError
from restrl.model.value import decoder_and_score
from restrl.records import ValueTarget
from restrl.train.head_init import start_head
from restrl.train.loop import autocast, prepare_weights, run_steps
from restrl.train.metrics_file import read_metrics
from restrl.train.value_data import (
    TargetSplit,
    epoch_schedule,
    split_targets,
    target_trees,
    weighted_mean,
)
from restrl.train.value_module import Report, ValueModule, predictions


@dataclass(frozen=True)
class FitResult:
    """What a fit did.  The value model itself was trained in place."""

    steps: int
    resumed_from: int  # step of the checkpoint it went on from; 0 = none
    metrics: tuple[dict[str, float], ...]  # a row per step, also of the steps before a resume
    split: TargetSplit
    constant: float  # weighted mean of the fit set: the predictor to beat
    heldout: tuple[ValueTarget, ...]
    predictions: tuple[float, ...]  # of the held-out targets, in [0, 1]


def fit_value_model(
    *,
    model: Any,
    targets: Sequence[ValueTarget],
    families: Mapping[str, str],
    vm: VmConfig,
    trainer: TrainerConfig,
    folder: Path,
    seed: int,
    signature: str,
    report: Report,
) -> FitResult:
    """Fits ``model`` (see ``restrl.model.value``) in place by weighted squared error.

    ``families``: task_id -> family, for the split.  ``signature``: the fingerprint of all that decides the
    numbers.  ``report`` of the held-out targets is logged after each epoch.  ``folder`` gets checkpoints,
    ``metrics.jsonl`` and TensorBoard events; an interrupted run goes on from its last whole checkpoint and
    ends in the same numbers as one that was not.  Raises UserError for targets that leave nothing to fit, bad
    settings, an unwritable folder, or a folder that holds the checkpoint of another run.
    """
    chosen = [target for target in targets if target.terminal or vm.targets == "all"]
    if not chosen:
        kind = "terminal value targets" if targets else "value targets"
        raise UserError(f"vm.targets={vm.targets}: there are no {kind}; collect from more problems")
    decoder, head = decoder_and_score(model)
    prepare_weights(decoder, trainer)
    head.float()  # a few numbers, whose small updates bfloat16 would lose
    split = split_targets(chosen, families, vm.heldout_fraction, seed)
    trees, heldout = (target_trees(side, vm.max_tokens) for side in (split.fit, split.heldout))
    schedule = epoch_schedule(len(trees), vm.problems_per_step, vm.epochs, seed)
    constant = weighted_mean(split.fit, vm.weight)
    module = ValueModule(model, trees, heldout, vm, folder, len(schedule), constant, report)
    if vm.head_init == "ridge":
        with autocast(trainer, model.device):
            start_head(model, trees, families, vm)
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
        rated, values = predictions(model, heldout, vm.tokens_per_microbatch)
    return FitResult(
        steps=module.steps_done,
        resumed_from=resumed_from,
        metrics=tuple(read_metrics(folder)),
        split=split,
        constant=constant,
        heldout=tuple(rated),
        predictions=tuple(values),
    )
