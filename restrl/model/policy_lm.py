"""The policy as training sees it: packed completions in, log-probabilities of their tokens out.

All that is computed of a policy with gradient happens in ``PolicyLM.forward``, so that a strategy (DDP,
FSDP2, DeepSpeed) can wrap it as one module: parameters that are gathered before a forward and synchronised
after a backward are never touched beside it.
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
    """Wraps ``model``, a causal LM of transformers, also one with adapters (peft), which stays as it is."""

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

        ``batch`` lies on the model's device.  Raises UserError where its attention is not supported.
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
        """A block around forward and backward, which gradient checkpointing needs: it runs layers again."""
        return tree_mode(_decoder_and_head(self.model)[0])


def _decoder_and_head(model: Any) -> tuple[nn.Module, nn.Linear]:
    """The decoder (ids -> hidden states) and output matrix of a causal LM; adapters stay where they are."""
    base = base_of(model)
    decoder, head = decoder_of(base), base.get_output_embeddings()
    if not isinstance(head, nn.Linear) or decoder is base:
        raise UserError(f"{model_name(base.config)} cannot be trained: its output layer is not linear")
    return decoder, head


def logit_terms(config: Any) -> LogitTerms:
    """What the causal LM of this configuration does to its logits.

    Only fields that are known here are read: ``selfcheck.py`` finds a model that does something else.
    """
    scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    return LogitTerms(scale, getattr(config, "final_logit_softcapping", None))
