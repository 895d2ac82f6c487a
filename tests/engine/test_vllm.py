"""The real vLLM, one engine for all tests: its samples against the hf engine and plain forward passes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed (make vllm)")

from restrl.engine.vllm import VllmEngine
from restrl.errors import UserError
from restrl.model.save import stored_form
from restrl.model.selfcheck import check_sampling
from restrl.records import Completion, Request
from tests.engine.vllm_models import LONG, PROMPTS, TOKENIZER, hf, sampled, small_model, start


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Iterator[VllmEngine]:
    made = start(tmp_path_factory.mktemp("vllm"), model)
    yield made
    made.close()


def logprob_gap(model: Any, request: Request, completion: Completion) -> float:
    """The largest difference from log softmax(logits / temperature), by one plain forward pass."""
    ids = torch.tensor(completion.ids)
    with torch.no_grad():
        logits = model(torch.tensor([[*request.prompt_ids, *completion.ids]])).logits[0]
    logits = logits[len(request.prompt_ids) - 1 : -1] / (request.temperature or 1.0)
    expected = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0]
    return float((expected - torch.tensor(completion.logprobs)).abs().max())


def test_greedy_tokens_are_those_of_hf(engine: VllmEngine, model: Any) -> None:
    requests = [Request(prompt, 2, 40, temperature=0, stop=("e",)) for prompt in (*PROMPTS, LONG)]
    for ours, theirs in zip(engine.generate(requests), hf(model).generate(requests), strict=True):
        assert sampled(ours) == sampled(theirs)
        assert sampled(ours[:1]) == sampled(ours[1:])


@pytest.mark.parametrize(("temperature", "top_p"), [(0, 1.0), (0.7, 1.0), (0.7, 0.8), (1.0, 1.0), (1.3, 0.9)])
def test_logprobs_are_those_of_the_temperature_before_top_p(
    engine: VllmEngine, model: Any, temperature: float, top_p: float
) -> None:
    requests = [Request(prompt, 3, 30, temperature, top_p, seed=i) for i, prompt in enumerate(PROMPTS)]
    for request, completions in zip(requests, engine.generate(requests), strict=True):
        assert max(logprob_gap(model, request, completion) for completion in completions) < 1e-3


def test_top_p_cuts(engine: VllmEngine) -> None:
    """A tiny top_p leaves the most probable token alone."""
    greedy, cut = (
        engine.generate([Request(PROMPTS[0], 4, 20, temperature, top_p, seed=1)])[0]
        for temperature, top_p in ((0, 1.0), (1.0, 1e-6))
    )
    assert [c.ids for c in cut] == [c.ids for c in greedy]


def test_requests_of_several_kinds_in_one_batch(engine: VllmEngine, model: Any) -> None:
    kinds = [(0.0, 1.0), (0.7, 1.0), (0.7, 0.5), (1.0, 1.0)]
    requests = [Request(PROMPTS[0], 2, 20, *kind, seed=3) for kind in kinds]
    together = engine.generate(requests)
    assert [sampled(one) for one in together] == [sampled(engine.generate([r])[0]) for r in requests]
    for request, completions in zip(requests, together, strict=True):
        assert max(logprob_gap(model, request, completion) for completion in completions) < 1e-3


def test_samples_depend_on_the_request_alone(engine: VllmEngine) -> None:
    stop = (TOKENIZER.decode([70]), "e")
    numbers, limits = (3, 1, 5, 2, 4, 1), (20, 7, 30, 15, 11, 1)
    requests = [
        Request(PROMPTS[i % 3], numbers[i], limits[i], 1.0, stop=stop, seed=i) for i in range(len(numbers))
    ]
    alone = [sampled(engine.generate([request])[0]) for request in requests]
    assert len({c[0] for completions in alone for c in completions}) > 8
    assert [sampled(completions) for completions in engine.generate(requests)] == alone
    assert [sampled(completions) for completions in engine.generate(requests[::-1])] == alone[::-1]


def test_prompts_that_are_computed_in_parts(engine: VllmEngine) -> None:
    """A step of vLLM takes 2048 tokens: of these prompts, 4096 tokens, one is cut."""
    requests = [Request((*PROMPTS[i % 3], i, *LONG[: 250 - i]), 2, 8, 1.0, seed=i) for i in range(16)]
    alone = [sampled(engine.generate([request])[0]) for request in requests]
    assert engine._engine.reset_prefix_cache()
    assert [sampled(completions) for completions in engine.generate(requests)] == alone


def test_seeds_name_samples(engine: VllmEngine) -> None:
    one, four, other = (
        engine.generate([Request(PROMPTS[0], n, 10, seed=seed)])[0] for n, seed in ((1, 5), (4, 5), (4, 6))
    )
    assert sampled(one) == sampled(four[:1])
    assert len({c.ids for c in four}) == 4
    assert four[0].ids != other[0].ids


def test_no_request_and_no_sample(engine: VllmEngine) -> None:
    assert engine.generate([]) == []
    assert engine.generate([Request(PROMPTS[0], 0, 5)]) == [()]
    assert engine.generate([Request(PROMPTS[0], 0, 5), Request(PROMPTS[1], 1, 5)])[0] == ()


def test_the_context_ends_a_completion(engine: VllmEngine, model: Any) -> None:
    request = Request((LONG * 2)[:500], 1, 40, temperature=0)
    (ours,) = engine.generate([request])[0]
    assert (len(ours.ids), ours.finish) == (12, "length")
    assert sampled([ours]) == sampled(hf(model).generate([request])[0])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request((), 1, 5), "a request needs at least one prompt token"),
        (Request((5,) * 512, 1, 5), r"a prompt of 512 tokens leaves no room in the model's 512"),
        (Request((5,), 1, 5, temperature=0.001), r"a temperature of 0\.001 is too low; use 0 \(greedy\) or"),
    ],
)
def test_requests_that_cannot_be_sampled(engine: VllmEngine, request_: Request, message: str) -> None:
    with pytest.raises(UserError, match=message):
        engine.generate([request_])


def test_progress_counts_completions_in_the_caller_s_thread(engine: VllmEngine) -> None:
    counts, threads = [], set()

    def advance(count: int) -> None:
        counts.append(count)
        threads.add(threading.current_thread())

    engine.generate([Request(PROMPTS[0], 3, 4), Request(PROMPTS[1], 2, 2)], advance)
    assert sum(counts) == 5
    assert threads == {threading.current_thread()}


def test_autocast_of_the_trainer_does_not_reach_the_engine(engine: VllmEngine) -> None:
    request = Request(PROMPTS[0], 2, 20, seed=1)
    plain = engine.generate([request])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert engine.generate([request]) == plain


def test_two_threads_may_sample(engine: VllmEngine) -> None:
    request, results = Request(PROMPTS[0], 2, 20, seed=1), []
    expected = engine.generate([request])
    threads = [threading.Thread(target=lambda: results.append(engine.generate([request]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 3


def test_an_interrupted_call_leaves_the_engine_usable(engine: VllmEngine) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    short, long = Request(PROMPTS[0], 1, 2, seed=1), Request(PROMPTS[0], 8, 400, seed=1)
    expected = engine.generate([short])
    with pytest.raises(KeyboardInterrupt):
        engine.generate([short, long], interrupt)
    assert engine.generate([short]) == expected
    assert engine._engine.get_num_unfinished_requests() == 0


def resident() -> float:
    """MiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def test_fifty_syncs_leak_no_memory(engine: VllmEngine, model: Any) -> None:
    """The model has 0.5 MiB: fifty copies would be 25."""
    other = small_model(1)
    request = Request(LONG, 2, 10, temperature=0)
    for _ in range(5):
        engine.sync(stored_form(other))
        engine.generate([request])
    before = resident()
    for step in range(50):
        engine.sync(stored_form((other, model)[step % 2]))
        engine.generate([request])
    assert resident() - before < 8
    check_sampling(engine, model)
