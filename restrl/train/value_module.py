"""The training step of a value model as a LightningModule: connects packed trees, loss, optimizer and log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from restrl.config import VmConfig
from restrl.model.value_lm import ValueLM, predict_values
from restrl.objective.tree_packing import pack_trees, tree_batches
from restrl.objective.value_loss import ValueSums, value_loss
from restrl.ranks import ALONE, Ranks
from restrl.train.optimizer import adamw
from restrl.train.step_module import StepModule
from restrl.train.strategy import Strategy
from restrl.train.value_data import Floats, StateTable, TargetTree, ValueProblems

# computes metrics for the log from held-out states, predictions and the constant baseline
Report = Callable[[StateTable, Floats, float], dict[str, float]]


class ValueModule(StepModule):
    """Fits a value model in place; a batch holds the trees of a step's problems."""

    title = "fit"
    model: ValueLM

    def __init__(
        self,
        value_lm: ValueLM,
        problems: ValueProblems,
        heldout: Sequence[int],
        vm: VmConfig,
        constant: float,
        report: Report,
        *,
        strategy: Strategy,
        folder: Path,
        total_steps: int,
        signature: str,
    ) -> None:
        """``heldout``: indices of the held-out problems; ``constant``: the baseline prediction for them."""
        super().__init__(value_lm, strategy, folder, total_steps, signature)
        self.problems = problems
        self.heldout = heldout
        self.table = problems.table(heldout)
        self.vm = vm
        self.constant = constant
        self.report = report

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw([self.model.decoder, self.model.head], self.vm.weight_decay)

    def training_step(self, batch: list[TargetTree], batch_index: int) -> None:
        del batch_index  # steps_done counts steps
        start = time.perf_counter()
        metrics = self._learn(batch)
        metrics["seconds"] = time.perf_counter() - start
        metrics["tokens_per_second"] = metrics["tokens"] / metrics["seconds"]
        if (self.steps_done + 1) % (self.total_steps // self.vm.epochs) == 0:
            metrics |= {f"heldout_{key}": value for key, value in self._report().items()}
        self.end_step(metrics)

    def progress_text(self) -> str:
        """The last step's metrics as a short text."""
        numbers = self.last_metrics
        heldout = [f", held-out {numbers['heldout_mse']:.4f}"] if "heldout_mse" in numbers else []
        mse, rate = numbers.get("mse", math.nan), numbers["tokens_per_second"]
        return "".join([f"mse {mse:.4f}", *heldout, f", {rate:.0f} tokens/s"])

    def _learn(self, batch: Sequence[TargetTree]) -> dict[str, float]:
        """One update from the trees.  The gradient is the sum over the micro-batches of all ranks."""
        trees = [item.tree for item in batch]
        total = sum(float(item.weights.sum()) for item in batch)
        numbers = partial(torch.tensor, dtype=torch.float32, device=self.model.device)
        sums, tokens = ValueSums(), 0
        mine = list(self.ranks.rounds(tree_batches(trees, self.vm.tokens_per_microbatch, self.ranks.size)))
        self.model.train()
        with self.model.packing():  # around backward too: gradient checkpointing runs layers again
            for place, (pieces, counts) in enumerate(mine):
                packed = pack_trees(trees, pieces).to(self.model.device)
                states = [(piece.tree, state) for piece in pieces for state in piece.states]
                loss, micro = value_loss(
                    self.model(packed),
                    numbers([batch[t].values[s] for t, s in states]),
                    numbers([batch[t].weights[s] for t, s in states]),
                    total,
                )
                self.accumulate(loss if counts else loss * 0.0, last=place == len(mine) - 1)
                if counts:
                    sums, tokens = sums + micro, tokens + len(packed.ids)
        sums, tokens = sum(self.ranks.gather(sums), ValueSums()), sum(self.ranks.gather(tokens))
        means = sums.means()
        norm = self.apply_update(self.optimizers(), self._rates(), self.vm.clip_norm, means["mse"])
        if norm is not None:
            means["grad_norm"] = norm
        skipped = float(norm is None)
        return means | {"skipped_updates": skipped, "states": float(sums.states), "tokens": float(tokens)}

    def _rates(self) -> list[float]:
        """Learning rates of decoder and head: warm-up, then linear decay with ``lr_decay``."""
        factor = min(1.0, (self.updates + 1) / (self.vm.warmup_steps + 1))
        if self.vm.lr_decay:
            factor *= 1 - self.updates / self.total_steps
        return [rate * factor for rate in (self.vm.lr, self.vm.head_lr)]

    def _report(self) -> dict[str, float]:
        with self.weights.generating(self.model):  # ranks predict in different numbers of batches
            values = predictions(self.model, self.problems, self.heldout, self.ranks)
        return self.report(self.table, values, self.constant)


def predictions(
    model: ValueLM, problems: ValueProblems, indices: Sequence[int], ranks: Ranks = ALONE
) -> Floats:
    """[S] the model's values of the states of these problems, clipped to [0, 1] as in decoding.

    The order is that of ``problems.table(indices)``.  Problems are read in groups of the size of a step, and
    the ranks divide these groups.
    """
    model.eval()
    size = problems.vm.problems_per_step
    groups = [indices[start : start + size] for start in range(0, len(indices), size)]
    mine = [(_predict(model, problems, group), counts) for group, counts in ranks.rounds(groups)]
    return np.concatenate([np.empty(0), *ranks.merge([values for values, counts in mine if counts])])


def _predict(model: ValueLM, problems: ValueProblems, indices: Sequence[int]) -> Floats:
    """[S] predictions for the states of these problems, all of which are in memory together."""
    by_problem = [problems.read(index) for index in indices]
    trees = [item.tree for items in by_problem for item in items]
    values = iter(predict_values(model, trees, problems.vm.tokens_per_microbatch))
    rated = [np.empty(sum(len(item.places) for item in items)) for items in by_problem]
    for row, items in zip(rated, by_problem, strict=True):
        for item in items:
            row[item.places] = next(values)
    return np.concatenate([np.empty(0), *rated]).clip(0.0, 1.0)
