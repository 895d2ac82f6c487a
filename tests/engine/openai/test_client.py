"""Requests to servers that fail: what is tried again, what ends at once, and what no message may hold."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import Any

import pytest

from restrl.config import EngineConfig
from restrl.engine.openai import client as module
from restrl.engine.openai.answers import choices_of
from restrl.engine.openai.client import Client, Refusal, server_address
from restrl.errors import UserError
from tests.engine.openai.fake import (
    Fake,
    Fault,
    changed,
    cut,
    dripping,
    dropped,
    huge,
    raw,
    serving,
    status,
)

KEY = "sk-test-0123456789"
BODY = {"model": "served", "prompt": "def f(x):", "max_tokens": 4, "seed": 1}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.02)


def ask(
    fake: Fake, most: int = 2**20, what: str = "task_id 't'", path: str = "/completions", **settings: Any
) -> Any:
    """One request, after one that the server has answered."""

    async def run() -> Any:
        given = {"retries": 3, "timeout": 5.0, "base_url": fake.url} | settings
        client = Client(EngineConfig(name="openai", **given), Random(0))
        try:
            await client.get("/models", lambda answer: answer)
            return await client.post(path, BODY, lambda answer: choices_of(answer, 1), most, what)
        finally:
            await client.close()

    return asyncio.run(run())


PASSING: dict[str, Fault] = {
    "429": status(429),
    "429 with seconds": status(429, Retry_After="0.02"),
    "429 with a date long ago": status(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "429 with nonsense": status(429, Retry_After="soon"),
    "429 with nan": status(429, Retry_After="nan"),
    "500": status(500),
    "502 in HTML": raw(b"<html>Bad gateway</html>", 502, Content_Type="text/html"),
    "503": status(503),
    "408": status(408),
    "cut": cut,
    "dropped": dropped,
    "no JSON": raw(b"{'choices': []}"),
    "empty": raw(b""),
    "a page": raw(b"<html>hello</html>", Content_Type="text/html"),
    "no UTF-8": raw(b"\xff\xfe{}"),
    "endless nesting": raw(b"[" * 200_000),
    "a huge number": raw(b"1" * 10_000),
    "no gzip": raw(b"{}", Content_Encoding="gzip"),
    "a list": raw(b"[]"),
    "a word": raw(b'"choices"'),
    "no choices": raw(b"{}"),
    "no list of choices": raw(b'{"choices": {"0": 1}}'),
    "empty choices": changed(lambda answer: answer | {"choices": []}),
    "too many choices": changed(lambda answer: answer | {"choices": answer["choices"] * 2}),
    "choices that are none": changed(lambda answer: answer | {"choices": [None]}),
    "a wrong index": changed(lambda answer: answer["choices"][0].update(index=1)),
}  # fmt: skip


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_tried_again(name: str) -> None:
    with serving(Fake(faults=[PASSING[name]] * 3)) as fake:
        assert ask(fake)[0]["text"]
        assert len(fake.sampled) == 4


@pytest.mark.parametrize("name", PASSING)
def test_what_does_not_pass_is_named(name: str) -> None:
    with serving(Fake(faults=[PASSING[name]] * 4)) as fake:
        with pytest.raises(UserError) as error:
            ask(fake)
        assert len(fake.sampled) == 4
    message = str(error.value)
    assert message.startswith(
        f"engine=openai: task_id 't': {fake.url}/completions: 4 tries failed, the last one"
    )
    assert "what was sampled before is kept, and the same command goes on" in message
    assert "\n" not in message
    assert len(message) < 700


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 413, 422, 501])
def test_a_refusal_ends_at_once_with_the_server_s_words(code: int) -> None:
    said = "This model's maximum context length is 2048 tokens\x1b[31m\nand so on " + "x" * 1000
    with serving(Fake(faults=[status(code, said)])) as fake:
        with pytest.raises(Refusal) as error:
            ask(fake)
        assert len(fake.sampled) == 1
    message = str(error.value)
    assert f"task_id 't': {fake.url}/completions: refused with status {code}: This model's" in message
    assert "2048 tokens\\x1b[31m and so on xxx" in message
    assert message.isprintable()
    assert len(message) < 700
    assert error.value.status == code


def test_a_redirect_is_not_followed() -> None:
    with serving(Fake(faults=[status(307, Location="http://127.0.0.1:1/v1/completions")])) as fake:
        with pytest.raises(
            UserError, match=r"redirected to http://127\.0\.0\.1:1/v1/completions: set engine\.base_url"
        ):
            ask(fake)
        assert len(fake.sampled) == 1


def test_an_answer_that_does_not_end_is_cut_off() -> None:
    with (
        serving(Fake(faults=[huge])) as fake,
        pytest.raises(UserError, match=r"an answer of more than 1048576 bytes; no such answer was asked for"),
    ):
        ask(fake)


def test_a_long_error_is_cut_off() -> None:
    with (
        serving(Fake(faults=[raw(b"x" * 2**24, 400)])) as fake,
        pytest.raises(Refusal, match=r"refused with status 400: x{300}\.\.\."),
    ):
        ask(fake)


def test_a_slow_drip_meets_the_deadline_of_the_whole_answer() -> None:
    with serving(Fake(faults=[dripping] * 2)) as fake:
        started = time.monotonic()
        with pytest.raises(
            UserError, match=r"2 tries failed, the last one with: no whole answer within engine.timeout=0.4 s"
        ):
            ask(fake, timeout=0.4, retries=1)
        assert time.monotonic() - started < 5


def later(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(("header", "least"), [(lambda: "0.5", 0.5), (lambda: later(3), 1.0)])
def test_retry_after_is_honoured(header: Callable[[], str], least: float) -> None:
    """A date has whole seconds: 3 s from now are more than 2."""
    with serving(Fake(faults=[status(429, Retry_After=header())])) as fake:
        ask(fake)
        first, second = fake.sampled
    assert least <= second.time - first.time < least + 4


def test_retry_after_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_ASKED", 0.2)
    with serving(Fake(faults=[status(503, Retry_After="86400")])) as fake:
        ask(fake)
        first, second = fake.sampled
    assert 0.2 <= second.time - first.time < 3


def test_a_pause_that_the_server_asks_for_holds_for_all_requests() -> None:
    async def run(url: str) -> None:
        client = Client(EngineConfig(name="openai", base_url=url), Random(0))
        first = asyncio.ensure_future(client.post("/completions", BODY, lambda answer: answer))
        await asyncio.sleep(0.2)
        await client.post("/completions", BODY, lambda answer: answer)
        await first
        await client.close()

    with serving(Fake(faults=[status(429, Retry_After="0.6")])) as fake:
        asyncio.run(run(fake.url))
        times = [seen.time for seen in fake.sampled]
    assert len(times) == 3
    assert min(times[1:]) - times[0] >= 0.6


def test_waits_grow_and_are_scattered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.5)
    monkeypatch.setattr(module, "LONGEST_WAIT", 30.0)
    client = Client(EngineConfig(name="openai", base_url="http://localhost:1/v1"), Random(0))
    for tries in range(1, 12):
        waits = [client._wait(tries, None) for _ in range(200)]
        longest = min(30.0, 0.5 * 2 ** (tries - 1))
        assert longest / 2 <= min(waits) < 0.6 * longest < 0.9 * longest < max(waits) <= longest


def test_a_server_that_is_not_there_ends_at_once() -> None:
    with serving(Fake()) as fake:
        url = fake.url
    started = time.monotonic()
    with pytest.raises(
        UserError, match=r"/v1/models cannot be reached: ConnectError: .*; is the server up\?"
    ):
        ask(Fake(url=url), retries=100)
    assert time.monotonic() - started < 5


def test_a_server_that_goes_away_for_a_while_is_waited_for() -> None:
    async def run() -> Any:
        with serving(Fake()) as fake:
            client = Client(EngineConfig(name="openai", base_url=fake.url, retries=200), Random(0))
            await client.get("/models", lambda answer: answer)
        asking = asyncio.ensure_future(
            client.post("/completions", BODY, lambda answer: choices_of(answer, 1))
        )
        await asyncio.sleep(0.3)
        with serving(Fake(), port=int(fake.url.removesuffix("/v1").rpartition(":")[2])):
            answer = await asking
        await client.close()
        return answer

    assert asyncio.run(run())


@pytest.mark.parametrize("url", [None, ""])
def test_an_address_is_needed(url: str | None) -> None:
    with pytest.raises(
        UserError, match=r"engine.base_url: engine=openai needs the address of a server, for example"
    ):
        server_address(url)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "/v1", "http://", "http://[::1/v1"])
def test_an_address_is_http(url: str) -> None:
    with pytest.raises(UserError, match=r"engine\.base_url.*: not an .*address; for example"):
        server_address(url)


@pytest.mark.parametrize(
    "url", [f"http://user:{KEY}@host/v1", f"http://host/v1?key={KEY}", f"http://host/v1#{KEY}"]
)
def test_an_address_holds_no_secret(url: str) -> None:
    with pytest.raises(
        UserError, match=r"engine\.base_url: must not hold a user, a password, a query"
    ) as error:
        server_address(url)
    assert KEY not in str(error.value)


def test_the_key_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")  # as `$(cat file)` would not leave it, but an editor does
    with serving(Fake(key=KEY)) as fake:
        assert ask(fake, api_key_env="MY_KEY")
        with pytest.raises(Refusal, match=r"refused with status 401: .*engine.api_key_env names"):
            ask(fake)
        assert "Authorization" not in fake.seen[-1].headers


@pytest.mark.parametrize(
    ("name", "shown"),
    [("NO_SUCH_KEY", True), (KEY, False), ("gsk_abcdef0123456789", False), ("A" * 200, False)],
)
def test_a_key_in_place_of_a_name_is_not_repeated(name: str, shown: bool) -> None:
    with pytest.raises(
        UserError, match="the setting is the name of an environment variable, never the key"
    ) as error:
        ask(Fake(url="http://localhost:1/v1"), api_key_env=name)
    assert (name in str(error.value)) == shown


@pytest.mark.parametrize("key", ["sk abc", "sk-é", "sk-\x01abc", "a\nb"])
def test_a_key_that_no_header_holds_is_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UserError, match=r"engine.api_key_env=MY_KEY: the variable holds characters") as error:
        ask(Fake(url="http://localhost:1/v1"), api_key_env="MY_KEY")
    assert key not in str(error.value)


ECHOES: dict[str, Fault] = {
    "an error": status(400, f"you sent Bearer {KEY}"),
    "at the cut": status(400, "x" * 292 + KEY),
    "at the end of what is read": raw(b" " * (2**16 - 8) + KEY.encode(), 400),
    "often": raw(KEY.encode() * 100_000, 400),
    "an overload": status(500, f"you sent {KEY}"),
    "no JSON": raw(f"you sent Authorization: Bearer {KEY}".encode()),
    "a content type": raw(b"oh", Content_Type=KEY),
    "a redirect": status(302, Location=f"http://elsewhere/?key={KEY}"),
}


@pytest.mark.parametrize("name", ECHOES)
def test_a_server_that_repeats_the_key_does_not_publish_it(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with serving(Fake(key=KEY, faults=[ECHOES[name]] * 4)) as fake, pytest.raises(UserError) as error:
        ask(fake, api_key_env="MY_KEY")
    seen: BaseException | None = error.value
    while seen is not None:
        assert "sk-test" not in str(seen) + repr(seen)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    assert "sk-test" not in caplog.text
    assert "sk-test" not in repr(Client(EngineConfig(base_url=fake.url, api_key_env="MY_KEY"), Random(0)))


def test_proxies_of_the_environment_are_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Fake()) as proxy, serving(Fake()) as fake:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert ask(fake)
        assert proxy.seen == []
        with pytest.raises(UserError):  # the fake proxy does not forward
            ask(Fake(url="http://restrl.invalid/v1"))
        assert proxy.seen
