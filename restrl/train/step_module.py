"""What every training of steps shares: counters, the update, what a checkpoint holds, the log."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from restrl.train.metrics_file import append_metrics


class StepModule(lightning.LightningModule):
    """Trains ``model`` in place; a batch is a list of indices, and optimization is manual.

    ``steps_done`` counts finished steps, ``updates`` optimizer steps.  ``consistent`` is False between the
    first update of a step and its end, when a checkpoint would not be the state after a whole step.
    """

    title = "train"  # of the progress bar; before the names of the log's numbers

    def __init__(self, model: Any, folder: Path, total_steps: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False  # frozen weights are not in the checkpoint
        self.model = model
        self.folder = folder
        self.total_steps = total_steps
        self.steps_done = 0
        self.updates = 0
        self.consistent = True
        self.last_metrics: dict[str, float] = {}
        self._random_states = random_states()

    def progress_text(self) -> str:
        """The last step's numbers in a few words."""
        return ", ".join(f"{key} {value:.3g}" for key, value in self.last_metrics.items())

    def apply_update(self, optimizer: Any, rates: Sequence[float], clip_norm: float | None) -> float:
        """Clipping, then an optimizer step with a learning rate per parameter group.

        Returns the gradient's norm before clipping.
        """
        self.consistent = False
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        limit = clip_norm if clip_norm is not None else float("inf")
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        return float(norm)

    def end_step(self, metrics: dict[str, float]) -> None:
        """Counts the step and logs its numbers: from now on a checkpoint is the state after it."""
        self.steps_done += 1
        self._random_states = random_states()
        self.consistent = True
        self.last_metrics = metrics
        append_metrics(self.folder, self.steps_done, metrics)
        for logger in self.loggers:
            named = {f"{self.title}/{key}": value for key, value in metrics.items()}
            logger.log_metrics(named, self.steps_done)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint["counters"] = {"steps_done": self.steps_done, "updates": self.updates}
        checkpoint["random_states"] = self._random_states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.steps_done = checkpoint["counters"]["steps_done"]
        self.updates = checkpoint["counters"]["updates"]
        self._random_states = checkpoint["random_states"]

    def restore_random_states(self) -> None:
        """Sets the global generators to what they were after the last finished step."""
        states = self._random_states
        random.setstate(states["python"])
        torch.set_rng_state(states["torch"])
        if states["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(states["cuda"])


def random_states() -> dict[str, Any]:
    """The global generators' states (dropout draws from them; sampling has seeds of its own)."""
    cuda: list[Tensor] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"python": random.getstate(), "torch": torch.get_rng_state(), "cuda": cuda}
