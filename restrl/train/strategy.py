"""How the ranks of a run hold and train the weights: all that differs between strategies is here.

The Lightning modules and the stages know none of it.  A further strategy is a subclass and a line in
``STRATEGIES``; its options are keys of ``trainer``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from restrl.attention import base_of
from restrl.config import LoraConfig, TrainerConfig
from restrl.errors import UserError
from restrl.model.adapters import merged_weights
from restrl.model.load import Dtype, cast_weights
from restrl.ranks import Ranks


class Strategy:
    """One rank, one device: nothing is divided.  The base of the others."""

    gradient_scale = 1.0  # a rank's loss times this: ranks add their gradients, and some strategies average

    def __init__(self, config: TrainerConfig, ranks: Ranks) -> None:
        self.config = config
        self.ranks = ranks

    def lightning(self) -> Any:
        """What Lightning's Trainer takes as ``strategy``."""
        return "auto"

    def prepare(self, model: Any) -> None:
        """Brings the weights into the dtype that they are trained in (master weights), in place.

        It comes before anything is computed with them.  ``bf16-true``: all are bfloat16.  Otherwise those
        that are trained are float32, and frozen ones stay what they are.
        """
        if precision(self.config) == "bf16-true":
            cast_weights(model, torch.bfloat16)
        else:
            cast_weights(model, torch.float32, frozen=False)

    def wrap(self, module: nn.Module) -> None:
        """Divides the weights of a PolicyLM or ValueLM among the ranks, in place, when training begins."""

    def generating(self, module: nn.Module) -> contextlib.AbstractContextManager[None]:
        """A block in which an engine that shares the module may sample from it, without other ranks."""
        del module
        return contextlib.nullcontext()

    def place_frozen(self, module: nn.Module, device: torch.device) -> nn.Module:
        """A module that is only read, such as the reference policy, where it is used from."""
        return module.to(device)

    @contextlib.contextmanager
    def accumulating(self, trainer: Any, last: bool) -> Iterator[None]:
        """Around one of a step's backward passes; ``last``: after it the gradient is that of all ranks."""
        del trainer, last
        yield

    def clip(self, parameters: Iterable[nn.Parameter], limit: float) -> float:
        """Scales the gradient down to the norm ``limit``; returns its norm before, over all ranks."""
        return float(torch.nn.utils.clip_grad_norm_(parameters, limit))

    def named_weights(self, model: Any) -> Iterator[tuple[str, torch.Tensor]]:
        """The whole weights of a causal LM, adapters merged, for an engine that has its own.

        On every rank; they are gathered when they are asked for, not before.
        """
        yield from merged_weights(base_of(model)).items()

    def finish(self, model: nn.Module, device: torch.device) -> None:
        """After training: every rank has all the weights, in evaluation mode, ready to be used and saved."""
        model.to(device).eval()  # Lightning leaves it on the CPU


class Replicated(Strategy):
    """Each rank holds all the weights, and the ranks average their gradients (DDP)."""

    def __init__(self, config: TrainerConfig, ranks: Ranks) -> None:
        super().__init__(config, ranks)
        self.gradient_scale = float(ranks.size)

    def lightning(self) -> Any:
        return DDPStrategy(
            cluster_environment=RanksEnvironment(self.ranks, self.config.devices),
            find_unused_parameters=self.config.find_unused,
            gradient_as_bucket_view=True,  # no second copy of the gradient
        )

    @contextlib.contextmanager
    def accumulating(self, trainer: Any, last: bool) -> Iterator[None]:
        with contextlib.nullcontext() if last else trainer.strategy.block_backward_sync():
            yield


class RanksEnvironment(ClusterEnvironment):
    """Tells Lightning who this process is; it started before Lightning, which must start nothing."""

    def __init__(self, ranks: Ranks, devices: int) -> None:
        """``devices``: processes of each machine."""
        super().__init__()
        self.ranks = ranks
        self.devices = devices

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return os.environ["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        return int(os.environ["MASTER_PORT"])

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.ranks.size

    def set_world_size(self, size: int) -> None:
        del size

    def global_rank(self) -> int:
        return self.ranks.rank

    def set_global_rank(self, rank: int) -> None:
        del rank

    def local_rank(self) -> int:
        return self.ranks.local

    def node_rank(self) -> int:
        return self.ranks.rank // self.devices


STRATEGIES: dict[str, type[Strategy]] = {"auto": Strategy, "ddp": Replicated}


def build_strategy(config: TrainerConfig, ranks: Ranks) -> Strategy:
    """The configured strategy.  ``auto``: one device alone, several by DDP.

    Raises UserError for one that does not exist, and where other processes than the configured ones run.
    """
    if config.strategy not in STRATEGIES:
        raise UserError(f"trainer.strategy={config.strategy}: must be one of {', '.join(STRATEGIES)}")
    if (wanted := config.devices * config.num_nodes) != ranks.size:
        raise UserError(
            f"trainer.devices={config.devices} on trainer.num_nodes={config.num_nodes} are {wanted} "
            f"processes, and {ranks.size} were started"
        )
    name = "ddp" if config.strategy == "auto" and ranks.size > 1 else config.strategy
    if name == "ddp" and ranks.size == 1:
        name = "auto"  # nothing to average
    return STRATEGIES[name](config, ranks)


def accelerator(config: TrainerConfig) -> str:
    """gpu or cpu.  Raises UserError where a GPU is asked for and none is visible."""
    if config.accelerator == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if config.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator=gpu: no GPU is visible here; use trainer=auto or trainer=cpu")
    return config.accelerator


def precision(config: TrainerConfig) -> str:
    """auto: fp32 on a CPU, where bf16 is no faster; bf16 with fp32 weights on a GPU, so that a small learning
    rate is not rounded away."""
    if config.precision != "auto":
        return config.precision
    return "bf16-mixed" if accelerator(config) == "gpu" else "32-true"


def lightning_precision(config: TrainerConfig) -> Any:
    """Lightning's own bf16-true makes bfloat16 the default dtype of a step: of temperatures, rewards and
    advantages too.  The weights are bfloat16 already (``Strategy.prepare``), and nothing else has to be.
    """
    return "bf16-mixed" if precision(config) == "bf16-mixed" else "32-true"


def load_dtype(config: TrainerConfig, lora: LoraConfig) -> Dtype:
    """What a model that is about to be trained is loaded in, so that no digit of a saved policy is lost.

    Adapters leave the weights below them frozen, and those stay as they are stored.
    """
    if precision(config) == "bf16-true":
        return torch.bfloat16
    return torch.float32 if lora.r is None else "auto"


def autocast(config: TrainerConfig, device: torch.device) -> torch.autocast:
    """The precision of the training steps, for what is computed with the same weights outside of them."""
    mixed = precision(config) == "bf16-mixed"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed, cache_enabled=False)
