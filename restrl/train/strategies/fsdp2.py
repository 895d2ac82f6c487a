"""FSDP2: each rank holds a part of every weight, its gradient and its moments (torch's ``fully_shard``).

The unit is a decoder layer: a forward or backward pass holds the whole weights of one or two layers, and of
the embeddings.  Gradients are reduced after each micro-batch, so no rank ever holds all of them.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from restrl.attention import base_of
from restrl.model.save import stored_form
from restrl.train.strategies.base import RanksEnvironment, Strategy


class Sharded(Strategy):
    """Weights, gradients and optimizer are divided among the ranks."""

    _undo: list[tuple[nn.Module, type, Any, Any]]  # of ``wrap``: modules, their classes and hooks

    def lightning(self) -> Any:
        return ShardedLightning(cluster_environment=RanksEnvironment(self.ranks, self.config.devices))

    def wrap(self, module: nn.Module) -> None:
        self._undo = [
            (m, type(m), OrderedDict(m._forward_pre_hooks), OrderedDict(m._forward_hooks))
            for m in module.modules()
        ]
        shard(module, self.ranks.size)

    @contextlib.contextmanager
    def generating(self, module: nn.Module) -> Iterator[None]:
        """Every rank holds all weights during the block: ranks sample different numbers of batches."""
        units = [m for m in module.modules() if isinstance(m, FSDPModule)]
        cast(Any, module)._get_fsdp_state()._lazy_init()  # the outermost module has to be initialised first
        for unit in units:
            unit.unshard()
        try:
            with without_hooks(module):
                yield
        finally:
            for unit in units:
                unit.reshard()

    def place_frozen(self, module: nn.Module, device: torch.device) -> nn.Module:
        if not isinstance(module, FSDPModule):
            shard(module.to(device), self.ranks.size)
        return module

    def backward(self, module: Any, loss: Tensor, last: bool) -> None:
        del last
        module.manual_backward(loss * self.ranks.size)  # reduce-scatter averages gradients

    def clip(self, parameters: Any, limit: float) -> float:
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def named_weights(self, model: Any) -> Iterator[tuple[str, Tensor]]:
        yield from stored_form(base_of(model), _gathered)

    def finish(self, model: nn.Module, device: torch.device) -> None:
        whole = Whole(device)
        for module in model.modules():
            for name, parameter in list(module._parameters.items()):
                if parameter is not None:
                    module._parameters[name] = whole(parameter)
        for module, kind, before, after in self._undo:
            module.__class__ = kind
            module._forward_pre_hooks, module._forward_hooks = before, after
        super().finish(model, device)


class Whole:
    """Divided parameters -> whole ones; a parameter that is used twice stays one parameter."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.known: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}  # id -> (divided, whole)

    def __call__(self, parameter: nn.Parameter) -> nn.Parameter:
        if id(parameter) not in self.known:
            divided: Any = parameter.detach().to(self.device)
            full = divided.full_tensor() if isinstance(divided, DTensor) else divided
            whole = nn.Parameter(full, requires_grad=parameter.requires_grad)
            self.known[id(parameter)] = (parameter, whole)
        return self.known[id(parameter)][1]


@contextlib.contextmanager
def _gathered(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """A block in which these parameters of the model are whole, on every rank."""
    places = [(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
    places = [(module, key) for module, key in places if key in module._parameters]  # the others are buffers
    before = [module._parameters[key] for module, key in places]
    whole = Whole(cast(Any, model).device)
    try:
        for (module, key), parameter in zip(places, before, strict=True):
            assert parameter is not None
            module._parameters[key] = whole(parameter)
        yield
    finally:
        for (module, key), parameter in zip(places, before, strict=True):
            module._parameters[key] = parameter


def shard(module: nn.Module, size: int) -> None:
    """Divides the weights of a PolicyLM or ValueLM among ``size`` ranks, in place."""
    device = next(module.parameters()).device
    mesh = init_device_mesh(device.type, (size,))
    for layer in decoder_layers(module):
        _shard_layer(layer, mesh)
    fully_shard(module, mesh=mesh)


def _shard_layer(layer: nn.Module, mesh: DeviceMesh) -> None:
    fully_shard(layer, mesh=mesh)


def decoder_layers(module: nn.Module) -> list[nn.Module]:
    """The decoder's layers: the members of the ``ModuleList`` that holds most weights."""
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList)]
    return list(max(lists, key=lambda m: sum(p.numel() for p in m.parameters()), default=()))


@contextlib.contextmanager
def without_hooks(module: nn.Module) -> Iterator[None]:
    """A block in which forward passes call no hooks: those of a strategy communicate with other ranks."""
    modules = list(module.modules())
    before = [(m._forward_pre_hooks, m._forward_hooks) for m in modules]
    for m in modules:
        m._forward_pre_hooks, m._forward_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        for m, hooks in zip(modules, before, strict=True):
            m._forward_pre_hooks, m._forward_hooks = hooks


class ShardedLightning(DDPStrategy):
    """Lightning's DDPStrategy without DDP: the module is divided already (``Sharded.wrap``).

    Checkpoints are those of one process: the first rank gathers weights and moments, one tensor at a time, in
    its host memory (12 bytes per trained weight).  So a run may go on with another number of ranks, or with
    another strategy.  Every rank reads such a file through a memory map and keeps its part.
    """

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True

    def configure_ddp(self) -> None:
        pass

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.lightning_module is not None
        return {
            name: self._collected(p)
            for name, p in self.lightning_module.named_parameters()
            if p.requires_grad
        }

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        del strict  # frozen weights are not in the checkpoint
        assert self.lightning_module is not None
        with torch.no_grad():
            for name, p in self.lightning_module.named_parameters():
                if p.requires_grad:
                    p.copy_(_divided(checkpoint["state_dict"][name], p))

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        state = (optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer).state_dict()
        collected = {
            index: {key: self._collected(value) for key, value in entries.items()}
            for index, entries in state["state"].items()
        }
        return {**state, "state": collected}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            divided = {
                index: {key: _divided(value, parameters[index]) for key, value in entries.items()}
                for index, entries in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": divided})

    def _collected(self, value: Any) -> Any:
        """The whole tensor on the first rank's CPU; None on the others."""
        full = value.detach().full_tensor() if isinstance(value, DTensor) else value
        if not self.is_global_zero:
            return None
        return full.detach().cpu() if isinstance(full, Tensor) else full


def _divided(value: Any, parameter: Any) -> Any:
    """This rank's part of a tensor of the parameter's shape; any other value as it is."""
    if not isinstance(parameter, DTensor) or getattr(value, "shape", None) != parameter.shape:
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
