"""The values from the outputs of a value head, and their loss against the targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


def head_values(logits: Tensor) -> Tensor:
    """[S] float32 values from the head's outputs [S, 1 or 2].

    One label: the output itself, which is unbounded.  Two labels: the probability of the second label, in
    (0, 1).
    """
    logits = logits.float()
    if logits.shape[-1] == 1:
        return logits[:, 0]
    return torch.sigmoid(logits[:, 1] - logits[:, 0])  # softmax of two, its second entry


@dataclass(frozen=True)
class ValueSums:
    """Sums over states, which can be added over micro-batches."""

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
