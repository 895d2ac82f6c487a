"""How a module of steps is run by Lightning: device, precision, logger, checkpoints, Ctrl-C."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from restrl.config import LoraConfig, TrainerConfig
from restrl.errors import UserError
from restrl.files import user_errors
from restrl.model import Dtype, cast_weights
from restrl.train.callbacks import Checkpoints, StepProgress
from restrl.train.checkpoint import AtomicCheckpointIO, prune
from restrl.train.metrics_file import keep_until
from restrl.train.schedule import Steps
from restrl.train.step_module import StepModule


def run_steps(
    module: StepModule,
    schedule: Sequence[list[int]],
    *,
    trainer: TrainerConfig,
    folder: Path,
    checkpoint_every: int,
    signature: str,
    seed: int,
) -> int:
    """Runs what is left of the schedule; returns the step of the checkpoint it went on from, 0 = none.

    The module's weights are those of ``prepare_weights``.  ``folder`` gets checkpoints, ``metrics.jsonl`` and
    TensorBoard events.  ``signature`` names everything that decides the numbers.  Raises UserError for bad
    settings, an unwritable folder, or a folder that holds the checkpoint of another run.
    """
    with user_errors(folder):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(folder / "checkpoints", checkpoint_every, signature)
    resumed_from = checkpoints.load(module)
    keep_until(folder, resumed_from)
    if resumed_from < len(schedule):
        torch.manual_seed(seed)
        device = next(module.model.parameters()).device
        with equal_bits(device):
            _fit(
                _lightning_trainer(trainer, folder, checkpoints, resumed_from),
                module,
                list(schedule[resumed_from:]),
            )
        module.model.to(device).eval()  # Lightning leaves it on the CPU
    return resumed_from


@contextmanager
def equal_bits(device: torch.device) -> Iterator[None]:
    """On a CPU, two runs of the same training with as many threads give the same bits.

    By default the backward pass of ``tensor[indices]`` lets threads add to a row in whatever order they come,
    so that where indices repeat (the last token of a prompt predicts all its completions; a mixture
    of experts sends a token to several) sums differ in their last digits from run to run.  A GPU has more
    such kernels, and waits or memory are the price of ordering them: there nothing is changed.
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
    memory.fill_uninitialized_memory = False  # what is read was written before
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        memory.fill_uninitialized_memory = fills


def remove_checkpoints(folder: Path) -> None:
    """Removes the checkpoints of a finished run, once its model has been saved elsewhere."""
    prune(folder / "checkpoints", keep=0)


def accelerator(config: TrainerConfig) -> str:
    """gpu or cpu.  Raises UserError where a GPU is asked for and none is visible."""
    if config.accelerator == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if config.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: no GPU is visible here; use trainer=auto or trainer=cpu")
    return config.accelerator


def precision(config: TrainerConfig) -> str:
    """auto: fp32 on a CPU, where bf16 is no faster; bf16 with fp32 weights on a GPU, so that a small learning
    rate is not rounded away."""
    if config.precision != "auto":
        return config.precision
    return "bf16-mixed" if accelerator(config) == "gpu" else "32-true"


def load_dtype(config: TrainerConfig, lora: LoraConfig) -> Dtype:
    """What a model that is about to be trained is loaded in, so that no digit of a saved policy is lost.

    Adapters leave the weights below them frozen, and those stay as they are stored.
    """
    if precision(config) == "bf16-true":
        return torch.bfloat16
    return torch.float32 if lora.r is None else "auto"


def prepare_weights(model: Any, config: TrainerConfig) -> None:
    """Brings the weights into the dtype that they are trained in, before anything is computed with them.

    ``bf16-true``: all are bfloat16.  Otherwise those that are trained are float32, and frozen ones stay what
    they are.
    """
    if precision(config) == "bf16-true":
        cast_weights(model, torch.bfloat16)
    else:
        cast_weights(model, torch.float32, frozen=False)


def autocast(config: TrainerConfig, device: torch.device) -> torch.autocast:
    """The precision of the training steps, for what is computed with the same weights outside of them."""
    mixed = precision(config) == "bf16-mixed"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed, cache_enabled=False)


def _fit(trainer: lightning.Trainer, module: StepModule, schedule: list[list[int]]) -> None:
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
    config: TrainerConfig, folder: Path, checkpoints: Checkpoints, resumed_from: int
) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and device lists
    logger = TensorBoardLogger(folder, name="", version="tensorboard", purge_step=resumed_from + 1)
    try:
        return lightning.Trainer(
            accelerator=accelerator(config),
            devices=config.devices,
            strategy=config.strategy,
            precision=_lightning_precision(config),
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


def _lightning_precision(config: TrainerConfig) -> Any:
    """Lightning's own bf16-true makes bfloat16 the default dtype of a step: of temperatures, rewards and
    advantages too.  The weights are bfloat16 already (``prepare_weights``), and nothing else has to be.
    """
    return "bf16-mixed" if precision(config) == "bf16-mixed" else "32-true"
