"""Log-probabilities of packed completions: a group's prompt and completions are a tree of two levels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from restrl.errors import UserError
from restrl.objective.logprobs import TokenLogprobs, chunked_logprobs
from restrl.objective.packing import PackedBatch
from restrl.objective.tree_attention import tree_hidden, tree_mode


def packed_logprobs(
    model: PreTrainedModel, batch: PackedBatch, *, temperature: float = 1.0, chunk: int = 256
) -> TokenLogprobs:
    """Log-probabilities [N] of the batch's targets, equal to one forward per completion.

    ``model`` is a causal LM; ``batch`` lies on its device.  Raises UserError for an architecture whose
    logits are not hidden states times the output matrix.
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
    )


def decoder_and_head(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The decoder (ids -> hidden states) and output matrix of a causal LM; adapters stay where they are."""
    get_base = getattr(model, "get_base_model", None)
    base: Any = get_base() if get_base is not None else model  # peft wraps the model it injects layers into
    config, decoder, head = base.config, base.get_decoder(), base.get_output_embeddings()
    extras = [
        k for k in ("final_logit_softcapping", "logit_scale", "logits_scaling") if getattr(config, k, None)
    ]
    if extras or not isinstance(head, nn.Linear) or decoder is base:
        what = extras[0] if extras else "an output layer that is not linear"
        raise UserError(f"model type {config.model_type!r} cannot be trained: {what} is not supported")
    return decoder, head


@contextlib.contextmanager
def packed_mode(model: nn.Module) -> Iterator[None]:
    """Packed attention within this block, for a backward pass with gradient checkpointing."""
    with tree_mode(decoder_and_head(model)[0]):
        yield
