"""Forward pass of packed trees of tokens through a Hugging Face decoder.

A tree's tokens stand once each, in depth-first order, cut into branches; a token sees its ancestors and
itself, and its position is its depth, so that it gets the hidden state that it has in a sequence of its own.
Two ways to compute the same attention:

- branch by branch (any device): the keys of a branch are those of the path to it and its own, so that only
  pairs that see each other are computed and no mask over the whole sequence exists;
- FlexAttention (``flex_attention``, GPUs, many branches): one kernel with a sparse block mask, where a call
  per branch would leave the device idle.

It is hooked in as a transformers attention implementation, so any decoder that takes its attention from
``ALL_ATTENTION_FUNCTIONS`` and rotary positions from ``position_ids`` works (Llama, Qwen2, Qwen3, ...).
Sliding windows and attention sinks are refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.bias import causal_lower_right
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from restrl.errors import UserError

IMPLEMENTATION = "restrl_tree"
FLEX_BRANCHES = 32  # on a GPU, from this many branches on one kernel beats a call per branch


@dataclass(frozen=True)
class Branch:
    """A run of tokens, each the child of the one before; other branches may fork from any of them."""

    parent: int  # index of the branch that it forks from; -1: the first branch of a tree
    shared: int  # tokens of the parent's path (root to the parent's end) that come before; 0 without a parent
    tokens: int  # its own, >= 0

    @property
    def length(self) -> int:
        """Tokens from the root to its end."""
        return self.shared + self.tokens


@dataclass(frozen=True)
class TreeLayout:
    """Where the tokens of packed trees stand: branch after branch, in depth-first order."""

    branches: tuple[Branch, ...]

    @cached_property
    def subtree_ends(self) -> Tensor:
        """[T] long: the index after the last descendant of each token."""
        depths = [b.shared + i for b in self.branches for i in range(b.tokens)]
        ends = [len(depths)] * len(depths)
        path: list[int] = []  # indices of the ancestors of the coming token
        for index, depth in enumerate(depths):
            while path and depths[path[-1]] >= depth:
                ends[path.pop()] = index
            path.append(index)
        return torch.tensor(ends, dtype=torch.long)

    @cached_property
    def mask(self) -> Tensor:
        """[T, T] bool: whether the row's token sees the column's.  For checks: it is T^2 in size."""
        index = torch.arange(len(self.subtree_ends))
        return (index <= index.unsqueeze(1)) & (index.unsqueeze(1) < self.subtree_ends)

    def block_mask(self, device: torch.device) -> BlockMask:
        """The sparse mask of FlexAttention, made once for all layers."""
        made: dict[torch.device, BlockMask] = self.__dict__.setdefault("_block_masks", {})
        if device not in made:
            ends = self.subtree_ends.to(device)

            def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                return (key <= query) & (query < ends[key])

            made[device] = create_block_mask(sees, None, None, len(ends), len(ends), device=str(device))
        return made[device]


def tree_hidden(decoder: Any, ids: Tensor, positions: Tensor, layout: TreeLayout) -> Tensor:
    """The decoder's last hidden states [T, H] of packed trees: ``ids`` and ``positions`` are [T] long."""
    with tree_mode(decoder):
        hidden: Tensor = decoder(
            input_ids=ids.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            tree_layout=layout,
        ).last_hidden_state[0]
    return hidden


@contextlib.contextmanager
def tree_mode(decoder: nn.Module) -> Iterator[None]:
    """Tree attention within this block: an engine may sample with the same module outside of it.

    ``tree_hidden`` enters it by itself; with gradient checkpointing, which runs layers again in the backward
    pass, the backward pass has to lie within it too.
    """
    config: Any = decoder.config
    before = config._attn_implementation
    config._attn_implementation = IMPLEMENTATION
    try:
        yield
    finally:
        config._attn_implementation = before


def tree_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    tree_layout: TreeLayout,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of packed trees: query [1, heads, T, D], key and value [1, kv_heads, T, D]."""
    query, key = query.to(value.dtype), key.to(value.dtype)
    longest = max(branch.length for branch in tree_layout.branches)
    if sliding_window is not None and longest > sliding_window:
        raise UserError(
            f"sequences of {longest} tokens do not fit the model's sliding window of {sliding_window}"
        )
    if query.is_cuda and dropout == 0 and len(tree_layout.branches) >= FLEX_BRANCHES:
        out = flex_tree_attention(_compiled_flex(), query, key, value, tree_layout, scaling)
    else:
        out = _by_branch(query, key, value, tree_layout.branches, scaling, dropout)
    return out.transpose(1, 2), None


def _by_branch(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    branches: Sequence[Branch],
    scaling: float | None,
    dropout: float,
) -> Tensor:
    gqa = query.shape[1] != key.shape[1]
    sizes = [branch.tokens for branch in branches]
    parents = {branch.parent for branch in branches}
    # split, not slices: the backward of one split is one concatenation, of n slices n tensors of full size
    parts = zip(*(torch.split(tensor, sizes, dim=2) for tensor in (query, key, value)), strict=True)
    paths: dict[int, tuple[Tensor, Tensor]] = {}  # keys and values from the root to a branch's end
    outputs: list[Tensor] = []
    for index, (branch, (q, k, v)) in enumerate(zip(branches, parts, strict=True)):
        if branch.parent >= 0:
            path_k, path_v = paths[branch.parent]
            if branch.shared < path_k.shape[2]:
                path_k, path_v = path_k[:, :, : branch.shared], path_v[:, :, : branch.shared]
            k, v = torch.cat([path_k, k], dim=2), torch.cat([path_v, v], dim=2)
        if index in parents:
            paths[index] = (k, v)
        # the queries are the last ones of the keys: the causal triangle ends at the lower right
        mask = causal_lower_right(q.shape[2], k.shape[2])
        outputs.append(
            scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, scale=scaling, enable_gqa=gqa
            )
        )
    return torch.cat(outputs, dim=2)


def flex_tree_attention(
    attend: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: TreeLayout,
    scaling: float | None,
) -> Tensor:
    """The same by FlexAttention; ``attend`` is ``flex_attention``, compiled or not."""
    return attend(
        query,
        key,
        value,
        block_mask=layout.block_mask(query.device),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


@cache
def _compiled_flex() -> Any:
    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(IMPLEMENTATION, tree_attention)
