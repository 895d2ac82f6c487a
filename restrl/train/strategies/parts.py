"""Checkpoints of divided models: a folder in which each rank writes a file, ``rank0`` and so on.

Each rank keeps whole tensors, about as many bytes as every other rank.  A tensor is gathered when it is its
turn, so no rank ever holds more than its share of a checkpoint and one tensor (12 bytes per trained weight,
divided by the number of ranks).  Since tensors are whole, a run may go on from such a folder with another
number of ranks, or with another strategy (``restrl.train.checkpoint`` puts the files together).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from restrl.train.checkpoint import part_of


class PartsCheckpoint(DDPStrategy):
    """The side of Lightning's strategies that writes and reads checkpoints."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bytes: list[int] = []  # that each rank has kept so far; every rank counts the same

    def _own(self, whole: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """Those of the tensors that this rank keeps, in the host's memory.

        All ranks call it with the same tensors in the same order; an iterator may gather one at a time.
        """
        self._bytes = self._bytes or [0] * self.world_size
        own = {}
        for key, tensor in whole:
            turn = min(range(self.world_size), key=self._bytes.__getitem__)
            self._bytes[turn] += tensor.numel() * tensor.element_size()
            if turn == self.global_rank:
                own[key] = tensor.detach().to("cpu", copy=True)
        return own

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Every rank writes its part.  Raises UserError if it cannot."""
        folder = Path(filepath)
        if self.is_global_zero and folder.is_dir():  # an incomplete one, perhaps of other ranks
            shutil.rmtree(folder)
        self.barrier()
        self.checkpoint_io.save_checkpoint(checkpoint, part_of(folder, self.global_rank), storage_options)
