"""Groups -> packed sequences: the shared prompt of a group stands once before its completions.

A packed sequence is [prompt, c1, c2, ..., cG] for each group, groups one after another, without padding
(shared-prompt attention, arXiv 2506.05433).  Positions restart after the prompt for each completion, and a
completion sees its prompt and itself, so that every token gets the hidden state it has in a sequence of its
own.  The last token of a completion predicts nothing and is left out.  ``packed_attention.py`` computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenGroup:
    """A prompt and the completions to train after it, as token ids; none of them empty."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Piece:
    """Some completions of one group: what is never split further."""

    group: int  # index into the groups
    completions: tuple[int, ...]  # indices into the group's completions


@dataclass(frozen=True)
class GroupLayout:
    """Where a group's tokens stand in a packed sequence: the prompt, then its completions."""

    prompt: int  # tokens, >= 1
    completions: tuple[int, ...]  # tokens of each that are computed: its length - 1, so 0 is possible

    @property
    def tokens(self) -> int:
        return self.prompt + sum(self.completions)


@dataclass(frozen=True)
class PackedBatch:
    """One packed sequence of T tokens that predicts the N tokens of S completions."""

    ids: Tensor  # [T] long
    positions: Tensor  # [T] long
    layout: tuple[GroupLayout, ...]
    predictors: Tensor  # [N] long, index in [0, T) of the position that predicts each target
    targets: Tensor  # [N] long, token ids
    sequence: Tensor  # [N] long in [0, S), the completion of each target, in the order of the pieces

    def to(self, device: torch.device) -> PackedBatch:
        moved = (
            t.to(device) for t in (self.ids, self.positions, self.predictors, self.targets, self.sequence)
        )
        ids, positions, predictors, targets, sequence = moved
        return PackedBatch(ids, positions, self.layout, predictors, targets, sequence)


def micro_batches(groups: Sequence[TokenGroup], budget: int) -> list[list[Piece]]:
    """Splits the step's groups into micro-batches of at most ``budget`` packed tokens.

    Groups stay whole where they fit; a group bigger than the budget is split into pieces that each repeat
    its prompt, and a single completion bigger than the budget is a micro-batch of its own.  Micro-batches
    are filled first-fit by decreasing size, so that few are nearly empty.
    """
    pieces = [piece for index, group in enumerate(groups) for piece in _pieces(index, group, budget)]
    sizes = {id(piece): _packed_tokens(groups[piece.group], piece.completions) for piece in pieces}
    batches: list[list[Piece]] = []
    rooms: list[int] = []
    for piece in sorted(pieces, key=lambda piece: -sizes[id(piece)]):
        size = sizes[id(piece)]
        fitting = next((i for i, room in enumerate(rooms) if size <= room), None)
        if fitting is None:
            batches.append([piece])
            rooms.append(budget - size)
        else:
            batches[fitting].append(piece)
            rooms[fitting] -= size
    return batches


def pack(groups: Sequence[TokenGroup], pieces: Sequence[Piece]) -> PackedBatch:
    """The packed sequence of ``pieces`` (at least one, each with at least one completion)."""
    ids: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []
    targets: list[int] = []
    sequence: list[int] = []
    layout: list[GroupLayout] = []
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
        layout.append(GroupLayout(len(prompt), tuple(len(c) - 1 for c in completions)))
    tensors = (
        torch.tensor(values, dtype=torch.long) for values in (ids, positions, predictors, targets, sequence)
    )
    ids_t, positions_t, predictors_t, targets_t, sequence_t = tensors
    return PackedBatch(ids_t, positions_t, tuple(layout), predictors_t, targets_t, sequence_t)


def _packed_tokens(group: TokenGroup, completions: Sequence[int]) -> int:
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
