"""Forward pass of a packed sequence through a Hugging Face decoder.

The mask is never built: attention runs block by block, a causal block for each prompt and one for each
completion, whose keys are the prompt's and its own.  A dense mask over the packed sequence would cost
(P + G C)^2 instead of P^2 / 2 + G C (P + C).  It is hooked in as a transformers attention implementation, so
any decoder that takes its attention from ``ALL_ATTENTION_FUNCTIONS`` and rotary positions from
``position_ids`` works (Llama, Qwen2, Qwen3, ...).  Sliding windows and attention sinks are refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from restrl.errors import UserError
from restrl.objective.logprobs import TokenLogprobs, chunked_logprobs
from restrl.objective.packing import GroupLayout, PackedBatch

IMPLEMENTATION = "restrl_packed"


def packed_logprobs(
    model: PreTrainedModel, batch: PackedBatch, *, temperature: float = 1.0, chunk: int = 256
) -> TokenLogprobs:
    """Log-probabilities [N] of the batch's targets, equal to one forward per completion.

    ``model`` is a causal LM; ``batch`` lies on its device.  Raises UserError for an architecture whose
    logits are not hidden states times the output matrix.
    """
    decoder, head = decoder_and_head(model)
    with packed_mode(model):
        hidden = decoder(
            input_ids=batch.ids.unsqueeze(0),
            position_ids=batch.positions.unsqueeze(0),
            use_cache=False,
            packed_layout=batch.layout,
        ).last_hidden_state[0]
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
    """Packed attention within this block: the engine samples with the same module outside of it.

    ``packed_logprobs`` enters it by itself; with gradient checkpointing, which runs layers again in the
    backward pass, the backward pass has to lie within it too.
    """
    config: Any = decoder_and_head(model)[0].config
    before = config._attn_implementation
    config._attn_implementation = IMPLEMENTATION
    try:
        yield
    finally:
        config._attn_implementation = before


def packed_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    packed_layout: tuple[GroupLayout, ...],
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of a packed sequence: query [1, heads, T, D], key and value [1, kv_heads, T, D]."""
    longest = max(group.prompt + max(group.completions, default=0) for group in packed_layout)
    if sliding_window is not None and longest > sliding_window:
        raise UserError(
            f"sequences of {longest} tokens do not fit the model's sliding window of {sliding_window}"
        )
    gqa = query.shape[1] != key.shape[1]
    sizes = [size for group in packed_layout for size in (group.prompt, *group.completions)]
    # split, not slices: the backward of one split is one concatenation, of n slices n tensors of full size
    queries, keys, values = (torch.split(tensor, sizes, dim=2) for tensor in (query, key, value))
    outputs: list[Tensor] = []
    for group in packed_layout:
        first = len(outputs)
        for index in range(first, first + 1 + len(group.completions)):
            own = index == first
            k = keys[index] if own else torch.cat([keys[first], keys[index]], dim=2)
            v = values[index] if own else torch.cat([values[first], values[index]], dim=2)
            # the queries are the last ones of the keys: the causal triangle ends at the lower right
            mask = causal_lower_right(queries[index].shape[2], k.shape[2])
            outputs.append(
                scaled_dot_product_attention(
                    queries[index], k, v, attn_mask=mask, dropout_p=dropout, scale=scaling, enable_gqa=gqa
                )
            )
    return torch.cat(outputs, dim=2).transpose(1, 2), None


AttentionInterface.register(IMPLEMENTATION, packed_attention)
