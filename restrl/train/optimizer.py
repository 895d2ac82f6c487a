"""The optimizer of both trainings: AdamW, with weight decay only on matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def adamw(parts: Sequence[nn.Module], weight_decay: float) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101) over the trained parameters of ``parts``, with up to two groups for each part.

    One group of a part holds its matrices, the other its norms and biases.  Parameters with one dimension do
    not decay, because shrinking them does not make a model simpler.  ``part`` of a group is the index of its
    part.  The learning rates are 0 until ``StepModule.apply_update`` sets one per part.
    """
    groups = []
    for index, part in enumerate(parts):
        trained = [p for p in part.parameters() if p.requires_grad]
        for matrices, decay in ((True, weight_decay), (False, 0.0)):
            # not empty: a strategy flattens the parameters of a group
            if chosen := [p for p in trained if (p.ndim > 1) == matrices]:
                groups.append({"params": chosen, "weight_decay": decay, "part": index})
    return torch.optim.AdamW(groups, lr=0.0, fused=True)
