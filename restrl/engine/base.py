"""What every engine is: requests in, completions out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from restrl.config import SamplingConfig
from restrl.records import Completion, Request

Progress = Callable[[int], None]  # called with the number of completions that just finished


class Engine(Protocol):
    """Samples completions.

    ``generate(requests)[i]`` holds the ``requests[i].n`` completions of request i, in sample order.  The
    same request gives the same completions whatever else is in the batch (up to rounding of the logits).
    Their log-probabilities are those of the distribution at the request's temperature, before ``top_p`` cuts
    it (greedy: at temperature 1), so that a trainer can compare its own with them.
    """

    def generate(
        self, requests: Sequence[Request], progress: Progress | None = None
    ) -> list[tuple[Completion, ...]]: ...


def make_request(
    prompt_ids: tuple[int, ...], sampling: SamplingConfig, stop: tuple[str, ...], seed: int
) -> Request:
    """A request with the settings of a configuration group."""
    return Request(
        prompt_ids=prompt_ids,
        n=sampling.n,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop=stop,
        seed=seed,
    )
