"""The Lightning data module of both trainings: a batch per step of a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import lightning
import torch

T = TypeVar("T")


class StepData(lightning.LightningDataModule, Generic[T]):
    """A batch per step of a schedule: ``read`` makes the batch from the step's indices.

    A batch of GRPO holds indices of start states only, because a group without variance may be replaced by a
    group of any other state.  A batch of a value model holds the trees of a few problems, which are read when
    the step begins.  Every rank receives the whole batch; the step divides the work.
    """

    def __init__(self, schedule: Sequence[Sequence[int]], read: Callable[[Sequence[int]], T]) -> None:
        super().__init__()
        self.schedule = schedule
        self.read = read

    def train_dataloader(self) -> StepLoader[T]:
        """A loader that starts after the steps that the module, or its checkpoint, has finished."""
        assert self.trainer is not None
        module: Any = self.trainer.lightning_module
        return StepLoader(self.schedule, self.read, module.steps_done)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Does not move the batch: the step packs micro-batches and moves one at a time."""
        del device, dataloader_idx
        return batch


class StepLoader(Generic[T]):
    """Yields the batches of a schedule except the first ``done``, which still count in its length."""

    def __init__(
        self, schedule: Sequence[Sequence[int]], read: Callable[[Sequence[int]], T], done: int
    ) -> None:
        self.schedule = schedule
        self.read = read
        self.done = done

    def state_dict(self) -> dict[str, Any]:
        """Empty, because the module's count of finished steps says where to resume.

        Lightning calls it to check that the loader can be resumed.
        """
        return {}

    def load_state_dict(self, _state: dict[str, Any]) -> None:
        """See ``state_dict``."""

    def __len__(self) -> int:
        return len(self.schedule)

    def __iter__(self) -> Iterator[T]:
        return (self.read(indices) for indices in self.schedule[self.done :])
