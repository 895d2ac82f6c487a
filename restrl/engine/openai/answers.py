"""From a server's JSON to completions.  An answer that is not as it should be raises Trouble."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from restrl.engine.openai.chat import after_state, program_in
from restrl.engine.openai.client import Trouble
from restrl.engine.openai.server import Server, wants_logprobs
from restrl.engine.text import Vocabulary, cut_at_stop
from restrl.records import Completion, Conversation, Finish, Request

# endings of a choice: it ended by itself or at a stop string, at a limit, or was cut by a filter
ENDINGS = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "content_filter": "length",
}
MAX_ID = 2**31


def choices_of(answer: Any, n: int) -> list[dict[str, Any]]:
    """The n choices of an answer, in the order of their index."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise Trouble("an answer without a list of choices")
    if len(choices) != n:
        raise Trouble(f"{len(choices)} choices where {n} were asked for")
    order = [choice.get("index", place) for place, choice in enumerate(choices)]
    if sorted(order, key=str) != sorted(range(n), key=str):
        raise Trouble("choices that are not numbered from 0")
    return [choice for _, choice in sorted(zip(order, choices, strict=True), key=lambda pair: pair[0])]


def text_of(choice: dict[str, Any]) -> str:
    """The text of a choice of either API; a chat model that only thought has said nothing."""
    text = choice.get("text")
    if "message" in choice:
        message = choice["message"]
        text = message.get("content") if isinstance(message, dict) else message
        text = "" if text is None and isinstance(message, dict) else text
    if not isinstance(text, str):
        raise Trouble("a choice without a text")
    return text


def ids_of(choice: dict[str, Any]) -> list[int]:
    ids = choice.get("token_ids")
    if not _are_ids(ids):
        raise Trouble("a choice without the token ids that were asked for")
    return list(ids)  # type: ignore[arg-type]


def _are_ids(ids: Any) -> bool:
    return isinstance(ids, list) and all(type(i) is int and 0 <= i < MAX_ID for i in ids)


def logprobs_of(choice: dict[str, Any]) -> list[float] | None:
    """The log-probabilities of a choice's tokens, as either API gives them; None: it has none."""
    held = choice.get("logprobs")
    if not isinstance(held, dict):
        return None
    values = held.get("token_logprobs")
    if isinstance(held.get("content"), list):
        values = [entry.get("logprob") if isinstance(entry, dict) else None for entry in held["content"]]
    if not isinstance(values, list):
        return None
    if not all(isinstance(value, (int, float)) and isfinite(value) for value in values):
        raise Trouble("log-probabilities that are no numbers")
    return [float(value) for value in values]


class Reader:
    """Reads the answers of one server."""

    def __init__(self, server: Server, tokenizer: Any) -> None:
        self._server = server
        self._vocabulary = Vocabulary(tokenizer)
        self._end: int | None = tokenizer.eos_token_id
        self._special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}

    def completions(
        self, answer: Any, n: int, request: Request, conversation: Conversation | None
    ) -> list[Completion]:
        """``conversation``: that of the prompt, if the whole program was asked for."""
        choices = choices_of(answer, n)
        if conversation is not None:
            return [self._whole(choice, conversation.state) for choice in choices]
        read = self._sampled if self._server.token_ids else self._text
        return [read(choice, request) for choice in choices]

    def _sampled(self, choice: dict[str, Any], request: Request) -> Completion:
        """A completion whose tokens the server gives."""
        given, ended = ids_of(choice), _ending(choice)
        ids = given
        if not ids:
            raise Trouble("a choice without a token")
        text, trailing = cut_at_stop(self._vocabulary.text(ids), request.stop)
        while trailing is not None and len(ids) > 1:  # servers may notice a stop string late
            earlier = cut_at_stop(self._vocabulary.text(ids[:-1]), request.stop)
            if earlier[1] is None:
                break
            ids, (text, trailing) = ids[:-1], earlier
        finish: Finish = "length"
        if trailing is not None:
            finish = "stop"
        elif ended == "stop":
            finish = "eos"
            text = self._vocabulary.text(ids[:-1] if ids[-1] in self._special else ids)
        logprobs: Sequence[float] = ()
        if wants_logprobs(self._server, request):
            logprobs = logprobs_of(choice) or ()
            if len(logprobs) != len(given):
                raise Trouble(f"{len(logprobs)} log-probabilities for {len(given)} tokens")
        return Completion(tuple(ids), text, tuple(logprobs[: len(ids)]), finish, trailing)

    def _text(self, choice: dict[str, Any], request: Request) -> Completion:
        """A completion whose text the server gives, mostly without the stop string that ended it."""
        text, trailing = cut_at_stop(text_of(choice), request.stop)
        ended, stop = _ending(choice), choice.get("stop_reason")
        if trailing is None and ended == "stop" and stop in request.stop:  # only some servers say so
            trailing = 0
        if trailing is not None:
            shown = text + (stop if stop in request.stop else "")
            return Completion(self._ids(shown), text, (), "stop", trailing)
        return self._ended(text, "eos" if ended == "stop" else "length")

    def _whole(self, choice: dict[str, Any], state: str) -> Completion:
        """The completion of a whole answer."""
        ended = _ending(choice)
        text = after_state(program_in(text_of(choice)), state)
        return self._ended(text, "eos" if ended == "stop" else "length")

    def _ended(self, text: str, finish: Finish) -> Completion:
        end = () if self._end is None or finish == "length" else (self._end,)
        return Completion((*self._ids(text), *end), text, (), finish)

    def _ids(self, text: str) -> tuple[int, ...]:
        """The tokens that stand for a text, since the server does not give those that it sampled."""
        return self._vocabulary.ids(text)


def _ending(choice: dict[str, Any]) -> str:
    reason = choice.get("finish_reason")
    if not isinstance(reason, str) or reason not in ENDINGS:
        raise Trouble(f"a choice that ended for the reason {reason!r}")
    return ENDINGS[reason]
