"""Resource shapes: what a job asks of the cluster, and how restrl divides its work over what it gets.

A shape is a file of ``conf/hydra/launcher/``, so multiruns and pipelines share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from restrl.errors import UserError

CONF = Path(__file__).parents[1] / "conf"
# keys of submitit's executors for any cluster; the others are SLURM's, with a prefix
COMMON = (
    "timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "stderr_to_stdout",
)  # fmt: skip
NOT_RESOLVED = ("_target_", "submitit_folder", "name", "at_a_time")  # they depend on a multirun
NOT_PASSED = (*NOT_RESOLVED, "max_num_timeout")


@dataclass(frozen=True)
class Shape:
    """``parameters``: as in the shape's file, resolved."""

    name: str
    parameters: dict[str, Any]

    @property
    def nodes(self) -> int:
        return int(self.parameters.get("nodes") or 1)

    @property
    def tasks(self) -> int:
        """Processes that SLURM starts on each node."""
        return int(self.parameters.get("tasks_per_node") or 1)

    @property
    def gpus(self) -> int:
        """On each node."""
        return int(self.parameters.get("gpus_per_node") or 0)

    @property
    def devices(self) -> int:
        """Ranks on each node: one for each GPU, or as many as SLURM starts."""
        return self.gpus or self.tasks

    @property
    def requeues(self) -> int:
        """How often a job that ran out of time is queued again."""
        return int(self.parameters.get("max_num_timeout") or 0)

    def text(self) -> str:
        size = f"{self.gpus} GPU{'s' * (self.gpus > 1)}" if self.gpus else "no GPU"
        return f"{self.name} ({self.nodes} nodes x {size})" if self.nodes > 1 else f"{self.name} ({size})"

    def submitit(self) -> dict[str, Any]:
        """The arguments of ``submitit.AutoExecutor.update_parameters``."""
        return {
            key if key in COMMON else f"slurm_{key}": value
            for key, value in self.parameters.items()
            if key not in NOT_PASSED and value is not None
        }

    def trainer(self, strategy: str, accelerator: str) -> list[str]:
        """Overrides of the trainer group.  A strategy needs several ranks, except for ZeRO."""
        if self.devices * self.nodes == 1 and not strategy.startswith("deepspeed"):
            strategy = "auto"
        return [
            f"trainer.accelerator={accelerator}", f"trainer.devices={self.devices}",
            f"trainer.num_nodes={self.nodes}", f"trainer.strategy={strategy}",
        ]  # fmt: skip


def shape_of(name: str, overrides: Sequence[str], changes: Mapping[str, Any]) -> Shape:
    """The shape ``name`` with ``changes``.

    ``overrides``: those of the command, which may set the cluster's partition.  Hydra has to be initialised
    with ``CONF``.  Raises UserError for an unknown name or key.
    """
    if not (CONF / "hydra" / "launcher" / f"{name}.yaml").exists():
        known = sorted(path.stem for path in (CONF / "hydra" / "launcher").glob("*.yaml"))
        raise UserError(f"shape {name}: no such file in conf/hydra/launcher/; there are {', '.join(known)}")
    config = compose("train", [*overrides, f"hydra/launcher={name}"], return_hydra_config=True)
    node = config.hydra.launcher
    parameters = {
        str(key): OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in ((key, node[key]) for key in node if key not in NOT_RESOLVED)
    }
    if unknown := sorted(set(changes) - set(parameters)):
        raise UserError(f"launcher.resources: {unknown[0]}: {name} has {', '.join(sorted(parameters))}")
    return Shape(name, parameters | dict(changes))
