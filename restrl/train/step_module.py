"""The base of both Lightning modules: counters, the update, the contents of checkpoints, the log."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from restrl.errors import UserError
from restrl.ranks import Ranks
from restrl.train.metrics_file import append_metrics
from restrl.train.strategy import Strategy

MAX_SKIPPED = 3  # steps in a row without an update because loss or gradient was not finite
COUNTERS = ("steps_done", "updates", "skipped_in_row")
_log = logging.getLogger(__name__)


class StepModule(lightning.LightningModule):
    """Trains ``model`` in place.

    Optimization is manual, because a step makes several updates (``updates_per_step``), or none if its
    rollout gives no training signal, and its gradient is a sum over as many micro-batches as its tokens need.
    Lightning's automatic optimization makes one backward pass and one update per batch.

    ``steps_done`` counts finished steps, ``updates`` counts optimizer steps, ``skipped_in_row`` counts the
    latest consecutive steps whose update was skipped because it was not finite.  ``consistent`` is False from
    the first update of a step to the end of the step; a checkpoint in between would hold a half-done step.
    """

    title = "train"  # of the progress bar; also the prefix of metric names in the log

    def __init__(
        self, model: nn.Module, strategy: Strategy, folder: Path, total_steps: int, signature: str
    ) -> None:
        """``signature`` covers all that decides the numbers; a checkpoint with another one is refused."""
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False  # frozen weights are not in the checkpoint
        self.model = model
        self.weights = strategy
        self.folder = folder
        self.total_steps = total_steps
        self.signature = signature
        self.steps_done = 0
        self.updates = 0
        self.skipped_in_row = 0
        self.consistent = True
        self.last_metrics: dict[str, float] = {}
        self._random_states = random_states()

    @property
    def ranks(self) -> Ranks:
        return self.weights.ranks

    def progress_text(self) -> str:
        """The last step's metrics as a short text."""
        return ", ".join(f"{key} {value:.3g}" for key, value in self.last_metrics.items())

    def configure_model(self) -> None:
        self.weights.wrap(self.model)

    def accumulate(self, loss: Tensor, last: bool) -> None:
        """Adds the gradient of a micro-batch.  ``last``: the last one before an update, on every rank."""
        self.weights.backward(self, loss, last)

    def apply_update(
        self, optimizer: Any, rates: Sequence[float], clip_norm: float | None, loss: float
    ) -> float | None:
        """Clips the gradient, then makes an optimizer step.

        ``rates``: a learning rate for each part of ``adamw``.  ``loss``: of the whole step, the same on every
        rank.  Returns the gradient's norm before clipping.  Returns None if the norm or ``loss`` is not
        finite; then the gradient is dropped, and weights and optimizer do not change.  Raises UserError if
        that happens in ``MAX_SKIPPED`` steps in a row.
        """
        for group in optimizer.param_groups:
            group["lr"] = rates[group["part"]]
        before, self.consistent = self.consistent, False
        norm = self.weights.update(optimizer, clip_norm, usable=math.isfinite(loss))
        finite = math.isfinite(norm) and math.isfinite(loss)
        if finite:
            self.updates += 1
        else:
            self.consistent = before
        self.skipped_in_row = 0 if finite else self.skipped_in_row + 1
        if not finite:
            self._say_skipped(norm, loss)
        return norm if finite else None

    def _say_skipped(self, norm: float, loss: float) -> None:
        step = self.steps_done + 1
        what = f"step {step}: loss {loss:.4g}, gradient norm {norm:.4g}"
        if self.ranks.first:
            _log.warning("%s, %s: not finite, so this step's update was skipped", self.title, what)
        if self.skipped_in_row >= MAX_SKIPPED:
            raise UserError(
                f"{self.title}, {what}: not finite in {MAX_SKIPPED} steps in a row, which were skipped; "
                "the last checkpoint is intact. Lower the learning rate, or use "
                "trainer.precision=32-true; the same command goes on from that checkpoint"
            )

    def end_step(self, metrics: dict[str, float]) -> None:
        """Counts the step and logs its metrics; from now on a checkpoint holds the state after this step."""
        metrics = {key: value for key, value in metrics.items() if math.isfinite(value)}  # JSON has no NaN
        self.steps_done += 1
        self._random_states = random_states()
        self.consistent = True
        self.last_metrics = metrics
        if self.ranks.first:
            append_metrics(self.folder, self.steps_done, metrics)
        # "step" sets the x-axis of Lightning's loggers, which would otherwise count from 0
        self.log_dict({f"{self.title}/{key}": value for key, value in metrics.items()})
        self.log_dict({"step": float(self.steps_done), "steps_done": float(self.steps_done)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises UserError if a weight is not finite: no run that starts from it would recover."""
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        self._check_finite(checkpoint["state_dict"])
        checkpoint["counters"] = {name: getattr(self, name) for name in COUNTERS}
        checkpoint["random_states"] = self._random_states
        checkpoint["signature"] = self.signature

    def _check_finite(self, weights: dict[str, Tensor]) -> None:
        """``weights``: this rank's part of the checkpoint, which may be all of it."""
        bad = [name for name, weight in weights.items() if not weight.isfinite().all()]
        if names := [name for found in self.ranks.gather(bad) for name in found]:
            error = UserError(
                f"{self.title}, step {self.steps_done}: the weights {names[0]} are not finite, and no "
                "checkpoint was written; the last one is intact. Lower the learning rate"
            )
            error.of_all_ranks = True
            raise error

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises UserError if the checkpoint has another signature."""
        if checkpoint["signature"] != self.signature:
            raise UserError(
                f"the checkpoint in {self.folder} belongs to a run with other settings; remove it or choose "
                "another folder"
            )
        for name in COUNTERS:
            setattr(self, name, checkpoint["counters"][name])
        self._random_states = checkpoint["random_states"]

    def on_train_start(self) -> None:
        if self.steps_done:
            self._restore_random_states()

    def _restore_random_states(self) -> None:
        """Sets the global generators to their states after the last finished step."""
        states = self._random_states
        random.setstate(states["python"])
        torch.set_rng_state(states["torch"])
        if states["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(states["cuda"])


def random_states() -> dict[str, Any]:
    """The states of the global generators (used by dropout; sampling has its own seeds)."""
    cuda: list[Tensor] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"python": random.getstate(), "torch": torch.get_rng_state(), "cuda": cuda}
