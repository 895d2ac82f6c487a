"""The engine against servers of many kinds: the completions, and how they were asked for."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from restrl.config import EngineConfig, ModelConfig
from restrl.engine.base import SEARCHES, TRAINING, need
from restrl.engine.openai import client as module
from restrl.engine.openai.engine import OpenAiEngine
from restrl.engine.openai.server import seed_of
from restrl.errors import UserError
from restrl.prompts import Prompter
from restrl.records import Problem, Request
from tests.engine.models import build, source, tokenizer_of
from tests.engine.openai.fake import VLLM, Fake, changed, dripping, serving, status

TOKENIZER = tokenizer_of("leads")
PROBLEM = Problem("t", "Add one.", {}, code="def f(x):")
PROMPT = Prompter(TOKENIZER, ModelConfig()).encode(PROBLEM)[0]
STOP = ("\n```",)
REQUEST = Request(PROMPT, 3, 40, 1.0, stop=STOP, seed=5, label="task_id 't'")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)


@contextmanager
def opened(fake: Fake, said: list[str] | None = None, **settings: Any) -> Iterator[OpenAiEngine]:
    with serving(fake):
        config = EngineConfig(name="openai", base_url=fake.url, **settings)
        say = (lambda _: None) if said is None else said.append
        engine = OpenAiEngine(dataclasses.replace(source(build()), say=say), config)
        try:
            yield engine
        finally:
            engine.close()


def sampled(completions: Any) -> list[tuple[Any, ...]]:
    return [(c.text, c.finish, c.trailing) for c in completions]


def test_completions_by_token_ids() -> None:
    fake, said = Fake(), []
    with opened(fake, said) as engine:
        ((first, second, third),) = engine.generate([REQUEST])
        assert engine.capabilities.token_ids
        assert engine.capabilities.seeds
        with pytest.raises(
            UserError, match="training cannot use engine=openai, which cannot load the weights"
        ):
            need("openai", engine.capabilities, TRAINING, "training")
        need("openai", engine.capabilities, SEARCHES, "decoder=mcts")
    assert len(said) == 1
    (seen,) = fake.sampled
    assert seen.path == "/v1/completions"
    assert seen.body == {
        "model": "served", "prompt": list(PROMPT), "max_tokens": 40, "temperature": 1.0, "top_p": 1.0, "n": 3,
        "seed": seed_of(REQUEST, 0), "stop": ["\n```"], "logprobs": 1, "return_token_ids": True, "top_k": -1,
        "min_p": 0.0, "repetition_penalty": 1.0,
    }  # fmt: skip
    assert len({first.text, second.text, third.text}) == 3
    assert first.text.startswith("es\nyes = ")
    assert (first.finish, first.trailing) == ("stop", 0)
    assert TOKENIZER.decode(first.ids) == first.text + "\n```"
    assert first.logprobs == tuple(-0.5 - i for i in range(len(first.ids)))


def test_the_end_token_is_a_token_and_no_text() -> None:
    with opened(Fake(answer=lambda *_: "es")) as engine:
        ((completion,),) = engine.generate([dataclasses.replace(REQUEST, n=1)])
    assert (completion.text, completion.finish, completion.trailing) == ("es", "eos", None)
    assert completion.ids == (*TOKENIZER("es")["input_ids"], TOKENIZER.eos_token_id)


def test_tokens_after_the_one_that_completes_a_stop_string_are_none_of_the_completion() -> None:
    """A server that takes few stop strings, or that notices them late, goes on sampling."""
    stops = tuple(f"\n<{i}>" for i in range(6)) + STOP
    fake = Fake(most_stops=4)
    with opened(fake) as engine:
        ((late, *_),) = engine.generate([dataclasses.replace(REQUEST, stop=stops)])
        ((soon, *_),) = engine.generate([REQUEST])
    assert fake.sampled[0].body["stop"] == list(stops[:4])
    assert (late.ids, late.text, late.finish, late.trailing) == (soon.ids, soon.text, "stop", 0)
    assert late.logprobs == soon.logprobs


def test_a_limit_ends_a_completion() -> None:
    with opened(Fake()) as engine:
        ((completion,),) = engine.generate([dataclasses.replace(REQUEST, n=1, max_tokens=2)])
    assert (len(completion.ids), completion.finish) == (2, "length")


def test_the_served_context_limits_too() -> None:
    fake = Fake(positions=len(PROMPT) + 3)
    with opened(fake) as engine:
        engine.generate([REQUEST])
        assert fake.sampled[-1].body["max_tokens"] == 3
        longer = dataclasses.replace(REQUEST, prompt_ids=PROMPT + (10,) * 3)
        with pytest.raises(
            UserError, match=r"task_id 't': a prompt of \d+ tokens leaves no room in the served"
        ):
            engine.generate([longer])
        with pytest.raises(UserError, match="a request needs at least one prompt token"):
            engine.generate([Request((), 1, 1)])


def test_samples_depend_on_the_request_alone() -> None:
    """In any order, with any concurrency, and next to others; more samples leave the first as they are."""
    requests = [dataclasses.replace(REQUEST, n=n, seed=seed) for n, seed in ((2, 1), (40, 2), (1, 3), (0, 4))]
    for refuses in (set(), {"n"}):
        with opened(Fake(refuses=set(refuses)), concurrency=1) as engine:
            alone = [sampled(engine.generate([request])[0]) for request in requests]
        assert [len(samples) for samples in alone] == [2, 40, 1, 0]
        assert len(set(alone[1])) > 10
        with opened(Fake(refuses=set(refuses)), concurrency=7) as engine:
            together = engine.generate(requests[::-1])
            few = engine.generate([dataclasses.replace(requests[1], n=3)])
            assert engine.generate([]) == []
        assert [sampled(samples) for samples in together] == alone[::-1]
        assert sampled(few[0]) == alone[1][:3]


def test_requests_are_bounded_and_progress_counts_completions() -> None:
    fake, counts = Fake(seconds=0.05), []
    with opened(fake, concurrency=4) as engine:
        engine.generate([dataclasses.replace(REQUEST, n=20, seed=i) for i in range(6)], counts.append)
    assert fake.most_open == 4
    assert sum(counts) == 120
    assert max(counts) == 16  # a request never asks for more


def test_log_probabilities_are_those_that_completions_define_or_none() -> None:
    """Of a server they are known to be those of temperature 1 alone; a cut by top_p may change them too."""
    fake = Fake()
    with opened(fake) as engine:
        for change, given in (
            ({"temperature": 1.0}, True), ({"temperature": 0.0}, True), ({"temperature": 0.7}, False),
            ({"top_p": 0.9}, False),
        ):  # fmt: skip
            ((completion,),) = engine.generate([dataclasses.replace(REQUEST, n=1, **change)])
            assert (len(completion.logprobs) == len(completion.ids)) == given
            assert bool(completion.logprobs) == given
            assert ("logprobs" in fake.sampled[-1].body) == given
        assert not engine.capabilities.logprobs


def values_of(answer: dict[str, Any]) -> list[Any]:
    values: list[Any] = answer["choices"][0]["logprobs"]["token_logprobs"]
    return values


BROKEN = {
    "no ids": lambda answer: answer["choices"][0].pop("token_ids") and None,
    "ids of text": lambda answer: answer["choices"][0].update(token_ids=["a"]),
    "negative ids": lambda answer: answer["choices"][0].update(token_ids=[-1]),
    "ids beyond all": lambda answer: answer["choices"][0].update(token_ids=[2**40]),
    "true": lambda answer: answer["choices"][0].update(token_ids=[True]),
    "no token": lambda answer: answer["choices"][0].update(token_ids=[]),
    "another ending": lambda answer: answer["choices"][0].update(finish_reason="abort"),
    "an ending that is none": lambda answer: answer["choices"][0].update(finish_reason=["stop"]),
    "no ending": lambda answer: answer["choices"][0].update(finish_reason=None),
    "too few log-probabilities": lambda answer: values_of(answer).pop() and None,
    "no number": lambda answer: values_of(answer).__setitem__(0, None),
    "nan": lambda answer: values_of(answer).__setitem__(0, float("nan")),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_asked_for_again(name: str) -> None:
    with opened(Fake(faults=[changed(BROKEN[name])]), retries=1) as engine:
        (completions,) = engine.generate([REQUEST])
        assert len(completions) == 3
    with (
        opened(Fake(faults=[changed(BROKEN[name])] * 2), retries=1) as engine,
        pytest.raises(
            UserError, match=r"task_id 't': http\S+/completions: 2 tries failed, the last one with: "
        ),
    ):
        engine.generate([REQUEST])


def test_one_request_that_keeps_failing_ends_all_and_is_named() -> None:
    """The others are given up, and do not go on behind the caller's back."""
    fake = Fake(seconds=0.02)
    requests = [dataclasses.replace(REQUEST, seed=i, label=f"task_id 'p{i}'") for i in range(200)]
    with opened(fake, concurrency=2) as engine:
        fake.faults, fake.faulty_from = [status(400, "too bad")], 20
        with pytest.raises(UserError, match=r"task_id 'p\d+': http\S+: refused with status 400: too bad"):
            engine.generate(requests)
        time.sleep(0.2)  # what was on its way has arrived
        asked = len(fake.sampled)
        assert asked < 40
        time.sleep(0.2)
        assert len(fake.sampled) == asked
        assert len(engine.generate(requests[:2])) == 2  # and it can be used again


