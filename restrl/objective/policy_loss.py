"""The clipped policy-gradient loss of GRPO and its relatives, over ragged completions.

Per-token tensors are flat, [T]: the completion tokens of S completions one after another, without padding.
``sequence[t]`` in [0, S) names the completion that token t belongs to.  The loss of a micro-batch is divided
by a normaliser of the *whole* step, so the gradients of any split into micro-batches add up to the same sum.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from restrl.config import ObjectiveConfig


@dataclass(frozen=True)
class LossInputs:
    """The inputs of the loss of a micro-batch."""

    logprobs: Tensor  # [T] log pi(token), with gradient
    old_logprobs: Tensor  # [T] of the policy that sampled, as the trainer computes them, no gradient
    advantages: Tensor  # [S]
    sequence: Tensor  # [T] long, index of the token's completion
    ref_logprobs: Tensor | None = None  # [T] of the frozen reference; needed where kl > 0
    engine_logprobs: Tensor | None = None  # [T] of the policy that sampled, as the engine reported them at
    # the same temperature; needed for tis_cap


@dataclass(frozen=True)
class LossSums:
    """Sums over tokens, which can be added over micro-batches.  ``means`` divides them."""

    tokens: float = 0.0
    loss: float = 0.0  # already divided by the step's normaliser: a plain sum
    kl: float = 0.0
    clipped: float = 0.0
    ratio: float = 0.0
    ratio_max: float = 0.0
    tis_weight: float = 0.0

    def __add__(self, other: LossSums) -> LossSums:
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        sums["ratio_max"] = max(self.ratio_max, other.ratio_max)
        return LossSums(**sums)

    def means(self) -> dict[str, float]:
        """loss, kl, clip_fraction, ratio_mean, ratio_max, tis_weight: means over tokens (loss: the sum)."""
        count = max(self.tokens, 1.0)
        return {
            "loss": self.loss,
            "kl": self.kl / count,
            "clip_fraction": self.clipped / count,
            "ratio_mean": self.ratio / count,
            "ratio_max": self.ratio_max,
            "tis_weight": self.tis_weight / count,
        }


def loss_normalizer(objective: ObjectiveConfig, sequences: int, tokens: int, max_tokens: int) -> float:
    """The divisor of the step's summed loss.

    sequence (GRPO): the mean over completions of their mean token loss -> number of completions;
    token (DAPO, arXiv 2503.14476 eq. 8; TRL's bnpo on one device): tokens of the whole step;
    constant (Dr. GRPO, arXiv 2503.20783): completions x the longest completion allowed.
    """
    if objective.aggregate == "sequence":
        return float(max(sequences, 1))
    if objective.aggregate == "token":
        return float(max(tokens, 1))
    return float(max(sequences, 1) * max_tokens)


def policy_loss(inputs: LossInputs, objective: ObjectiveConfig, normalizer: float) -> tuple[Tensor, LossSums]:
    """Scalar loss (to minimise) of these completions, and sums for the log.

    -min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) x w + beta k3 for each token (GRPO, arXiv
    2402.03300 eq. 3), with rho the ratio of the token or, ``ratio=sequence``, of the completion (GSPO, arXiv
    2507.18071 eq. 7: exp of the mean log ratio), w = min(pi_old / pi_engine, tis_cap) without gradient on the
    policy term only, k3 = exp(d) - d - 1 and d = logp_ref - logp.  ``surrogate=cispo`` (arXiv 2506.13585,
    eq. 4): the first term is -clip(rho) A logp x w, where clip(rho) has no gradient, so that no token loses
    its own to the clip.
    """
    advantages = inputs.advantages[inputs.sequence]
    lengths = torch.bincount(inputs.sequence, minlength=len(inputs.advantages)).clamp(min=1)
    ratio = _log_ratio(inputs, objective, lengths).exp()
    clipped_ratio = ratio.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    if objective.surrogate == "cispo":
        losses = -clipped_ratio.detach() * advantages * inputs.logprobs
    else:
        losses = -torch.minimum(ratio * advantages, clipped_ratio * advantages)
    weight = _tis_weight(inputs, objective)
    losses = losses * weight
    kl = _k3(inputs) if objective.kl > 0 else torch.zeros_like(losses)
    losses = losses + objective.kl * kl
    if objective.aggregate == "sequence":
        losses = losses / lengths[inputs.sequence]
    loss = losses.sum() / normalizer
    with torch.no_grad():
        outside = ((ratio > 1 + objective.clip_high) & (advantages > 0)) | (
            (ratio < 1 - objective.clip_low) & (advantages < 0)
        )
        sums = LossSums(
            tokens=float(len(ratio)),
            loss=loss.item(),
            kl=kl.sum().item(),
            clipped=float(outside.sum().item()),
            ratio=ratio.sum().item(),
            ratio_max=ratio.max().item() if len(ratio) else 0.0,
            tis_weight=weight.sum().item(),
        )
    return loss, sums


def _log_ratio(inputs: LossInputs, objective: ObjectiveConfig, lengths: Tensor) -> Tensor:
    """[T] log of the importance ratio of each token."""
    log_ratio = inputs.logprobs - inputs.old_logprobs
    if objective.ratio == "token":
        return log_ratio
    total = torch.zeros_like(inputs.advantages, dtype=log_ratio.dtype).index_add(
        0, inputs.sequence, log_ratio
    )
    return (total / lengths)[inputs.sequence]


def _tis_weight(inputs: LossInputs, objective: ObjectiveConfig) -> Tensor:
    """[T] truncated importance weight min(pi_old / pi_engine, cap); ones if it is off."""
    if objective.tis_cap is None:
        return torch.ones_like(inputs.old_logprobs)
    if inputs.engine_logprobs is None:
        raise ValueError("tis_cap needs the log-probabilities of the engine")
    return (inputs.old_logprobs - inputs.engine_logprobs).exp().clamp(max=objective.tis_cap)


def _k3(inputs: LossInputs) -> Tensor:
    """[T] k3 estimate of KL(policy || reference), never negative."""
    if inputs.ref_logprobs is None:
        raise ValueError("kl > 0 needs the log-probabilities of the reference")
    d = inputs.ref_logprobs - inputs.logprobs
    return d.exp() - d - 1
