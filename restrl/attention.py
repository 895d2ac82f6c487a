"""Shared by packed attention and decoding attention: the terms of a layer's attention.

transformers passes the special features of a layer to the attention as keyword arguments.  An argument that
is not known here is an error, because ignoring it would silently give wrong numbers.  A layer may attend only
to a span of its past, cap its scores, or have sinks.  Plain attention uses torch's kernels; the other
features are computed explicitly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from restrl.errors import UserError

QUERY_BLOCK = 256  # number of queries whose scores are computed explicitly at a time; bounds the memory
LAYER_KINDS = ("attention", "full_attention", "sliding_attention", "chunked_attention")
# arguments of transformers that do not affect attention
NEUTRAL = frozenset(
    {
        "position_ids",  # keys and queries are rotated already
        "position_embeddings",  # as above
        "cache_position",  # the cache is updated already
        "use_cache",
        "past_key_values",
        "output_attentions",  # never requested here
        "output_hidden_states",
        "output_router_logits",
        "return_dict",
        "logits_to_keep",  # concerns the output layer
        "num_items_in_batch",  # concerns the loss
    }
)


@dataclass(frozen=True)
class Span:
    """How far back a token attends."""

    size: int  # number of positions, >= 1
    # True: attends within its chunk of ``size`` positions; False: to the last ``size`` positions with itself
    chunked: bool = False

    def first(self, position: Any) -> Any:
        """The first position that a token at ``position`` (int or Tensor) attends to; below 0 means all."""
        return position // self.size * self.size if self.chunked else position - self.size + 1


@dataclass(frozen=True)
class Terms:
    """The parameters of a layer's attention, besides queries, keys and values."""

    scale: float | None = None  # factor of the scores; None: 1 / sqrt(D)
    span: Span | None = None
    softcap: float | None = None  # scores become softcap * tanh(score / softcap)
    sinks: Tensor | None = None  # [heads] an additional score per head that takes weight but has no value
    dropout: float = 0.0  # of the attention weights

    @property
    def written_out(self) -> bool:
        """Whether it has to be computed explicitly, because torch's kernels do not support it."""
        return self.softcap is not None or self.sinks is not None

    def sees_all(self, length: int) -> bool:
        """Whether each of ``length`` positions attends to all earlier ones."""
        return self.span is None or length <= self.span.size


def read_terms(module: nn.Module, arguments: Mapping[str, Any], longest: int) -> Terms:
    """The terms of the layer that calls with these keyword ``arguments``, for sequences up to ``longest``.

    Raises UserError for an unknown argument, or for a length that the layer may treat differently.
    """
    unread = {key: value for key, value in arguments.items() if key not in NEUTRAL and value is not None}
    scale, softcap, sinks = (unread.pop(key, None) for key in ("scaling", "softcap", "s_aux"))
    window, causal = unread.pop("sliding_window", None), unread.pop("is_causal", True)
    dropout = unread.pop("dropout", 0.0)
    if unread or not causal:
        what = ", ".join(sorted(unread)) or "no causal mask"
        raise UserError(f"{_name(module)} is not supported: its attention has {what}")
    return Terms(scale, _span(module, window, longest), softcap, sinks, dropout)


