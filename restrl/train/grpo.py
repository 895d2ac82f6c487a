"""GRPO on start states (stage 1, step 4; arXiv 2508.19576 section 3.1, GRPO arXiv 2402.03300)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import signal
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from restrl.config import GrpoConfig, TrainerConfig
from restrl.engine.base import Engine
from restrl.errors import UserError
from restrl.files import user_errors
from restrl.records import Cost, Problem, StartState
from restrl.train.callbacks import Checkpoints, StepProgress
from restrl.train.checkpoint import AtomicCheckpointIO, prune
from restrl.train.grpo_module import GrpoModule
from restrl.train.metrics_file import keep_until, read_metrics
from restrl.train.rollout import Judge, Prompter, RolloutMaker
from restrl.train.schedule import Steps, step_schedule


@dataclass(frozen=True)
class TrainResult:
    """What a training run did.  The policy itself was trained in place."""

    steps: int
    updates: int  # optimizer steps; fewer than steps where no group of a step had variance
    resumed_from: int  # step of the checkpoint it went on from; 0 = none
    metrics: tuple[dict[str, float], ...]  # a row per step, also of the steps before a resume
    cost: Cost  # of all steps


def train_grpo(
    *,
    model: Any,
    tokenizer: Any,
    engine: Engine,
    sandbox: Judge,
    prompter: Prompter,
    problems: Mapping[str, Problem],
    states: Sequence[StartState],
    grpo: GrpoConfig,
    trainer: TrainerConfig,
    folder: Path,
    seed: int,
) -> TrainResult:
    """Trains ``model`` in place; ``engine`` must sample from that same module.

    For each step: sample G completions of each of ``prompts_per_step`` start states, judge them, turn the
    group's rewards into advantages, and update the policy.  ``folder`` gets checkpoints, ``metrics.jsonl``
    and TensorBoard events; a run that was interrupted goes on from its last whole checkpoint and ends in the
    same numbers as one that was not.  Raises UserError for bad settings, an unwritable folder, or a folder
    that holds the checkpoint of another run.
    """
    del tokenizer  # completions are token ids throughout
    _check(states, problems, grpo, trainer)
    with user_errors(folder):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    signature = _signature(states, grpo, trainer, seed)
    schedule = step_schedule(len(states), grpo, seed)
    rollouts = RolloutMaker(engine, sandbox, prompter, problems, states, grpo, seed)
    _master_weights(model, trainer)
    module = GrpoModule(model, rollouts, grpo, folder, len(schedule))
    checkpoints = Checkpoints(folder / "checkpoints", grpo.checkpoint_every, signature)
    resumed_from = checkpoints.load(module)
    keep_until(folder, resumed_from)
    if resumed_from < len(schedule):
        torch.manual_seed(seed)
        device = next(model.parameters()).device
        _fit(_lightning_trainer(trainer, folder, checkpoints, resumed_from), module, schedule[resumed_from:])
        model.to(device).eval()  # Lightning leaves it on the CPU
    rows = read_metrics(folder)
    return TrainResult(module.steps_done, module.updates, resumed_from, tuple(rows), _cost(rows))


def remove_checkpoints(folder: Path) -> None:
    """Removes the checkpoints of a finished run, once its policy has been saved elsewhere."""
    prune(folder / "checkpoints", keep=0)


def _fit(trainer: lightning.Trainer, module: GrpoModule, schedule: list[list[int]]) -> None:
    """Runs the schedule; Ctrl-C comes out as KeyboardInterrupt after the state is safe."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")  # Lightning's own
            warnings.filterwarnings("ignore", message=".*in eval mode at the start.*")  # while it samples
            trainer.fit(module, train_dataloaders=Steps(schedule))
    except SIGTERMException:  # Lightning's, a SystemExit too; the checkpoint was written by the callback
        raise
    except SystemExit as error:  # what Lightning turns a KeyboardInterrupt into, with SIGINT ignored
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from error


def _lightning_trainer(
    config: TrainerConfig, folder: Path, checkpoints: Callback, resumed_from: int
) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and device lists
    logger = TensorBoardLogger(folder, name="", version="tensorboard", purge_step=resumed_from + 1)
    try:
        return lightning.Trainer(
            accelerator=accelerator(config),
            devices=config.devices,
            strategy=config.strategy,
            precision=_precision(config),
            max_epochs=1,
            logger=logger,
            callbacks=[checkpoints, StepProgress()],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            log_every_n_steps=1,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
    except (ValueError, MisconfigurationException) as error:
        raise UserError(
            f"trainer.strategy={config.strategy} does not work with accelerator {config.accelerator} and "
            f"precision {config.precision}: {str(error).splitlines()[0]}"
        ) from error


def accelerator(config: TrainerConfig) -> str:
    """gpu or cpu.  Raises UserError where a GPU is asked for and none is visible."""
    if config.accelerator == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if config.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: no GPU is visible here; use trainer=auto or trainer=cpu")
    return config.accelerator


def _precision(config: TrainerConfig) -> Any:
    """auto: fp32 on a CPU, where bf16 is no faster; bf16 with fp32 weights on a GPU, so that a small learning
    rate is not rounded away."""
    if config.precision != "auto":
        return config.precision
    return "bf16-mixed" if accelerator(config) == "gpu" else "32-true"


def _master_weights(model: Any, config: TrainerConfig) -> None:
    """Makes the weights that are trained float32 unless the precision says bf16 throughout."""
    if _precision(config) != "bf16-true":
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


def _check(
    states: Sequence[StartState], problems: Mapping[str, Problem], grpo: GrpoConfig, trainer: TrainerConfig
) -> None:
    if not states:
        raise UserError("grpo: no start state to train on; lower grpo.sigma0 or sample more problems")
    missing = next((s.task_id for s in states if s.task_id not in problems), None)
    if missing is not None:
        raise UserError(f"grpo: start state of {missing!r} has no problem with that task_id")
    if grpo.rollout.n < 2:
        raise UserError(f"grpo.rollout.n is {grpo.rollout.n}: a group needs at least 2 completions")
    if grpo.rollout.temperature <= 0:
        raise UserError(
            "grpo.rollout.temperature is 0: greedy completions are all alike; use a number above 0"
        )
    if trainer.devices != 1:
        raise UserError(f"trainer.devices is {trainer.devices}: the hf engine samples in one process; use 1")


def _signature(states: Sequence[StartState], grpo: GrpoConfig, trainer: TrainerConfig, seed: int) -> str:
    """Of everything that decides the numbers, so that a checkpoint is never continued as another run.

    How a step is cut into pieces and how often it is saved may change between two attempts.
    """
    settings = dataclasses.asdict(grpo)
    for key in ("tokens_per_microbatch", "logit_chunk", "checkpoint_every"):
        del settings[key]
    parts = [settings, _precision(trainer), seed, [(s.task_id, s.prompt_ids) for s in states]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _cost(rows: Sequence[Mapping[str, float]]) -> Cost:
    def total(key: str) -> float:
        return sum(row[key] for row in rows)

    return Cost(
        completions=int(total("completions")),
        model_tokens=int(total("sampled_tokens")),
        verifier_calls=int(total("completions")),
        seconds=total("seconds"),
    )
