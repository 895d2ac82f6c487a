"""The loss of direct preference optimization (DPO, arXiv 2305.18290, eq. 7).

-log sigmoid(beta x (d_chosen - d_rejected)) for each pair, where d is the log-probability of a whole
completion under the policy, less that under the frozen reference.  The two completions of a pair follow one
another: completions 2p and 2p + 1 are the chosen and the rejected one of pair p.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class DpoSums:
    """Sums over pairs, which can be added over micro-batches.  ``means`` divides them."""

    pairs: float = 0.0
    loss: float = 0.0  # already divided by the step's pairs: a plain sum
    chosen: float = 0.0  # implicit reward beta x d
    rejected: float = 0.0
    correct: float = 0.0  # pairs whose chosen completion has the greater implicit reward

    def __add__(self, other: DpoSums) -> DpoSums:
        return DpoSums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def means(self) -> dict[str, float]:
        """loss, the mean implicit rewards, their difference, and the share of pairs in the right order."""
        count = max(self.pairs, 1.0)
        return {
            "loss": self.loss,
            "reward_chosen": self.chosen / count,
            "reward_rejected": self.rejected / count,
            "reward_difference": (self.chosen - self.rejected) / count,
            "accuracy": self.correct / count,
        }


def dpo_loss(
    logprobs: Tensor, ref_logprobs: Tensor, sequence: Tensor, *, beta: float, pairs: float
) -> tuple[Tensor, DpoSums]:
    """Scalar loss (to minimise) of these pairs, and sums for the log.

    Args:
        logprobs: [N] log pi(token) of the completions' tokens, with gradient.
        ref_logprobs: [N] of the frozen reference.
        sequence: [N] long in [0, 2P), the completion of each token; every completion has a token.
        beta: > 0, strength of the tie to the reference.
        pairs: number of pairs of the whole step, which divides the sum.  So the gradients of any split of a
            step into micro-batches add up to the same sum.
    """
    difference = logprobs - ref_logprobs
    count = int(sequence.max()) + 1
    if count % 2:
        raise ValueError(f"{count} completions are not whole pairs")
    totals = torch.zeros(count, dtype=difference.dtype, device=difference.device)
    rewards = beta * totals.index_add(0, sequence, difference)
    chosen, rejected = rewards[0::2], rewards[1::2]
    loss = -logsigmoid(chosen - rejected).sum() / pairs
    with torch.no_grad():
        sums = DpoSums(
            pairs=float(len(chosen)),
            loss=loss.item(),
            chosen=chosen.sum().item(),
            rejected=rejected.sum().item(),
            correct=float((chosen > rejected).sum().item()),
        )
    return loss, sums
