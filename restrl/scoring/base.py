"""The interface of scorers: states in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from restrl.records import State

# "state": rates unfinished programs too (VM, PRM).  "outcome": rates whole programs only (ORM, verifier).
Kind = Literal["state", "outcome"]


class Scorer(Protocol):
    """Rates programs; greater is better.

    ``score(states)[i]`` is the score of ``states[i]``; None (which differs from 0) if it has none.  The same
    state has the same score in every batch (up to rounding).  A scorer of kind "outcome" receives only
    terminal states.
    """

    @property
    def kind(self) -> Kind: ...

    def score(self, states: Sequence[State]) -> list[float | None]: ...