def test_text_prompts_and_tokens_of_our_own() -> None:
    fake, said = Fake(refuses={"token prompts", *VLLM}, apis=("completions",)), []
    with opened(fake, said) as engine:
        ((completion, *_),) = engine.generate([REQUEST])
        capabilities = engine.capabilities
    assert not capabilities.token_ids
    assert capabilities.continues
    body = fake.sampled[-1].body
    assert body["prompt"] == (
        "<|im_start|>user\nAdd one.<|im_end|>\n<|im_start|>assistant\n```python\ndef f(x):"
    )
    assert "logprobs" not in body
    assert completion.text.startswith("es\nyes = ")
    assert TOKENIZER.decode(completion.ids[:-1]) == completion.text  # the server does not say what ended it
    assert completion.logprobs == ()
    assert completion.finish == "eos"
    assert len(said) == 1


def test_prompts_that_text_cannot_express_are_reported_once() -> None:
    prompter = Prompter(TOKENIZER, ModelConfig())
    hostile = prompter.encode(Problem("t", "Say <|im_end|> twice.", {}))[0]
    said: list[str] = []
    with opened(Fake(refuses={"token prompts", *VLLM}, apis=("completions",)), said) as engine:
        engine.generate([REQUEST])
        assert len(said) == 1
        engine.generate([dataclasses.replace(REQUEST, prompt_ids=hostile)] * 3)
        engine.generate([dataclasses.replace(REQUEST, prompt_ids=hostile)] * 3)
    assert said[1:] == ["engine: as text, some prompts are other tokens for the server than here"]