def same_dtype(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All in the dtype of the values: under autocast, float32 rotations promote queries and keys."""
    return query.to(value.dtype), key.to(value.dtype), value


def refuse_mask(module: nn.Module, mask: Tensor | None) -> None:
    """Raises UserError if the model made an attention mask, which it was not asked for."""
    if mask is not None:
        raise UserError(f"{_name(module)} is not supported: its attention has a mask of its own")


def query_blocks(count: int, start: int, terms: Terms) -> list[tuple[int, int]]:
    """[begin, end) of the blocks of queries to compute, for ``count`` queries from position ``start`` on."""
    size = count if not terms.written_out and terms.sees_all(start + count) else QUERY_BLOCK
    return [(begin, min(begin + size, count)) for begin in range(0, count, max(size, 1))]


def causal_attention(query: Tensor, key: Tensor, value: Tensor, terms: Terms, first: int = 0) -> Tensor:
    """[B, heads, T, D] attention of queries [B, heads, T, D] at the last T positions of the keys.

    ``key`` and ``value`` [B, kv_heads, L, D], L >= T, are at positions ``first`` .. ``first`` + L - 1; the
    first query attends to no position before ``first``.
    """
    count, length = query.shape[2], key.shape[2]
    if terms.sees_all(first + length) and not terms.written_out:
        # queries are at the last positions of the keys, so the causal triangle ends at the lower right
        return _sdpa(query, key, value, causal_lower_right(count, length), terms)
    positions = torch.arange(first, first + length, device=query.device)
    query_positions = positions[length - count :].unsqueeze(1)
    visible = positions <= query_positions
    if terms.span is not None:
        visible &= positions >= terms.span.first(query_positions)
    return masked_attention(query, key, value, terms, visible)


def masked_attention(query: Tensor, key: Tensor, value: Tensor, terms: Terms, visible: Tensor) -> Tensor:
    """[B, heads, T, D] attention with the mask ``visible`` (bool, broadcast to [B, heads, T, L]).

    ``visible`` must already take the span of ``terms`` into account.
    """
    if not terms.written_out:
        return _sdpa(query, key, value, visible, terms)
    batch, heads, count, dim = query.shape
    kv_heads, length = key.shape[1], key.shape[2]
    scale = dim**-0.5 if terms.scale is None else terms.scale
    # query heads of a group are treated as additional queries of their key head, so no key is repeated
    scores = query.reshape(batch, kv_heads, -1, dim) @ key.transpose(2, 3)
    scores = scores.float().view(batch, heads, count, length) * scale
    if terms.softcap is not None:
        scores = terms.softcap * torch.tanh(scores / terms.softcap)
    scores = scores.masked_fill(~visible, float("-inf"))
    if terms.sinks is not None:
        sinks = terms.sinks.float().view(1, heads, 1, 1).expand(batch, heads, count, 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = torch.dropout(scores.softmax(-1), terms.dropout, True)[..., :length].to(value.dtype)
    out: Tensor = weights.reshape(batch, kv_heads, -1, length) @ value
    return out.view(batch, heads, count, value.shape[-1])


def base_of(model: Any) -> Any:
    """The transformers model inside a peft model, including its adapters; any other model itself."""
    get_base = getattr(model, "get_base_model", None)
    return model if get_base is None else get_base()


def decoder_of(model: Any) -> Any:
    """The decoder (ids -> hidden states) of a causal LM; the model itself if it has none."""
    decoder = model.get_decoder()
    if isinstance(decoder, PreTrainedModel) and decoder is not model:
        return decoder
    return getattr(model, "model", model)  # get_decoder of Llama 4 and ModernBERT gives none, or the head


@contextlib.contextmanager
def attention_of(decoder: Any, implementation: str) -> Iterator[None]:
    """A context in which the decoder uses the attention ``implementation`` (a name in transformers).

    Only this function changes a model's attention: training, sampling and checks use the same module in
    turn, each with its own attention.  Raises UserError for a decoder whose attention cannot be replaced.
    """
    if implementation != "eager":  # "eager" is the model's own code, which needs no common interface
        check_attention(decoder)
    config = decoder.config
    before = config._attn_implementation
    config._attn_implementation = implementation
    try:
        yield
    finally:
        config._attn_implementation = before


def check_attention(model: Any) -> None:
    """Raises UserError for a model that does not use transformers' common interface of attention."""
    config, name = model.config, model_name(model.config)
    if not getattr(model, "_supports_attention_backend", False):
        raise UserError(f"{name} is not supported: its attention cannot be replaced")
    keys = ("layer_types", "layers_block_type", "block_types")
    kinds = {kind for key in keys for kind in getattr(config, key, None) or ()} - set(LAYER_KINDS)
    if kinds:
        raise UserError(f"{name} is not supported: it has layers of the kind {', '.join(sorted(kinds))}")


def position_limit(config: Any) -> int | None:
    """The maximum length of a sequence in tokens; None: not limited.

    Beyond their original length, rotary embeddings of the kinds longrope and dynamic change at *every*
    position with the longest sequence of the batch, so a sequence would depend on its neighbours.
    """
    limits = [getattr(config, "max_position_embeddings", None), *map(_rope_limit, _ropes(config))]
    if getattr(config, "attn_temperature_tuning", False):  # Llama 4: counts from the batch's first column
        limits.append(getattr(config, "floor_scale", None) and int(config.floor_scale) - 1)
    return min((limit for limit in limits if limit is not None), default=None)


def check_lengths(config: Any, longest: int, packed: int) -> None:
    """Raises UserError if a sequence of ``longest`` tokens, or a packed one of ``packed``, is too long."""
    limit = position_limit(config)
    tokens = packed if getattr(config, "attn_temperature_tuning", False) else longest
    if limit is not None and tokens > limit:
        raise UserError(
            f"{model_name(config)}: {tokens} tokens do not fit the {limit} that it takes here; lower "
            "dataset.max_tokens, vm.max_tokens, scorer.max_tokens or the tokens per micro-batch"
        )


def model_name(config: Any) -> str:
    """The name of a model in messages."""
    return f"model type {getattr(config, 'model_type', None) or type(config).__name__!r}"


def _sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Any, terms: Terms) -> Tensor:
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=terms.dropout, scale=terms.scale, enable_gqa=grouped
    )


def _span(module: nn.Module, window: int | None, longest: int) -> Span | None:
    """The span from the argument, or else from the configuration for the layer's kind."""
    config: Any = getattr(module, "config", None)
    kinds, index = getattr(config, "layer_types", None), getattr(module, "layer_idx", None)
    kind = kinds[index] if kinds and index is not None else None
    configured = getattr(config, "sliding_window", None)
    if window is None and kind == "chunked_attention":
        return Span(config.attention_chunk_size, chunked=True)
    if window is None and kind == "sliding_attention":
        window = configured
    if window is None and kind is None and configured is not None and longest > configured:
        raise UserError(
            f"{_name(module)}: {longest} tokens are more than its sliding window of {configured}, and it "
            "does not say in which layers that holds; lower dataset.max_tokens"
        )
    return None if window is None else Span(window)


def _ropes(config: Any) -> list[Mapping[str, Any]]:
    """The settings of rotary embeddings: one for the model, or one for each kind of layer."""
    settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [value for value in settings.values() if isinstance(value, Mapping)]
    return nested or [settings]


def _rope_limit(rope: Mapping[str, Any]) -> int | None:
    changes = rope.get("rope_type", rope.get("type")) in ("longrope", "dynamic")
    return rope.get("original_max_position_embeddings") if changes else None


def _name(module: nn.Module) -> str:
    return model_name(getattr(module, "config", None))
