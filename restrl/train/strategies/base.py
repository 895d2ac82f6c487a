"""What a strategy has to do: the base class for one rank, DDP, and the precision of training."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from restrl.attention import base_of
from restrl.config import LoraConfig, TrainerConfig
from restrl.model.load import Dtype, cast_weights
from restrl.model.save import stored_form
from restrl.ranks import Ranks


class Strategy:
    """One rank, one device: nothing is divided.  The base class of the other strategies."""

    def __init__(self, config: TrainerConfig, ranks: Ranks) -> None:
        self.config = config
        self.ranks = ranks

    def lightning(self) -> Any:
        """The ``strategy`` argument of Lightning's Trainer."""
        return "auto"

    def prepare(self, model: Any) -> None:
        """Casts the weights to the dtype of training (master weights), in place.

        Call it before any computation with the weights.  With ``bf16-true`` all weights become bfloat16.
        Otherwise trained weights become float32, and frozen weights keep their dtype.
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
        """Moves a module that is not trained, such as the reference policy, to the device that uses it."""
        return module.to(device)

    def backward(self, module: Any, loss: torch.Tensor, last: bool) -> None:
        """Adds the gradient of a micro-batch; ``module`` is the Lightning module.

        After the ``last`` micro-batch of an update, gradients are the sums over all ranks.
        """
        del last
        module.manual_backward(loss)

    def update(self, optimizer: Any, limit: float | None, usable: bool) -> float:
        """Clips the gradient to the norm ``limit`` (None: not), makes an optimizer step, drops the gradient.

        Returns the norm before clipping, over all ranks.  If it is not finite, or not ``usable``, weights and
        optimizer do not change.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = self.clip(parameters, math.inf if limit is None else limit)
        if usable and math.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm

    def clip(self, parameters: Iterable[nn.Parameter], limit: float) -> float:
        """Clips the gradient to the norm ``limit``; returns its norm before clipping, over all ranks."""
        return float(torch.nn.utils.clip_grad_norm_(parameters, limit))

    def named_weights(self, model: Any) -> Iterator[tuple[str, torch.Tensor]]:
        """The full weights of a causal LM as they would be saved, for an engine with separate weights.

        Every rank iterates over them; each tensor is gathered only when the iteration reaches it.
        """
        yield from stored_form(base_of(model))

    def finish(self, model: nn.Module, device: torch.device) -> None:
        """After training: gives every rank all weights, in evaluation mode, ready to be used and saved."""
        model.to(device).eval()  # Lightning leaves it on the CPU


class Replicated(Strategy):
    """Each rank holds all weights, and the ranks average their gradients (DDP)."""

    def lightning(self) -> Any:
        return DDPStrategy(
            cluster_environment=RanksEnvironment(self.ranks, self.config.devices),
            find_unused_parameters=self.config.find_unused,
            gradient_as_bucket_view=True,  # no second copy of the gradient
        )

    def backward(self, module: Any, loss: torch.Tensor, last: bool) -> None:
        local = contextlib.nullcontext() if last else module.trainer.strategy.block_backward_sync()
        with local:
            module.manual_backward(loss * self.ranks.size)  # DDP averages gradients


class RanksEnvironment(ClusterEnvironment):
    """Tells Lightning its rank.  All ranks run already, so Lightning must not start processes."""

    def __init__(self, ranks: Ranks, devices: int) -> None:
        """``devices``: number of processes on each machine."""
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


def accelerator(config: TrainerConfig) -> str:
    """gpu or cpu; a configured GPU need not be visible."""
    if config.accelerator == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    return config.accelerator


def precision(config: TrainerConfig) -> str:
    """The precision of training.

    auto: fp32 on a CPU, where bf16 is not faster; on a GPU bf16 with fp32 weights, so that updates with a
    small learning rate are not lost to rounding.
    """
    if config.precision != "auto":
        return config.precision
    return "bf16-mixed" if accelerator(config) == "gpu" else "32-true"


def lightning_precision(config: TrainerConfig) -> Any:
    """The ``precision`` argument of Lightning's Trainer.

    It is never Lightning's bf16-true, which makes bfloat16 the default dtype in a step, also for
    temperatures, rewards and advantages.  ``Strategy.prepare`` has cast the weights, and nothing else has to
    be bfloat16.
    """
    return "bf16-mixed" if precision(config) == "bf16-mixed" else "32-true"


def load_dtype(config: TrainerConfig, lora: LoraConfig) -> Dtype:
    """The dtype in which a model is loaded for training, such that a saved policy loses no precision.

    With adapters the weights of the base model are frozen, so they keep the dtype in which they are stored.
    """
    if precision(config) == "bf16-true":
        return torch.bfloat16
    return torch.float32 if lora.r is None else "auto"


def autocast(config: TrainerConfig, device: torch.device) -> torch.autocast:
    """The precision of the training steps, for computations with the same weights outside of a step."""
    mixed = precision(config) == "bf16-mixed"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed, cache_enabled=False)
