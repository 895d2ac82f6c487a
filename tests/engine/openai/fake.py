"""An OpenAI-compatible server on loopback that answers like a model, except where a test tells it to fail.

Its samples are a function of the prompt and the seed.  ``refuses`` names fields that it answers with 400, as
OpenAI does with fields that it does not know; ``ignores`` names fields that it overlooks, as many servers do.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from restrl.engine.openai.probe import CHAT, TEXT
from restrl.model.tiny import tiny_tokenizer
from restrl.seeds import derive_seed

Fault = Callable[["Handler"], None]
VLLM = {"return_token_ids", "top_k", "continue_final_message", "chat_template_kwargs"}  # fields of vLLM's own
PROBE_IDS = list(tiny_tokenizer()(TEXT)["input_ids"])


@dataclass
class Seen:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    time: float


@dataclass
class Fake:
    """What the server is, and what has arrived."""

    apis: tuple[str, ...] = ("completions", "chat")
    models: tuple[str, ...] = ("served",)
    positions: int | None = 2048
    refuses: set[str] = field(default_factory=set)
    ignores: set[str] = field(default_factory=set)
    key: str | None = None
    most_stops: int = 100
    garbles: bool = False  # token ids mean other texts to it
    lists: bool = True  # whether it answers /models
    page: bool = False  # it is a web site
    tokenizer: Any = field(default_factory=tiny_tokenizer)
    answer: Callable[[str, int], str] | None = None  # (prompt, seed) -> what the model says; None: names
    faults: list[Fault] = field(default_factory=list)  # one for each further request of a sample, then none
    faulty_from: int | None = None  # requests of a sample that are answered before the faults begin
    seen: list[Seen] = field(default_factory=list)
    open: int = 0  # requests that are being answered
    most_open: int = 0
    seconds: float = 0.0  # that each answer takes
    lock: Any = field(default_factory=threading.Lock)
    url: str = ""

    @property
    def sampled(self) -> list[Seen]:
        """The requests that were no probe."""
        return [seen for seen in self.seen if seen.path != "/v1/models" and not is_probe(seen.body)]

    def says(self, prompt: str, seed: int) -> str:
        if self.answer is not None:
            return self.answer(prompt, seed)
        number = derive_seed("fake", prompt, seed)
        return f"es\nyes = {number % 97} > -1\n```\nmore"


def is_probe(body: dict[str, Any]) -> bool:
    messages = body.get("messages") or [{}]
    return body.get("prompt") in (TEXT, PROBE_IDS) or messages[0] == CHAT[0]


@contextmanager
def serving(fake: Fake, port: int = 0) -> Iterator[Fake]:
    server = ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (Handler,), {"fake": fake}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    fake: Fake
    protocol_version = "HTTP/1.1"
    body: dict[str, Any]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.body = {}
        self._count()
        if not self._known():
            return
        if self.fake.page:
            self.send_raw(200, b"<html>Welcome</html>", Content_Type="text/html")
            return
        if not self.fake.lists:
            self.send_json(404, {"detail": "Not Found"})
            return
        data = [
            {"id": name, "object": "model"}
            | ({"max_model_len": self.fake.positions} if self.fake.positions else {})
            for name in self.fake.models
        ]
        self.send_json(200, {"object": "list", "data": data})

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._count()
        fake = self.fake
        with fake.lock:
            fake.open += 1
            fake.most_open = max(fake.most_open, fake.open)
        try:
            time.sleep(fake.seconds)
            self._answer()
        finally:
            with fake.lock:
                fake.open -= 1

    def _count(self) -> None:
        with self.fake.lock:
            self.fake.seen.append(Seen(self.path, dict(self.headers), self.body, time.monotonic()))

    def _known(self) -> bool:
        if self.fake.key is not None and self.headers["Authorization"] != f"Bearer {self.fake.key}":
            self.send_json(401, {"error": {"message": f"Bad key: {self.headers['Authorization']}"}})
            return False
        return True

    def _answer(self) -> None:
        fake = self.fake
        if not self._known():
            return
        api = "chat" if self.path == "/v1/chat/completions" else "completions"
        if api not in fake.apis or self.path not in ("/v1/completions", "/v1/chat/completions"):
            self.send_json(404, {"error": {"message": "This is a chat model, not a completions model"}})
            return
        if self.body["model"] not in fake.models:
            self.send_json(404, {"error": {"message": f"The model {self.body['model']} does not exist"}})
            return
        if refused := fake.refuses & self.body.keys():
            self.send_json(400, {"error": {"message": f"Unrecognized argument: {min(refused)}"}})
            return
        if isinstance(self.body.get("prompt"), list) and "token prompts" in fake.refuses:
            self.send_json(400, {"detail": [{"msg": "prompt: a string is wanted"}]})
            return
        if len(self.body.get("stop", ())) > fake.most_stops:
            self.send_json(400, {"error": {"message": "too many stop strings"}})
            return
        fault = None
        if not is_probe(self.body):
            with fake.lock:
                if fake.faulty_from:
                    fake.faulty_from -= 1
                elif fake.faults:
                    fault = fake.faults.pop(0)
        if fault is not None:
            fault(self)
            return
        self.send_json(200, self.good_answer(api))

    def good_answer(self, api: str) -> dict[str, Any]:
        fake, tokenizer = self.fake, self.fake.tokenizer
        body = {name: value for name, value in self.body.items() if name not in fake.ignores}
        continued = api == "completions" or body.get("continue_final_message")
        if api == "completions":
            prompt = body["prompt"]
            ids = prompt if isinstance(prompt, list) else tokenizer(prompt)["input_ids"]
        else:
            ids = tokenizer.apply_chat_template(
                body["messages"],
                tokenize=True,
                return_dict=False,
                continue_final_message=bool(continued),
                add_generation_prompt=not continued,
            )
        choices = []
        for index in range(body.get("n", 1)):
            choice = self._choice(ids, body, body.get("seed", 0) + index, api)
            choices.append({"index": index, **choice})
            if api == "completions" and body.get("return_token_ids"):
                choice = choices[-1]
                choice["prompt_token_ids"] = ids
        usage = {"prompt_tokens": len(ids), "completion_tokens": 1}
        return {"model": body["model"], "choices": choices, "usage": usage}

    def _choice(self, ids: list[int], body: dict[str, Any], seed: int, api: str) -> dict[str, Any]:
        tokenizer = self.fake.tokenizer
        if "seed" not in body:
            seed = time.monotonic_ns()
        prompt = tokenizer.decode(ids, skip_special_tokens=False)
        said = self.fake.says(prompt, seed)
        sampled = [*tokenizer(said, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        limit = body.get("max_tokens", body.get("max_completion_tokens"))
        reason, stopped, kept = "stop", None, []
        for token in sampled[:limit]:
            kept.append(token)
            text = tokenizer.decode(kept, skip_special_tokens=True)
            stopped = next((stop for stop in body.get("stop", ()) if stop in text), None)
            if stopped:
                text = text[: text.index(stopped)]
                break
        else:
            reason = "stop" if len(sampled) <= limit else "length"
        if body.get("echo"):
            text = (prompt[::-1] if self.fake.garbles else prompt) + text
        choice: dict[str, Any] = {"finish_reason": reason}
        choice |= {"message": {"role": "assistant", "content": text}} if api == "chat" else {"text": text}
        if body.get("return_token_ids"):
            choice |= {"token_ids": kept, "stop_reason": stopped}
        if body.get("logprobs"):
            values = [-0.5 - i for i in range(len(kept))]
            named = {"content": [{"token": "", "logprob": value} for value in values]}
            choice["logprobs"] = named if api == "chat" else {"token_logprobs": values}
        return choice

    def send_json(self, status: int, data: Any, **headers: str) -> None:
        self.send_raw(status, json.dumps(data).encode(), **headers)

    def send_raw(self, status: int, data: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()


# --- faults


def status(code: int, message: str = "overloaded", **headers: str) -> Fault:
    return lambda handler: handler.send_json(code, {"error": {"message": message}}, **headers)


def raw(data: bytes, code: int = 200, **headers: str) -> Fault:
    return lambda handler: handler.send_raw(code, data, **headers)


def cut(handler: Handler) -> None:
    """The first half of an answer, and the end of the connection."""
    data = json.dumps(handler.good_answer("completions")).encode()
    handler.send_raw(200, data[: len(data) // 2], length=len(data))
    handler.close_connection = True


def dropped(handler: Handler) -> None:
    """No answer at all."""
    handler.close_connection = True


def dripping(handler: Handler) -> None:
    """A byte now and then, for ever: no read waits for long."""
    handler.send_raw(200, b"{", length=10**6)
    try:
        while True:
            time.sleep(0.05)
            handler.wfile.write(b" ")
            handler.wfile.flush()
    except OSError:
        handler.close_connection = True


def changed(change: Callable[[dict[str, Any]], Any]) -> Fault:
    """A good answer that is spoiled."""

    def send(handler: Handler) -> None:
        answer = handler.good_answer("chat" if "chat" in handler.path else "completions")
        handler.send_json(200, change(answer) or answer)

    return send


def huge(handler: Handler) -> None:
    """More than any answer takes, as fast as it goes."""
    handler.send_raw(200, b"[", length=2**40)
    try:
        while True:
            handler.wfile.write(b" " * 2**16)
    except OSError:
        handler.close_connection = True
