"""JSON over HTTP to an OpenAI-compatible server: deadlines, retries, bounded answers, and a secret key.

Each try has a deadline for the whole exchange, so that an answer which drips in slowly ends too.  Failures
that may pass are tried again: connections that break or are refused, answers that are late, cut off or no
JSON, and the statuses of an overloaded server.  All others end at once, with what the server said.  Texts of
the server are cut, escaped and free of the key before anyone sees them.

``httpx2`` and not the ``openai`` package: the latter reads further settings from the environment, does its
own retries, without a deadline for a whole answer, and reads answers of any length.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any, TypeVar

import httpx2

from restrl.config import EngineConfig
from restrl.errors import UserError

T = TypeVar("T")

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # s before the second try, doubled for each further one
LONGEST_ASKED = 300.0  # s of a server's Retry-After that are honoured
SHOWN = 300  # characters of a server's text in a message
ERROR_BYTES = 2**16  # of an answer that reports an error
PASSING = (408, 425, 429, *(status for status in range(500, 600) if status not in (501, 505)))
NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")  # names of variables that a message may repeat
HINTS = {
    401: "; engine.api_key_env names the environment variable that holds the key",
    403: "; engine.api_key_env names the environment variable that holds the key",
    404: "; engine.base_url usually ends in /v1, and engine.model names a model that is served",
}


class Trouble(Exception):  # noqa: N818 (an error only if it does not pass)
    """A failure that may pass.  ``wait``: seconds that the server asks for."""

    def __init__(self, text: str, wait: float | None = None) -> None:
        super().__init__(text)
        self.wait = wait


class Refusal(UserError):  # noqa: N818 (the server refuses)
    """The server refuses a request for good."""

    def __init__(self, text: str, status: int = 0, said: str = "") -> None:
        super().__init__(text)
        self.status, self.said = status, said


class Client:
    """One server.  ``generator``: for the jitter of waits.  Raises UserError for a bad address or key."""

    def __init__(self, config: EngineConfig, generator: Random) -> None:
        for name in ("httpx2", "httpcore2"):  # they log every request, and when debugged every header
            logging.getLogger(name).setLevel(logging.WARNING)
        address = server_address(config.base_url)
        self._key = secret(config.api_key_env)
        self._timeout, self._retries, self._generator = config.timeout, config.retries, generator
        self._reached = False  # whether the server has ever answered
        self._paused_until = 0.0  # monotonic seconds; a server that asks for a pause asks all requests
        headers = {"User-Agent": "restrl", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        self.address = address
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=None,  # the deadline of each try is above
            limits=httpx2.Limits(max_connections=config.concurrency),
            trust_env=not _is_loopback(httpx2.URL(address).host),  # the proxies that the environment names
        )

    async def get(self, path: str, read: Callable[[Any], T]) -> T:
        return await self._send("GET", path, None, read, 2**22, "")

    async def post(
        self, path: str, body: dict[str, Any], read: Callable[[Any], T], most: int = 2**22, what: str = ""
    ) -> T:
        """``read`` of the answer's JSON; it raises Trouble for an answer that is not as it should be.

        ``most``: bytes of the answer.  ``what``: what the request is for, in messages.  Raises Refusal, and
        UserError if no try succeeds.
        """
        return await self._send("POST", path, json.dumps(body).encode(), read, most, what)

    async def close(self) -> None:
        await self._http.aclose()

    async def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        read: Callable[[Any], T],
        most: int,
        what: str,
    ) -> T:
        where = f"engine=openai: {what + ': ' if what else ''}{self.address}{path}"
        tries = 0
        while True:
            while (pause := self._paused_until - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            tries += 1
            try:
                return read(await self._exchange(method, path, content, most, where))
            except Trouble as trouble:
                said = self.shown(str(trouble))
                if not self._reached:
                    raise UserError(f"{where} cannot be reached: {said}; is the server up?") from None
                if tries > self._retries:
                    raise UserError(
                        f"{where}: {tries} tries failed, the last one with: {said}; what was sampled "
                        "before is kept, and the same command goes on (engine.retries, engine.timeout)"
                    ) from None
                await asyncio.sleep(self._wait(tries, trouble.wait))

    def _wait(self, tries: int, asked: float | None) -> float:
        """Seconds before the next try: exponential with jitter, and at least what the server asks for."""
        jitter = 0.5 + 0.5 * self._generator.random()
        wait = jitter * min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 16))
        if asked is None:
            return wait
        asked = min(asked, LONGEST_ASKED)
        self._paused_until = max(self._paused_until, time.monotonic() + asked)
        return asked + wait

    async def _exchange(self, method: str, path: str, content: bytes | None, most: int, where: str) -> Any:
        """The JSON of one answer.  Raises Trouble, Refusal, and UserError for an answer of too many bytes."""
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream(method, self.address + path, content=content, headers=headers) as response,
            ):
                self._reached, good = True, response.is_success
                data, whole = await _bytes_of(response, most if good else ERROR_BYTES)
        except TimeoutError:
            raise Trouble(f"no whole answer within engine.timeout={self._timeout:g} s") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise Trouble(f"{type(error).__name__}: {error}") from None
        if not good:
            self._raise_status(response, data, where)
        if not whole:
            raise UserError(f"{where}: an answer of more than {most} bytes; no such answer was asked for")
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            kind = response.headers.get("Content-Type", "no content type")
            raise Trouble(f"an answer that is no JSON ({kind}): {_text(data)}") from None

    def _raise_status(self, response: httpx2.Response, data: bytes, where: str) -> None:
        status = response.status_code
        said = self.shown(_said(data))
        if status in PASSING:
            raise Trouble(f"status {status}: {said}", _retry_after(response.headers.get("Retry-After")))
        if response.has_redirect_location:
            place = self.shown(response.headers["Location"])
            raise Refusal(
                f"{where}: redirected to {place}: set engine.base_url to the final address", status, place
            )
        raise Refusal(f"{where}: refused with status {status}: {said}{HINTS.get(status, '')}", status, said)

    def shown(self, text: str) -> str:
        """A text of the server for a message: one line, cut, escaped, and without the key."""
        if self._key is not None:
            text = text.replace(self._key, "[key]")
        cut = text if len(text) <= SHOWN else text[:SHOWN] + "..."
        line = " ".join(cut.split())
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def server_address(base_url: str | None) -> str:
    """``engine.base_url`` without a slash at its end.  Raises UserError if it is no plain http address."""
    example = "for example engine.base_url=http://localhost:8000/v1"
    if not base_url:
        raise UserError(f"engine.base_url: engine=openai needs the address of a server, {example}")
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        raise UserError(f"engine.base_url: not an address; {example}") from None
    if url.userinfo or url.query or url.fragment:  # not repeated: it may hold a secret
        raise UserError(
            "engine.base_url: must not hold a user, a password, a query or a fragment, since it is stored "
            "with the results; engine.api_key_env names the environment variable that holds the key"
        )
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"engine.base_url={base_url}: not an http address; {example}")
    return base_url.rstrip("/")


def secret(variable: str | None) -> str | None:
    """The key that the environment variable holds; None: no key.  Messages never repeat it."""
    if variable is None:
        return None
    named = f"engine.api_key_env={variable}" if NAME.fullmatch(variable) else "engine.api_key_env"
    value = os.environ.get(variable, "").strip()
    if not value:
        raise UserError(
            f"{named}: the environment has no such variable, or it is empty; the setting is the name of an "
            "environment variable, never the key itself, since settings are stored with the results"
        )
    if not value.isascii() or not value.isprintable() or " " in value:
        raise UserError(f"{named}: the variable holds characters that no key has")
    return value


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _bytes_of(response: httpx2.Response, most: int) -> tuple[bytes, bool]:
    """The first ``most`` bytes of the answer, and whether that is all of it."""
    data = bytearray()
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > most:
            return bytes(data[:most]), False
    return bytes(data), True


def _text(data: bytes) -> str:
    return data[:ERROR_BYTES].decode(errors="replace") or "nothing"


def _said(data: bytes) -> str:
    """The message inside an answer that reports an error, or else the answer."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return _text(data)
    while isinstance(answer, dict):
        inner = [answer[name] for name in ("error", "message", "detail") if answer.get(name)]
        if not inner:
            break
        answer = inner[0]
    return answer if isinstance(answer, str) else json.dumps(answer)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None  # not nan
