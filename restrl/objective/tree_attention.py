"""Forward pass of packed trees of tokens through a Hugging Face decoder.

The sequence holds each token of a tree once, in depth-first order, divided into branches.  A token attends
to its ancestors and itself, and its position is its depth, so it gets the same hidden state as in a separate
sequence.  Two methods compute the same attention:

- branch by branch (any device): the keys of a branch are those on the path to it plus its own, so only pairs
  of tokens that attend to each other are computed, and no mask over the whole sequence exists;
- FlexAttention (``flex_attention``, GPUs, many branches): one kernel with a sparse block mask, for trees with
  so many small branches that a call per branch would leave the device idle.

The memory of the first method is linear in the number of tokens: the keys gathered for a branch are freed
before the next branch, and the backward pass gathers them again.

It is registered as an attention implementation of transformers, so it works for any decoder that takes its
attention from ``ALL_ATTENTION_FUNCTIONS`` and rotary positions from ``position_ids`` (Llama, Qwen2, ...).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface

from restrl.attention import (
    Span,
    Terms,
    attention_of,
    causal_attention,
    check_lengths,
    model_name,
    query_blocks,
    read_terms,
    refuse_mask,
    same_dtype,
)
from restrl.errors import UserError

IMPLEMENTATION = "restrl_tree"
FLEX_BRANCHES = 32  # on a GPU, one kernel is faster than a call per branch from this number of branches


@dataclass(frozen=True)
class Branch:
    """Consecutive tokens, each the child of the previous one; other branches may fork from any of them."""

    parent: int  # index of the branch that it forks from; -1: the first branch of a tree
    shared: int  # number of tokens on the path from the root to the fork; 0 without a parent
    tokens: int  # number of tokens of this branch, >= 0

    @property
    def length(self) -> int:
        """Number of tokens from the root to the end of this branch."""
        return self.shared + self.tokens


@dataclass(frozen=True)
class TreeLayout:
    """The order of the tokens of packed trees: branch after branch, in depth-first order."""

    branches: tuple[Branch, ...]

    @cached_property
    def longest(self) -> int:
        """Number of tokens of the longest path."""
        return max(branch.length for branch in self.branches)

    @cached_property
    def depths(self) -> Tensor:
        """[T] long: the number of ancestors of each token."""
        depths = [b.shared + i for b in self.branches for i in range(b.tokens)]
        return torch.tensor(depths, dtype=torch.long)

    @cached_property
    def subtree_ends(self) -> Tensor:
        """[T] long: the index after the last descendant of each token."""
        depths = self.depths.tolist()
        ends = [len(depths)] * len(depths)
        path: list[int] = []  # indices of the ancestors of the next token
        for index, depth in enumerate(depths):
            while path and depths[path[-1]] >= depth:
                ends[path.pop()] = index
            path.append(index)
        return torch.tensor(ends, dtype=torch.long)

    @cached_property
    def mask(self) -> Tensor:
        """[T, T] bool: whether the token of the row attends to that of the column.  Only for checks."""
        index = torch.arange(len(self.subtree_ends))
        return (index <= index.unsqueeze(1)) & (index.unsqueeze(1) < self.subtree_ends)

    def block_mask(self, device: torch.device, span: Span | None = None) -> BlockMask:
        """The sparse mask of FlexAttention, created once for all layers with the same ``span``."""
        masks: dict[Any, BlockMask] = self.__dict__.setdefault("_block_masks", {})
        key = (device, span)
        if key not in masks:
            ends, depths = self.subtree_ends.to(device), self.depths.to(device)

            def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                return (key <= query) & (query < ends[key])

            def sees_in_span(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                assert span is not None
                near: Tensor = depths[key] >= span.first(depths[query])
                return sees(batch, head, query, key) & near

            rule = sees if span is None or self.longest <= span.size else sees_in_span
            masks[key] = create_block_mask(rule, None, None, len(ends), len(ends), device=str(device))
        return masks[key]


def tree_hidden(decoder: Any, ids: Tensor, positions: Tensor, layout: TreeLayout) -> Tensor:
    """The decoder's last hidden states [T, H] of packed trees: ``ids`` and ``positions`` are [T] long.

    Raises UserError for a decoder or a length that packed trees do not support.
    """
    check_lengths(decoder.config, layout.longest, len(ids))
    with tree_mode(decoder):
        hidden: Tensor = decoder(
            input_ids=ids.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            tree_layout=layout,
        ).last_hidden_state[0]
    return hidden


def tree_mode(decoder: nn.Module) -> contextlib.AbstractContextManager[None]:
    """A context in which the decoder uses tree attention.

    ``tree_hidden`` enters it by itself.  Gradient checkpointing runs layers again in the backward pass, so
    the backward pass has to be inside the context too.  Raises UserError as ``attention_of``.
    """
    return attention_of(decoder, IMPLEMENTATION)


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree_layout: TreeLayout | None = None,
    **arguments: Any,
) -> tuple[Tensor, None]:
    """Attention of packed trees: query [1, heads, T, D], key and value [1, kv_heads, T, D].

    Returns [1, T, heads, D].  Raises UserError for an argument that is not supported.
    """
    refuse_mask(module, attention_mask)
    if tree_layout is None:
        raise UserError(
            f"{model_name(getattr(module, 'config', None))} cannot be trained or rate states: its layers "
            "pass no keyword arguments on to their attention"
        )
    terms = read_terms(module, arguments, tree_layout.longest)
    query, key, value = same_dtype(query, key, value)
    if uses_flex(query, tree_layout, terms):
        out = flex_tree_attention(_compiled_flex(), query, key, value, tree_layout, terms)
    else:
        out = branch_attention(query, key, value, tree_layout, terms)
    return out.transpose(1, 2).contiguous(), None


def uses_flex(query: Tensor, layout: TreeLayout, terms: Terms) -> bool:
    """Whether one kernel computes the whole tree.  FlexAttention has neither sinks nor dropout."""
    known = terms.sinks is None and terms.dropout == 0
    return query.is_cuda and known and len(layout.branches) >= FLEX_BRANCHES


def branch_attention(query: Tensor, key: Tensor, value: Tensor, layout: TreeLayout, terms: Terms) -> Tensor:
    """Attention branch by branch: [1, heads, T, D], with gradients for the sinks too."""
    pieces, plain = _pieces(layout.branches, terms), replace(terms, sinks=None)
    if terms.dropout > 0:  # the backward pass could not reproduce the random mask
        return _by_piece(query, key, value, terms, pieces)
    out: Tensor = _ByBranch.apply(query, key, value, terms.sinks, plain, pieces)  # type: ignore[no-untyped-call]
    return out


@dataclass(frozen=True)
class _Piece:
    """A block of queries of a branch, and the slices of their keys in the order of the path."""

    queries: slice
    keys: tuple[slice, ...]
    first: int  # position of the first key


def _pieces(branches: Sequence[Branch], terms: Terms) -> list[_Piece]:
    pieces: list[_Piece] = []
    paths: list[list[tuple[int, int]]] = []  # per branch: [begin, end) of the runs of tokens on its path
    start = 0
    for branch in branches:
        above = _cut(paths[branch.parent], 0, branch.shared) if branch.parent >= 0 else []
        paths.append([*above, (start, start + branch.tokens)])
        for begin, end in query_blocks(branch.tokens, branch.shared, terms):
            position = branch.shared + begin
            first = 0 if terms.span is None else max(0, terms.span.first(position))
            runs = _cut(paths[-1], first, branch.shared + end)
            pieces.append(
                _Piece(slice(start + begin, start + end), tuple(slice(*run) for run in runs), first)
            )
        start += branch.tokens
    return pieces


def _cut(runs: Sequence[tuple[int, int]], first: int, last: int) -> list[tuple[int, int]]:
    """The part of a path from position ``first`` up to, but not including, ``last``."""
    kept: list[tuple[int, int]] = []
    position = 0  # position in the path where the run begins
    for begin, end in runs:
        low, high = max(first - position, 0), min(last - position, end - begin)
        if low < high:
            kept.append((begin + low, begin + high))
        position += end - begin
    return kept


class _ByBranch(torch.autograd.Function):
    """Attention piece by piece; the forward pass saves only queries, keys and values."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, sinks: Tensor | None, terms: Terms,
                pieces: Sequence[_Piece]) -> Tensor:  # fmt: skip
        ctx.save_for_backward(query, key, value, sinks)
        ctx.terms, ctx.pieces = terms, pieces
        return _by_piece(query, key, value, replace(terms, sinks=sinks), pieces)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, sinks = ctx.saved_tensors
        # the keys of a prompt get a summand from each branch; float32 sums, because bfloat16 loses small ones
        grad_query = torch.empty_like(query)
        grad_key, grad_value = (torch.zeros_like(t, dtype=torch.float32) for t in (key, value))
        grad_sinks = None if sinks is None else torch.zeros_like(sinks, dtype=torch.float32)
        for piece in ctx.pieces:
            parts = [query[:, :, piece.queries], _gather(key, piece), _gather(value, piece)]
            parts = [part.detach().requires_grad_() for part in parts]
            leaf_sinks = None if sinks is None else sinks.detach().requires_grad_()
            with torch.enable_grad():
                terms = replace(ctx.terms, sinks=leaf_sinks)
                out = causal_attention(parts[0], parts[1], parts[2], terms, piece.first)
            inputs = parts if leaf_sinks is None else [*parts, leaf_sinks]
            grads = torch.autograd.grad(out, inputs, grad[:, :, piece.queries])
            grad_query[:, :, piece.queries] = grads[0]
            _scatter(grad_key, grads[1], piece)
            _scatter(grad_value, grads[2], piece)
            if grad_sinks is not None:
                grad_sinks += grads[3]
        grad_sinks = None if sinks is None or grad_sinks is None else grad_sinks.to(sinks.dtype)
        return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype), grad_sinks, None, None


