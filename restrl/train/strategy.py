"""How the ranks of a run hold and train the weights: all that differs is in the package ``strategies``.

The Lightning modules and the stages do not depend on them.  To add a strategy, write a subclass of
``Strategy`` and add a line to ``STRATEGIES``; its options are keys of ``trainer``.
"""

from __future__ import annotations

from collections.abc import Callable

from restrl.config import TrainerConfig
from restrl.errors import UserError
from restrl.ranks import Ranks
from restrl.train.strategies.base import (
    Replicated,
    Strategy,
    accelerator,
    autocast,
    lightning_precision,
    load_dtype,
    precision,
)

__all__ = [
    "STRATEGIES", "Replicated", "Strategy", "accelerator", "autocast", "build_strategy",
    "lightning_precision", "load_dtype", "precision",
]  # fmt: skip


def _sharded(config: TrainerConfig, ranks: Ranks) -> Strategy:
    from restrl.train.strategies.fsdp2 import Sharded

    return Sharded(config, ranks)


def _zero(stage: int, offload: bool = False) -> Callable[[TrainerConfig, Ranks], Strategy]:
    def build(config: TrainerConfig, ranks: Ranks) -> Strategy:
        from restrl.train.strategies.zero import Zero

        return Zero(config, ranks, stage, offload)

    return build


# each is built on use, because its library takes time to import, or is not installed
STRATEGIES: dict[str, Callable[[TrainerConfig, Ranks], Strategy]] = {
    "auto": Strategy,
    "ddp": Replicated,
    "fsdp2": _sharded,
    "deepspeed_zero2": _zero(2),
    "deepspeed_zero3": _zero(3),
    "deepspeed_zero3_offload": _zero(3, offload=True),
}
ONLY_RANKS = ("ddp", "fsdp2")  # one rank has nothing to average or to divide


def build_strategy(config: TrainerConfig, ranks: Ranks) -> Strategy:
    """The configured strategy.  ``auto``: no strategy for one device, DDP for several.

    Raises UserError for an unknown strategy, and if the number of processes differs from the configured one.
    """
    if config.strategy not in STRATEGIES:
        raise UserError(f"trainer.strategy={config.strategy}: must be one of {', '.join(STRATEGIES)}")
    if (configured := config.devices * config.num_nodes) != ranks.size:
        raise UserError(
            f"trainer.devices={config.devices} on trainer.num_nodes={config.num_nodes} are {configured} "
            f"processes, and {ranks.size} were started"
        )
    name = "ddp" if config.strategy == "auto" and ranks.size > 1 else config.strategy
    if name in ONLY_RANKS and ranks.size == 1:
        name = "auto"
    return STRATEGIES[name](config, ranks)
