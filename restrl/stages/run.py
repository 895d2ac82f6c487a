"""The stages by name.  A stage opens the session and its resources, runs its steps and reports the result."""

from __future__ import annotations

import dataclasses
import errno
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from restrl.config import Config
from restrl.engine.registry import engine_builder, with_model
from restrl.errors import UserError
from restrl.ranks import Ranks
from restrl.stages.check import check_dataset
from restrl.stages.collect import collect_step
from restrl.stages.console import Console
from restrl.stages.decoding import decode
from restrl.stages.evaluation import configured_method
from restrl.stages.fit import fit_step
from restrl.stages.resources import Resources
from restrl.stages.rest_grpo import compare_policies, rest_grpo
from restrl.stages.rest_rl import rest_rl
from restrl.stages.session import Session, new_session
from restrl.train.extras import Extras

# errors of the disk that a user can fix: no bugs of ours
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)

# returns pass@1 in [0, 1], which a sweep may optimize
Stage = Callable[[Session, Resources], float | None]


def run_stage(config: Config, ranks: Ranks, folder: Path) -> float | None:
    """Runs ``stage``.  ``folder``: the run's folder.  Raises UserError for input that the user can fix."""
    name = config.stage.name
    return _run(config, ranks, folder, STAGES[name], f"stage={name}", trained_steps(config))


def trained_steps(config: Config) -> list[str]:
    """The steps of the stage that train a model: grpo, fit."""
    steps = TRAINED.get(config.stage.name, ())
    return [step for step in steps if step == "fit" or config.grpo.iterations > 0]


def run_decode(config: Config, ranks: Ranks, folder: Path) -> float | None:
    """Runs the decoder on the problems of its split and writes verdicts, answers and results."""
    return _run(config, ranks, folder, decode, f"decoder={config.decoder.name}")


def _run(
    config: Config, ranks: Ranks, folder: Path, stage: Stage, title: str, trains: Sequence[str] = ()
) -> float | None:
    console = Console(ranks=ranks)
    engine_builder(config.engine.name, "grpo" in trains)  # before a server is asked
    engine = ranks.by_first(lambda: with_model(config.engine))
    config = dataclasses.replace(config, engine=engine)
    console.tree(dataclasses.asdict(config), title)
    threading.excepthook = _thread_error
    try:
        session = new_session(config, console, ranks, folder)
        if trains:
            Extras(config.logger, config.callbacks).check(folder)
        with Resources(session, trains) as resources:
            return stage(session, resources)
    except OSError as error:  # raised when other libraries write: event files, temporary folders
        if error.errno not in DISK:
            raise
        place = error.filename or config.paths.outputs
        raise UserError(
            f"cannot write {place}: {error.strerror}; make room there or set paths.outputs to another folder"
        ) from error


def _thread_error(error: threading.ExceptHookArgs) -> None:
    """Ignores a full disk, because TensorBoard's writer raises the error again in the main thread."""
    if not (isinstance(error.exc_value, OSError) and error.exc_value.errno in DISK):
        threading.__excepthook__(error)


def _check(session: Session, resources: Resources) -> None:
    del resources  # a check needs no model
    check_dataset(session)


def _rest_grpo(session: Session, resources: Resources) -> float | None:
    return _train(session, resources, session.config.grpo.iterations)


def _one_iteration(session: Session, resources: Resources) -> float | None:
    return _train(session, resources, 1)


def _train(session: Session, resources: Resources, iterations: int) -> float | None:
    resources.problems("train")
    if session.config.stage.evaluate:  # fail before the training if something is missing
        resources.problems("heldout")
        configured_method(session.config)
    history = rest_grpo(session, resources, iterations)
    if not session.config.stage.evaluate:
        session.console.say(f"policy: {history.policy.model.path}")
        return None
    results: dict[str, Any] = compare_policies(session, resources, history)["trained"]
    return results["pass@1"]  # type: ignore[no-any-return]


def _sample(session: Session, resources: Resources) -> None:
    artifact = rest_grpo(session, resources, 1, last_step="sample").iterations[0]["sample"]
    session.console.say(f"samples: {artifact.folder}")


def _assemble(session: Session, resources: Resources) -> None:
    artifact = rest_grpo(session, resources, 1, last_step="assemble").iterations[0]["assemble"]
    session.console.say(f"start states: {artifact.folder}")


def _collect(session: Session, resources: Resources) -> None:
    artifact = collect_step(session, resources, resources.base)
    session.console.say(f"value targets: {artifact.folder}")


def _value_model(session: Session, resources: Resources) -> None:
    collected = collect_step(session, resources, resources.base)
    scorer, _ = fit_step(session, resources, resources.base, collected)
    session.console.say(f"value model: scorer={scorer.name} scorer.path={scorer.path}")


STAGES: dict[str, Stage] = {
    "rest_grpo": _rest_grpo,
    "grpo": _one_iteration,
    "sample": _sample,
    "assemble": _assemble,
    "evaluate": decode,
    "collect": _collect,
    "value_model": _value_model,
    "rest_rl": rest_rl,
    "check": _check,
}
TRAINED = {"rest_grpo": ("grpo",), "grpo": ("grpo",), "value_model": ("fit",), "rest_rl": ("grpo", "fit")}
