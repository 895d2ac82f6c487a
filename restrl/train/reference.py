"""The frozen policy that the KL penalty holds on to."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from restrl.objective.packed_attention import packed_logprobs
from restrl.objective.packing import PackedBatch


class Reference:
    """The policy as it was when this was made.

    With adapters (peft) it is the base with its adapters switched off, which costs no memory; otherwise a
    copy of the weights.
    """

    def __init__(self, model: Any) -> None:
        self.copy = (
            None if hasattr(model, "disable_adapter") else copy.deepcopy(model).eval().requires_grad_(False)
        )

    @torch.no_grad()
    def logprobs(self, model: Any, batch: PackedBatch, temperature: float, chunk: int) -> Tensor:
        """[N] log-probabilities of the batch's targets; ``model`` is the policy that is being trained."""
        if self.copy is not None:
            self.copy.to(batch.ids.device)
            return packed_logprobs(self.copy, batch, temperature=temperature, chunk=chunk).logprobs
        training = model.training
        model.eval()  # no adapter, no dropout
        try:
            with model.disable_adapter():
                return packed_logprobs(model, batch, temperature=temperature, chunk=chunk).logprobs
        finally:
            model.train(training)
