"""The stages by name.  A stage opens the session and its resources, runs its steps and reports the result."""

from __future__ import annotations

import dataclasses
import errno
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from restrl.artifacts import Artifact
from restrl.config import Config, ScorerConfig
from restrl.engine.registry import engine_builder, with_model
from restrl.errors import UserError
from restrl.model.peaks import OF_THE_POLICY
from restrl.ranks import Ranks
from restrl.stages.check import check_dataset
from restrl.stages.collect import collect_step
from restrl.stages.console import Console
from restrl.stages.decoding import decode
from restrl.stages.fit import fit_step
from restrl.stages.plan import Plan, Results, Step, run_plan
from restrl.stages.resources import Resources
from restrl.stages.rest_grpo import iteration_steps, rest_grpo
from restrl.stages.rest_rl import rest_rl
from restrl.stages.session import Session, new_session
from restrl.train.extras import Extras

# errors of the disk that a user can fix: no bugs of ours
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def run_stage(config: Config, ranks: Ranks, folder: Path) -> float | None:
    """Runs ``stage``.  ``folder``: the run's folder.  Raises UserError for input that the user can fix."""
    name = config.stage.name
    return _run(config, ranks, folder, plan_of(config), f"stage={name}")


def trained_steps(config: Config) -> list[str]:
    """The kinds of training in the run, of ``OF_THE_POLICY`` and fit."""
    return _trainings(_made(plan_of(config), config))


def _made(plan: Plan, config: Config) -> list[Step]:
    """The steps that the run makes, where it does not only read what others made."""
    steps = plan.chosen(config.stage.only)
    return steps if config.stage.only is None else steps[-1:]


def _trainings(steps: Sequence[Step]) -> list[str]:
    names = [step.name for step in steps if step.machine == "training"]
    return [kind for kind in (*OF_THE_POLICY, "fit") if any(name.startswith(kind) for name in names)]


def run_decode(config: Config, ranks: Ranks, folder: Path) -> float | None:
    """Runs the decoder on the problems of its split and writes verdicts, answers and results."""
    return _run(config, ranks, folder, decode(config), f"decoder={config.decoder.name}")


def _run(config: Config, ranks: Ranks, folder: Path, plan: Plan, title: str) -> float | None:
    """Returns the stage's result: pass@1 in [0, 1], which a sweep may optimize, where it has one."""
    console, made = Console(ranks=ranks), _made(plan, config)
    trains = _trainings(made)
    engine_builder(config.engine.name, "grpo" in trains)  # before a server is asked
    engine = ranks.by_first(lambda: with_model(config.engine))
    config = dataclasses.replace(config, engine=engine)
    console.tree(dataclasses.asdict(config), title)
    threading.excepthook = _thread_error
    try:
        present = any(step.machine != "cpu" for step in made)
        session = new_session(config, console, ranks, folder, present=present)
        if trains:
            Extras(config.logger, config.callbacks).check(folder)
        with Resources(session, trains) as resources:
            result = run_plan(plan, session, resources)
            return result if isinstance(result, float) else None
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


def plan_of(config: Config) -> Plan:
    """The steps of ``stage``, of which some depend on the configuration."""
    return STAGES[config.stage.name](config)


def _sample(config: Config) -> Plan:
    return _until(config, "sample", lambda artifact: f"samples: {artifact.folder}")


def _assemble(config: Config) -> Plan:
    return _until(config, "assemble", lambda artifact: f"start states: {artifact.folder}")


def _until(config: Config, last: str, text: Callable[[Artifact], str]) -> Plan:
    """The first iteration up to one of its steps, and a line about the result."""
    steps = iteration_steps(config, 1, last)
    return Plan([*steps, _said(steps[-1].name, text)])


def _said(name: str, text: Callable[[Any], str]) -> Step:
    return Step("report", lambda session, _, results: session.console.say(text(results[name])), (name,))


def _collect(config: Config) -> Plan:
    del config
    steps = [_COLLECT, _said("collect", lambda artifact: f"value targets: {artifact.folder}")]
    return Plan(steps)


def _value_model(config: Config) -> Plan:
    del config

    def fit(session: Session, resources: Resources, results: Results) -> ScorerConfig:
        return fit_step(session, resources, resources.base, results["collect"])[0]

    steps = [_COLLECT, Step("fit", fit, ("collect",), "training")]
    line = _said("fit", lambda scorer: f"value model: scorer={scorer.name} scorer.path={scorer.path}")
    return Plan([*steps, line])


def _check(config: Config) -> Plan:
    del config
    return Plan([Step("check", lambda session, *_: check_dataset(session))])


_COLLECT = Step(
    "collect",
    lambda session, resources, _: collect_step(session, resources, resources.base),
    machine="model",
    divisible=True,
)
STAGES: dict[str, Callable[[Config], Plan]] = {
    "rest_grpo": lambda config: rest_grpo(config, config.grpo.iterations),
    "grpo": lambda config: rest_grpo(config, config.grpo.iterations),
    "dapo": lambda config: rest_grpo(config, config.grpo.iterations),
    "rest_dpo": lambda config: rest_grpo(config, config.grpo.iterations),
    "rest_sft": lambda config: rest_grpo(config, config.grpo.iterations),
    "sample": _sample,
    "assemble": _assemble,
    "evaluate": decode,
    "collect": _collect,
    "value_model": _value_model,
    "rest_rl": rest_rl,
    "check": _check,
}
