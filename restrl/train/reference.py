"""The frozen reference policy of the KL penalty."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import PackedBatch
from restrl.train.strategy import Strategy


class Reference:
    """The policy with the weights that it had when this object was created.

    With adapters (peft) it is the base model with the adapters switched off, which costs no memory; otherwise
    it is a copy of the weights.
    """

    def __init__(self, policy: PolicyLM, strategy: Strategy) -> None:
        adapters = hasattr(policy.model, "disable_adapter")
        self.copy = None if adapters else copy.deepcopy(policy).eval().requires_grad_(False)
        self.strategy = strategy

    @torch.no_grad()
    def logprobs(self, policy: PolicyLM, batch: PackedBatch) -> Tensor:
        """[N] log-probabilities of the batch's targets; ``policy``: the policy in training."""
        if self.copy is not None:
            reference = self.strategy.place_frozen(self.copy, batch.ids.device)
            return reference(batch).logprobs  # type: ignore[no-any-return]
        training = policy.training
        policy.eval()  # no adapter, no dropout
        try:
            with policy.model.disable_adapter():
                return policy(batch).logprobs  # type: ignore[no-any-return]
        finally:
            policy.train(training)
