"""The loss of supervised fine-tuning: negative log-likelihood, the mean over the tokens of a step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SftSums:
    """Sums over tokens, which can be added over micro-batches."""

    tokens: float = 0.0
    loss: float = 0.0  # already divided by the step's tokens: a plain sum
    entropy: float = 0.0

    def __add__(self, other: SftSums) -> SftSums:
        return SftSums(self.tokens + other.tokens, self.loss + other.loss, self.entropy + other.entropy)

    def means(self) -> dict[str, float]:
        """loss: nats per token; entropy: of the policy, nats per token."""
        return {"loss": self.loss, "entropy": self.entropy / max(self.tokens, 1.0)}


def sft_loss(logprobs: Tensor, entropy: Tensor, *, tokens: float) -> tuple[Tensor, SftSums]:
    """Scalar loss (to minimise) of these tokens, and sums for the log.

    Args:
        logprobs: [N] log pi(token), with gradient.
        entropy: [N] of the policy at each token, without gradient.
        tokens: number of tokens of the whole step, which divides the sum.
    """
    loss = -logprobs.sum() / tokens
    return loss, SftSums(float(len(logprobs)), loss.item(), float(entropy.sum().item()))
