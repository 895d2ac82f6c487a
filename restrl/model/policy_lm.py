"""The module of policy training: packed completions in, log-probabilities of their tokens out.

All computations of the policy with gradient happen in ``PolicyLM.forward``, so a strategy (DDP, FSDP2,
DeepSpeed) can wrap it as one module.  Such strategies gather parameters before a forward pass and synchronise
them after a backward pass, so code outside of ``forward`` must not compute with the parameters.
"""

from __future__ import annotations

import contextlib
from typing import Any

from torch import nn

from restrl.objective.logprobs import TokenLogprobs
from restrl.objective.packed_attention import decoder_and_head, packed_logprobs
from restrl.objective.packing import PackedBatch
from restrl.objective.tree_attention import tree_mode


class PolicyLM(nn.Module):
    """Wraps ``model``, a causal LM of transformers, possibly with adapters (peft), without changing it."""

    def __init__(self, model: Any, *, temperature: float = 1.0, chunk: int = 256) -> None:
        """``temperature``: of the log-probabilities, > 0.  ``chunk``: see ``chunked_logprobs``.

        Raises UserError for an architecture whose output layer is not supported.
        """
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.chunk = chunk
        decoder_and_head(model)

    def forward(self, batch: PackedBatch) -> TokenLogprobs:
        """Log-probabilities [N] of the batch's targets, equal to one forward per completion.

        ``batch`` is on the model's device.  Raises UserError if the model's attention is not supported.
        """
        return packed_logprobs(self.model, batch, temperature=self.temperature, chunk=self.chunk)

    def packing(self) -> contextlib.AbstractContextManager[None]:
        """A context for forward and backward; gradient checkpointing needs it to run layers again."""
        return tree_mode(decoder_and_head(self.model)[0])
