"""Runs a step module with Lightning: loggers, callbacks, checkpoints, Ctrl-C and SIGTERM."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.exceptions import SIGTERMException

from restrl.config import TrainerConfig
from restrl.errors import UserError
from restrl.files import user_errors
from restrl.records import Cost
from restrl.train.checkpoint import (
    CHECKPOINTS,
    TERMINATED,
    AtomicCheckpointIO,
    StepCheckpoint,
    checkpoint_step,
    latest_checkpoint,
)
from restrl.train.data import StepData
from restrl.train.extras import Extras
from restrl.train.metrics_file import keep_until
from restrl.train.step_module import StepModule
from restrl.train.strategy import accelerator, lightning_precision

# keys of the trainer group that are passed on unchanged to Lightning's Trainer
PASSED_ON = (
    "num_nodes", "max_time", "log_every_n_steps", "enable_model_summary", "profiler", "detect_anomaly",
    "benchmark", "deterministic",
)  # fmt: skip


@dataclass(frozen=True)
class TrainResult:
    """The result of a training run.  The policy itself was trained in place."""

    steps: int
    updates: int  # optimizer steps; a step of GRPO makes none if none of its groups has variance
    resumed_from: int  # step of the checkpoint that it resumed from; 0 = none
    metrics: tuple[dict[str, float], ...]  # a row per step, including steps before a resume
    cost: Cost  # of all steps


def run_steps(
    module: StepModule,
    data: StepData[Any],
    *,
    trainer: TrainerConfig,
    extras: Extras,
    checkpoint_every: int,
    seed: int,
) -> int:
    """Runs the remaining steps of ``data``; returns the step of the checkpoint it resumed from, 0 = none.

    ``module.folder`` receives checkpoints, ``metrics.jsonl`` and the files of the loggers.  Every rank calls
    this.  Raises UserError for bad settings, an unwritable folder, a folder with the checkpoint of another
    run, and if ``trainer.max_time`` is over before the last step.
    """
    folder, ranks = module.folder, module.ranks
    checkpoint = ranks.by_first(lambda: _open_folder(folder))
    resumed_from = 0 if checkpoint is None else checkpoint_step(checkpoint)
    torch.manual_seed(seed)
    device = next(module.model.parameters()).device
    callbacks = [StepCheckpoint(folder / CHECKPOINTS, checkpoint_every, ranks), *extras.build_callbacks()]
    with equal_bits(device):
        loggers = extras.build_loggers(folder, resumed_from) if ranks.first else []
        with _expected_warnings():
            _fit(_lightning_trainer(trainer, module, callbacks, loggers), module, data, checkpoint)
    module.weights.finish(module.model, device)
    if module.steps_done < module.total_steps:
        raise UserError(
            f"{module.title}: trainer.max_time={trainer.max_time} is over after step {module.steps_done} of "
            f"{module.total_steps}; the same command goes on from there"
        )
    return resumed_from


def _open_folder(folder: Path) -> Path | None:
    """The newest whole checkpoint in ``folder``, which is made ready to go on from it.

    Raises UserError if the folder cannot be written.
    """
    checkpoints = folder / CHECKPOINTS
    with user_errors(folder):
        checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoint = latest_checkpoint(checkpoints)
    keep_until(folder, 0 if checkpoint is None else checkpoint_step(checkpoint))
    return checkpoint


@contextmanager
def equal_bits(device: torch.device) -> Iterator[None]:
    """Makes training on a CPU bit-reproducible: two runs with equally many threads give the same bits.

    By default, threads add to the rows of a gradient of ``tensor[indices]`` in any order.  If indices repeat
    (the last token of a prompt predicts all its completions; a mixture of experts sends a token to several
    experts), sums differ in their last digits from run to run.  A GPU has more kernels of this kind, and
    ordering them costs time or memory, so nothing is changed there.
    """
    if device.type != "cpu":
        yield
        return
    before, warns = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    memory: Any = torch.utils.deterministic
    fills = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # no code here reads memory before it writes to it
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        memory.fill_uninitialized_memory = fills


def _fit(
    trainer: lightning.Trainer, module: StepModule, data: StepData[Any], checkpoint: Path | None
) -> None:
    """Runs the schedule.

    Once the state is saved, it raises KeyboardInterrupt after Ctrl-C, SystemExit(TERMINATED) after SIGTERM.
    Lightning's own SystemExit has no code, so the process would end as if the work was done.
    """
    with _same_signals():
        _fitted(trainer, module, data, checkpoint)
    if trainer.received_sigterm:  # after the last step
        raise SystemExit(TERMINATED)


@contextmanager
def _same_signals() -> Iterator[None]:
    """Gives SIGINT and SIGTERM back the handlers that they had before the block.

    Lightning ignores SIGINT after Ctrl-C.  Its handler of SIGTERM would ignore the signal in all later steps,
    and keep every trainer, and so every trained model, in memory.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers are the main thread's
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _fitted(
    trainer: lightning.Trainer, module: StepModule, data: StepData[Any], checkpoint: Path | None
) -> None:
    try:
        # weights_only=False: a checkpoint of this run holds more than tensors
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=False)
    except SIGTERMException as error:
        raise SystemExit(TERMINATED) from error
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from error  # Lightning replaced it


@contextmanager
def _expected_warnings() -> Iterator[None]:
    """Leaves out Lightning's warnings about what is meant to be so."""
    with warnings.catch_warnings():
        for message in (
            ".*isinstance.treespec, LeafSpec.*",  # within Lightning
            ".*in eval mode at the start.*",  # while it samples
            ".*callbacks used to create the checkpoint.*",  # a run with a time limit may go on without one
            ".*Checkpoint directory .* exists and is not empty.*",
            ".*.srun. command is available.*",  # we start the ranks ourselves, unless srun has
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


def _lightning_trainer(
    config: TrainerConfig, module: StepModule, callbacks: list[Any], loggers: list[Any]
) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and device lists
    try:
        return lightning.Trainer(
            accelerator=accelerator(config),
            devices=config.devices,
            strategy=module.weights.lightning(),
            precision=lightning_precision(config),
            max_epochs=1,
            logger=loggers,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            enable_progress_bar=False,
            use_distributed_sampler=False,
            default_root_dir=module.folder,
            **{key: getattr(config, key) for key in PASSED_ON},
        )
    except (ValueError, MisconfigurationException) as error:
        raise UserError(
            f"trainer.strategy={config.strategy} does not work with accelerator {config.accelerator} and "
            f"precision {config.precision}: {str(error).splitlines()[0]}"
        ) from error
