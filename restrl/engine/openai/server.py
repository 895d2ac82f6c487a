"""What is known of a server, and the bodies of the requests that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from restrl.records import Request
from restrl.seeds import derive_seed

Api = Literal["completions", "chat"]
PATHS: dict[Api, str] = {"completions": "/completions", "chat": "/chat/completions"}

SAMPLES = 16  # that one HTTP request asks for at most, so that a retry repeats little
TOKEN_BYTES = 2048  # of an answer for each token, with its id and log-probability: more than any server takes
ANSWER_BYTES = 2**20  # of an answer besides its tokens

# fields of a request that only some servers take
IDS = {"return_token_ids": True}
# vLLM and others otherwise use the defaults of the model's generation_config.json
NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}


@dataclass(frozen=True)
class Server:
    """A served model and what its server takes and gives."""

    model: str
    api: Api
    fields: frozenset[str] = frozenset()  # optional fields that it takes: see ``probe.FIELDS``
    limit: str = "max_tokens"  # the name of the limit on new tokens
    positions: int | None = None  # context length in tokens; None: it does not say
    same_tokenizer: bool | None = None  # whether it has the tokenizer of ``model``; None: cannot be told
    token_prompts: bool = False  # prompts are token ids; else text, which it tokenizes itself
    token_ids: bool = False  # answers hold the ids of the sampled tokens
    logprobs: bool = False  # and their log-probabilities
    many: bool = False  # one request can ask for several samples
    seeds: bool | None = None  # whether a seed decides the samples; None: cannot be told
    continues: bool = True  # it continues an opened answer; else it is asked for whole answers
    stops: int = 0  # stop strings that it takes

    @property
    def samples(self) -> int:
        """Samples per HTTP request."""
        return SAMPLES if self.many else 1

    def extras(self) -> dict[str, Any]:
        """The optional fields that every request has."""
        extras: dict[str, Any] = {}
        if "neutral" in self.fields:
            extras |= NEUTRAL
        if "no_thinking" in self.fields:
            extras |= NO_THINKING
        if self.token_ids:
            extras |= IDS
        if self.api == "chat" and self.continues:
            extras |= CONTINUE
        return extras

    def body(
        self, prompt: dict[str, Any], request: Request, first: int, n: int, limit: int
    ) -> dict[str, Any]:
        """Asks for the samples ``first`` to ``first + n - 1`` of a request, of at most ``limit`` tokens.

        ``prompt``: the field with the prompt or the messages.
        """
        body = {"model": self.model, **prompt, self.limit: limit, "temperature": request.temperature}
        if request.top_p != 1 or "neutral" in self.fields:
            body["top_p"] = request.top_p
        if self.many:
            body["n"] = n
        if "seed" in self.fields:
            body["seed"] = seed_of(request, first)
        if self.continues and request.stop and self.stops:
            body["stop"] = list(request.stop[: self.stops])  # the others are cut off when the answer is read
        if wants_logprobs(self, request):
            body["logprobs"] = 1 if self.api == "completions" else True
        return body | self.extras()


def wants_logprobs(server: Server, request: Request) -> bool:
    """Whether the server's log-probabilities are those that ``Completion`` defines.

    Servers give those of the logits as they are, or those of the distribution that was sampled; the two are
    the same only at temperature 1 without a cut, and for greedy requests.
    """
    return server.logprobs and request.top_p == 1 and request.temperature in (0, 1)


def seed_of(request: Request, first: int) -> int:
    """31 bits, which every server takes."""
    return derive_seed("openai", request.seed, first) % 2**31


def most_bytes(n: int, limit: int) -> int:
    """The longest answer with n samples of ``limit`` tokens."""
    return ANSWER_BYTES + n * limit * TOKEN_BYTES
