"""Training on completions that are given, as a LightningModule: the base of DPO's and of SFT's."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from restrl.config import LearningConfig
from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import PackedBatch, Piece, TokenGroup, pack
from restrl.train.optimizer import adamw
from restrl.train.schedule import rate_factor
from restrl.train.step_module import StepModule
from restrl.train.strategy import Strategy


class Sums(Protocol):
    """Sums over a micro-batch; ``means`` divides them and has the step's loss."""

    def __add__(self, other: Self) -> Self: ...
    def means(self) -> dict[str, float]: ...


class CompletionsModule(StepModule):
    """Trains a policy in place; a batch holds the groups of a step.

    A step makes one update.  Its gradient is the sum over the micro-batches of all ranks, and the loss of
    each is divided by the ``size`` of the whole step.
    """

    model: PolicyLM
    nothing: Sums  # the sums of no example

    def __init__(
        self,
        policy: PolicyLM,
        learning: LearningConfig,
        *,
        strategy: Strategy,
        folder: Path,
        total_steps: int,
        signature: str,
    ) -> None:
        super().__init__(policy, strategy, folder, total_steps, signature)
        self.learning = learning

    @abstractmethod
    def size(self, batch: Sequence[TokenGroup]) -> float:
        """The number of examples (pairs, tokens) of a step, by which its loss is divided."""

    @abstractmethod
    def divide(self, batch: Sequence[TokenGroup]) -> list[list[Piece]]:
        """The step's micro-batches."""

    @abstractmethod
    def loss(self, packed: PackedBatch, size: float) -> tuple[Tensor, Any]:
        """The loss of a micro-batch, and its ``Sums``."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw([self.model], self.learning.weight_decay)

    def training_step(self, batch: list[TokenGroup], batch_index: int) -> None:
        del batch_index  # steps_done counts steps
        start = time.perf_counter()
        metrics = self._learn(batch)
        metrics["seconds"] = time.perf_counter() - start
        metrics["tokens_per_second"] = metrics["tokens"] / metrics["seconds"]
        self.end_step(metrics)

    def progress_text(self) -> str:
        """The last step's metrics as a short text."""
        numbers = self.last_metrics
        accuracy = [f"accuracy {numbers['accuracy']:.2f}"] if "accuracy" in numbers else []
        loss = [f"loss {numbers['loss']:.4f}"] if "loss" in numbers else []  # absent where it is not finite
        return ", ".join([*loss, *accuracy, f"{numbers['tokens_per_second']:.0f} tokens/s"])

    def _learn(self, batch: Sequence[TokenGroup]) -> dict[str, float]:
        device, size = next(self.model.parameters()).device, self.size(batch)
        mine = list(self.ranks.rounds(self.divide(batch)))
        sums, tokens = self.nothing, 0
        self.model.train()
        with self.model.packing():  # around backward too: gradient checkpointing runs layers again
            for place, (pieces, counts) in enumerate(mine):
                packed = pack(batch, pieces).to(device)
                loss, micro = self.loss(packed, size)
                self.accumulate(loss if counts else loss * 0.0, last=place == len(mine) - 1)
                if counts:
                    sums, tokens = sums + micro, tokens + len(packed.ids)
        sums, tokens = sum(self.ranks.gather(sums), self.nothing), sum(self.ranks.gather(tokens))
        means = sums.means()
        factor = rate_factor(self.updates, self.steps_done, self.total_steps, self.learning)
        rates = [self.learning.lr * factor]
        norm = self.apply_update(self.optimizers(), rates, self.learning.clip_norm, means["loss"])
        if norm is not None:
            means["grad_norm"] = norm
        return means | {"skipped_updates": float(norm is None), "tokens": float(tokens)}
