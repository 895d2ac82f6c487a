"""FSDP2: each rank holds a part of every weight, its gradient and its moments (torch's ``fully_shard``).

The unit is a decoder layer: a forward or backward pass holds the whole weights of one or two layers, and of
the embeddings.  Gradients are reduced after each micro-batch, so no rank ever holds all of them.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from restrl.attention import base_of
from restrl.config import TrainerConfig
from restrl.model.save import stored_form
from restrl.ranks import Ranks
from restrl.train.strategies.base import RanksEnvironment, Strategy
from restrl.train.strategies.modules import Undivided, decoder_layers, places_of, without_hooks
from restrl.train.strategies.parts import PartsCheckpoint


class Sharded(Strategy):
    """Weights, gradients and optimizer are divided among the ranks."""

    def __init__(self, config: TrainerConfig, ranks: Ranks) -> None:
        super().__init__(config, ranks)
        self._undivided: Undivided | None = None  # what ``wrap`` changed

    def lightning(self) -> Any:
        return ShardedLightning(cluster_environment=RanksEnvironment(self.ranks, self.config.devices))

    def wrap(self, module: nn.Module) -> None:
        self._undivided = Undivided(module)
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
        frozen_shard(module, device, self.ranks.size)
        return module

    def backward(self, module: Any, loss: Tensor, last: bool) -> None:
        del last
        module.manual_backward(loss * self.ranks.size)  # reduce-scatter averages gradients

    def clip(self, parameters: Any, limit: float) -> float:
        return float(_full(torch.nn.utils.clip_grad_norm_(parameters, limit)))

    def named_weights(self, model: Any) -> Iterator[tuple[str, Tensor]]:
        yield from stored_form(base_of(model), _gathered)

    def finish(self, model: nn.Module, device: torch.device) -> None:
        def whole(parameter: Any) -> nn.Parameter:
            return nn.Parameter(_full(parameter.detach().to(device)), requires_grad=parameter.requires_grad)

        assert self._undivided is not None
        self._undivided.restore(whole)
        super().finish(model, device)


def frozen_shard(
    module: nn.Module, device: torch.device, size: int, dtype: torch.dtype | None = None
) -> None:
    """Divides a module that is not trained, in the first call; it is called before each forward pass."""
    if not isinstance(module, FSDPModule):
        shard(module.to(device, dtype), size)
    cast(Any, module)._get_fsdp_state()._lazy_init()
    for unit in module.modules():
        if isinstance(unit, FSDPModule):  # a list of forward passes that only a backward pass empties
            for group in cast(Any, unit)._get_fsdp_state()._fsdp_param_groups:
                group.comm_ctx.post_forward_order.clear()
                group._post_forward_indices.clear()


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@contextlib.contextmanager
def _gathered(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """A block in which these parameters of the model are whole, on every rank."""
    places = places_of(model, names)
    divided = [owner._parameters[key] for owner, key in places]
    try:
        for (owner, key), parameter in zip(places, divided, strict=True):
            assert parameter is not None
            owner._parameters[key] = nn.Parameter(_full(parameter.detach()), requires_grad=False)
        yield
    finally:
        for (owner, key), parameter in zip(places, divided, strict=True):
            owner._parameters[key] = parameter


def shard(module: nn.Module, size: int) -> None:
    """Divides the weights of a PolicyLM or ValueLM among ``size`` ranks, in place."""
    device = next(module.parameters()).device
    mesh = init_device_mesh(device.type, (size,))
    for layer in decoder_layers(module):
        _shard_odd(layer, mesh)
        fully_shard(layer, mesh=mesh)
    _shard_odd(module, mesh)
    fully_shard(module, mesh=mesh)


def _shard_odd(module: nn.Module, mesh: DeviceMesh) -> None:
    """Divides those modules by themselves whose trained weights have another dtype than most.

    Of one unit they have to be equal; the head of a value model is float32 even with ``bf16-true``.
    """
    trained = {
        m: [p for p in m.parameters(recurse=False) if p.requires_grad]
        for m in module.modules()
        if not isinstance(m, FSDPModule)
    }
    dtypes = Counter(p.dtype for own in trained.values() for p in own if not isinstance(p, DTensor))
    for m, own in trained.items():
        if any(p.dtype != dtypes.most_common(1)[0][0] for p in own if not isinstance(p, DTensor)):
            fully_shard(m, mesh=mesh)


class ShardedLightning(PartsCheckpoint):
    """Lightning's DDPStrategy without DDP: the module is divided already (``Sharded.wrap``)."""

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True

    def configure_ddp(self) -> None:
        pass

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.lightning_module is not None
        trained = ((name, p) for name, p in self.lightning_module.named_parameters() if p.requires_grad)
        return self._own((name, _full(p)) for name, p in trained)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        del strict  # frozen weights are not in the checkpoint
        assert self.lightning_module is not None
        with torch.no_grad():
            for name, p in self.lightning_module.named_parameters():
                if p.requires_grad:
                    p.copy_(_divided(checkpoint["state_dict"][name], p))

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        state = getattr(optimizer, "_optimizer", optimizer).state_dict()  # Lightning wraps it
        own = {
            index: self._own((key, _full(value)) for key, value in entries.items())
            for index, entries in state["state"].items()
        }
        return {**state, "state": own}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            divided = {
                index: {key: _divided(value, parameters[index]) for key, value in entries.items()}
                for index, entries in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": divided})


def _divided(value: Any, parameter: Any) -> Any:
    """This rank's part of a tensor of the parameter's shape; any other value as it is."""
    if not isinstance(parameter, DTensor) or getattr(value, "shape", None) != parameter.shape:
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
