"""Finds out at the start what a server takes and gives, with a handful of short requests.

Optional fields are sent all at once.  If the server refuses them, they are tried one by one.  That a field is
taken does not show that it is honoured, so the answers are looked at too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from restrl.engine.openai.answers import choices_of, text_of
from restrl.engine.openai.client import Client, Refusal, Trouble
from restrl.engine.openai.server import CONTINUE, IDS, NEUTRAL, NO_THINKING, PATHS, Api, Server
from restrl.errors import UserError

TEXT = 'def naïve_sum(x1: int) -> int:\n    """Return 12345 + x1."""\n\n    return'
CHAT = [{"role": "user", "content": "Write ten random words."}]
OPENED = [*CHAT, {"role": "assistant", "content": "apple river seven"}]
TOKENS = 16
NOT_TAKEN = (400, 404, 405, 415, 422, 501)  # statuses of a server that does not have or take something
STOPS = tuple(f"\n<{i}>" for i in range(8))  # the most that a prompter has
FEW = 4  # that OpenAI's servers take, and vLLM's if it is not told otherwise
LISTED = 8  # models that a message lists

Fields = Mapping[str, Any]
# name -> fields that a server may refuse
FIELDS: dict[str, Fields] = {
    "n": {"n": 2},
    "seed": {"seed": 1},
    "stop": {"stop": list(STOPS[:FEW])},
    "logprobs": {"logprobs": 1},
    "ids": IDS,
    "neutral": NEUTRAL,
}
CHAT_FIELDS = FIELDS | {"logprobs": {"logprobs": True}, "no_thinking": NO_THINKING}


async def served_model(client: Client, wanted: str | None) -> tuple[str, int | None]:
    """The name of the model to ask for, and its context length in tokens if the server says it.

    Raises UserError if ``engine.model`` is null and the server does not list exactly one model.
    """
    try:
        models = await client.get("/models", _models)
    except Refusal as refusal:
        if wanted is not None and refusal.status in NOT_TAKEN:
            return wanted, None  # some servers list nothing
        raise
    if wanted is not None:
        return wanted, models.get(wanted)
    if len(models) != 1:
        names = ", ".join(client.shown(name) for name in sorted(models)[:LISTED])
        more = f" and {len(models) - LISTED} more" if len(models) > LISTED else ""
        raise UserError(
            f"engine.model: {client.address} serves {len(models)} models, so name one: {names}{more}"
            if models
            else f"engine.model: {client.address} lists no model; name the one to ask for"
        )
    return next(iter(models.items()))


def _models(answer: Any) -> dict[str, int | None]:
    """The names of the models in the answer of /models, with their context lengths."""
    entries = answer.get("data") if isinstance(answer, dict) else None
    models: dict[str, int | None] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            length = entry.get("max_model_len")
            models[entry["id"]] = length if type(length) is int and length > 0 else None
    return models


async def probe(client: Client, model: str, positions: int | None, tokenizer: Any, api: str) -> Server:
    """``api``: auto, completions or chat.  Raises UserError if the server offers nothing that can be used."""
    if api == "chat":
        return await _Probe(client, model, positions, "chat").chat()
    completions = _Probe(client, model, positions, "completions")
    if api == "completions":
        return await completions.completions(tokenizer)
    server = refused = None
    try:
        server = await completions.completions(tokenizer)
        if server.same_tokenizer is not False:
            return server
    except Refusal as refusal:
        if refusal.status not in NOT_TAKEN:
            raise
        refused = refusal
    try:  # a prompt in the chat format of another model would mislead it
        return await _Probe(client, model, positions, "chat").chat()
    except Refusal as refusal:
        if server is not None and refusal.status in NOT_TAKEN:
            return server
        if refused is None:
            raise
        raise UserError(f"{refused}; and {refusal}") from None


class _Probe:
    """The probe of one of the server's two interfaces."""

    def __init__(self, client: Client, model: str, positions: int | None, api: Api) -> None:
        self._client, self._path = client, PATHS[api]
        self._server = Server(model, api, positions=positions)

    async def completions(self, tokenizer: Any) -> Server:
        ids = _ids(tokenizer)
        fields, answer = await self._taken({"prompt": TEXT}, FIELDS)
        server = self._seen(fields, answer)
        server = dataclasses.replace(server, same_tokenizer=_same_tokenizer(answer, ids))
        if server.same_tokenizer is not False:
            verified = await self._takes_ids(ids, verified=server.token_ids and bool(server.same_tokenizer))
            if verified is not None:
                server = dataclasses.replace(server, token_prompts=verified, same_tokenizer=verified or None)
        if not server.token_prompts:  # ids of another vocabulary mean nothing here
            server = dataclasses.replace(server, token_ids=False, logprobs=False)
        return await self._tried({"prompt": TEXT}, fields, server)

    async def chat(self) -> Server:
        try:
            fields, answer = await self._taken({"messages": CHAT}, CHAT_FIELDS)
        except Refusal as refusal:
            if refusal.status not in (400, 422):
                raise
            self._server = dataclasses.replace(self._server, limit="max_completion_tokens")
            try:
                fields, answer = await self._taken({"messages": CHAT}, CHAT_FIELDS)
            except Refusal:
                raise refusal from None
        server = dataclasses.replace(self._seen(fields, answer), token_ids=False, logprobs=False)
        server = await self._tried({"messages": CHAT}, fields, server)
        return dataclasses.replace(server, continues=await self._continues())

    async def _tried(self, prompt: Fields, fields: Mapping[str, Fields], server: Server) -> Server:
        """``server`` with what takes further requests to find out."""
        seeds = await self._honours_seeds(prompt, fields)
        return dataclasses.replace(server, stops=await self._stops(prompt, fields), seeds=seeds)

    async def _ask(self, prompt: Fields, fields: Fields | None = None) -> Any:
        """The answer, with as many choices as were asked for, or one."""
        fields = fields or {}

        def read(answer: Any) -> Any:
            try:
                choices_of(answer, 1)  # many servers overlook n
            except Trouble:
                choices_of(answer, fields.get("n", 1))
            return answer

        body = {"model": self._server.model, **prompt, "temperature": 1.0, self._server.limit: TOKENS}
        return await self._client.post(self._path, body | dict(fields), read, what="the probe at start")

    async def _taken(self, prompt: Fields, fields: Mapping[str, Fields]) -> tuple[dict[str, Fields], Any]:
        """The optional fields that the server takes, and an answer to all of them together."""
        if (answer := await self._if_taken(prompt, _merged(fields))) is not None:
            return dict(fields), answer
        plain = await self._ask(prompt)
        taken = {name: part for name, part in fields.items() if await self._if_taken(prompt, part)}
        if (answer := await self._if_taken(prompt, _merged(taken))) is not None:
            return taken, answer
        return {}, plain  # it takes each of them, but not all together

    async def _if_taken(self, prompt: Fields, fields: Fields) -> Any | None:
        """The answer; None: the server does not take the fields."""
        try:
            return await self._ask(prompt, fields)
        except Refusal as refusal:
            if refusal.status not in NOT_TAKEN:
                raise
            return None

    async def _stops(self, prompt: Fields, fields: Mapping[str, Fields]) -> int:
        """The number of stop strings that the server takes."""
        if "stop" not in fields:
            return 0
        return len(STOPS) if await self._if_taken(prompt, {"stop": list(STOPS)}) is not None else FEW

    def _seen(self, fields: Mapping[str, Fields], answer: Any) -> Server:
        """What an answer to these fields shows."""
        choices = answer["choices"]
        return dataclasses.replace(
            self._server,
            fields=frozenset(fields),
            many=len(choices) == 2,
            token_ids=all(isinstance(choice.get("token_ids"), list) for choice in choices),
            logprobs=all(isinstance(choice.get("logprobs"), dict) for choice in choices),
        )

    async def _takes_ids(self, ids: list[int], verified: bool) -> bool | None:
        """Whether token ids as a prompt mean the same to the server; None: it does not take them.

        ``verified``: its tokenizer was seen to be the same.  If not, it is asked to repeat the prompt.
        """
        answer = await self._if_taken({"prompt": ids}, {} if verified else {"echo": True})
        if answer is None:
            return None
        return verified or text_of(answer["choices"][0]).lstrip().startswith(TEXT)

    async def _honours_seeds(self, prompt: Fields, fields: Mapping[str, Fields]) -> bool | None:
        if "seed" not in fields:
            return False
        answers = [await self._ask(prompt, {"seed": seed}) for seed in (1, 1, 2)]
        first, again, other = (text_of(answer["choices"][0]) for answer in answers)
        if first != again:
            return False
        return True if other != first else None

    async def _continues(self) -> bool:
        """Whether it continues the last message: the prompt is then shorter than one with a new message."""
        ways = [await self._if_taken({"messages": OPENED}, fields) for fields in (CONTINUE, {})]
        continued, new = (None if answer is None else _prompt_tokens(answer) for answer in ways)
        return continued is not None and new is not None and continued < new


