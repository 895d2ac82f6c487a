"""The loggers and callbacks of the configuration: classes of Lightning or of other libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from restrl.errors import UserError

Node = Mapping[str, Any]

TENSORBOARD: Node = {
    "_target_": "lightning.pytorch.loggers.TensorBoardLogger",
    "save_dir": None,
    "name": "",
    "version": "tensorboard",
    "purge_step": None,
}


PROGRESS: Node = {"_target_": "restrl.train.callbacks.StepProgress"}


@dataclass(frozen=True)
class Extras:
    """The groups ``logger`` and ``callbacks``: name -> a node with ``_target_`` for Hydra to instantiate.

    In a logger, ``save_dir: null`` means the folder of the training step.
    """

    loggers: Mapping[str, Node] = field(default_factory=lambda: {"tensorboard": TENSORBOARD})
    callbacks: Mapping[str, Node] = field(default_factory=lambda: {"progress": PROGRESS})

    def check(self, folder: Path) -> None:
        """Builds everything once: what cannot be built is found before anything is sampled for the training.

        Lightning's loggers write nothing before their first number.  Raises UserError.
        """
        self.build_callbacks()
        self.build_loggers(folder, 0)

    def build_loggers(self, folder: Path, done: int) -> list[Any]:
        """``done``: number of steps done before.  Raises UserError for a node that cannot be instantiated."""
        return [
            _build(f"logger.{name}", node, _resolved(node, folder, done))
            for name, node in self.loggers.items()
        ]

    def build_callbacks(self) -> list[Any]:
        """Raises UserError for a node that cannot be instantiated."""
        return [_build(f"callbacks.{name}", node, {}) for name, node in self.callbacks.items()]


def _resolved(node: Node, folder: Path, done: int) -> dict[str, Any]:
    """The values for keys of the node that are null because they depend on the run."""
    values: dict[str, Any] = {}
    if "save_dir" in node and node["save_dir"] is None:
        values["save_dir"] = str(folder)
    if "purge_step" in node and node["purge_step"] is None:
        values["purge_step"] = done + 1  # TensorBoard drops later steps, which will run again
    return values


def _build(key: str, node: Node, more: Mapping[str, Any]) -> Any:
    try:
        return instantiate({**node, **more})
    except (InstantiationException, ImportError, TypeError, ValueError) as error:
        cause = error.__cause__ or error
        raise UserError(f"{key}: {' '.join(str(cause).split())}") from error
