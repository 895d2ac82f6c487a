"""The context of a run: its configuration, ranks, console, and the places of artifacts and reports."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from restrl.artifacts import Artifact, Store, Work
from restrl.config import Config, TrainerConfig
from restrl.errors import UserError
from restrl.ranks import ALONE, Ranks
from restrl.stages.console import Console
from restrl.stages.parts import DIVISIBLE, NotReady, Part
from restrl.stages.settings import settings
from restrl.train.strategy import accelerator


@dataclass(frozen=True)
class Session:
    """One run on one rank.  Every rank has a session and runs the same steps in the same order."""

    config: Config
    console: Console  # prints only on the first rank
    store: Store  # writes only on the first rank
    ranks: Ranks
    device: torch.device  # the device of this rank's models
    folder: Path  # this run's folder for reports and results
    part: Part | None = None  # the share of a step's problems to make; None: the whole step
    makes: bool = True  # False: steps must have been made before; at most their parts are put together

    @property
    def reading(self) -> Session:
        """The same session, for the steps whose results are needed: whole ones, which others made."""
        return dataclasses.replace(self, part=None, makes=False)

    @contextlib.contextmanager
    def open(
        self, step: str, inputs: Mapping[str, str], config: Config | None = None, **more: Any
    ) -> Iterator[Work]:
        """Opens the artifact that a step's settings (see ``settings``), its inputs and the seed determine.

        ``config`` replaces the run's configuration.  ``more``: further values that decide the result.  Raises
        NotReady if the artifact is not there and this session must not make it.
        """
        step_settings = {**settings(step, config or self.config, self.device), **more}
        shared = self.part is not None
        with self.store.open(step, step_settings, inputs, self.config.seed, shared=shared) as work:
            if not (work.done or self.makes or step in DIVISIBLE):
                raise NotReady(f"{work.folder.name} is not there yet; its job has not run or has failed")
            yield work

    def found(self, artifact: Artifact) -> Artifact:
        """Reports that a step was done before; returns its artifact."""
        self.console.say(f"{artifact.manifest['step']}: done before, {artifact.folder}")
        return artifact

    def write(self, write: Callable[[], object]) -> None:
        """Calls ``write`` on the first rank.  On return, every rank can see what it wrote."""

        def done() -> None:
            write()

        self.ranks.by_first(done)


def new_session(
    config: Config,
    console: Console | None = None,
    ranks: Ranks = ALONE,
    folder: Path | None = None,
    *,
    present: bool = True,
) -> Session:
    """``folder``: None = the outputs folder.

    ``present``: whether the configured device has to be visible here.  Raises UserError if it is missing.
    """
    console = console or Console(ranks=ranks)
    device = device_of(config.trainer, ranks, present=present)
    if torch.get_float32_matmul_precision() != config.trainer.matmul:  # set the global only if it differs
        torch.set_float32_matmul_precision(config.trainer.matmul)
    outputs = Path(config.paths.outputs)
    store, stage = Store(outputs, console.say, ranks), config.stage
    part = None if stage.part is None else Part(stage.part, stage.parts)
    return Session(config, console, store, ranks, device, folder or outputs, part)


def device_of(trainer: TrainerConfig, ranks: Ranks, *, present: bool = True) -> torch.device:
    """This rank's device.  Raises UserError if a configured GPU is missing and has to be ``present``."""
    if accelerator(trainer) == "cpu":
        return torch.device("cpu")
    if present and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: no GPU is visible here; use trainer=auto or trainer=cpu")
    if present and trainer.devices > torch.cuda.device_count():
        raise UserError(
            f"trainer.devices={trainer.devices}: this machine shows {torch.cuda.device_count()} GPUs; "
            "use as many, or trainer=cpu"
        )
    return torch.device("cuda") if ranks.size == 1 else torch.device("cuda", ranks.local)