def describe(server: Server, address: str, model: str) -> str:
    """One line that says what was found.  ``model``: the configured model, whose tokenizer is used here."""
    if server.api == "chat":
        prompts = (
            "chat, opened answers continued" if server.continues else "chat, whole answers (no searches)"
        )
    else:
        prompts = "prompts as token ids" if server.token_prompts else "prompts as text"
    if server.same_tokenizer is False:
        prompts += f" (its tokenizer is not that of model={model})"
    seeds = {True: "seeds honoured", False: "no seeds: samples cannot be repeated", None: "seeds unclear"}
    logprobs = "log-probabilities at temperature 0 or 1" if server.logprobs else "no log-probabilities"
    found = [
        prompts,
        "token ids" if server.token_ids else "no token ids: text is tokenized again",
        logprobs,
        seeds[server.seeds],
        f"{server.samples} samples per request" if server.many else "a request per sample",
    ]
    return f"engine: {server.model} at {address}: {', '.join(found)}"


def _ids(tokenizer: Any) -> list[int]:
    """The tokens of ``TEXT`` as a prompt, which a server should find too."""
    ids = list(tokenizer(TEXT)["input_ids"])
    return ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids


def _same_tokenizer(answer: Any, ids: list[int]) -> bool | None:
    """Whether the server has tokenized ``TEXT`` to the same ids; None: the answer does not tell."""
    seen = answer["choices"][0].get("prompt_token_ids")
    if isinstance(seen, list):
        return seen == ids
    length = _prompt_tokens(answer)
    return None if length in (None, 0, len(ids)) else False


def _prompt_tokens(answer: Any) -> int | None:
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if type(tokens) is int else None


def _merged(fields: Mapping[str, Fields]) -> dict[str, Any]:
    return {name: value for part in fields.values() for name, value in part.items()}
