"""What the probe finds out about servers of many kinds."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from restrl.config import EngineConfig
from restrl.engine.openai import client as module
from restrl.engine.openai.client import Client
from restrl.engine.openai.probe import describe, probe, served_model
from restrl.engine.openai.server import Server
from restrl.errors import UserError
from restrl.model.tiny import tiny_tokenizer
from tests.engine.models import TRAILING_SPLIT
from tests.engine.openai.fake import VLLM, Fake, serving


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)


def find(fake: Fake, api: str = "auto", model: str | None = None) -> Server:
    async def run() -> Server:
        client = Client(EngineConfig(name="openai", base_url=fake.url, retries=1), Random(0))
        try:
            name, positions = await served_model(client, model)
            return await probe(client, name, positions, tiny_tokenizer(), api)
        finally:
            await client.close()

    with serving(fake):
        return asyncio.run(run())


def test_a_server_that_takes_and_gives_all() -> None:
    fake = Fake()
    server = find(fake)
    assert server == Server(
        "served", "completions", frozenset({"n", "seed", "stop", "logprobs", "ids", "neutral"}), "max_tokens",
        2048, same_tokenizer=True, token_prompts=True, token_ids=True, logprobs=True, many=True, seeds=True,
        stops=8,
    )  # fmt: skip
    assert len(fake.seen) == 7  # the models, all fields, token ids, three seeds, many stop strings
    assert describe(server, "http://host/v1", "tiny") == (
        "engine: served at http://host/v1: prompts as token ids, token ids, log-probabilities at temperature "
        "0 or 1, seeds honoured, 16 samples per request"
    )


def test_a_server_that_refuses_what_it_does_not_know() -> None:
    """As OpenAI: each field that it refuses is found out, and the others are kept."""
    server = find(Fake(refuses=set(VLLM)))
    assert server.fields == {"n", "seed", "stop", "logprobs"}
    assert (server.token_prompts, server.same_tokenizer) == (True, True)  # it has repeated the prompt
    assert (server.many, server.seeds, server.token_ids) == (True, True, False)
    bare = find(Fake(refuses={*VLLM, "n", "seed", "stop", "logprobs", "echo"}))
    assert bare.fields == frozenset()
    assert (bare.many, bare.seeds, bare.stops, bare.logprobs) == (False, False, 0, False)
    assert (bare.token_prompts, bare.same_tokenizer) == (False, None)


def test_a_server_that_overlooks_what_it_does_not_know() -> None:
    server = find(Fake(ignores={*VLLM, "n", "seed", "logprobs", "echo"}))
    assert (server.api, server.many, server.seeds, server.token_ids, server.logprobs) == (
        "completions", False, False, False, False,
    )  # fmt: skip
    assert not server.token_prompts  # it does not show that ids mean the same to it


def test_seeds_that_change_nothing_are_no_seeds() -> None:
    assert find(Fake(answer=lambda *_: "always the same")).seeds is None


def test_no_more_stop_strings_than_the_server_takes() -> None:
    assert find(Fake(most_stops=4)).stops == 4
    assert find(Fake(most_stops=2)).stops == 0


def test_token_ids_that_the_server_refuses() -> None:
    server = find(Fake(refuses={"token prompts"}))
    assert (server.token_prompts, server.token_ids, server.same_tokenizer) == (False, False, True)
    assert server.api == "completions"


def test_a_server_with_another_tokenizer_gets_no_token_ids() -> None:
    other = tiny_tokenizer(TRAILING_SPLIT)
    chat = find(Fake(tokenizer=other))
    assert chat.api == "chat"  # its own format of a chat is the right one
    server = find(Fake(tokenizer=other, apis=("completions",)))
    assert (server.api, server.same_tokenizer, server.token_prompts) == ("completions", False, False)
    assert not server.token_ids
    assert "its tokenizer is not that of model=tiny" in describe(server, "", "tiny")
    asked = find(Fake(tokenizer=other), api="completions")
    assert (asked.api, asked.same_tokenizer) == ("completions", False)


def test_another_tokenizer_is_told_by_the_length_or_by_the_repeated_prompt() -> None:
    other = tiny_tokenizer(vocab_size=300)
    assert find(Fake(tokenizer=other, apis=("completions",), refuses=set(VLLM))).same_tokenizer is False
    same_length = Fake(apis=("completions",), refuses=set(VLLM), garbles=True)
    server = find(same_length)
    assert (server.token_prompts, server.same_tokenizer) == (False, None)


def test_chat_that_continues_an_answer() -> None:
    server = find(Fake(apis=("chat",)))
    assert (server.api, server.continues, server.token_ids, server.many, server.seeds) == (
        "chat", True, False, True, True,
    )  # fmt: skip
    assert "no_thinking" in server.fields
    assert "chat, opened answers continued" in describe(server, "", "tiny")
    assert find(Fake(), api="chat").api == "chat"


@pytest.mark.parametrize("way", ["refuses", "ignores"])
def test_chat_that_does_not(way: str) -> None:
    server = find(Fake(apis=("chat",), **{way: set(VLLM)}))
    assert (server.api, server.continues) == ("chat", False)
    assert "chat, whole answers (no searches)" in describe(server, "", "tiny")


def test_the_newer_name_of_the_limit() -> None:
    server = find(Fake(apis=("chat",), refuses={"max_tokens", *VLLM}))
    assert server.limit == "max_completion_tokens"
    assert server.many


def test_a_server_that_takes_neither_says_both() -> None:
    with pytest.raises(UserError) as error:
        find(Fake(apis=()))
    message = str(error.value)
    assert "/v1/completions: refused with status 404: This is a chat model" in message
    assert "/v1/chat/completions: refused with status 404" in message
    with pytest.raises(UserError, match=r"/v1/completions: refused with status 404"):
        find(Fake(apis=("chat",)), api="completions")
    with pytest.raises(UserError, match=r"/v1/chat/completions: refused with status 404"):
        find(Fake(apis=("completions",)), api="chat")


def test_a_key_that_is_wanted_is_asked_for_once() -> None:
    fake = Fake(key="sk-secret")
    with pytest.raises(
        UserError, match=r"/v1/models: refused with status 401: Bad key: None; engine.api_key_env"
    ):
        find(fake)
    assert len(fake.seen) == 1


def test_the_only_model_is_taken() -> None:
    assert find(Fake(models=("one",))).model == "one"
    assert find(Fake(models=("one", "two")), model="two").model == "two"
    with pytest.raises(UserError, match=r"engine.model: http\S+ serves 2 models, so name one: one, two$"):
        find(Fake(models=("two", "one")))
    with pytest.raises(UserError, match=r"serves 30 models, so name one: m00, .*, m07 and 22 more$"):
        find(Fake(models=tuple(f"m{i:02}" for i in range(30))))
    with pytest.raises(UserError, match=r"engine.model: http\S+ lists no model; name the one to ask for"):
        find(Fake(models=()))
    with pytest.raises(UserError, match=r"refused with status 404: The model three does not exist"):
        find(Fake(models=("one", "two")), model="three")


def test_a_server_that_lists_nothing() -> None:
    assert find(Fake(lists=False), model="served").positions is None
    with pytest.raises(
        UserError, match=r"/v1/models: refused with status 404.*engine.base_url usually ends in /v1"
    ):
        find(Fake(lists=False))


def test_a_page_is_no_server() -> None:
    fake = Fake(page=True)
    with pytest.raises(
        UserError, match=r"/v1/models: 2 tries failed.* an answer that is no JSON \(text/html\)"
    ):
        find(fake)
