"""Caches of keys and values for decoding.

``RowCache`` holds one row per unfinished completion: [rows, kv_heads, capacity, head_dim] for each layer,
where each row is filled from the left up to its length.  ``PromptCache`` collects the keys and values of a
prefill.  A transformers model receives either as ``past_key_values`` and calls only ``update``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Cache

STEP = 64  # positions by which the capacity grows


def rows_that_fit(budget: float, bytes_per_token: int, length: int) -> int:
    """Rows of ``length`` tokens whose keys and values fit into ``budget`` bytes; at least 1."""
    return max(1, int(budget // (bytes_per_token * length)))


class PromptCache(Cache):
    """Collects a prefill: afterwards ``layers_kv[i]`` = (keys, values), each [prompts, kv_heads, P, D]."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.layers_kv: list[tuple[Tensor, Tensor]] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        assert layer_idx == len(self.layers_kv)
        key_states = key_states.to(value_states.dtype)  # float32 rotary angles promote keys to float32
        self.layers_kv.append((key_states, value_states))
        return key_states, value_states

    @property
    def bytes_per_token(self) -> int:
        """Size of one token's keys and values in all layers."""
        tensors = [tensor for pair in self.layers_kv for tensor in pair]
        return sum(tensor[0, :, 0].numel() * tensor.element_size() for tensor in tensors)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        del layer_idx
        return 0


class RowCache(Cache):
    """Rows 0 .. ``rows`` - 1, at most ``capacity_rows`` of them, of at most ``max_length`` tokens each."""

    def __init__(self, capacity_rows: int, max_length: int) -> None:
        super().__init__(layers=[])
        self.capacity_rows = capacity_rows
        self.max_length = max_length
        self.rows = 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._positions = torch.empty(0, dtype=torch.long)  # [rows] position of the next token
        self._index = torch.empty(0, dtype=torch.long)  # [rows] 0, 1, ...
        self._longest = 0

    def add(self, prompt: Sequence[tuple[Tensor, Tensor]], source: int, length: int, count: int) -> None:
        """Appends ``count`` rows that hold the first ``length`` positions of prompt ``source``."""
        self._reserve(prompt, length)
        rows = slice(self.rows, self.rows + count)
        for layer, (keys, values) in enumerate(prompt):
            self.keys[layer][rows, :, :length] = keys[source, :, :length]
            self.values[layer][rows, :, :length] = values[source, :, :length]
        self.rows += count

    def keep(self, kept: Sequence[int], longest: int) -> list[int]:
        """Drops all rows except ``kept`` (ascending); the last kept rows move into the gaps.

        ``longest``: number of positions in use by any row.  Returns the old index of each new row.
        """
        order = list(range(len(kept)))
        for target, source in moves_into_gaps(kept):
            order[target] = source
            for tensor in (*self.keys, *self.values):
                tensor[target, :, :longest] = tensor[source, :, :longest]
        self.rows = len(kept)
        return order

    def expect(self, lengths: Tensor, longest: int) -> None:
        """Sets the position of each row's next token: ``lengths[row]``, below ``longest``."""
        self._longest = longest
        self._positions = lengths
        self._index = torch.arange(self.rows, device=lengths.device)
        if self._longest > self.keys[0].shape[2]:
            self._grow(self._longest)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Writes keys and values of the next token [rows, kv_heads, 1, D]; returns those of all positions."""
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        keys[self._index, :, self._positions] = key_states[:, :, 0].to(keys.dtype)
        values[self._index, :, self._positions] = value_states[:, :, 0].to(values.dtype)
        return keys[: self.rows, :, : self._longest], values[: self.rows, :, : self._longest]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        del layer_idx
        return self._longest - 1

    def _reserve(self, prompt: Sequence[tuple[Tensor, Tensor]], length: int) -> None:
        if not self.keys:
            for keys, values in prompt:
                shape = (self.capacity_rows, keys.shape[1], self._rounded(length), keys.shape[3])
                self.keys.append(keys.new_zeros(shape))
                self.values.append(values.new_zeros((*shape[:3], values.shape[3])))
        elif length > self.keys[0].shape[2]:
            self._grow(length)

    def _grow(self, length: int) -> None:
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                new = old.new_zeros((*old.shape[:2], self._rounded(length), old.shape[3]))
                new[:, :, : old.shape[2]] = old
                tensors[layer] = new

    def _rounded(self, length: int) -> int:
        return min(-(-(length + STEP) // STEP) * STEP, self.max_length)


def moves_into_gaps(kept: Sequence[int]) -> list[tuple[int, int]]:
    """(target, source) moves after which rows 0 .. len(kept) - 1 hold exactly the kept rows (ascending)."""
    alive = set(kept)
    gaps = [row for row in range(len(kept)) if row not in alive]
    beyond = [row for row in kept if row >= len(kept)]
    return list(zip(gaps, beyond, strict=True))
