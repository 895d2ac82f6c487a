"""Low-rank adapters (LoRA, arXiv 2106.09685), and weights with adapters merged."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from restrl.config import LoraConfig
from restrl.errors import UserError


def add_lora(model: Any, config: LoraConfig, seed: int = 0) -> Any:
    """``model`` with trainable adapters (LoRA, arXiv 2106.09685) and everything else frozen.

    The adapters are put into ``model`` itself, so an engine that holds the model samples with them.  ``seed``
    decides their random half; the other half is zero, so the model's outputs do not change.
    """
    import peft

    assert config.r is not None, "no adapters are asked for"

    settings = peft.LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # a float does as well
        lora_dropout=config.dropout,
        target_modules=config.target_modules,
        task_type="CAUSAL_LM",
    )
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            return peft.get_peft_model(model, settings)
        except ValueError as error:
            raise UserError(f"model.lora.target_modules={config.target_modules}: {error}") from error


def merged_weights(base: Any, names: Collection[str] | None = None) -> dict[str, torch.Tensor]:
    """The weights of a model with the product of its adapters, if any, added to them: W + scale x B A.

    ``names``: of the entries of its ``state_dict`` to take, a weight with its adapters; None: all.  Merged
    weights are float32 on the CPU, because rounding to bfloat16 would lose most of the adapters.
    """
    weights = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in base.state_dict().items()
        if ".lora_" not in name and (names is None or name in names)
    }
    layers = adapter_layers(base)
    if layers:
        weights = {name: tensor.cpu().float() for name, tensor in weights.items()}
    for name, layer in layers.items():
        if f"{name}.weight" in weights:
            weights[f"{name}.weight"] = weights[f"{name}.weight"] + adapter_delta(layer).cpu()
    return weights


def adapter_layers(model: Any) -> dict[str, Any]:
    """The layers with adapters, by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


@torch.no_grad()
def adapter_delta(layer: Any) -> torch.Tensor:
    """The product of the layer's adapters, which is added to its weight: scale x B A, float32."""
    deltas = [layer.get_delta_weight(adapter).float() for adapter in layer.active_adapters]
    return torch.stack(deltas).sum(0)
