"""Log-probabilities of packed completions: a group's prompt and completions are a tree of two levels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from restrl.attention import base_of, decoder_of, model_name
from restrl.errors import UserError
from restrl.objective.logprobs import LogitTerms, TokenLogprobs, chunked_logprobs
from restrl.objective.packing import PackedBatch
from restrl.objective.tree_attention import tree_hidden, tree_mode


def packed_logprobs(
    model: PreTrainedModel, batch: PackedBatch, *, temperature: float = 1.0, chunk: int = 256
) -> TokenLogprobs:
    """Log-probabilities [N] of the batch's targets, equal to one forward per completion.

    ``model`` is a causal LM; ``batch`` lies on its device.  Raises UserError for an architecture whose
    attention or output layer is not supported.
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


def decoder_and_head(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
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


@contextlib.contextmanager
def packed_mode(model: nn.Module) -> Iterator[None]:
    """Packed attention within this block, for a backward pass with gradient checkpointing."""
    with tree_mode(decoder_and_head(model)[0]):
        yield
