"""Packs states into trees in which shared tokens appear once.

The states of a problem share prefixes, and one pass of a causal decoder computes all prefixes of a sequence.
So the states are packed as the tree of their distinct tokens (tree training, arXiv 2511.00413): first the
prompt, then the states in lexicographic order, where each state adds only the tokens that it does not share
with the state before it.  The output for a state is read at the state's last token.  ``tree_attention.py``
computes the forward pass of such a sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

import torch
from torch import Tensor

from restrl.objective.packing import batches
from restrl.objective.tree_attention import Branch, TreeLayout
from restrl.records import Ints

Ids = tuple[int, ...]
CUT_STEP = 128  # long prompts are shortened in steps of this many tokens, so that states share a prompt


class Prefixes(Sequence[Ids]):
    """States that are prefixes of sequences; the tuple of a state is created on access.

    Storing all prefixes of a sequence as tuples would take memory quadratic in its length.
    """

    def __init__(self, sequences: Sequence[Ints], places: Iterable[tuple[int, int]]) -> None:
        """``places``: for each state the index of its sequence, and its number of tokens."""
        order = sorted(range(len(sequences)), key=lambda i: sequences[i])
        rows = {index: row for row, index in enumerate(order)}
        self._rows = [sequences[index] for index in order]
        shared = [0, *(_common(a, b) for a, b in pairwise(self._rows))]  # tokens shared with the previous row
        self._places: list[tuple[int, int]] = []  # first row that begins with the state, number of tokens
        for index, tokens in places:
            row = rows[index]
            while row and shared[row] >= tokens:
                row -= 1
            self._places.append((row, tokens))

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Ids: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Ids, ...]: ...

    def __getitem__(self, index: int | slice) -> Ids | tuple[Ids, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(len(self))[index])
        row, tokens = self._places[index]
        return tuple(self._rows[row][:tokens])

    def sort_key(self, index: int) -> tuple[int, int]:
        """A key that sorts states by their tokens: rows are sorted, and a prefix precedes longer states."""
        return self._places[index]


@dataclass(frozen=True)
class TokenTree:
    """A prompt and states after it, as token ids.  An empty state is the prompt itself."""

    prompt: Ids  # not empty
    states: Sequence[Ids]

    def in_order(self, states: Iterable[int]) -> list[int]:
        """The indices of these states, sorted by the states' tokens."""
        if isinstance(self.states, Prefixes):
            return sorted(states, key=self.states.sort_key)
        return sorted(states, key=lambda index: self.states[index])


@dataclass(frozen=True)
class TreePiece:
    """States of one tree that are packed together."""

    tree: int  # index into the trees
    states: tuple[int, ...]  # indices into the tree's states
    tokens: int  # number of packed tokens, including the prompt


@dataclass(frozen=True)
class TreeBatch:
    """One packed sequence of T tokens that holds S states."""

    ids: Tensor  # [T] long
    positions: Tensor  # [T] long, tokens from the root
    layout: TreeLayout
    ends: Tensor  # [S] long in [0, T): the last token of each state, in the order of the pieces

    def to(self, device: torch.device) -> TreeBatch:
        return TreeBatch(self.ids.to(device), self.positions.to(device), self.layout, self.ends.to(device))


def fit_window(prompt: Ids, ids: Ids, max_tokens: int) -> tuple[Ids, Ids]:
    """Prompt and state, shortened to at most ``max_tokens`` together; independent of other states.

    The prompt is cut in the middle, because its head has the question and its tail the opened answer.  A
    quarter of the window is reserved for the prompt; a state that does not fit into the rest loses its oldest
    tokens.
    """
    room, kept = window(len(prompt), len(ids), max_tokens)
    return shortened(prompt, room), ids[len(ids) - kept :]


