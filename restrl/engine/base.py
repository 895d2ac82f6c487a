"""The interface of engines.  To add one, write a class with these methods and a line in ``registry.py``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from restrl.config import SamplingConfig
from restrl.protocols import Progress
from restrl.records import Completion, Request

Weights = Iterable[tuple[str, Tensor]]  # (name, tensor) pairs as in the policy's state dict


@dataclass(frozen=True)
class Capabilities:
    """The abilities of an engine.  Code that needs more than an engine offers has to refuse it."""

    shares_weights: bool  # it samples with the module in training, so ``sync`` has nothing to do
    logprobs: bool  # completions carry log-probabilities of their tokens
    seeds: bool  # a request's completions depend on its seed, not on other requests in the batch


class Engine(Protocol):
    """Samples completions.

    ``generate(requests)[i]`` holds the ``requests[i].n`` completions of request i, in sample order.  The
    same request gives the same completions in every batch (up to rounding of the logits).  Log-probabilities
    are those of the distribution at the request's temperature (greedy: at temperature 1) before ``top_p``
    truncates it, so a trainer can compare them with its own.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def generate(
        self, requests: Sequence[Request], advance: Progress | None = None, /
    ) -> list[tuple[Completion, ...]]:
        """``advance`` receives the number of further completions that are done."""
        ...

    def sync(self, weights: Weights, /) -> None:
        """Loads these weights for sampling.  It is not called if the engine ``shares_weights``."""
        ...

    def close(self) -> None:
        """Frees memory and ends processes; the engine cannot sample afterwards."""
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
