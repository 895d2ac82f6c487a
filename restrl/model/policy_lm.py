"""The module of policy training: packed completions in, log-probabilities of their tokens out.

All computations of the policy with gradient happen in ``PolicyLM.forward``, so a strategy (DDP, FSDP2,
DeepSpeed) can wrap it as one module.  Such strategies gather parameters before a forward pass and synchronise
them after a backward pass, so code outside of ``forward`` must not compute with the parameters.
"""

from __future__ import annotations

import contextlib
from typing import Any

from torch import nn

from restrl.attention import base_of, decoder_of, model_name
from restrl.errors import UserError
from restrl.objective.logprobs import LogitTerms, TokenLogprobs, chunked_logprobs
from restrl.objective.packing import PackedBatch
from restrl.objective.tree_attention import tree_hidden, tree_mode


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
        _decoder_and_head(model)

    def forward(self, batch: PackedBatch) -> TokenLogprobs:
        """Log-probabilities [N] of the batch's targets, equal to one forward per completion.

        ``batch`` is on the model's device.  Raises UserError if the model's attention is not supported.
        """
        decoder, head = _decoder_and_head(self.model)
        hidden = tree_hidden(decoder, batch.ids, batch.positions, batch.layout)
        return chunked_logprobs(
            hidden[batch.predictors],
            head.weight,
            batch.targets,
            bias=head.bias,
            temperature=self.temperature,
            chunk=self.chunk,
            terms=logit_terms(decoder.config),
        )

    def packing(self) -> contextlib.AbstractContextManager[None]:
        """A context for forward and backward; gradient checkpointing needs it to run layers again."""
        return tree_mode(_decoder_and_head(self.model)[0])


def _decoder_and_head(model: Any) -> tuple[nn.Module, nn.Linear]:
    """The decoder (ids -> hidden states) and output layer of a causal LM, with adapters in place."""
    base = base_of(model)
    decoder, head = decoder_of(base), base.get_output_embeddings()
    if not isinstance(head, nn.Linear) or decoder is base:
        raise UserError(f"{model_name(base.config)} cannot be trained: its output layer is not linear")
    return decoder, head


def logit_terms(config: Any) -> LogitTerms:
    """The transform that a causal LM with this configuration applies to its logits.

    It reads only known fields; ``selfcheck.py`` detects models with another transform.
    """
    scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    return LogitTerms(scale, getattr(config, "final_logit_softcapping", None))
