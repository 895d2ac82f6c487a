"""Lightning's strategy for DeepSpeed, changed for steps of many forward passes, for CPUs and for checkpoints.

Each place says what it works around (deepspeed 0.19.8, lightning 2.6.6).
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy
from torch import Tensor, distributed, nn

from restrl.train.strategies.base import RanksEnvironment
from restrl.train.strategies.modules import Undivided
from restrl.train.strategies.parts import PartsCheckpoint

MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's state of a weight, besides its count of steps


class AsTheyAre(DeepSpeedPrecision):
    """Converts neither a step's batch, which holds no tensors, nor the module before it is remembered."""

    def convert_input(self, data: Any) -> Any:
        return data

    def convert_module(self, module: nn.Module) -> nn.Module:
        return module


class ZeroLightning(PartsCheckpoint, DeepSpeedStrategy):
    """Lightning's DeepSpeedStrategy, with these differences.

    - It also runs on a CPU (gloo), as a trial without a GPU.  Lightning refuses that in three places: the
      accelerator, the list of devices, and the index of the device.
    - The process group is there already (``restrl.ranks.connect``).
    - The engine holds the PolicyLM or ValueLM, not the Lightning module, and a training step runs outside of
      ``engine.forward``: a step has many forward and backward passes, and DeepSpeed expects one of each.
    - Checkpoints hold whole tensors (``PartsCheckpoint``), weights as float32.
    """

    def __init__(self, settings: dict[str, Any], cluster_environment: RanksEnvironment) -> None:
        super().__init__(
            cluster_environment=cluster_environment, config=settings, logging_level=logging.ERROR
        )
        self._order: list[nn.Parameter] = []  # trained parameters, in the order of AdamW's state
        self._groups: list[dict[str, Any]] = []  # AdamW's groups, as of one process
        self._dtypes: dict[nn.Parameter, torch.dtype] = {}  # of all weights before training
        self._originals: dict[nn.Parameter, Tensor] = {}  # weights that bfloat16 would round
        self._undivided: Undivided | None = None
        self._own_group = False

    # --- start

    def setup_environment(self) -> None:
        DDPStrategy.setup_environment(self)  # not DeepSpeedStrategy's, which refuses a CPU
        self.precision_plugin = AsTheyAre(self.precision_plugin.precision)  # type: ignore[arg-type]

    def setup_distributed(self) -> None:
        import deepspeed

        self.set_world_ranks()
        if not distributed.is_initialized():  # one rank
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if self.root_device.type == "cuda" else "gloo",
                store=torch._C._distributed_c10d.HashStore(), rank=0, world_size=1,
            )  # fmt: skip
            self._own_group = True
            os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed reads it
            deepspeed.comm.comm.cdb = None
        if self.root_device.type == "cpu":
            backend: Any = importlib.import_module("deepspeed.comm.torch")
            backend.build_shm_op = lambda: None  # it takes a minute or two of compiling
        deepspeed.init_distributed(distributed.get_backend(), auto_mpi_discovery=False, verbose=False)

    def _setup_model_and_optimizer(
        self, model: Any, optimizer: Any, lr_scheduler: Any = None
    ) -> tuple[Any, Any]:
        import deepspeed

        del lr_scheduler
        trained: nn.Module = model.model
        state = optimizer.state_dict()
        self._groups = state["param_groups"]
        self._order = [p for group in optimizer.param_groups for p in group["params"]]
        self._undivided = Undivided(trained)
        self._dtypes = {p: p.dtype for p in trained.parameters()}
        if self.precision_plugin.precision == "bf16-mixed":
            self._originals = {p: p.detach().cpu() for p in trained.parameters() if _rounds(p)}
        else:
            trained.float()  # DeepSpeed wants one dtype, also of frozen weights
        engine, zero, _, _ = deepspeed.initialize(
            args=argparse.Namespace(device_rank=self.root_device.index or 0),
            config=self.config,
            model=trained,
            model_parameters=self._order,
            optimizer=optimizer,
            dist_init_required=False,
        )
        trained.register_forward_pre_hook(lambda *_: zero.clear_backward_seen_flag())
        trained.register_forward_hook(lambda _module, _inputs, output: _before_backward(engine, output))
        for parameter in self._order:
            if parameter in self._originals:
                self._set_weight(parameter, self._originals[parameter])
        return engine, zero

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        assert self.lightning_module is not None
        return self.lightning_module.training_step(*args, **kwargs)

    # --- checkpoints

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return DDPStrategy.load_checkpoint(self, checkpoint_path, weights_only)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return self._own((name, self._weight(p)) for name, p in self._named())

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        del strict  # frozen weights are not in the checkpoint
        for name, p in self._named():
            self._set_weight(p, checkpoint["state_dict"][name])

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """As AdamW's of one process."""
        from deepspeed.utils import safe_get_full_optimizer_state

        del optimizer
        _link_moments(self.deepspeed_engine.optimizer)
        steps = [entries["step"] for entries in self._adam.state.values() if "step" in entries]
        state = {
            index: self._own(
                [("step", steps[0]), *((key, safe_get_full_optimizer_state(p, key)) for key in MOMENTS)]
            )
            for index, p in enumerate(self._order if steps else [])
        }
        return {"state": state, "param_groups": self._groups}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        (state,) = checkpoint["optimizer_states"]
        if not state["state"]:
            return
        zero = self.deepspeed_engine.optimizer
        step = state["state"][0]["step"]
        third = hasattr(zero, "fp32_partitioned_groups_flat")
        flat = zero.fp32_partitioned_groups_flat if third else zero.single_partition_of_fp32_groups
        for part in flat:  # DeepSpeed creates them in the first step
            moments = {key: torch.zeros_like(part) for key in MOMENTS}
            self._adam.state[part] = {"step": step.clone().to(part.device), **moments}
        _link_moments(zero)
        for index, p in enumerate(self._order):
            for key in MOMENTS:
                _set_state(p, state["state"][index][key], key)

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        assert self.lightning_module is not None
        return ((name, p) for name, p in self.lightning_module.named_parameters() if p.requires_grad)

    @property
    def _adam(self) -> Any:
        return self.deepspeed_engine.optimizer.optimizer

    # --- weights

    def _weight(self, parameter: Any) -> Tensor:
        """The whole weight of a parameter, float32 if it is trained.  All ranks call it together."""
        import deepspeed
        from deepspeed.utils import safe_get_full_fp32_param

        if parameter.requires_grad:
            return safe_get_full_fp32_param(parameter)  # type: ignore[no-any-return]
        if parameter in self._originals:
            return self._originals[parameter]
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            return parameter.detach().to(self._dtypes[parameter], copy=True)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _set_weight(self, parameter: Any, value: Tensor) -> None:
        import deepspeed

        divided = hasattr(parameter, "ds_id")
        with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0, enabled=divided):
            parameter.data.copy_(value)
        _set_state(parameter, value, None)

    def teardown(self) -> None:
        """Without moving weights to the CPU: DeepSpeed does not expect that."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()
        self.checkpoint_io.teardown()

    def release(self, device: torch.device) -> None:
        """Gives every rank all weights, float32 if they were trained, and frees DeepSpeed's memory."""
        from deepspeed.runtime.zero import parameter_offload

        def whole(parameter: Any) -> nn.Parameter:
            weight = self._weight(parameter).to(device, copy=True)
            return nn.Parameter(weight, requires_grad=parameter.requires_grad)

        assert self._undivided is not None
        engine = self.deepspeed_engine
        self._undivided.restore(whole)
        engine.destroy()
        parameter_offload.FWD_MODULE_STACK.clear()  # would keep the weights alive
        self.optimizers, self._order, self._originals, self._dtypes = [], [], {}, {}
        if self._own_group:
            distributed.destroy_process_group()