def window(prompt: int, state: int, max_tokens: int) -> tuple[int, int]:
    """How many tokens of a prompt and of a state ``fit_window`` keeps, given their lengths."""
    if prompt + state <= max_tokens:
        return prompt, state
    rounded = -(-state // CUT_STEP) * CUT_STEP
    room = min(max(max_tokens - rounded, max_tokens // 4), prompt)
    return room, min(state, max_tokens - room)


def shortened(prompt: Ids, room: int) -> Ids:
    """The first and last tokens of the prompt, ``room`` in total."""
    head = -(-room // 2)
    return prompt if room == len(prompt) else prompt[:head] + prompt[len(prompt) - (room - head) :]


def token_trees(
    states: Sequence[tuple[Ids, Ids]], max_tokens: int
) -> tuple[list[TokenTree], list[tuple[int, ...]]]:
    """The trees of (prompt, ids) pairs, and for each tree the indices of its states in ``states``.

    States share a tree if their prompts are equal after ``fit_window``.
    """
    fitted = [fit_window(prompt, ids, max_tokens) for prompt, ids in states]
    members: dict[Ids, list[int]] = {}
    for index, (prompt, _) in enumerate(fitted):
        members.setdefault(prompt, []).append(index)
    trees = [TokenTree(prompt, tuple(fitted[i][1] for i in indices)) for prompt, indices in members.items()]
    return trees, [tuple(indices) for indices in members.values()]


def tree_batches(trees: Sequence[TokenTree], budget: int, ranks: int = 1) -> list[list[TreePiece]]:
    """Splits the trees into batches of at most ``budget`` packed tokens, see ``packing.batches``.

    Trees that fit stay whole.  A larger tree is split into pieces that each repeat the prompt and the path to
    their first state, and a single state larger than the budget becomes a separate batch.
    """
    pieces = [piece for index, tree in enumerate(trees) for piece in _pieces(index, tree, budget)]
    return [[pieces[i] for i in batch] for batch in batches([p.tokens for p in pieces], budget, ranks)]


def pack_trees(trees: Sequence[TokenTree], pieces: Sequence[TreePiece]) -> TreeBatch:
    """The packed sequence of ``pieces`` (at least one, each with at least one state)."""
    ids: list[int] = []
    positions: list[int] = []
    branches: list[Branch] = []
    ends: list[int] = []
    for piece in pieces:
        tree = trees[piece.tree]
        last_tokens: dict[int, int] = {}  # state -> index of its last token
        path = [len(branches)]  # branches from the root to the last token so far
        branches.append(Branch(-1, 0, len(tree.prompt)))
        ids += tree.prompt
        positions += range(len(tree.prompt))
        before: Ids = ()
        for index in tree.in_order(piece.states):
            state = tree.states[index]
            common = _common(before, state)
            depth = len(tree.prompt) + common
            if common < len(before):  # a fork; otherwise the state continues the previous one
                while branches[path[-1]].shared >= depth:
                    path.pop()
                path.append(len(branches))
                branches.append(Branch(path[-2], depth, 0))
            last = branches[path[-1]]
            branches[path[-1]] = Branch(last.parent, last.shared, last.tokens + len(state) - common)
            ids += state[common:]
            positions += range(depth, len(tree.prompt) + len(state))
            last_tokens[index] = len(ids) - 1
            before = state
        ends += [last_tokens[index] for index in piece.states]
    ids_t, positions_t, ends_t = (torch.tensor(v, dtype=torch.long) for v in (ids, positions, ends))
    return TreeBatch(ids_t, positions_t, TreeLayout(tuple(branches)), ends_t)


def _pieces(index: int, tree: TokenTree, budget: int) -> list[TreePiece]:
    """Splits the tree into as few pieces as the budget allows, with neighbouring states together."""
    pieces: list[TreePiece] = []
    states: list[int] = []
    tokens = len(tree.prompt)
    before: Ids = ()
    for i in tree.in_order(range(len(tree.states))):
        state = tree.states[i]
        new = len(state) - _common(before, state)
        if states and tokens + new > budget:
            pieces.append(TreePiece(index, tuple(states), tokens))
            states, tokens, new = [], len(tree.prompt), len(state)
        states.append(i)
        tokens += new
        before = state
    return [*pieces, TreePiece(index, tuple(states), tokens)] if states else pieces


def _common(a: Ids | Ints, b: Ids | Ints) -> int:
    """Length of the longest common prefix."""
    if a == b[: len(a)]:
        return len(a)
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
