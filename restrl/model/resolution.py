"""The share of an update that a dtype resolves: how much of its training a policy shows in bfloat16.

The weights of a published checkpoint are bfloat16 numbers.  If an update moves a weight by less than half the
distance to the next bfloat16 number, rounding undoes it: the saved float32 weights hold the update, but
samples in bfloat16 do not show it.  Weights between two bfloat16 numbers sometimes cross the rounding
boundary and change by a whole step, so on average over many such weights an update is visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from restrl.model.adapters import adapter_delta, adapter_layers


def resolved_share(pairs: Iterator[tuple[Tensor, Tensor]], dtype: torch.dtype) -> float | None:
    """<round(new) - round(old), new - old> / |new - old|^2 over all weights; None if nothing changed.

    ``pairs``: (old, new) weight matrices.  1: the whole update is visible in ``dtype``; 0: nothing of it.  By
    chance the result can be slightly below 0 or above 1.
    """
    visible = total = 0.0
    for old, new in pairs:
        update = new.float() - old.float()
        rounded = new.to(dtype).float() - old.to(dtype).float()
        visible += float((rounded * update).sum(dtype=torch.float64))
        total += float((update * update).sum(dtype=torch.float64))
    return visible / total if total > 0 else None


def updated_weights(model: Any, start: Callable[[], Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (old, new) for every trained weight.

    For adapters: the frozen weight, and that weight plus the product of the adapters.  Otherwise ``start()``
    loads the model before training, with the same names and without adapters, on the CPU.
    """
    layers = adapter_layers(model)
    for layer in layers.values():
        old = layer.get_base_layer().weight.detach().float()
        yield old, old + adapter_delta(layer)
    trained = {
        name: weight.detach()
        for name, weight in model.named_parameters()
        if weight.requires_grad and ".lora_" not in name
    }
    if trained:
        before = dict(start().named_parameters())
        for name, new in trained.items():
            yield before[name].detach().to(new.device), new
