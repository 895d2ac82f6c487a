"""What every engine provides.  A new one is a class with these methods and a line in ``registry.py``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from restrl.config import SamplingConfig
from restrl.protocols import Progress
from restrl.records import Completion, Request

Weights = Iterable[tuple[str, Tensor]]  # (name, tensor) as in the policy's state dict, one after the other


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do.  Who needs more than it can has to refuse it."""

    shares_weights: bool  # samples with the module that is being trained: ``sync`` has nothing to do
    logprobs: bool  # completions carry log-probabilities of their tokens
    seeds: bool  # a request's completions depend on its seed, not on what else is in the batch


class Engine(Protocol):
    """Samples completions.

    ``generate(requests)[i]`` holds the ``requests[i].n`` completions of request i, in sample order.  The
    same request gives the same completions whatever else is in the batch (up to rounding of the logits).
    Their log-probabilities are those of the distribution at the request's temperature, before ``top_p`` cuts
    it (greedy: at temperature 1), so that a trainer can compare its own with them.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def generate(
        self, requests: Sequence[Request], advance: Progress | None = None, /
    ) -> list[tuple[Completion, ...]]:
        """``advance`` is told how many more completions are done."""
        ...

    def sync(self, weights: Weights, /) -> None:
        """Samples from these weights from now on.  Not called where the engine ``shares_weights``."""
        ...

    def close(self) -> None:
        """Frees what it holds (memory, processes); nothing is sampled after it."""
        ...


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
