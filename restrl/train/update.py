"""From a judged rollout to gradients: packs the completions and computes the loss over micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from restrl.config import GrpoConfig
from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import Piece, TokenGroup, micro_batches, pack
from restrl.objective.policy_loss import LossInputs, LossSums, loss_normalizer, policy_loss
from restrl.ranks import Ranks
from restrl.train.reference import Reference
from restrl.train.rollout import Rollout

MISMATCH = 0.1  # nats; a ratio of probabilities of 1.1


@dataclass(frozen=True)
class TrainingBatch:
    """The completions of a step that carry gradient, and the normaliser of the loss."""

    groups: tuple[TokenGroup, ...]
    advantages: tuple[tuple[float, ...], ...]  # as groups
    engine_logprobs: tuple[tuple[tuple[float, ...], ...], ...]  # as groups, per token
    micro_batches: tuple[tuple[Piece, ...], ...]
    normalizer: float


@dataclass
class Frozen:
    """Values of a micro-batch from the first pass over it, before the first update of the step."""

    logprobs: Tensor  # [N] at the rollout's temperature, as the engine reports them
    ref: Tensor | None  # [N] of the reference


@dataclass(frozen=True)
class PassSums:
    """Sums over a pass of a step; sums of micro-batches and ranks can be added."""

    loss: LossSums = field(default_factory=LossSums)
    entropy: float = 0.0
    mismatch: float = 0.0  # |log-probability of the engine - of the trainer|
    mismatch_max: float = 0.0
    mismatched: float = 0.0  # tokens whose difference is above MISMATCH

    def __add__(self, other: PassSums) -> PassSums:
        return PassSums(
            self.loss + other.loss,
            self.entropy + other.entropy,
            self.mismatch + other.mismatch,
            max(self.mismatch_max, other.mismatch_max),
            self.mismatched + other.mismatched,
        )

    def means(self) -> dict[str, float]:
        """Loss metrics, entropy (nats per token), and |logprob of engine - of trainer|.

        Of the latter the mean, the maximum and the share of tokens above ``MISMATCH``.
        """
        count = max(self.loss.tokens, 1.0)
        return self.loss.means() | {
            "entropy": self.entropy / count,
            "logprob_mismatch": self.mismatch / count,
            "logprob_mismatch_max": self.mismatch_max,
            "logprob_mismatch_share": self.mismatched / count,
            "trained_tokens": self.loss.tokens,
        }


def training_batch(rollout: Rollout, grpo: GrpoConfig, ranks: int = 1) -> TrainingBatch:
    """The judged completions of the trained groups, in micro-batches for this number of ranks.

    Groups without variance and completions without a reward are not computed.  The normaliser counts every
    judged completion of the step, also those of untrained groups: their gradient is zero, not missing.  With
    ``kl_on_ties``, groups without variance are computed too, with advantages of 0, so their loss is the KL
    penalty alone.
    """
    judged = rollout.judged
    ties = grpo.objective.kl_on_ties and grpo.objective.kl > 0
    groups, advantages, engine = [], [], []
    for k, group in enumerate(rollout.groups):
        chosen = [i for i, c in enumerate(group.completions) if judged[k, i] and c.ids]
        trained = bool(rollout.trained[k])
        if (trained or ties) and chosen:
            groups.append(TokenGroup(group.prompt_ids, tuple(group.completions[i].ids for i in chosen)))
            advantages.append(
                tuple(rollout.advantages[k, chosen].tolist()) if trained else (0.0,) * len(chosen)
            )
            engine.append(tuple(group.completions[i].logprobs for i in chosen))
    tokens = sum(
        len(c.ids)
        for k, group in enumerate(rollout.groups)
        for i, c in enumerate(group.completions)
        if judged[k, i]
    )
    normalizer = loss_normalizer(grpo.objective, int(judged.sum()), tokens, grpo.rollout.max_tokens)
    batches = micro_batches(groups, grpo.tokens_per_microbatch, ranks)
    return TrainingBatch(
        tuple(groups), tuple(advantages), tuple(engine), tuple(tuple(b) for b in batches), normalizer
    )


Accumulate = Callable[[Tensor, bool], None]  # a micro-batch's loss, and whether it is the last one of a pass


def gradient_passes(
    policy: PolicyLM,
    batch: TrainingBatch,
    grpo: GrpoConfig,
    reference: Reference | None,
    accumulate: Accumulate,
    ranks: Ranks,
) -> Iterator[PassSums]:
    """Accumulates the step's gradient ``updates_per_step`` times; yields after each pass for an update.

    The policy sampled the completions with its weights before the first update.  So the first pass itself
    computes the log-probabilities in the denominator of the ratio, and with one update per step the ratio is
    1 by construction.  ``batch`` covers the whole step and is equal on every rank; the ranks divide its
    micro-batches, and the yielded sums cover all ranks.
    """
    frozen: dict[int, Frozen] = {}
    mine = list(ranks.rounds(range(len(batch.micro_batches))))
    for _ in range(grpo.updates_per_step):
        sums = PassSums()
        with policy.packing():
            for place, (index, counts) in enumerate(mine):
                forward = _forward(
                    policy, batch, batch.micro_batches[index], grpo, reference, frozen.get(index)
                )
                accumulate(forward.loss if counts else forward.loss * 0.0, place == len(mine) - 1)
                frozen[index] = forward.frozen
                sums += forward.sums if counts else PassSums()
        yield sum(ranks.gather(sums), PassSums())


@dataclass(frozen=True)
class _Forward:
    loss: Tensor
    sums: PassSums
    frozen: Frozen


def _forward(
    policy: PolicyLM,
    batch: TrainingBatch,
    pieces: tuple[Piece, ...],
    grpo: GrpoConfig,
    reference: Reference | None,
    frozen: Frozen | None,
) -> _Forward:
    """Loss and sums of a micro-batch.  ``frozen``: the values of its first pass; None in the first pass."""
    device = next(policy.parameters()).device
    numbers = partial(torch.tensor, dtype=torch.float32, device=device)
    packed = pack(batch.groups, pieces).to(device)
    out = policy(packed)
    engine = numbers([x for p in pieces for i in p.completions for x in batch.engine_logprobs[p.group][i]])
    sums = PassSums(entropy=out.entropy.sum().item())
    if frozen is None:
        frozen = Frozen(out.raw, None if reference is None else reference.logprobs(policy, packed))
        difference = (frozen.logprobs - engine).abs()
        far = float((difference > MISMATCH).sum())
        sums += PassSums(LossSums(), 0.0, difference.sum().item(), difference.max().item(), far)
    inputs = LossInputs(
        logprobs=out.logprobs,
        old_logprobs=frozen.logprobs,
        advantages=numbers([batch.advantages[p.group][i] for p in pieces for i in p.completions]),
        sequence=packed.sequence,
        ref_logprobs=frozen.ref,
        engine_logprobs=engine,
    )
    loss, loss_sums = policy_loss(inputs, grpo.objective, batch.normalizer)
    return _Forward(loss, sums + PassSums(loss_sums), frozen)
