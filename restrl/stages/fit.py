"""The fit step of stage 2: value targets -> a value model with its diagnostics."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from restrl.artifacts import Artifact, Work
from restrl.config import PathsConfig, ScorerConfig, VmConfig
from restrl.evaluate.diagnostic_plots import diagnostics_figure
from restrl.evaluate.diagnostics import Rated, diagnostics
from restrl.files import user_errors, write_json_atomic, write_lines_atomic
from restrl.model.load import Dtype
from restrl.model.save import check_room_for, check_saving
from restrl.model.selfcheck import check_value_model
from restrl.model.value import add_value_lora, freeze_layers, keep_layers, new_value_model, save_value_model
from restrl.records import Cost, TreeTargets
from restrl.search.saved import SavedTree
from restrl.seeds import derive_seed
from restrl.stages.evaluation import TREES
from restrl.stages.resolution import value_resolution
from restrl.stages.resources import PolicyRef, Resources
from restrl.stages.session import Session
from restrl.train.checkpoint import remove_checkpoints
from restrl.train.extras import Extras
from restrl.train.fit import FitResult, fit_value_model
from restrl.train.strategy import load_dtype
from restrl.train.value_data import Floats, StateTable

VALUE_MODEL = "value_model"  # folder of a fit artifact, in Hugging Face layout
EPOCH_RESAMPLES, FINAL_RESAMPLES = 200, 2000
CONFIDENCE = 0.95


def fit_step(
    session: Session,
    resources: Resources,
    policy: PolicyRef,
    collected: Artifact,
    vm: VmConfig | None = None,
) -> tuple[ScorerConfig, Artifact]:
    """A value model on ``policy``'s decoder, fitted to the trees of ``collected`` and their targets.

    ``vm`` replaces the configured settings.  Returns the scorer that reads the value model: ``orm`` if only
    whole programs were fitted, ``prm`` for the labels of a process reward model.  Raises UserError if the
    targets leave nothing to fit.
    """
    config, vm, say = session.config, vm or session.config.vm, session.console.say
    if resources.positions is not None and vm.max_tokens > resources.positions:
        say(f"fit: vm.max_tokens={vm.max_tokens} is more than the model's {resources.positions} tokens")
        vm = dataclasses.replace(vm, max_tokens=resources.positions)
    inputs = {
        "policy": policy.fingerprint,
        "targets": collected.fingerprint,
        "problems": resources.problems("train").fingerprint,
    }
    with session.open("fit", inputs, dataclasses.replace(config, vm=vm)) as work:
        if work.done:
            artifact = session.found(work.artifact)
        else:
            say(f"fit: {work.folder}")
            artifact = _fit(session, resources, policy, collected, vm, work)
        # also needed if an earlier run was killed just before this line
        session.write(lambda: remove_checkpoints(work.folder))
    say(f"fit: {artifact.summary['text']}")
    name = "orm" if vm.targets == "terminal" else "vm" if vm.label == "value" else "prm"
    scorer = dataclasses.replace(
        config.scorer if config.scorer.name == name else ScorerConfig(),
        name=name,
        path=str(artifact.folder / VALUE_MODEL),
        max_tokens=vm.max_tokens,
    )
    return scorer, artifact


def _fit(
    session: Session,
    resources: Resources,
    policy: PolicyRef,
    collected: Artifact,
    vm: VmConfig,
    work: Work,
) -> Artifact:
    resources.release()  # the value model starts from the policy on the disk
    _ = resources.enough_memory
    seed = derive_seed(session.config.seed, "fit")
    model = _new_model(session, resources, policy, vm, seed)
    session.ranks.by_first(lambda: check_room_for(model, work.folder))
    problems = resources.problems("train").by_id
    clusters = {task_id: problem.cluster for task_id, problem in problems.items()}
    result = fit_value_model(
        model=model,
        trees=collected.read(SavedTree, TREES),
        targets=collected.read(TreeTargets),
        families={task_id: problem.family for task_id, problem in problems.items()},
        vm=vm,
        trainer=session.config.trainer,
        folder=work.folder,
        seed=seed,
        signature=work.fingerprint,
        report=partial(_epoch_numbers, clusters=clusters, seed=seed),
        ranks=session.ranks,
        extras=Extras(session.config.logger, session.config.callbacks),
    )

    def saved() -> dict[str, Any]:
        save_value_model(model, resources.tokenizer(policy), work.folder / VALUE_MODEL)
        resolved = value_resolution(session, model, partial(_start, policy, session.config.paths, vm))
        return {**_counts(result), **resolved, **_diagnosed(work.folder, result, clusters, seed)}

    summary = session.ranks.by_first(saved)
    cost = Cost(seconds=sum(row["seconds"] for row in result.metrics))
    return work.finish(cost, {"text": _text(summary), **summary}, folders=[VALUE_MODEL])


def _diagnosed(folder: Path, result: FitResult, clusters: Mapping[str, str], seed: int) -> dict[str, Any]:
    """How well the held-out states are predicted; also written into ``folder``."""
    numbers = diagnostics(
        _rated(result.heldout, result.predictions, result.constant, clusters),
        confidence=CONFIDENCE,
        resamples=FINAL_RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    _write(folder, result, numbers)
    return numbers


def _start(policy: PolicyRef, paths: PathsConfig, vm: VmConfig, device: torch.device, dtype: Dtype) -> Any:
    """The value model before any step, without adapters."""
    model = new_value_model(policy.model, paths, vm.head, device, dtype)
    if vm.layers is not None:
        keep_layers(model, vm.layers)
    return model


def check_fit(session: Session, resources: Resources, policy: PolicyRef) -> None:
    """Raises UserError if the policy cannot become a value model; called before hours of collecting."""
    resources.release()
    _ = resources.enough_memory
    _new_model(session, resources, policy, session.config.vm, 0)


def _new_model(session: Session, resources: Resources, policy: PolicyRef, vm: VmConfig, seed: int) -> Any:
    """The value model to fit.  Raises UserError if the architecture is not supported or cannot be saved."""
    lora = session.config.model.lora
    dtype = load_dtype(session.config.trainer, lora)
    model = _start(policy, session.config.paths, vm, session.device, dtype)
    if lora.r is not None:
        add_value_lora(model, lora, seed)
    freeze_layers(model, vm.freeze_layers)  # including their adapters
    check_value_model(model)  # including new adapters, which do not change the outputs yet
    check_saving(model, resources.tokenizer(policy))
    return model


def _rated(states: StateTable, predicted: Floats, constant: float, clusters: Mapping[str, str]) -> Rated:
    """``clusters``: task_id -> the cluster that confidence intervals resample."""
    names = [clusters[task_id] for task_id in states.tasks]
    return Rated(
        problem=states.problem,
        cluster=np.unique(names, return_inverse=True)[1][states.problem],
        values=states.values,
        predicted=predicted,
        weights=states.weights,
        depth=states.depth,
        terminal=states.terminal,
        parent=states.parent,
        constant=constant,
    )


def _epoch_numbers(
    states: StateTable, predicted: Floats, constant: float, *, clusters: Mapping[str, str], seed: int
) -> dict[str, float]:
    """The numbers logged at the end of an epoch."""
    diagnosed = diagnostics(
        _rated(states, predicted, constant, clusters),
        confidence=CONFIDENCE,
        resamples=EPOCH_RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    numbers = {key: diagnosed[key] for key in ("mse", "mse_constant", "spearman", "spearman_within")}
    numbers["best_child"] = diagnosed["best_child"]["share"]
    for name in ("spearman", "mse_gain"):
        if (interval := diagnosed[f"{name}_interval"]) is not None:
            numbers |= {f"{name}_low": interval[0], f"{name}_high": interval[1]}
    return {key: value for key, value in numbers.items() if value is not None}


def _counts(result: FitResult) -> dict[str, Any]:
    return {
        "steps": result.steps,
        "skipped_updates": int(sum(row["skipped_updates"] for row in result.metrics)),  # not finite
        "fit_states": result.fit_states,
        "fit_problems": len(result.split.fit),
        "heldout_problems": sorted(result.heldout.tasks),
    }


def _text(summary: dict[str, Any]) -> str:
    """The summary in one line."""
    parts = [
        f"held-out MSE {summary['mse']:.4f} against {summary['mse_constant']:.4f} of the constant "
        f"{summary['constant']:.3f}" + _range(" (gain {:+.4f} to {:+.4f})", summary["mse_gain_interval"])
    ]
    if summary["spearman"] is not None:
        interval = _range(" ({:.2f} to {:.2f})", summary["spearman_interval"])
        parts.append(f"Spearman {summary['spearman']:.2f}" + interval)
    best = summary["best_child"]
    if best["share"] is not None:
        parts.append(
            f"best child found in {best['share']:.0%} of {best['groups']} (chance {best['chance']:.0%})"
        )
    clusters, problems = summary["clusters"], summary["problems"]
    families = f" in {clusters} families, resampled" if clusters < problems else ""
    return ", ".join(parts) + f"; {summary['states']} states of {problems} problems{families}"


def _range(form: str, interval: Sequence[float] | None) -> str:
    return "" if interval is None else form.format(*interval)


def _write(folder: Path, result: FitResult, numbers: dict[str, Any]) -> None:
    """Writes held-out predictions as lines, and diagnostics as numbers and as a picture (TensorBoard too)."""
    write_lines_atomic(folder / "heldout.jsonl", _lines(result.heldout, result.predictions))
    write_json_atomic(folder / "diagnostics.json", numbers)
    figure = diagnostics_figure(numbers)
    with user_errors(folder / "diagnostics.png"):
        figure.savefig(folder / "diagnostics.png", dpi=100)
        with SummaryWriter(str(folder / "tensorboard")) as writer:
            writer.add_figure("diagnostics", figure, result.steps)


def _lines(states: StateTable, predicted: Floats) -> Iterator[str]:
    for i, value in enumerate(predicted):
        line = {
            "task_id": states.tasks[states.problem[i]], "depth": int(states.depth[i]),
            "terminal": bool(states.terminal[i]), "visits": int(states.visits[i]),
            "value": float(states.values[i]), "predicted": round(float(value), 6),
        }  # fmt: skip
        yield json.dumps(line) + "\n"
