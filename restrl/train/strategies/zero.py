"""DeepSpeed's ZeRO: stage 2 divides gradients and optimizer among the ranks, stage 3 the weights too.

The library is imported on use only.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from restrl.attention import base_of
from restrl.config import TrainerConfig
from restrl.errors import UserError
from restrl.model.save import stored_form
from restrl.ranks import Ranks
from restrl.train.strategies.base import RanksEnvironment, Strategy, accelerator, precision
from restrl.train.strategies.fsdp2 import frozen_shard
from restrl.train.strategies.modules import places_of, without_hooks
from restrl.train.strategies.zero_lightning import ZeroLightning


class Zero(Strategy):
    """ZeRO stage 2 or 3, the latter also with weights and optimizer in the host's memory."""

    def __init__(self, config: TrainerConfig, ranks: Ranks, stage: int, offload: bool = False) -> None:
        """Raises UserError where DeepSpeed is not installed, and for a precision that it does not have."""
        super().__init__(config, ranks)
        if find_spec("deepspeed") is None:
            raise UserError(
                f"trainer.strategy={config.strategy}: DeepSpeed is not installed; "
                f"install it: {sys.executable} -m pip install deepspeed==0.19.8"
            )
        if precision(config) == "bf16-true":
            raise UserError(
                f"trainer.precision=bf16-true: DeepSpeed keeps float32 weights beside bfloat16 ones; use "
                f"trainer.precision=bf16-mixed with trainer.strategy={config.strategy}"
            )
        self.stage, self.offload = stage, offload
        self.mixed = precision(config) == "bf16-mixed"
        self._lightning: ZeroLightning | None = None
        if accelerator(config) == "cpu":
            os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else it takes a GPU where there is one
        deprecated = "`torch.distributed.*is deprecated"  # functions that DeepSpeed calls
        warnings.filterwarnings("ignore", message=deprecated, category=FutureWarning)

    def lightning(self) -> Any:
        environment = RanksEnvironment(self.ranks, self.config.devices)
        self._lightning = ZeroLightning(self._settings(), cluster_environment=environment)
        return self._lightning

    def _settings(self) -> dict[str, Any]:
        """DeepSpeed's configuration."""
        zero: dict[str, Any] = {
            "stage": self.stage,
            "contiguous_gradients": True,
            "overlap_comm": accelerator(self.config) == "gpu",
            "stage3_param_persistence_threshold": 0,  # else it leaves small weights whole
        }
        if self.offload:
            zero |= {"offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}}
        return {
            "train_micro_batch_size_per_gpu": 1,  # only for its own speed report
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,  # torch's fused AdamW needs no compiler
            "zero_optimization": zero,
        }

    def generating(self, module: nn.Module) -> contextlib.AbstractContextManager[None]:
        """Every rank holds all weights during the block: ranks sample different numbers of batches."""
        return self._whole(module, list(module.parameters()))

    def place_frozen(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Stage 3 divides it as FSDP2 does; DeepSpeed would need a second engine for it."""
        dtype = torch.bfloat16 if self.mixed else None  # as the policy computes
        if self.stage == 3 and self.ranks.size > 1:
            frozen_shard(module, device, self.ranks.size, dtype)
            return module
        return module.to(device, dtype)

    def backward(self, module: Any, loss: Tensor, last: bool) -> None:
        engine = self._engine
        engine.set_gradient_accumulation_boundary(last)
        # DeepSpeed averages gradients over ranks, and over micro-batches if it is not told otherwise
        module.manual_backward(loss * self.ranks.size, scale_wrt_gas=False)

    def update(self, optimizer: Any, limit: float | None, usable: bool) -> float:
        zero = self._engine.optimizer
        zero.clip_grad = limit or 0.0
        with contextlib.nullcontext() if usable else _unusable(zero):
            optimizer.step()  # skipped by DeepSpeed itself if the norm is not finite
        return float("inf") if zero.overflow else float(zero._global_grad_norm)

    def named_weights(self, model: Any) -> Iterator[tuple[str, Tensor]]:
        def gathered(part: nn.Module, names: Sequence[str]) -> contextlib.AbstractContextManager[None]:
            return self._whole(part, [getattr(owner, key) for owner, key in places_of(part, names)])

        yield from stored_form(base_of(model), gathered)

    def finish(self, model: nn.Module, device: torch.device) -> None:
        assert self._lightning is not None
        self._lightning.release(device)
        super().finish(model, device)

    @property
    def _engine(self) -> Any:
        assert self._lightning is not None
        return self._lightning.deepspeed_engine

    @contextlib.contextmanager
    def _whole(self, module: nn.Module, parameters: Sequence[Any]) -> Iterator[None]:
        """A block in which these parameters are whole on every rank, and forward passes are local."""
        import deepspeed

        divided = [p for p in parameters if hasattr(p, "ds_id")]
        with deepspeed.zero.GatheredParameters(divided, enabled=bool(divided)), without_hooks(module):
            yield


@contextlib.contextmanager
def _unusable(zero: Any) -> Iterator[None]:
    """A block in which DeepSpeed drops the gradient: it takes its norm for infinite."""
    infinite = torch.tensor(float("inf"))
    zero.scaled_global_norm = lambda: infinite  # of stage 2
    zero._get_norm_groups = lambda: [infinite]  # of stage 3
    try:
        yield
    finally:
        del zero.scaled_global_norm, zero._get_norm_groups
