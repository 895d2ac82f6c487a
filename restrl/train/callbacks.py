"""What happens around the steps: checkpoints and the progress bar."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm  # type: ignore[import-untyped]

from restrl.errors import UserError
from restrl.progress import ProgressLines
from restrl.train.checkpoint import (
    AtomicCheckpointIO,
    checkpoint_path,
    checkpoint_step,
    latest_checkpoint,
    prune,
)
from restrl.train.step_module import StepModule


class Checkpoints(Callback):
    """Saves every ``every`` steps, and on SIGINT or SIGTERM; loads the newest whole checkpoint.

    ``signature`` names everything that decides the numbers of a run.
    """

    def __init__(self, folder: Path, every: int, signature: str) -> None:
        self.folder = folder
        self.every = every
        self.signature = signature
        self.loaded: dict[str, Any] | None = None
        self.saved_step = 0

    def load(self, module: StepModule) -> int:
        """Loads weights and counters into ``module``.  Returns the step to go on from, 0 for none.

        Raises UserError where the checkpoint has another signature.
        """
        path = latest_checkpoint(self.folder)
        if path is None:
            return 0
        self.loaded = AtomicCheckpointIO().load_checkpoint(path)
        if self.loaded["signature"] != self.signature:
            raise UserError(
                f"{path} belongs to a run with other settings; remove {self.folder} or choose another folder"
            )
        module.load_state_dict(self.loaded["state_dict"], strict=False)
        module.on_load_checkpoint(self.loaded)
        self.saved_step = checkpoint_step(path)
        return self.saved_step

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if self.loaded is not None:  # the optimizer exists only now
            trainer.strategy.load_optimizer_state_dict(self.loaded)
            self.loaded = None
            pl_module.restore_random_states()

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.steps_done % self.every == 0:
            self._save(trainer, pl_module)

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        # in the middle of a step whose first update was made, the last checkpoint is the last whole state
        if isinstance(exception, (KeyboardInterrupt, SystemExit)) and pl_module.consistent:
            self._save(trainer, pl_module)

    def on_save_checkpoint(self, _trainer: Any, _module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["signature"] = self.signature

    def _save(self, trainer: lightning.Trainer, module: StepModule) -> None:
        """Raises UserError where the weights are not finite: a run that went on from there would not mend."""
        if module.steps_done > self.saved_step:
            if bad := next((n for n, p in module.named_parameters() if not p.isfinite().all()), None):
                raise UserError(
                    f"{module.title}, step {module.steps_done}: the weights {bad} are not finite, and no "
                    "checkpoint was written; the last one is whole. Lower the learning rate"
                )
            trainer.save_checkpoint(checkpoint_path(self.folder, module.steps_done), weights_only=False)
            self.saved_step = module.steps_done
            prune(self.folder)


class StepProgress(Callback):
    """The steps with the last step's numbers: a bar on a terminal, lines in a file."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.lines: ProgressLines | None = None

    def on_train_start(self, _trainer: Any, pl_module: Any) -> None:
        total, done, title = pl_module.total_steps, pl_module.steps_done, pl_module.title
        if sys.stdout.isatty():
            self.bar = tqdm(
                total=total, initial=done, desc=title, unit="step", file=sys.stdout, dynamic_ncols=True
            )
        else:
            self.lines = ProgressLines(lambda text: print(text, flush=True), title, total, done)

    def on_train_batch_end(self, _trainer: Any, pl_module: Any, *_: Any) -> None:
        if self.bar is not None:
            self.bar.set_postfix_str(pl_module.progress_text())
            self.bar.update()
        if self.lines is not None:
            self.lines.advance(1, pl_module.progress_text())

    def on_train_end(self, _trainer: Any, _module: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, _trainer: Any, _module: Any, _exception: BaseException) -> None:
        if self.bar is not None:
            self.bar.close()
