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

REMEMBERED = 2**17  # states, the oldest go first


class ValueScorer:
    """Values in [0, 1] by a value model in the layout of ``restrl.model.value``.

    States are read as the tokens that were sampled.  Those of a problem are packed into one tree, so that a
    prefix which several of them share is computed once per call; a state that comes again is not computed at
    all.  ``kind="outcome"`` makes an ORM of the model: it rates whole programs only.
    """

    def __init__(
        self, model: Any, *, kind: Kind = "state", max_tokens: int = 2048, tokens_per_batch: int = 8192
    ) -> None:
        """Raises UserError where the model's head is not that of a value model."""
        self.model = ValueLM(model)
        self._kind: Kind = kind
        self.max_tokens = max_tokens
        self.tokens_per_batch = tokens_per_batch
        self._known: dict[bytes, float] = {}  # by a digest: the tokens themselves would fill the memory

    @property
    def kind(self) -> Kind:
        return self._kind

    def score(self, states: Sequence[State]) -> list[float | None]:
        """See ``restrl.scoring.base.Scorer``."""
        keys = [_digest(state) for state in states]
        values = {key: self._known[key] for key in keys if key in self._known}
        new = {key: (s.prompt_ids, s.ids) for key, s in zip(keys, states, strict=True) if key not in values}
        names = list(new)
        trees, members = token_trees(list(new.values()), self.max_tokens)
        found = predict_values(self.model, trees, self.tokens_per_batch)
        for indices, some in zip(members, found, strict=True):
            values |= {names[i]: min(max(value, 0.0), 1.0) for i, value in zip(indices, some, strict=True)}
        self._remember({key: values[key] for key in names})
        return [values[key] for key in keys]

    def _remember(self, values: dict[bytes, float]) -> None:
        self._known |= values
        for key in list(self._known)[: max(len(self._known) - REMEMBERED, 0)]:
            del self._known[key]


def _digest(state: State) -> bytes:
    """Of all that a value depends on."""
    ids = array("q", [len(state.prompt_ids), *state.prompt_ids, *state.ids])
    return hashlib.blake2b(ids.tobytes(), digest_size=16).digest()
