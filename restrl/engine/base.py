"""What every engine is: requests in, completions out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from restrl.records import Completion, Request

Progress = Callable[[int], None]  # called with the number of completions that just finished


class Engine(Protocol):
    """Samples completions.

    ``generate(requests)[i]`` holds the ``requests[i].n`` completions of request i, in sample order.  The
    same request gives the same completions whatever else is in the batch (up to rounding of the logits).
    """

    def generate(
        self, requests: Sequence[Request], progress: Progress | None = None
    ) -> list[tuple[Completion, ...]]: ...
