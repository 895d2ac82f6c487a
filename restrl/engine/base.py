"""The interface of engines.

To add one, write a class with these methods, a function that builds it from an ``EngineSource``, a line in
``registry.py``, and a file in ``conf/engine``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from restrl.config import ModelConfig, SamplingConfig
from restrl.errors import UserError
from restrl.protocols import Progress
from restrl.ranks import ALONE, Ranks
from restrl.records import Completion, Conversation, Request

Weights = Iterable[tuple[str, Tensor]]  # (name, tensor) pairs as in the policy's state dict


@dataclass(frozen=True)
class Capabilities:
    """The abilities of an engine.  Code that needs more than an engine offers calls ``need``."""

    shares_weights: bool  # it samples with the module in training, so ``sync`` has nothing to do
    syncs: bool  # ``sync`` gives it other weights (or it shares them), so it can sample a policy in training
    token_ids: bool  # it takes token ids, and completions carry the ids that were sampled
    logprobs: bool  # completions carry log-probabilities of their tokens
    seeds: bool  # a request's completions depend on its seed, not on other requests in the batch
    sleeps: bool = False  # ``sleep`` frees memory of the device
    remote: bool = False  # it samples on another device than the trainer's, or on another machine
    continues: bool = True  # it continues any state; else it answers only whole problems


LACKS = {  # ability -> what an engine without it lacks
    "syncs": "cannot load the weights of a policy in training",
    "token_ids": "gives no token ids",
    "logprobs": "gives no log-probabilities",
    "seeds": "takes no seeds",
    "continues": "gives only whole answers, since its server continues none",
}
TRAINING = ("syncs", "token_ids", "logprobs")  # what rollouts of a policy in training need
SEARCHES = ("continues",)  # what a search needs


def need(name: str, capabilities: Capabilities, abilities: Sequence[str], what: str) -> None:
    """Raises UserError, in one line, if the engine ``name`` lacks an ability that ``what`` needs."""
    lacking = [LACKS[ability] for ability in abilities if not getattr(capabilities, ability)]
    if lacking:
        raise UserError(f"{what} cannot use engine={name}, which {' and '.join(lacking)}; use engine=hf")


@dataclass(frozen=True)
class EngineSource:
    """The policy that an engine samples from, and where the engine runs."""

    model: ModelConfig
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype  # of the weights of an engine that does not share those of the module
    positions: int | None  # context length in tokens, for prompt and completion together; None: not limited
    module: Callable[[], Any]  # the policy as a causal LM of transformers, which the first call loads
    files: Callable[[], Path]  # a local folder with weights, configuration and tokenizer (Hugging Face's)
    logs: Path  # folder for the engine's log
    # reads a prompt back as messages, for an engine that takes no token ids
    conversation: Callable[[Sequence[int]], Conversation]
    say: Callable[[str], None]  # prints a line on the first rank
    ranks: Ranks = ALONE  # each rank has an engine, or a part of one


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

    def settle(self) -> None:
        """Ends work that this rank divided with others: ranks may differ in how often they call ``generate``.

        Ranks that share one engine all take part in each call of one of them.  ``settle`` returns when all of
        them have called it; every rank calls it before it waits for other ranks in any other way.
        """
        ...

    def sync(self, weights: Weights, /) -> None:
        """Loads these weights for sampling, all that the policy has.

        It is called only if the engine ``syncs`` and does not ``shares_weights``.
        """
        ...

    def sleep(self) -> None:
        """Frees memory of the device until the next ``generate`` or ``sync``, if the engine ``sleeps``."""
        ...

    def close(self) -> None:
        """Frees memory and ends processes; the engine cannot sample afterwards."""
        ...


def make_request(
    prompt_ids: tuple[int, ...], sampling: SamplingConfig, stop: tuple[str, ...], seed: int, label: str = ""
) -> Request:
    """A request with the settings of a configuration group.  ``label``: names its problem in messages."""
    return Request(
        prompt_ids=prompt_ids,
        n=sampling.n,
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop=stop,
        seed=seed,
        label=label,
    )
