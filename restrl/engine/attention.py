"""Attention of the decode step: one query per row, rows of different lengths.

The sdpa attention of transformers repeats the grouped keys and values for every query head and copies them in
each step, which costs more than the attention itself.  Here the query heads of a group are treated as
additional queries of their key head, so nothing is copied.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from restrl.attention import (
    Terms,
    attention_of,
    causal_attention,
    decoder_of,
    masked_attention,
    query_blocks,
    read_terms,
    refuse_mask,
    same_dtype,
)

IMPLEMENTATION = "restrl_decode"


def decode_attention(model: Any) -> contextlib.AbstractContextManager[None]:
    """A context in which the model uses this attention.  Raises UserError as ``attention_of``."""
    return attention_of(decoder_of(model), IMPLEMENTATION)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **arguments: Any,
) -> tuple[Tensor, None]:
    """Query [B, heads, T, D], key and value [B, kv_heads, L, D].

    ``attention_mask`` [B, 1, 1, L] is added to the scores of a decode step (T = 1).  Without a mask the
    attention is causal (a prefill whose prompts are padded on the right).  Returns [B, T, heads, D].  Raises
    UserError for an argument of the model's attention that is not supported.
    """
    terms = read_terms(module, arguments, key.shape[2])
    query, key, value = same_dtype(query, key, value)
    if query.shape[2] == 1 and attention_mask is not None:
        out = _step(query, key, value, attention_mask, terms)
    else:
        refuse_mask(module, attention_mask)
        out = _prefill(query, key, value, terms)
    return out.transpose(1, 2).contiguous(), None


def _prefill(query: Tensor, key: Tensor, value: Tensor, terms: Terms) -> Tensor:
    blocks = []
    for begin, end in query_blocks(query.shape[2], 0, terms):
        first = 0 if terms.span is None else max(0, terms.span.first(begin))
        k, v = key[:, :, first:end], value[:, :, first:end]
        blocks.append(causal_attention(query[:, :, begin:end], k, v, terms, first))
    return torch.cat(blocks, dim=2)


def _step(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, terms: Terms) -> Tensor:
    batch, heads, _, dim = query.shape
    kv_heads, length = key.shape[1], key.shape[2]
    if not terms.written_out and terms.sees_all(length):
        grouped = query.reshape(batch, kv_heads, heads // kv_heads, dim)
        out = scaled_dot_product_attention(
            grouped, key, value, attn_mask=mask.to(query.dtype), scale=terms.scale
        )
        return out.reshape(batch, heads, 1, value.shape[-1])
    visible = mask == 0
    if terms.span is not None:
        last = visible.sum(-1, keepdim=True) - 1  # the position of each row's query
        visible = visible & (torch.arange(length, device=mask.device) >= terms.span.first(last))
    return masked_attention(query, key, value, terms, visible)


AttentionInterface.register(IMPLEMENTATION, attention)
