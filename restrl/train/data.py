"""What Lightning reads the steps of a training from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import lightning
import torch

T = TypeVar("T")


class StepData(lightning.LightningDataModule, Generic[T]):
    """A batch per step of a schedule: ``read`` makes it of the step's indices.

    GRPO's batches are the indices of start states themselves, as a group without variance may be replaced by
    one of any other state; a value model's are the trees of a few problems, read when their step begins.
    Every rank gets the whole batch: what a rank does of it, the step decides.
    """

    def __init__(self, schedule: Sequence[Sequence[int]], read: Callable[[Sequence[int]], T]) -> None:
        super().__init__()
        self.schedule = schedule
        self.read = read

    def train_dataloader(self) -> StepLoader[T]:
        """The loader goes on after the steps that the module, or its checkpoint, has done."""
        assert self.trainer is not None
        module: Any = self.trainer.lightning_module
        return StepLoader(self.schedule, self.read, module.steps_done)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """A step packs its micro-batches itself, and moves one at a time."""
        del device, dataloader_idx
        return batch


class StepLoader(Generic[T]):
    """All steps count in its length; the first ``done`` of them are passed over."""

    def __init__(
        self, schedule: Sequence[Sequence[int]], read: Callable[[Sequence[int]], T], done: int
    ) -> None:
        self.schedule = schedule
        self.read = read
        self.done = done

    def state_dict(self) -> dict[str, Any]:
        """Empty: the module's count of finished steps says where to go on.

        Lightning asks for it to know that the loader can be resumed.
        """
        return {}

    def load_state_dict(self, _state: dict[str, Any]) -> None:
        """See ``state_dict``."""

    def __len__(self) -> int:
        return len(self.schedule)

    def __iter__(self) -> Iterator[T]:
        return (self.read(indices) for indices in self.schedule[self.done :])
