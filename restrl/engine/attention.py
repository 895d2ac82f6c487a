"""Attention of the decode step: one query per row, rows of different lengths.

transformers' own sdpa repeats the grouped keys and values for every query head and copies them each step,
which costs more than the attention.  Here the query heads of a group stand as further queries of its key
head, so that nothing is copied.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from restrl.errors import UserError

IMPLEMENTATION = "restrl_decode"


@contextlib.contextmanager
def decode_attention(model: Any) -> Iterator[None]:
    """This attention for the duration of the block; training on the same module keeps its own.

    Raises UserError for a model that is not built from attention layers of transformers' common interface.
    """
    config = model.get_decoder().config
    if not getattr(model, "_supports_attention_backend", False):
        raise UserError(
            f"engine=hf does not support {type(model).__name__}: its attention cannot be replaced"
        )
    if any(
        "attention" not in kind or "linear" in kind for kind in getattr(config, "layer_types", None) or ()
    ):
        raise UserError(f"engine=hf does not support {type(model).__name__}: it has layers without attention")
    before = config._attn_implementation
    config._attn_implementation = IMPLEMENTATION
    try:
        yield
    finally:
        config._attn_implementation = before


def attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Query [B, heads, T, D], key and value [B, kv_heads, L, D].

    ``mask`` [B, 1, 1, L], added to the scores, belongs to a decode step (T = 1); without it the attention
    is causal (a prefill whose prompts are padded on the right).  Returns [B, T, heads, D].  Raises
    UserError for a sequence longer than the model's sliding window.
    """
    if sliding_window is not None and key.shape[2] > sliding_window:
        raise UserError(
            f"engine=hf: a sequence of {key.shape[2]} tokens does not fit the model's sliding window of "
            f"{sliding_window}; lower dataset.max_tokens"
        )
    query, key = query.to(value.dtype), key.to(value.dtype)
    mask = mask if mask is None else mask.to(value.dtype)
    batch, heads, dim = query.shape[0], query.shape[1], query.shape[3]
    kv_heads = key.shape[1]
    if mask is None:
        out = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=heads != kv_heads
        )
        return out.transpose(1, 2), None
    grouped = query.reshape(batch, kv_heads, heads // kv_heads, dim)
    out = scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(batch, 1, heads, value.shape[-1]), None


AttentionInterface.register(IMPLEMENTATION, attention)
