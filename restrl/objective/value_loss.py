"""What a value model says of packed states, and the loss against their targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from restrl.objective.tree_attention import tree_hidden
from restrl.objective.tree_packing import TokenTree, TreeBatch, pack_trees, tree_batches


def state_values(decoder: Any, head: torch.nn.Linear, batch: TreeBatch) -> Tensor:
    """[S] float32 values of the batch's states, with gradient; ``batch`` lies on the model's device.

    One label: the head's output as it is, which nothing bounds.  Two labels: the probability of the second,
    in (0, 1).
    """
    return head_values(state_outputs(decoder, head, batch))


def state_outputs(decoder: Any, head: torch.nn.Linear, batch: TreeBatch) -> Tensor:
    """[S, 1 or 2] the head's outputs for the batch's states, with gradient."""
    return head_outputs(head, state_hidden(decoder, batch))


def state_hidden(decoder: Any, batch: TreeBatch) -> Tensor:
    """[S, H] the decoder's last hidden states at the states' ends."""
    return tree_hidden(decoder, batch.ids, batch.positions, batch.layout)[batch.ends]


def head_outputs(head: torch.nn.Linear, hidden: Tensor) -> Tensor:
    """[S, 1 or 2] the head's outputs for ``hidden`` [S, H], in the precision of the head.

    The decoder may compute in bfloat16 beside a float32 head: near 1, bfloat16 values are 0.004 apart.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        outputs: Tensor = head(hidden.to(head.weight.dtype))
    return outputs


def head_values(logits: Tensor) -> Tensor:
    """[S] float32 values from the head's outputs [S, 1 or 2]."""
    logits = logits.float()
    if logits.shape[-1] == 1:
        return logits[:, 0]
    return torch.sigmoid(logits[:, 1] - logits[:, 0])  # softmax of two, its second entry


@dataclass(frozen=True)
class ValueSums:
    """Sums over states, so that the numbers of micro-batches add up."""

    states: int = 0
    weight: float = 0.0
    squared: float = 0.0  # weighted squared errors
    loss: float = 0.0  # weighted losses
    predicted: float = 0.0

    def __add__(self, other: ValueSums) -> ValueSums:
        return ValueSums(
            self.states + other.states,
            self.weight + other.weight,
            self.squared + other.squared,
            self.loss + other.loss,
            self.predicted + other.predicted,
        )

    def means(self) -> dict[str, float]:
        """loss and mse (weighted; the same for one output) and value_mean (not weighted)."""
        return {
            "loss": self.loss / max(self.weight, 1e-12),
            "mse": self.squared / max(self.weight, 1e-12),
            "value_mean": self.predicted / max(self.states, 1),
        }


def value_loss(
    outputs: Tensor, targets: Tensor, weights: Tensor, normalizer: float
) -> tuple[Tensor, ValueSums]:
    """sum_i w_i loss_i / normalizer, from the head's ``outputs`` [S, 1 or 2]; the rest is [S].

    One output v: (v_i - y_i)^2 (ReST-RL, arXiv 2508.19576, section 3.2: MSE).  Two outputs z: the
    cross-entropy of their softmax with the value as a soft label, which is
    -y_i log sigma(z1 - z0) - (1 - y_i) log sigma(z0 - z1).

    ``normalizer`` is the weight of the *whole* step, so the gradients of any split into micro-batches add up
    to the same sum.
    """
    outputs = outputs.float()
    values = head_values(outputs)
    squared = (values - targets).square()
    if outputs.shape[-1] == 1:
        losses = squared
    else:
        margins = outputs[:, 1] - outputs[:, 0]
        losses = functional.binary_cross_entropy_with_logits(margins, targets, reduction="none")
    total = (weights * losses).sum()
    sums = ValueSums(
        states=len(values),
        weight=float(weights.sum()),
        squared=float((weights * squared.detach()).sum()),
        loss=float(total.detach()),
        predicted=float(values.detach().sum()),
    )
    return total / normalizer, sums


@torch.no_grad()
def predict_values(
    decoder: Any, head: torch.nn.Linear, trees: Sequence[TokenTree], budget: int
) -> list[list[float]]:
    """For each tree the values of its states, in batches of at most ``budget`` tokens (see ``state_values``).

    The model is used in the mode that it is in, where it is.
    """
    values: list[list[float]] = [[math.nan] * len(tree.states) for tree in trees]
    for pieces in tree_batches(trees, budget):
        found = iter(state_values(decoder, head, pack_trees(trees, pieces).to(head.weight.device)).tolist())
        for piece in pieces:
            for state in piece.states:
                values[piece.tree][state] = next(found)
    return values