def _rounds(parameter: nn.Parameter) -> bool:
    """Whether bfloat16 changes the weight."""
    return not torch.equal(parameter, parameter.to(torch.bfloat16).to(parameter.dtype))


def _link_moments(zero: Any) -> None:
    """Links the moments to the parameters: stage 2 does so after the first group's step, for all groups."""
    if hasattr(zero, "_hp_optimizer_states_linked"):
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()


def _set_state(parameter: Any, value: Tensor, key: str | None) -> None:
    """Sets this rank's part of a float32 weight (``key`` None) or of its moment ``key``."""
    from deepspeed import utils

    value = value.to(torch.float32)
    if not hasattr(parameter, "ds_id"):
        value = value.to(parameter.device)
        if key is None:
            utils.safe_set_full_fp32_param(parameter, value)
        else:
            utils.safe_set_full_optimizer_state(parameter, value, key)
        return
    size = parameter.ds_tensor.ds_numel  # of a part; the last one is padded
    flat = torch.zeros(size * distributed.get_world_size(), dtype=torch.float32, device=value.device)
    flat[: value.numel()] = value.flatten()
    part = flat.narrow(0, size * distributed.get_rank(), size)
    if key is None:
        utils.safe_set_local_fp32_param(parameter, part)
    else:
        utils.safe_set_local_optimizer_state(parameter, part, key)


def _before_backward(engine: Any, output: Any) -> None:
    """What ``engine.forward`` does after a forward pass: hooks that prepare the backward pass."""
    from deepspeed.runtime.utils import register_output_backward_hooks

    if torch.is_grad_enabled():
        register_output_backward_hooks(
            output,
            preprocess_once_fn=engine._backward_prologue,
            preprocess_per_tensor_fn=engine._backward_prologue_per_tensor,
        )
