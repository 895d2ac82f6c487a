"""The fit step of stage 2: value targets -> a value model with its diagnostics."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from restrl.artifacts import Artifact, Work
from restrl.config import ScorerConfig, VmConfig
from restrl.evaluate.diagnostic_plots import diagnostics_figure
from restrl.evaluate.diagnostics import Rated, diagnostics
from restrl.files import user_errors, write_json_atomic, write_text_atomic
from restrl.model.value import add_value_lora, freeze_layers, keep_layers, new_value_model, save_value_model
from restrl.records import Cost, ValueTarget
from restrl.seeds import derive_seed
from restrl.stages.runtime import PolicyRef, Runtime
from restrl.train.fit import FitResult, fit_value_model
from restrl.train.loop import remove_checkpoints
from restrl.train.value_data import target_weights

VALUE_MODEL = "value_model"  # folder of a fit artifact, in Hugging Face layout
EPOCH_RESAMPLES, FINAL_RESAMPLES = 200, 2000
CONFIDENCE = 0.95


def fit_step(
    run: Runtime, policy: PolicyRef, collected: Artifact, vm: VmConfig | None = None
) -> tuple[ScorerConfig, Artifact]:
    """A value model on ``policy``'s decoder, fitted to the targets (ValueTarget) of ``collected``.

    ``vm``: in place of the run's own.  Returns the scorer that reads it, ``orm`` where only whole programs
    were fitted.  Raises UserError where the targets leave nothing to fit.
    """
    config, vm = run.config, vm or run.config.vm
    settings = {k: v for k, v in dataclasses.asdict(vm).items() if k not in ("name", "checkpoint_every")}
    trainer = {k: v for k, v in dataclasses.asdict(config.trainer).items() if k != "name"}
    read = {"vm": settings, "trainer": trainer, "lora": config.model.lora, "dtype": config.model.dtype}
    problems = run.problems("train")
    inputs = {
        "policy": policy.fingerprint,
        "targets": collected.fingerprint,
        "problems": problems.fingerprint,
    }
    with run.store.open("fit", read, inputs, config.seed) as work:
        if work.done:
            run.console.say(f"fit: done before, {work.folder}")
            artifact = work.artifact
        else:
            run.console.say(f"fit: {work.folder}")
            artifact = _fit(run, policy, collected.read(ValueTarget), vm, work)
        remove_checkpoints(work.folder)  # also those that a kill just before this line left
    run.console.say(f"fit: {artifact.summary['text']}")
    name = "orm" if vm.targets == "terminal" else "vm"
    scorer = dataclasses.replace(
        config.scorer if config.scorer.name == name else ScorerConfig(),
        name=name,
        path=str(artifact.folder / VALUE_MODEL),
        max_tokens=vm.max_tokens,
    )
    return scorer, artifact


def _fit(
    run: Runtime, policy: PolicyRef, targets: Sequence[ValueTarget], vm: VmConfig, work: Work
) -> Artifact:
    run.release()  # the value model starts from the policy on the disk
    lora, seed = run.config.model.lora, derive_seed(run.config.seed, "fit")
    model = new_value_model(policy.model, run.config.paths, vm.head, run.device)
    if vm.layers is not None:
        keep_layers(model, vm.layers)
    if lora.r is not None:
        add_value_lora(model, lora, seed)
    freeze_layers(model, vm.freeze_layers)  # with their adapters
    by_id = run.problems("train").by_id

    def clusters(targets: Sequence[ValueTarget]) -> list[str]:
        return [by_id[target.task_id].cluster for target in targets]

    result = fit_value_model(
        model=model,
        targets=targets,
        families={task_id: problem.family for task_id, problem in by_id.items()},
        vm=vm,
        trainer=run.config.trainer,
        folder=work.folder,
        seed=seed,
        report=partial(_epoch_numbers, vm=vm, seed=seed, clusters=clusters),
    )
    save_value_model(model, run.tokenizer(policy), work.folder / VALUE_MODEL)
    rated = _rated(result.heldout, result.predictions, result.constant, vm)
    found = diagnostics(
        rated,
        clusters=clusters(result.heldout),
        confidence=CONFIDENCE,
        resamples=FINAL_RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    _write(work.folder, rated, found, result.steps)
    cost = Cost(seconds=sum(row["seconds"] for row in result.metrics))
    return work.finish(cost, {"text": _text(found), **_counts(result), **found})


def _rated(targets: Sequence[ValueTarget], values: Sequence[float], constant: float, vm: VmConfig) -> Rated:
    weights = np.array(target_weights(targets, vm.weight))
    return Rated(tuple(targets), np.array(values), weights, constant)


def _epoch_numbers(
    targets: Sequence[ValueTarget],
    values: Sequence[float],
    constant: float,
    *,
    vm: VmConfig,
    seed: int,
    clusters: Callable[[Sequence[ValueTarget]], list[str]],
) -> dict[str, float]:
    """What an epoch's end logs: plain numbers only."""
    found = diagnostics(
        _rated(targets, values, constant, vm),
        clusters=clusters(targets),
        confidence=CONFIDENCE,
        resamples=EPOCH_RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    numbers = {key: found[key] for key in ("mse", "mse_constant", "spearman", "spearman_within")}
    numbers["best_child"] = found["best_child"]["share"]
    for name in ("spearman", "mse_gain"):
        if (interval := found[f"{name}_interval"]) is not None:
            numbers |= {f"{name}_low": interval[0], f"{name}_high": interval[1]}
    return {key: value for key, value in numbers.items() if value is not None}


def _counts(result: FitResult) -> dict[str, Any]:
    fit, heldout = result.split.fit, result.split.heldout
    return {
        "steps": result.steps,
        "fit_states": len(fit),
        "fit_problems": len({target.task_id for target in fit}),
        "heldout_problems": sorted({target.task_id for target in heldout}),
    }


def _text(found: dict[str, Any]) -> str:
    """The finding in a line."""
    parts = [
        f"held-out MSE {found['mse']:.4f} against {found['mse_constant']:.4f} of the constant "
        f"{found['constant']:.3f}"
    ]
    if (gain := found["mse_gain_interval"]) is not None:
        parts[0] += f" (gain {gain[0]:+.4f} to {gain[1]:+.4f})"
    if found["spearman"] is not None and (interval := found["spearman_interval"]) is not None:
        parts.append(f"Spearman {found['spearman']:.2f} ({interval[0]:.2f} to {interval[1]:.2f})")
    best = found["best_child"]
    if best["share"] is not None:
        parts.append(
            f"best child found in {best['share']:.0%} of {best['groups']} (chance {best['chance']:.0%})"
        )
    end = f"; {found['states']} states of {found['problems']} problems"
    if found["clusters"] < found["problems"]:
        end += f" in {found['clusters']} families, which the intervals resample"
    return ", ".join(parts) + end


def _write(folder: Path, rated: Rated, found: dict[str, Any], step: int) -> None:
    """Held-out predictions as lines, diagnostics as numbers and as a picture, here and in TensorBoard."""
    lines = [
        {"task_id": t.task_id, "depth": t.depth, "terminal": t.terminal, "visits": t.visits,
         "value": t.value, "predicted": round(float(predicted), 6)}
        for t, predicted in zip(rated.targets, rated.predicted, strict=True)
    ]  # fmt: skip
    write_text_atomic(folder / "heldout.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    write_json_atomic(folder / "diagnostics.json", found)
    figure = diagnostics_figure(found)
    with user_errors(folder / "diagnostics.png"):
        figure.savefig(folder / "diagnostics.png", dpi=100)
        with SummaryWriter(str(folder / "tensorboard")) as writer:
            writer.add_figure("diagnostics", figure, step)
