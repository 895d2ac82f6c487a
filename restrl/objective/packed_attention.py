"""Log-probabilities of packed completions: a group's prompt and completions are a tree of two levels."""

from __future__ import annotations

from typing import Any

from torch import nn

from restrl.attention import base_of, decoder_of, model_name
from restrl.errors import UserError
from restrl.objective.logprobs import LogitTerms, TokenLogprobs, chunked_logprobs
from restrl.objective.packing import PackedBatch
from restrl.objective.tree_attention import tree_hidden


def packed_logprobs(
    model: Any, batch: PackedBatch, *, temperature: float = 1.0, chunk: int = 256
) -> TokenLogprobs:
    """Log-probabilities [N] of the batch's targets, equal to one forward per completion.

    ``model``: a causal LM of transformers, possibly with adapters (peft); ``batch`` is on its device.
    ``temperature``, ``chunk``: see ``chunked_logprobs``.  Raises UserError if the model's attention or output
    layer is not supported.
    """
    decoder, head = decoder_and_head(model)
    hidden = tree_hidden(decoder, batch.ids, batch.positions, batch.layout)
    return chunked_logprobs(
        hidden[batch.predictors],
        head.weight,
        batch.targets,
        bias=head.bias,
        temperature=temperature,
        chunk=chunk,
        terms=logit_terms(decoder.config),
    )


def decoder_and_head(model: Any) -> tuple[nn.Module, nn.Linear]:
    """The decoder (ids -> hidden states) and output layer of a causal LM, with adapters in place.

    Raises UserError for an architecture whose output layer is not supported.
    """
    base = base_of(model)
    decoder, head = decoder_of(base), base.get_output_embeddings()
    if not isinstance(head, nn.Linear) or decoder is base:
        raise UserError(f"{model_name(base.config)} cannot be trained: its output layer is not linear")
    return decoder, head


def logit_terms(config: Any) -> LogitTerms:
    """The transform that a causal LM with this configuration applies to its logits.

    It reads only known fields; ``restrl/model/selfcheck.py`` detects models with another transform.
    """
    scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    return LogitTerms(scale, getattr(config, "final_logit_softcapping", None))
