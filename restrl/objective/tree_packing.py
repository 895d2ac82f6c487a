"""States -> packed trees: tokens that several states of a problem share stand once.

The states of a problem are prefixes and forks of one another, and a causal decoder knows every prefix in one
pass.  So they are laid out as the tree of their distinct tokens (tree training, arXiv 2511.00413): the
prompt, then the states in lexicographic order, of each what the one before does not hold.  What a model says
of a state is read at the state's last token.  ``tree_attention.py`` computes such a sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

import torch
from torch import Tensor

from restrl.objective.packing import first_fit
from restrl.objective.tree_attention import Branch, TreeLayout
from restrl.records import Ints

Ids = tuple[int, ...]
CUT_STEP = 128  # tokens by which a prompt that is too long gets shorter: few lengths, so that states share


class Prefixes(Sequence[Ids]):
    """States that are the first tokens of some sequences; each is made when it is asked for.

    The prefixes of a sequence, held as tuples of their own, take memory that grows with its length squared.
    """

    def __init__(self, sequences: Sequence[Ints], places: Iterable[tuple[int, int]]) -> None:
        """``places``: of each state its sequence and the number of its tokens."""
        order = sorted(range(len(sequences)), key=lambda i: sequences[i])
        rows = {index: row for row, index in enumerate(order)}
        self._rows = [sequences[index] for index in order]
        shared = [0, *(_common(a, b) for a, b in pairwise(self._rows))]  # tokens, with the row above
        self._places: list[tuple[int, int]] = []  # first row that begins with the state, and its tokens
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
        """Orders the states as their tokens do: rows are sorted, and a prefix stands before what goes on."""
        return self._places[index]


@dataclass(frozen=True)
class TokenTree:
    """A prompt and states after it, as token ids.  A state may be empty: it is the prompt itself."""

    prompt: Ids  # not empty
    states: Sequence[Ids]

    def in_order(self, states: Iterable[int]) -> list[int]:
        """Indices of states, sorted by their tokens."""
        if isinstance(self.states, Prefixes):
            return sorted(states, key=self.states.sort_key)
        return sorted(states, key=lambda index: self.states[index])


@dataclass(frozen=True)
class TreePiece:
    """Some states of one tree, which are packed together."""

    tree: int  # index into the trees
    states: tuple[int, ...]  # indices into the tree's states
    tokens: int  # packed, the prompt's included


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
    """Prompt and state of at most ``max_tokens`` together; depends on nothing but this state.

    The prompt is cut in its middle: its head holds the question, its tail the opened answer.  A quarter of
    the window stays the prompt's; a state that does not fit the rest loses its oldest tokens.
    """
    room, kept = window(len(prompt), len(ids), max_tokens)
    return shortened(prompt, room), ids[len(ids) - kept :]


def window(prompt: int, state: int, max_tokens: int) -> tuple[int, int]:
    """How many tokens of a prompt and of a state ``fit_window`` keeps, from how many they have."""
    if prompt + state <= max_tokens:
        return prompt, state
    rounded = -(-state // CUT_STEP) * CUT_STEP
    room = min(max(max_tokens - rounded, max_tokens // 4), prompt)
    return room, min(state, max_tokens - room)


def shortened(prompt: Ids, room: int) -> Ids:
    """The prompt's first and last tokens, ``room`` in all."""
    head = -(-room // 2)
    return prompt if room == len(prompt) else prompt[:head] + prompt[len(prompt) - (room - head) :]


def token_trees(
    states: Sequence[tuple[Ids, Ids]], max_tokens: int
) -> tuple[list[TokenTree], list[tuple[int, ...]]]:
    """The trees of (prompt, ids) pairs, and for each tree the indices of its states in ``states``.

    States share a tree where their prompts are the same after ``fit_window``.
    """
    fitted = [fit_window(prompt, ids, max_tokens) for prompt, ids in states]
    members: dict[Ids, list[int]] = {}
    for index, (prompt, _) in enumerate(fitted):
        members.setdefault(prompt, []).append(index)
    trees = [TokenTree(prompt, tuple(fitted[i][1] for i in some)) for prompt, some in members.items()]
    return trees, [tuple(some) for some in members.values()]


def tree_batches(trees: Sequence[TokenTree], budget: int) -> list[list[TreePiece]]:
    """Splits the trees into batches of at most ``budget`` packed tokens.

    Trees stay whole where they fit; a bigger one is split into pieces that each repeat the prompt and the
    path to their first state, and a single state bigger than the budget is a batch of its own.
    """
    pieces = [piece for index, tree in enumerate(trees) for piece in _pieces(index, tree, budget)]
    return [[pieces[i] for i in batch] for batch in first_fit([p.tokens for p in pieces], budget)]


def pack_trees(trees: Sequence[TokenTree], pieces: Sequence[TreePiece]) -> TreeBatch:
    """The packed sequence of ``pieces`` (at least one, each with at least one state)."""
    ids: list[int] = []
    positions: list[int] = []
    branches: list[Branch] = []
    ends: list[int] = []
    for piece in pieces:
        tree = trees[piece.tree]
        found: dict[int, int] = {}
        path = [len(branches)]  # branches from the root to the last token so far
        branches.append(Branch(-1, 0, len(tree.prompt)))
        ids += tree.prompt
        positions += range(len(tree.prompt))
        before: Ids = ()
        for index in tree.in_order(piece.states):
            state = tree.states[index]
            common = _common(before, state)
            depth = len(tree.prompt) + common
            if common < len(before):  # a fork; else the state goes on where the one before ends
                while branches[path[-1]].shared >= depth:
                    path.pop()
                path.append(len(branches))
                branches.append(Branch(path[-2], depth, 0))
            last = branches[path[-1]]
            branches[path[-1]] = Branch(last.parent, last.shared, last.tokens + len(state) - common)
            ids += state[common:]
            positions += range(depth, len(tree.prompt) + len(state))
            found[index] = len(ids) - 1
            before = state
        ends += [found[index] for index in piece.states]
    ids_t, positions_t, ends_t = (torch.tensor(v, dtype=torch.long) for v in (ids, positions, ends))
    return TreeBatch(ids_t, positions_t, TreeLayout(tuple(branches)), ends_t)


def _pieces(index: int, tree: TokenTree, budget: int) -> list[TreePiece]:
    """The tree in as few pieces as the budget allows, neighbours together."""
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
