"""Packs groups into sequences in which the shared prompt of a group appears once, before its completions.

A packed sequence is [prompt, c1, c2, ..., cG] for each group, groups one after another, without padding
(shared-prompt attention, arXiv 2506.05433).  Positions restart after the prompt for each completion, and a
completion attends only to its prompt and itself, so every token gets the same hidden state as in a separate
sequence.  The last token of a completion predicts nothing and is left out.  A packed group is a tree with two
levels, which ``tree_attention.py`` computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from restrl.objective.tree_attention import Branch, TreeLayout


@dataclass(frozen=True)
class TokenGroup:
    """A prompt and its completions to train on, as token ids; none of them is empty."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Piece:
    """Completions of one group that stay together in a micro-batch."""

    group: int  # index into the groups
    completions: tuple[int, ...]  # indices into the group's completions


@dataclass(frozen=True)
class PackedBatch:
    """One packed sequence of T tokens that predicts the N tokens of S completions."""

    ids: Tensor  # [T] long
    positions: Tensor  # [T] long
    layout: TreeLayout  # per group a branch for the prompt, then one for each completion
    predictors: Tensor  # [N] long, index in [0, T) of the position that predicts each target
    targets: Tensor  # [N] long, token ids
    sequence: Tensor  # [N] long in [0, S), the completion of each target, in the order of the pieces

    def to(self, device: torch.device) -> PackedBatch:
        moved = (
            t.to(device) for t in (self.ids, self.positions, self.predictors, self.targets, self.sequence)
        )
        ids, positions, predictors, targets, sequence = moved
        return PackedBatch(ids, positions, self.layout, predictors, targets, sequence)


def micro_batches(groups: Sequence[TokenGroup], budget: int, ranks: int = 1) -> list[list[Piece]]:
    """Splits the step's groups into micro-batches of at most ``budget`` packed tokens, see ``batches``.

    Groups that fit stay whole.  A larger group is split into pieces that each repeat the prompt, and a single
    completion larger than the budget becomes a separate micro-batch.
    """
    pieces = [piece for index, group in enumerate(groups) for piece in _pieces(index, group, budget)]
    sizes = [packed_tokens(groups[piece.group], piece.completions) for piece in pieces]
    return [[pieces[i] for i in batch] for batch in batches(sizes, budget, ranks)]


def batches(sizes: Sequence[int], budget: int, ranks: int = 1) -> list[list[int]]:
    """Indices of items with these sizes in batches of at most ``budget``.

    An item larger than the budget becomes a separate batch.  For one rank there are as few batches as
    first-fit by decreasing size finds.  For several, each rank gets equally many if there are enough items,
    and ranks that work at the same time (on batches r, r + 1, ...) get nearly equal sums: the largest item
    that is left goes to the emptiest batch.
    """
    filled = _first_fit(sizes, budget)
    if ranks == 1:
        return filled
    count = -(-len(filled) // ranks) * ranks
    while (spread := _spread(sizes, budget, min(count, len(sizes)))) is None:
        count += ranks
    return spread


def _spread(sizes: Sequence[int], budget: int, count: int) -> list[list[int]] | None:
    """The items in ``count`` batches of nearly equal sums, the fullest first; None if one is too full."""
    spread: list[list[int]] = [[] for _ in range(count)]
    sums = [0] * count
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        emptiest = min(range(count), key=sums.__getitem__)
        if spread[emptiest] and sums[emptiest] + sizes[index] > budget:
            return None
        spread[emptiest].append(index)
        sums[emptiest] += sizes[index]
    return [spread[i] for i in sorted(range(count), key=lambda i: -sums[i])]


def _first_fit(sizes: Sequence[int], budget: int) -> list[list[int]]:
    filled: list[list[int]] = []
    rooms: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        fitting = next((i for i, room in enumerate(rooms) if sizes[index] <= room), None)
        if fitting is None:
            filled.append([index])
            rooms.append(budget - sizes[index])
        else:
            filled[fitting].append(index)
            rooms[fitting] -= sizes[index]
    return filled


def pack(groups: Sequence[TokenGroup], pieces: Sequence[Piece]) -> PackedBatch:
    """The packed sequence of ``pieces`` (at least one, each with at least one completion)."""
    ids: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []
    targets: list[int] = []
    sequence: list[int] = []
    branches: list[Branch] = []
    count = 0
    for piece in pieces:
        prompt = groups[piece.group].prompt
        ids += prompt
        positions += range(len(prompt))
        last = len(ids) - 1
        completions = [groups[piece.group].completions[i] for i in piece.completions]
        for completion in completions:
            predictors += [last, *range(len(ids), len(ids) + len(completion) - 1)]
            ids += completion[:-1]
            positions += range(len(prompt), len(prompt) + len(completion) - 1)
            targets += completion
            sequence += [count] * len(completion)
            count += 1
        root = len(branches)
        branches.append(Branch(-1, 0, len(prompt)))
        branches += [Branch(root, len(prompt), len(c) - 1) for c in completions]
    tensors = (
        torch.tensor(values, dtype=torch.long) for values in (ids, positions, predictors, targets, sequence)
    )
    ids_t, positions_t, predictors_t, targets_t, sequence_t = tensors
    return PackedBatch(ids_t, positions_t, TreeLayout(tuple(branches)), predictors_t, targets_t, sequence_t)


def packed_tokens(group: TokenGroup, completions: Sequence[int]) -> int:
    """Tokens of a packed sequence of these completions of the group."""
    return len(group.prompt) + sum(len(group.completions[i]) - 1 for i in completions)


def _pieces(index: int, group: TokenGroup, budget: int) -> list[Piece]:
    """The group in as few pieces as the budget allows."""
    pieces: list[list[int]] = []
    room = 0
    for i, completion in enumerate(group.completions):
        size = len(completion) - 1
        if not pieces or size > room:
            pieces.append([])
            room = budget - len(group.prompt)
        pieces[-1].append(i)
        room -= size
    return [Piece(index, tuple(piece)) for piece in pieces]
