"""Who runs: the configuration, the ranks, what is printed, and where artifacts and reports go."""

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
    """One run on one rank.  Every rank has one and goes through the same steps in the same order."""

    config: Config
    console: Console  # silent on all ranks but the first
    store: Store  # the first rank's writes are those of all
    ranks: Ranks
    device: torch.device  # of this rank's models
    folder: Path  # of this run: reports, results

    def open(
        self, step: str, inputs: Mapping[str, str], config: Config | None = None, **more: Any
    ) -> contextlib.AbstractContextManager[Work]:
        """The artifact of a step: of its settings (see ``settings``), its inputs and the seed.

        ``config``: in place of the run's own.  ``more``: what decides the step beside its settings.
        """
        found = settings(step, config or self.config, self.device)
        return self.store.open(step, {**found, **more}, inputs, self.config.seed)

    def found(self, artifact: Artifact) -> Artifact:
        """Says that a step was done before."""
        self.console.say(f"{artifact.manifest['step']}: done before, {artifact.folder}")
        return artifact

    def write(self, write: Callable[[], object]) -> None:
        """Calls ``write`` on the first rank: what it writes into a folder stands there on return."""

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
        """Appends ``make(share of chunk)``, a record per item, chunk by chunk: here work is divided by rank.

        Goes on after the last whole chunk that an interrupted run left; ``resumed`` is told how many items
        that are.  Chunks, and not single records, because rounding depends on the batch: the same chunks give
        the same samples to the bit.  ``make`` is called for an empty share too.
        """
        done = len(items) if len(log) == len(items) else len(log) // size * size
        log.truncate(done)
        resumed(done)
        for start in range(done, len(items), size):
            log.append(self.ranks.merge(make(self.ranks.share(items[start : start + size]))))


def new_session(
    config: Config, console: Console | None = None, ranks: Ranks = ALONE, folder: Path | None = None
) -> Session:
    """Raises UserError where the configured device is not there.  ``folder``: None = the outputs folder."""
    console = console or Console(ranks=ranks)
    device = device_of(config.trainer, ranks)
    if torch.get_float32_matmul_precision() != config.trainer.matmul:  # global: leave it alone
        torch.set_float32_matmul_precision(config.trainer.matmul)
    outputs = Path(config.paths.outputs)
    return Session(config, console, Store(outputs, console.say, ranks), ranks, device, folder or outputs)


def device_of(trainer: TrainerConfig, ranks: Ranks) -> torch.device:
    """Raises UserError where a GPU is asked for that is not there."""
    if accelerator(trainer) == "cpu":
        return torch.device("cpu")
    if trainer.devices > torch.cuda.device_count():
        raise UserError(
            f"trainer.devices={trainer.devices}: this machine shows {torch.cuda.device_count()} GPUs; "
            "use as many, or trainer=cpu"
        )
    return torch.device("cuda") if ranks.size == 1 else torch.device("cuda", ranks.local)
