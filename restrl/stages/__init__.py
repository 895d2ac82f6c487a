"""What ``train.py`` and ``decode.py`` run: each stage opens a runtime, runs its steps and reports."""

from __future__ import annotations

import dataclasses
import errno
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from restrl.config import Config
from restrl.data.splits import Split
from restrl.errors import UserError
from restrl.evaluate.outputs import write_outputs
from restrl.evaluate.results import evaluate
from restrl.evaluate.table import results_table
from restrl.stages.collect import collect_step
from restrl.stages.console import Console
from restrl.stages.evaluation import ORACLE, configured_method, evaluate_step, show_trees
from restrl.stages.fit import fit_step
from restrl.stages.rest_grpo import compare_policies, rest_grpo
from restrl.stages.rest_rl import rest_rl
from restrl.stages.runtime import Runtime

# what a user can mend, and no bug of ours
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)

Stage = Callable[[Runtime, Path], float | None]  # returns pass@1 in [0, 1], what a sweep may optimize


def run_stage(config: Config) -> float | None:
    """Runs ``stage``.  Raises UserError for input that the user can mend."""
    name = config.stage.name
    trains = [step for step in TRAINED.get(name, ()) if step == "fit" or config.grpo.iterations > 0]
    return _run(config, STAGES[name], f"stage={name}", trains)


def run_decode(config: Config) -> float | None:
    """Runs the decoder on the problems of its split and writes verdicts, answers and results."""
    return _run(config, _decode, f"decoder={config.decoder.name}")


def _run(config: Config, stage: Stage, title: str, trains: Sequence[str] = ()) -> float | None:
    console = Console()
    console.tree(dataclasses.asdict(config), title)
    folder = Path(HydraConfig.get().runtime.output_dir)
    threading.excepthook = _thread_error
    try:
        with Runtime(config, console, trains) as run:
            return stage(run, folder)
    except OSError as error:  # writes of other libraries: event files, temporary folders
        if error.errno not in DISK:
            raise
        place = error.filename or config.paths.outputs
        raise UserError(
            f"cannot write {place}: {error.strerror}; make room there or set paths.outputs to another folder"
        ) from error


def _thread_error(error: threading.ExceptHookArgs) -> None:
    """Says nothing of a full disk: TensorBoard's writer raises it again in the main thread."""
    if not (isinstance(error.exc_value, OSError) and error.exc_value.errno in DISK):
        threading.__excepthook__(error)


def _rest_grpo(run: Runtime, folder: Path) -> float | None:
    return _train(run, folder, run.config.grpo.iterations)


def _one_iteration(run: Runtime, folder: Path) -> float | None:
    return _train(run, folder, 1)


def _train(run: Runtime, folder: Path, iterations: int) -> float | None:
    run.problems("train")
    if run.config.stage.evaluate:  # what is missing should not be found out after the training
        run.problems("heldout")
        configured_method(run.config)
    history = rest_grpo(run, iterations)
    if not run.config.stage.evaluate:
        run.console.say(f"policy: {history.policy.model.path}")
        return None
    results: dict[str, Any] = compare_policies(run, history, folder)["trained"]
    return results["pass@1"]  # type: ignore[no-any-return]


def _sample(run: Runtime, folder: Path) -> None:
    del folder
    artifact = rest_grpo(run, 1, last_step="sample").iterations[0]["sample"]
    run.console.say(f"samples: {artifact.folder}")


def _assemble(run: Runtime, folder: Path) -> None:
    del folder
    artifact = rest_grpo(run, 1, last_step="assemble").iterations[0]["assemble"]
    run.console.say(f"start states: {artifact.folder}")


def _collect(run: Runtime, folder: Path) -> None:
    del folder
    artifact = collect_step(run, run.base)
    run.console.say(f"value targets: {artifact.folder}")


def _value_model(run: Runtime, folder: Path) -> None:
    del folder
    scorer, _ = fit_step(run, run.base, collect_step(run, run.base))
    run.console.say(f"value model: scorer={scorer.name} scorer.path={scorer.path}")


def _decode(run: Runtime, folder: Path) -> float | None:
    decoder, seed, method = run.config.decoder, run.config.seed, configured_method(run.config)
    split: Split = "train" if decoder.split == "train" else "heldout"
    problems = run.problems(split, sampled=decoder.name != "replay")
    artifact, outcomes = evaluate_step(run, run.base, problems, method, f"decode ({decoder.name})")
    results = evaluate(outcomes, problems.problems, decoder, seed)
    results |= {"oracle": method.oracle, **problems.left_out}
    if decoder.name == "mcts":
        show_trees(artifact, folder)
    write_outputs(folder, outcomes, results)
    title = f"{decoder.name} on {run.config.dataset.name} ({decoder.split}{problems.note})"
    run.console.show(results_table(results, title + (ORACLE if method.oracle else "")))
    run.console.say(f"results: {folder / 'results.json'} (artifact {artifact.folder})")
    return results["pass@1"]  # type: ignore[no-any-return]


STAGES: dict[str, Stage] = {
    "rest_grpo": _rest_grpo,
    "grpo": _one_iteration,
    "sample": _sample,
    "assemble": _assemble,
    "evaluate": _decode,
    "collect": _collect,
    "value_model": _value_model,
    "rest_rl": rest_rl,
}
TRAINED = {"rest_grpo": ("grpo",), "grpo": ("grpo",), "value_model": ("fit",), "rest_rl": ("grpo", "fit")}
