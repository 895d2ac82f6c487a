"""The optimizer of both trainings: AdamW, with weight decay only on matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def adamw(parts: Sequence[nn.Module], weight_decay: float) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101) over the trained parameters of ``parts``, with two groups for each part.

    The first group of a part holds its matrices, the second its norms and biases.  Parameters with one
    dimension do not decay, because shrinking them does not make a model simpler.  A group may be empty.  The
    learning rates are 0 until ``StepModule.apply_update`` sets one per group.
    """
    groups = []
    for part in parts:
        trained = [p for p in part.parameters() if p.requires_grad]
        groups.append({"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay})
        groups.append({"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=0.0, fused=True)
