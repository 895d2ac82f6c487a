"""The progress display of a training."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch.callbacks import Callback
from tqdm import tqdm  # type: ignore[import-untyped]

from restrl.progress import ProgressLines


class StepProgress(Callback):
    """Shows the finished steps and the metrics of the last one: a bar on a terminal, lines in a file."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.lines: ProgressLines | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
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
