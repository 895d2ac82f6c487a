"""Sampling from an OpenAI-compatible server.

Samples cannot be repeated where the server does not honour seeds, or has changed.  The server's weights are
its own: a policy in training cannot be sampled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from restrl.actions import decode
from restrl.config import EngineConfig
from restrl.engine.base import Capabilities, EngineSource, Weights
from restrl.engine.openai.answers import Reader
from restrl.engine.openai.chat import opened_answer, whole_answer
from restrl.engine.openai.client import Client
from restrl.engine.openai.probe import describe, probe, served_model
from restrl.engine.openai.server import PATHS, Server, most_bytes
from restrl.errors import UserError
from restrl.protocols import Progress
from restrl.records import Completion, Conversation, Request
from restrl.seeds import derive_seed

T = TypeVar("T")
Converse = Callable[[Sequence[int]], Conversation]


@dataclass(frozen=True)
class _Call:
    """One HTTP request: the samples ``first`` to ``first + n - 1`` of a request."""

    request: int
    first: int
    n: int


def build(source: EngineSource, config: EngineConfig) -> OpenAiEngine:
    """Probes the server, and says what it offers.  Raises UserError if it cannot be used."""
    return OpenAiEngine(source, config)


def model_of(config: EngineConfig) -> str:
    """The name of the served model.  Raises UserError if it cannot be found, and for bad settings."""

    async def name(client: Client) -> str:
        return config.model or (await served_model(client, None))[0]

    with asyncio.Runner() as runner:
        return runner.run(_closing(Client(config, Random(0)), name))


class OpenAiEngine:
    def __init__(self, source: EngineSource, config: EngineConfig) -> None:
        self._tokenizer, self._converse, self._say = source.tokenizer, source.conversation, source.say
        self._config = config
        seed = derive_seed("openai", "jitter", source.ranks.rank)  # ranks do not come back at the same time
        self._client = Client(config, Random(seed))
        self._runner = asyncio.Runner()  # one loop for all calls, since connections belong to a loop
        try:
            self.server = self._runner.run(self._probe())
        except BaseException:
            self.close()
            raise
        self._reader = Reader(self.server, self._tokenizer)
        self._inexact = False  # whether it was said that text prompts are other tokens for the server
        self._say(describe(self.server, self._client.address, source.model.name))

    @property
    def capabilities(self) -> Capabilities:
        server = self.server
        return Capabilities(
            shares_weights=False,
            syncs=False,
            token_ids=server.token_prompts and server.token_ids,
            logprobs=False,  # at two temperatures only
            seeds=bool(server.seeds),
            continues=server.continues,
            remote=True,
        )

    def generate(
        self, requests: Sequence[Request], advance: Progress | None = None, /
    ) -> list[tuple[Completion, ...]]:
        """See ``restrl.engine.base.Engine``.  Raises UserError for a request that keeps failing."""
        prompts = [_Prompt(request, self._limit(request), *self._prompt(request)) for request in requests]
        calls = [
            _Call(index, first, min(self.server.samples, request.n - first))
            for index, request in enumerate(requests)
            for first in range(0, request.n, self.server.samples)
        ]
        done: list[dict[int, Completion]] = [{} for _ in requests]

        async def serve(waiting: list[_Call]) -> None:
            while waiting:
                call = waiting.pop()
                completions = await self._sample(prompts[call.request], call)
                done[call.request] |= dict(enumerate(completions, start=call.first))
                if advance is not None:
                    advance(call.n)

        self._runner.run(_together(serve, calls[::-1], self._config.concurrency))
        return [tuple(samples[i] for i in range(len(samples))) for samples in done]

    def sync(self, _weights: Weights, /) -> None:
        """Is never called: the engine does not ``sync``."""
        raise UserError("engine=openai cannot load the weights of a policy in training; use engine=hf")

    def settle(self) -> None:
        """Does nothing: each rank has an engine of its own."""

    def sleep(self) -> None:
        """Does nothing: nothing of the server is in this machine's memory."""

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    async def _probe(self) -> Server:
        model, positions = await served_model(self._client, self._config.model)
        return await probe(self._client, model, positions, self._tokenizer, self._config.api)

    async def _sample(self, prompt: _Prompt, call: _Call) -> list[Completion]:
        request, server = prompt.request, self.server
        return await self._client.post(
            PATHS[server.api],
            server.body(prompt.field, request, call.first, call.n, prompt.limit),
            lambda answer: self._reader.completions(answer, call.n, request, prompt.conversation),
            most_bytes(call.n, prompt.limit),
            request.label,
        )

    def _limit(self, request: Request) -> int:
        """The limit on new tokens: ``max_tokens``, or less where the server's context is shorter."""
        if not request.prompt_ids:
            raise UserError("a request needs at least one prompt token")
        positions = self.server.positions
        if positions is None or self.server.api == "chat":  # the chat's length is known to the server alone
            return request.max_tokens
        room = positions - len(request.prompt_ids)
        if room < 1:
            raise UserError(
                f"engine=openai: {request.label}: a prompt of {len(request.prompt_ids)} tokens leaves no "
                f"room in the served model's {positions}: leave the problem out or serve a longer context"
            )
        return min(request.max_tokens, room)

    def _prompt(self, request: Request) -> tuple[dict[str, Any], Conversation | None]:
        """The field that holds the prompt, and the conversation if a whole answer is asked for."""
        if self.server.token_prompts:
            return {"prompt": list(request.prompt_ids)}, None
        if self.server.api == "completions":
            return {"prompt": self._text(request.prompt_ids)}, None
        conversation = self._converse(request.prompt_ids)
        if self.server.continues:
            return {"messages": opened_answer(conversation)}, None
        return {"messages": whole_answer(conversation)}, conversation

    def _text(self, ids: Sequence[int]) -> str:
        """The text that a server with the same tokenizer reads as these ids, or else their text."""
        text = decode(ids, self._tokenizer)
        begin = getattr(self._tokenizer, "bos_token", None) or ""
        for candidate in (
            text.removeprefix(begin),
            text,
        ):  # many servers put the first token there themselves
            found = self._tokenizer(candidate)["input_ids"]
            if tuple(found) == tuple(ids) or tuple(found[:-1]) == tuple(ids):  # some tokenizers add an end
                return candidate
        if not self._inexact:
            self._inexact = True
            self._say("engine: as text, some prompts are other tokens for the server than here")
        return text


@dataclass(frozen=True)
class _Prompt:
    request: Request
    limit: int  # on new tokens
    field: dict[str, Any]
    conversation: Conversation | None


async def _together(
    serve: Callable[[list[T]], Coroutine[Any, Any, None]], waiting: list[T], workers: int
) -> None:
    """Runs ``workers`` of ``serve`` on the same list.  The first error ends all, and is raised."""
    tasks = [asyncio.ensure_future(serve(waiting)) for _ in range(min(workers, len(waiting)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _closing(client: Client, use: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    try:
        return await use(client)
    finally:
        await client.close()
