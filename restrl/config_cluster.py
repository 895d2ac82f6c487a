"""The typed schema of the cluster group; ``restrl/config.py`` has the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from restrl.config_fields import limits as _limits


@dataclass
class ClusterConfig:
    """What a site's SLURM wants of every job.  Only the shapes in ``conf/hydra/launcher/`` read it."""

    partition: str | None = None
    cpu_partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    timeout_min: int = _limits(1440, ge=11)  # below, submitit takes a preemption for the end of the time
    setup: list[str] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)  # of sbatch
