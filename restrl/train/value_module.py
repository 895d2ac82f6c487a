"""The value model's step as a LightningModule: wiring between packed trees, loss, optimizer and log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from restrl.config import VmConfig
from restrl.model.value import decoder_and_score
from restrl.objective.tree_attention import tree_mode
from restrl.objective.tree_packing import pack_trees, tree_batches
from restrl.objective.value_loss import ValueSums, predict_values, state_outputs, value_loss
from restrl.train.optimizer import adamw
from restrl.train.step_module import StepModule
from restrl.train.value_data import Floats, StateTable, TargetTree, ValueProblems

# numbers for the log, from held-out states, predictions and the constant to compare them with
Report = Callable[[StateTable, Floats, float], dict[str, float]]


class ValueModule(StepModule):
    """Fits ``model`` (a value model) in place; a batch holds indices of ``fit``, whose problems it reads."""

    title = "fit"

    def __init__(
        self,
        model: Any,
        problems: ValueProblems,
        fit: Sequence[int],
        heldout: Sequence[int],
        vm: VmConfig,
        folder: Path,
        total_steps: int,
        constant: float,
        report: Report,
    ) -> None:
        super().__init__(model, folder, total_steps)
        self.problems = problems
        self.fit = fit
        self.heldout = heldout
        self.table = problems.table(heldout)
        self.vm = vm
        self.constant = constant
        self.report = report

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(decoder_and_score(self.model), self.vm.weight_decay)

    def training_step(self, batch: list[int], batch_index: int) -> None:
        del batch_index  # counts from the resume; steps_done from the start
        start = time.perf_counter()
        metrics = self._learn([tree for index in batch for tree in self.problems.read(self.fit[index])])
        metrics["seconds"] = time.perf_counter() - start
        metrics["tokens_per_second"] = metrics["tokens"] / metrics["seconds"]
        if (self.steps_done + 1) % (self.total_steps // self.vm.epochs) == 0:
            metrics |= {f"heldout_{key}": value for key, value in self._report().items()}
        self.end_step(metrics)

    def progress_text(self) -> str:
        """The last step's numbers in a few words."""
        numbers = self.last_metrics
        heldout = [f", held-out {numbers['heldout_mse']:.4f}"] if "heldout_mse" in numbers else []
        mse, rate = numbers.get("mse", math.nan), numbers["tokens_per_second"]
        return "".join([f"mse {mse:.4f}", *heldout, f", {rate:.0f} tokens/s"])

    def _learn(self, batch: Sequence[TargetTree]) -> dict[str, float]:
        """One update from the trees: the gradient is the sum of those of the micro-batches."""
        decoder, head = decoder_and_score(self.model)
        trees = [item.tree for item in batch]
        total = sum(float(item.weights.sum()) for item in batch)
        device = head.weight.device
        numbers = partial(torch.tensor, dtype=torch.float32, device=device)
        sums, tokens = ValueSums(), 0
        self.model.train()
        with tree_mode(decoder):  # the backward pass of gradient checkpointing runs layers again
            for pieces in tree_batches(trees, self.vm.tokens_per_microbatch):
                packed = pack_trees(trees, pieces).to(device)
                states = [(piece.tree, state) for piece in pieces for state in piece.states]
                loss, micro = value_loss(
                    state_outputs(decoder, head, packed),
                    numbers([batch[t].values[s] for t, s in states]),
                    numbers([batch[t].weights[s] for t, s in states]),
                    total,
                )
                self.manual_backward(loss)
                sums, tokens = sums + micro, tokens + len(packed.ids)
        means = sums.means()
        norm = self.apply_update(self.optimizers(), self._rates(), self.vm.clip_norm, means["mse"])
        if norm is not None:
            means["grad_norm"] = norm
        skipped = float(norm is None)
        return means | {"skipped_updates": skipped, "states": float(sums.states), "tokens": float(tokens)}

    def _rates(self) -> list[float]:
        """Learning rates, for each of the optimizer's groups: warm-up, then (``lr_decay``) linearly down."""
        factor = min(1.0, (self.updates + 1) / (self.vm.warmup_steps + 1))
        if self.vm.lr_decay:
            factor *= 1 - self.updates / self.total_steps
        return [rate * factor for rate in (self.vm.lr, self.vm.lr, self.vm.head_lr, self.vm.head_lr)]

    def _report(self) -> dict[str, float]:
        values = predictions(self.model, self.problems, self.heldout)
        return self.report(self.table, values, self.constant)


def predictions(model: Any, problems: ValueProblems, indices: Sequence[int]) -> Floats:
    """[S] what the model says of the states of some problems, as it is used: clipped to [0, 1].

    The order is that of ``problems.table(indices)``.  As many problems are read together as in a step.
    """
    model.eval()
    decoder, head = decoder_and_score(model)
    found = [np.empty(0)]
    size = problems.vm.problems_per_step
    for start in range(0, len(indices), size):
        read = [problems.read(index) for index in indices[start : start + size]]
        trees = [item.tree for items in read for item in items]
        values = iter(predict_values(decoder, head, trees, problems.vm.tokens_per_microbatch))
        for items in read:
            rated = np.empty(sum(len(item.places) for item in items))
            for item in items:
                rated[item.places] = next(values)
            found.append(rated.clip(0.0, 1.0))
    return np.concatenate(found)