def _by_piece(query: Tensor, key: Tensor, value: Tensor, terms: Terms, pieces: Sequence[_Piece]) -> Tensor:
    outputs = [
        causal_attention(
            query[:, :, piece.queries], _gather(key, piece), _gather(value, piece), terms, piece.first
        )
        for piece in pieces
    ]
    return torch.cat(outputs, dim=2)


def _scatter(total: Tensor, part: Tensor, piece: _Piece) -> None:
    """Adds the gradients of gathered keys to ``total`` at the places of these keys."""
    runs = torch.split(part, [run.stop - run.start for run in piece.keys], dim=2)
    for run, summand in zip(piece.keys, runs, strict=True):
        total[:, :, run] += summand


def _gather(tensor: Tensor, piece: _Piece) -> Tensor:
    if len(piece.keys) == 1:
        return tensor[:, :, piece.keys[0]]
    return torch.cat([tensor[:, :, run] for run in piece.keys], dim=2)


def flex_tree_attention(
    attend: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: TreeLayout,
    terms: Terms,
) -> Tensor:
    """The same by FlexAttention, without sinks; ``attend``: ``flex_attention``, compiled or not."""
    return attend(
        query,
        key,
        value,
        score_mod=None if terms.softcap is None else _capped(terms.softcap),
        block_mask=layout.block_mask(query.device, terms.span),
        scale=terms.scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


@cache
def _capped(softcap: float) -> Callable[..., Tensor]:
    def score_mod(score: Tensor, *_: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return score_mod


@cache
def _compiled_flex() -> Any:
    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(IMPLEMENTATION, tree_attention)
