"""Checkpoints that are whole or not there.

A checkpoint is one file, ``step-000040.ckpt``: it appears by ``os.replace`` after it was written and synced,
the last two are kept, and on resume a file that is not whole (its archive does not verify) is passed over
with a warning for the one before it.
"""

from __future__ import annotations

import contextlib
import os
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import CheckpointIO

from restrl.errors import UserError

KEEP = 2


class AtomicCheckpointIO(CheckpointIO):
    """Writes straight to a temporary file beside the target, then renames it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises UserError where the folder cannot be written or the disk is full."""
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
        loaded: dict[str, Any] = torch.load(
            path, map_location=map_location or "cpu", weights_only=bool(weights_only)
        )
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        with contextlib.suppress(OSError):
            Path(path).unlink()


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:06d}.ckpt"


def checkpoint_step(path: Path) -> int:
    """Steps that were complete when ``path`` was written."""
    return int(path.stem.removeprefix("step-"))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; None where there is none."""
    for path in sorted(folder.glob("step-*.ckpt"), reverse=True):
        if _is_whole(path):
            return path
        warnings.warn(f"checkpoint {path} is damaged and passed over", stacklevel=2)
    return None


def prune(folder: Path, keep: int = KEEP) -> None:
    """Removes all but the ``keep`` newest checkpoints, and leftovers of writes that were killed."""
    old = sorted(folder.glob("step-*.ckpt"))[:-keep] if keep else sorted(folder.glob("step-*.ckpt"))
    for path in [*old, *folder.glob(".step-*.ckpt.tmp")]:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_whole(path: Path) -> bool:
    """Whether the archive has its directory (written last) and every member matches its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError):
        return False
