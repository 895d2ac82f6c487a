"""A value model as a scorer: all states of a call in packed trees, each state scored once."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import Any

from restrl.model.value_lm import ValueLM, predict_values
from restrl.objective.tree_packing import token_trees
from restrl.records import State
from restrl.scoring.base import Kind

CACHED = 2**17  # maximum number of cached states; the oldest are dropped first


class ValueScorer:
    """Values in [0, 1] by a value model in the layout of ``restrl.model.value``.

    States are given as their sampled tokens.  States of a problem are packed into one tree, so a shared
    prefix is computed once per call; the value of a state that was scored before is cached.  With
    ``kind="outcome"`` the model is an ORM, which rates only whole programs.
    """

    def __init__(
        self, model: Any, *, kind: Kind = "state", max_tokens: int = 2048, tokens_per_batch: int = 8192
    ) -> None:
        """Raises UserError if the model's head is not that of a value model."""
        self.model = ValueLM(model)
        self._kind: Kind = kind
        self.max_tokens = max_tokens
        self.tokens_per_batch = tokens_per_batch
        self._cache: dict[bytes, float] = {}  # by digest, because the tokens themselves would fill the memory

    @property
    def kind(self) -> Kind:
        return self._kind

    def score(self, states: Sequence[State]) -> list[float | None]:
        """See ``restrl.scoring.base.Scorer``."""
        keys = [_digest(state) for state in states]
        values = {key: self._cache[key] for key in keys if key in self._cache}
        new = {key: (s.prompt_ids, s.ids) for key, s in zip(keys, states, strict=True) if key not in values}
        new_keys = list(new)
        trees, members = token_trees(list(new.values()), self.max_tokens)
        predicted = predict_values(self.model, trees, self.tokens_per_batch)
        for indices, tree_values in zip(members, predicted, strict=True):
            for i, value in zip(indices, tree_values, strict=True):
                values[new_keys[i]] = min(max(value, 0.0), 1.0)
        self._store({key: values[key] for key in new_keys})
        return [values[key] for key in keys]

    def _store(self, values: dict[bytes, float]) -> None:
        self._cache |= values
        for key in list(self._cache)[: max(len(self._cache) - CACHED, 0)]:
            del self._cache[key]


def _digest(state: State) -> bytes:
    """A digest of everything that the value of a state depends on."""
    ids = array("q", [len(state.prompt_ids), *state.prompt_ids, *state.ids])
    return hashlib.blake2b(ids.tobytes(), digest_size=16).digest()
