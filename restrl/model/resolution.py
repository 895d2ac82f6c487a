"""How much of an update a dtype resolves: what a policy that samples in bfloat16 shows of its training.

The weights of a published checkpoint are bfloat16 numbers.  Where one moves by less than half the way to the
next, rounding takes it back: samples show nothing of the update, all of which the saved float32 weights hold.
Weights that lie between two numbers cross the border now and then, by a whole step: on average over many of
them such an update is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from restrl.model.adapters import adapter_delta, adapter_layers


def resolved_share(pairs: Iterator[tuple[Tensor, Tensor]], dtype: torch.dtype) -> float | None:
    """<round(new) - round(old), new - old> / |new - old|^2 over all weights; None where nothing moved.

    ``pairs``: (old, new), one weight matrix after the other.  1: all of the update is seen in ``dtype``; 0:
    none of it; by chance a little below 0 or above 1.
    """
    seen = total = 0.0
    for old, new in pairs:
        update = new.float() - old.float()
        rounded = new.to(dtype).float() - old.to(dtype).float()
        seen += float((rounded * update).sum(dtype=torch.float64))
        total += float((update * update).sum(dtype=torch.float64))
    return seen / total if total > 0 else None


def updated_weights(model: Any, start: Callable[[], Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """(old, new) of every weight that was trained, a pair at a time.

    Adapters: the frozen weight, and the same with their product added.  Else ``start()`` is called for the
    model as it was, with the same names and without adapters, on the CPU.
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
