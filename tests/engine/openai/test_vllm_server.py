"""The engine against vLLM's own server, as a process on loopback."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from restrl.config import EngineConfig, ModelConfig
from restrl.engine.hf import HfEngine
from restrl.engine.openai.engine import OpenAiEngine
from restrl.errors import UserError
from restrl.prompts import Prompter
from restrl.records import Completion, Problem, Request
from tests.engine.models import source, tokenizer_of
from tests.train.processes import free_port

pytestmark = [
    pytest.mark.timeout(600),  # the server takes a minute to start, and longer on a busy machine
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]
TOKENIZER = tokenizer_of("leads")
SECONDS = 400.0  # for the start of the server
PROBLEMS = [Problem(f"t{i}", f"Add {i}.", {}, code=f"def f{i}(x):\n    y = {i}") for i in range(4)]
PROMPTS = [Prompter(TOKENIZER, ModelConfig()).encode(problem)[0] for problem in PROBLEMS]
REQUESTS = [
    Request(ids, 3, 24, 1.0, stop=("\n```", "e"), seed=i, label=f"task_id 't{i}'")
    for i, ids in enumerate(PROMPTS)
]
GREEDY = [Request(ids, 1, 24, 0.0) for ids in PROMPTS]


def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=384, hidden_size=128, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=512, tie_word_embeddings=True,
        initializer_range=0.2, bos_token_id=None, eos_token_id=TOKENIZER.eos_token_id, pad_token_id=0,
        dtype="float32",
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of ``model``."""
    folder = tmp_path_factory.mktemp("served")
    model().save_pretrained(folder / "model")
    TOKENIZER.save_pretrained(folder / "model")
    port = free_port()
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "model"),
        "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32",
        "--max-model-len", "512", "--enforce-eager",
    ]  # fmt: skip
    environment = {
        **os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
    }  # fmt: skip
    log = folder / "server.log"
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            opener.open(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(log.read_text()[-3000:])


def sample(url: str, requests: list[Request], **settings: Any) -> tuple[OpenAiEngine, list[Any], list[str]]:
    said: list[str] = []
    given = dataclasses.replace(source(model(), TOKENIZER), say=said.append)
    engine = OpenAiEngine(given, EngineConfig(name="openai", base_url=url, **settings))
    try:
        return engine, engine.generate(requests), said
    finally:
        engine.close()


def hf() -> HfEngine:
    return HfEngine(model(), TOKENIZER, EngineConfig())


def test_what_it_offers(served: str) -> None:
    engine, _, said = sample(served, [])
    server = engine.server
    assert said == [
        f"engine: tiny at {served}: prompts as token ids, token ids, log-probabilities at "
        "temperature 0 or 1, seeds honoured, 16 samples per request"
    ]
    assert (server.positions, server.stops, server.same_tokenizer) == (512, 4, True)
    assert server.fields == {"n", "seed", "stop", "logprobs", "ids", "neutral"}


def test_greedy_completions_are_those_of_the_hf_engine(served: str) -> None:
    _, theirs, _ = sample(served, GREEDY)
    for (mine,), (other,) in zip(hf().generate(GREEDY), theirs, strict=True):
        assert (other.ids, other.text, other.finish) == (mine.ids, mine.text, mine.finish)
        torch.testing.assert_close(
            torch.tensor(other.logprobs), torch.tensor(mine.logprobs), atol=1e-3, rtol=0
        )


def test_stop_strings_end_as_in_the_hf_engine(served: str) -> None:
    """What a greedy completion says is cut at the same place by both."""
    whole = [completions[0].text for completions in hf().generate(GREEDY)]
    requests = [
        dataclasses.replace(request, stop=(text[5:8],)) for request, text in zip(GREEDY, whole, strict=True)
    ]
    _, theirs, _ = sample(served, requests)
    for (mine,), (other,) in zip(hf().generate(requests), theirs, strict=True):
        assert (other.ids, other.text, other.finish, other.trailing) == (
            mine.ids, mine.text, mine.finish, mine.trailing,
        )  # fmt: skip
        assert other.finish == "stop"


def check(completion: Completion, request: Request) -> None:
    text = TOKENIZER.decode(completion.ids)
    assert text.startswith(completion.text)
    if completion.finish == "stop":
        stopped = text[len(completion.text) :]
        assert stopped.startswith(request.stop)
        assert completion.trailing is not None
        assert len(stopped) - completion.trailing in map(len, request.stop)
    if completion.finish == "length":
        assert len(completion.ids) == request.max_tokens
    if completion.finish == "eos":
        assert completion.ids[-1] == TOKENIZER.eos_token_id
        assert not any(stop in completion.text for stop in request.stop)


def test_samples_are_repeated_and_depend_on_the_seed_alone(served: str) -> None:
    _, first, _ = sample(served, REQUESTS)
    for request, completions in zip(REQUESTS, first, strict=True):
        for completion in completions:
            check(completion, request)
            assert len(completion.logprobs) == len(completion.ids)
    different = {completion.ids for completions in first for completion in completions}
    assert len(different) > 6  # short ones may be the same
    _, again, _ = sample(served, REQUESTS[::-1], concurrency=1)
    assert [[c.ids for c in completions] for completions in again[::-1]] == [
        [c.ids for c in completions] for completions in first
    ]
    _, others, _ = sample(served, [dataclasses.replace(REQUESTS[0], seed=99)])
    assert [c.ids for c in others[0]] != [c.ids for c in first[0]]


def test_log_probabilities_are_those_of_a_forward_pass(served: str) -> None:
    policy = model()
    _, (completions,), _ = sample(served, [dataclasses.replace(REQUESTS[0], stop=())])
    for completion in completions:
        with torch.no_grad():
            logits = policy(torch.tensor([[*PROMPTS[0], *completion.ids]])).logits
        logprobs = logits[0, len(PROMPTS[0]) - 1 : -1].log_softmax(-1)
        expected = logprobs.gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-3, rtol=0)


def test_chat_continues_the_opened_answer(served: str) -> None:
    """Greedy, it says what completions say, since the server renders the same prompt."""
    engine, theirs, said = sample(served, GREEDY, api="chat")
    assert engine.server.continues
    assert "chat, opened answers continued" in said[0]
    for (mine,), (other,) in zip(hf().generate(GREEDY), theirs, strict=True):
        assert other.text == mine.text


def test_what_it_refuses_is_said_in_its_words(served: str) -> None:
    with pytest.raises(UserError, match=r"task_id 't0': .* leaves no room in the served model's 512"):
        sample(served, [dataclasses.replace(REQUESTS[0], prompt_ids=(10,) * 512)])
    with pytest.raises(UserError, match=r"task_id 't0': .*/v1/completions: refused with status 400: .*"):
        sample(served, [dataclasses.replace(REQUESTS[0], prompt_ids=(10, 10**6))])
    with pytest.raises(UserError, match=r"refused with status 404: The model `other` does not exist"):
        sample(served, [], model="other")
