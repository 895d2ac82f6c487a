"""Lightning's ModelCheckpoint with atomic checkpoints: an incomplete checkpoint is never used.

A checkpoint is ``step-000040.ckpt``.  It is a file that appears by ``os.replace`` after it was written and
synced, or, for strategies that divide the weights, a folder of such files, one of each rank, that is complete
once it holds an end marker.  The last two checkpoints are kept.  On resume, a warning is given for an
incomplete checkpoint (a file whose archive does not verify, a folder without marker), and the one before it
is used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import CheckpointIO

from restrl.errors import UserError
from restrl.process import SAME_SECONDS
from restrl.ranks import Ranks

CHECKPOINTS = "checkpoints"  # folder below that of a step
KEEP = 2
END = ".whole"  # name of the end marker in a folder
TERMINATED = 128 + signal.SIGTERM  # exit code, as shells report a process that SIGTERM ended


class StepCheckpoint(ModelCheckpoint):
    """Saves every ``every`` steps, and when Ctrl-C, SIGTERM or ``max_time`` stops a run early.

    ModelCheckpoint itself counts optimizer steps, and a step may have none or several of them.  ``signals``
    says which signals end a run after the current step; Ctrl-C interrupts a single process at once.
    """

    def __init__(self, folder: Path, every: int, ranks: Ranks) -> None:
        super().__init__(
            dirpath=folder,
            filename="step-{steps_done:06.0f}",
            auto_insert_metric_name=False,
            monitor="steps_done",
            mode="max",
            save_top_k=KEEP,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )
        self.every = every
        self.saved_step = 0
        self.signals = Signals(ranks)

    def on_train_start(self, _trainer: Any, pl_module: Any) -> None:
        self.saved_step = pl_module.steps_done
        self.signals.catch()

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        received = self.signals.agreed()
        # should_stop: max_time is over; after the epoch's end Lightning would take the schedule for done
        if received or trainer.should_stop or pl_module.steps_done % self.every == 0:
            self.save(trainer, pl_module)
        if received:
            self.signals.release()
            raise SystemExit(TERMINATED) if received == signal.SIGTERM else KeyboardInterrupt

    def teardown(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        super().teardown(trainer, pl_module, stage)
        self.signals.release()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.signals.release()
        # several ranks saved when they agreed, or else may be at different steps
        alone = trainer.world_size == 1
        # after the first update of an unfinished step the weights belong to no step, so nothing is saved
        if isinstance(exception, (KeyboardInterrupt, SystemExit)) and pl_module.consistent and alone:
            self.save(trainer, pl_module)

    def save(self, trainer: lightning.Trainer, module: Any) -> None:
        """Saves the state after the module's last finished step, unless it is saved already."""
        if module.steps_done > self.saved_step:
            self.saved_step = module.steps_done
            steps = torch.tensor(float(module.steps_done))
            self._save_topk_checkpoint(trainer, {"steps_done": steps, "step": steps})

    def _save_checkpoint(self, trainer: lightning.Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)  # returns when every rank has written its part
        if trainer.is_global_zero and Path(filepath).is_dir():
            (Path(filepath) / END).touch()
        trainer.strategy.barrier()


class Signals:
    """Holds back signals until the current step is done and all ranks agree; a second one ends at once.

    These are SIGTERM and, with several ranks, SIGINT: the others would wait for a rank that stopped earlier.
    Lightning's own handler of SIGTERM is replaced: it communicates while other ranks may do so as well.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.before: dict[int, Any] = {}
        self.received = 0
        self.when = 0.0

    def catch(self) -> None:
        if threading.current_thread() is threading.main_thread():
            caught = (signal.SIGTERM,) if self.ranks.size == 1 else (signal.SIGTERM, signal.SIGINT)
            self.before = {number: signal.signal(number, self._note) for number in caught}

    def _note(self, number: int, _frame: Any) -> None:
        if self.received and time.monotonic() - self.when > SAME_SECONDS:
            os._exit(128 + number)
        self.received, self.when = number, time.monotonic()

    def agreed(self) -> int:
        """The signal of the first rank that received one; 0: none.  All ranks call it together."""
        return next((number for number in self.ranks.gather(self.received) if number), 0)

    def release(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


class AtomicCheckpointIO(CheckpointIO):
    """Writes to a temporary file beside the target, then renames it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises UserError if the folder cannot be written or the disk is full."""
        del storage_options
        target = Path(path)
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            self.remove_checkpoint(temporary)
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            why = (getattr(cause, "strerror", None) or str(cause)).splitlines()[0]
            raise UserError(
                f"cannot write checkpoint {target}: {why}; free some space or change paths.outputs"
            ) from error

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """The tensors are a map of the file: ranks that need a part of them do not read all."""
        return _joined(
            [
                torch.load(
                    file, map_location=map_location or "cpu", weights_only=bool(weights_only), mmap=True
                )
                for file in _files(Path(path))
            ]
        )

    def remove_checkpoint(self, path: Any) -> None:
        _remove(Path(path))


def checkpoint_step(path: Path) -> int:
    """The number of steps that were finished when ``path`` was written."""
    return int(path.stem.removeprefix("step-"))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; None if there is none."""
    for path in sorted(folder.glob("step-*.ckpt"), reverse=True):
        if _is_whole(path):
            return path
        warnings.warn(f"checkpoint {path} is damaged and passed over", stacklevel=2)
    return None


def remove_checkpoints(folder: Path) -> None:
    """Removes all checkpoints in ``folder``/checkpoints, once the model has been saved elsewhere."""
    checkpoints = folder / CHECKPOINTS
    for path in [*checkpoints.glob("step-*.ckpt"), *checkpoints.glob(".step-*.ckpt.tmp")]:
        _remove(path)


def part_of(folder: Path, rank: int) -> Path:
    """The file of a rank in a checkpoint that is a folder."""
    return folder / f"rank{rank}"


def _files(path: Path) -> list[Path]:
    """The files of a checkpoint, that of the first rank first."""
    if not path.is_dir():
        return [path]
    return [part_of(path, rank) for rank in range(len(list(path.glob("rank*"))))]


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One process's checkpoint: every rank has some weights and moments, the first one also all the rest."""
    whole, *others = parts
    for part in others:
        whole["state_dict"] |= part["state_dict"]
        for mine, its in zip(whole["optimizer_states"], part["optimizer_states"], strict=True):
            for index, entries in its["state"].items():
                mine["state"].setdefault(index, {}).update(entries)
    return whole


def _is_whole(path: Path) -> bool:
    """Whether a checkpoint is complete.

    The archive of a file must have its directory (which is written last) and matching checksums.
    """
    if path.is_dir() and not (path / END).exists():
        return False
    try:
        for file in _files(path):
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is not None:
                    return False
        return True
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError):
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