@pytest.mark.parametrize("ignores", [set(), {"stop"}])
def test_a_stop_string_is_cut_off_by_whoever_finds_it(ignores: set[str]) -> None:
    fake = Fake(refuses={"token prompts", *VLLM}, ignores=ignores, apis=("completions",))
    with opened(fake) as engine:
        ((completion, *_),) = engine.generate([REQUEST])
    assert completion.text.startswith("es\nyes = ")
    assert "```" not in completion.text
    if ignores:
        assert (completion.finish, completion.trailing) == ("stop", len("\nmore"))


def test_chat_continues_the_opened_answer() -> None:
    fake = Fake(apis=("chat",))
    with opened(fake) as engine:
        ((completion, *_),) = engine.generate([REQUEST])
        need("openai", engine.capabilities, SEARCHES, "decoder=mcts")
    body = fake.sampled[-1].body
    assert body["messages"] == [
        {"role": "user", "content": "Add one."},
        {"role": "assistant", "content": "```python\ndef f(x):"},
    ]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert body["stop"] == ["\n```"]
    assert completion.text.startswith("es\nyes = ")


def test_chat_is_asked_for_whole_answers_where_it_continues_none() -> None:
    said: list[str] = []
    answer = "Sure!\n```python\ndef f(x):\n    return x + 1\n```\nDone."
    fake = Fake(apis=("chat",), refuses=set(VLLM), answer=lambda *_: answer)
    with opened(fake, said) as engine:
        ((completion, *_),) = engine.generate([REQUEST])
        with pytest.raises(
            UserError, match=r"decoder=mcts cannot use engine=openai, which gives only whole answers"
        ):
            need("openai", engine.capabilities, SEARCHES, "decoder=mcts")
    (message,) = fake.sampled[-1].body["messages"]
    assert "The program has to begin with this code" in message["content"]
    assert "stop" not in fake.sampled[-1].body
    assert (completion.text, completion.finish) == ("\n    return x + 1\n", "eos")
    assert TOKENIZER.decode(completion.ids[:-1]) == completion.text
    assert "whole answers" in said[0]


def interrupted(engine: OpenAiEngine, number: int) -> float:
    """Seconds from a signal in the middle of sampling to the exception."""
    struck: list[float] = []

    def strike() -> None:
        struck.append(time.monotonic())
        os.kill(os.getpid(), number)

    threading.Timer(0.5, strike).start()
    with pytest.raises(KeyboardInterrupt):
        engine.generate([dataclasses.replace(REQUEST, seed=i) for i in range(50)])
    return time.monotonic() - struck[0]


@pytest.mark.parametrize("fault", [dripping, status(429, Retry_After="100")])
def test_an_interrupt_leaves_at_once(fault: Any) -> None:
    threads = threading.active_count()
    fake = Fake()
    with serving(fake):
        config = EngineConfig(name="openai", base_url=fake.url, concurrency=4)
        engine = OpenAiEngine(dataclasses.replace(source(build()), say=lambda _: None), config)
        fake.faults = [fault] * 1000
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            assert interrupted(engine, signal.SIGINT) < 2
        finally:
            signal.signal(signal.SIGINT, before)
        started = time.monotonic()
        engine.close()
        assert time.monotonic() - started < 2
        fake.faults.clear()
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= threads


def test_it_can_sample_in_another_thread() -> None:
    done: list[Any] = []
    with opened(Fake()) as engine:
        thread = threading.Thread(target=lambda: done.append(engine.generate([REQUEST])))
        thread.start()
        thread.join(20)
    assert len(done[0][0]) == 3


def test_it_never_takes_weights() -> None:
    with opened(Fake()) as engine, pytest.raises(UserError, match="engine=openai cannot load the weights"):
        engine.sync([])
