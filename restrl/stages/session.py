"""The context of a run: its configuration, ranks, console, and the places of artifacts and reports."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from restrl.artifacts import Artifact, RecordLog, Store, Work
from restrl.config import Config, TrainerConfig
from restrl.errors import UserError
from restrl.ranks import ALONE, Ranks
from restrl.stages.console import Console
from restrl.stages.settings import settings
from restrl.train.strategy import accelerator

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """One run on one rank.  Every rank has a session and runs the same steps in the same order."""

    config: Config
    console: Console  # prints only on the first rank
    store: Store  # writes only on the first rank
    ranks: Ranks
    device: torch.device  # the device of this rank's models
    folder: Path  # this run's folder for reports and results

    def open(
        self, step: str, inputs: Mapping[str, str], config: Config | None = None, **more: Any
    ) -> contextlib.AbstractContextManager[Work]:
        """Opens the artifact that a step's settings (see ``settings``), its inputs and the seed determine.

        ``config`` replaces the run's configuration.  ``more``: further values that decide the result.
        """
        step_settings = settings(step, config or self.config, self.device)
        return self.store.open(step, {**step_settings, **more}, inputs, self.config.seed)

    def found(self, artifact: Artifact) -> Artifact:
        """Reports that a step was done before; returns its artifact."""
        self.console.say(f"{artifact.manifest['step']}: done before, {artifact.folder}")
        return artifact

    def write(self, write: Callable[[], object]) -> None:
        """Calls ``write`` on the first rank.  On return, every rank can see what it wrote."""

        def done() -> None:
            write()

        self.ranks.by_first(done)

    def in_chunks(
        self,
        log: RecordLog[R],
        items: Sequence[T],
        size: int,
        make: Callable[[Sequence[T]], list[R]],
        resumed: Callable[[int], None],
    ) -> None:
        """Appends a record per item, chunk by chunk; each rank computes its share of a chunk with ``make``.

        A resumed run continues after the last complete chunk; ``resumed`` receives the number of items done
        before.  It resumes at chunks and not at single records because rounding depends on the batch: equal
        chunks give bit-identical samples.  ``make`` is also called for an empty share.
        """
        done = len(items) if len(log) == len(items) else len(log) // size * size
        log.truncate(done)
        resumed(done)
        for start in range(done, len(items), size):
            log.append(self.ranks.merge(make(self.ranks.share(items[start : start + size]))))


def new_session(
    config: Config, console: Console | None = None, ranks: Ranks = ALONE, folder: Path | None = None
) -> Session:
    """Raises UserError if the configured device is missing.  ``folder``: None = the outputs folder."""
    console = console or Console(ranks=ranks)
    device = device_of(config.trainer, ranks)
    if torch.get_float32_matmul_precision() != config.trainer.matmul:  # set the global only if it differs
        torch.set_float32_matmul_precision(config.trainer.matmul)
    outputs = Path(config.paths.outputs)
    return Session(config, console, Store(outputs, console.say, ranks), ranks, device, folder or outputs)


def device_of(trainer: TrainerConfig, ranks: Ranks) -> torch.device:
    """This rank's device.  Raises UserError if a configured GPU is missing."""
    if accelerator(trainer) == "cpu":
        return torch.device("cpu")
    if trainer.devices > torch.cuda.device_count():
        raise UserError(
            f"trainer.devices={trainer.devices}: this machine shows {torch.cuda.device_count()} GPUs; "
            "use as many, or trainer=cpu"
        )
    return torch.device("cuda") if ranks.size == 1 else torch.device("cuda", ranks.local)
