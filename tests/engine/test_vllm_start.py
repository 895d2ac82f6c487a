"""The real vLLM: how it starts, what a sync gives it, and how it fails; each test has its own engine."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed (make vllm)")

from restrl.config import LoraConfig
from restrl.errors import UserError
from restrl.model.adapters import add_lora
from restrl.model.save import stored_form
from restrl.model.selfcheck import check_sampling
from restrl.records import Request
from tests.engine.models import FAMILIES, tokenizer_of
from tests.engine.vllm_models import LONG, PROMPTS, hf, sampled, saved, small_model, start


@pytest.fixture
def model() -> Any:
    return small_model()


@pytest.mark.parametrize("family", FAMILIES)
def test_stop_strings_of_every_kind_of_tokenizer(tmp_path: Path, family: str) -> None:
    """Text, tokens of the stop string, and trailing characters are those of hf."""
    tokenizer = tokenizer_of(family)
    model = small_model(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    engine = start(tmp_path, model, tokenizer, kv_gb=0.5)
    stops = [("e",), ("\n",), ("\n```", "ab"), (" x", "1", "é"), ("<|im_end|>", "the")]
    prompt = tuple(tokenizer("def f(x):\n")["input_ids"])
    requests = [
        Request((*prompt, i), 1, 60, temperature=0, stop=stop) for i in range(5, 12) for stop in stops
    ]
    ours, theirs = engine.generate(requests), hf(model, tokenizer).generate(requests)
    engine.close()
    assert [sampled(one) for one in ours] == [sampled(one) for one in theirs]
    assert "stop" in {completions[0].finish for completions in theirs}


def test_every_end_token_of_the_model_ends_a_completion(tmp_path: Path, model: Any) -> None:
    """The model's settings name more of them than the tokenizer."""
    plain = hf(model).generate([Request(PROMPTS[0], 1, 20, temperature=0)])[0][0]
    model = small_model()
    model.generation_config.eos_token_id = [2, plain.ids[7]]
    engine = start(tmp_path, model)
    request = Request(PROMPTS[0], 1, 20, temperature=0)
    ((ours,),), ((theirs,),) = engine.generate([request]), hf(model).generate([request])
    engine.close()
    assert sampled([ours]) == sampled([theirs])
    assert (ours.finish, ours.ids[-1]) == ("eos", plain.ids[7])


def test_too_little_room_for_keys_is_said(tmp_path: Path) -> None:
    """One token of this model: 2 layers x 2 heads x 32, keys and values, 4 bytes: 1 KiB; a block is 128."""
    engine = start(tmp_path, small_model(), kv_gb=300 / 2**20)
    assert engine.length < 300
    with pytest.raises(UserError, match=r"engine\.kv_gb=0\.000286\d+ has room for \d+ tokens, and a"):
        engine.generate([Request((5,) * 200, 1, 200)])
    engine.close()


def test_the_trainer_is_left_as_it_was(tmp_path: Path, model: Any) -> None:
    before = os.sched_getaffinity(0), torch.get_num_threads(), torch.set_num_threads, torch.get_rng_state()
    start(tmp_path, model).close()
    after = os.sched_getaffinity(0), torch.get_num_threads(), torch.set_num_threads, torch.get_rng_state()
    assert before[:3] == after[:3]
    assert torch.equal(before[3], after[3])
    assert not torch.distributed.is_initialized()


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal samples; their log-probabilities may round differently."""
    for row, other in zip(ours, theirs, strict=True):
        assert sampled(row) == sampled(other)
        for a, b in zip(row, other, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_sync_is_as_good_as_a_start(tmp_path: Path, tied: bool) -> None:
    """With the trainer's tensors; the long prompt was cached under the old weights."""
    old, new = (small_model(seed, tie_word_embeddings=tied) for seed in (0, 1))
    requests = [
        Request(prompt, 2, 20, temperature, seed=2) for prompt in (*PROMPTS, LONG) for temperature in (0, 1)
    ]
    engine = start(tmp_path / "old", old)
    before = engine.generate(requests)
    engine.sync(stored_form(new))
    after = engine.generate(requests)
    check_sampling(engine, new)
    engine.sync(stored_form(old))
    back = engine.generate(requests)
    engine.close()
    fresh = start(tmp_path / "new", new)
    expected = fresh.generate(requests)
    fresh.close()
    assert_same(after, expected)
    assert [c.ids for row in after for c in row] != [c.ids for row in before for c in row]
    assert_same(back, before)


def test_adapters_are_merged(tmp_path: Path) -> None:
    model = add_lora(small_model(), LoraConfig(r=2))
    engine = start(tmp_path, small_model())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.05)
    engine.sync(stored_form(model.get_base_model()))
    check_sampling(engine, model)
    with pytest.raises(UserError, match="differ from transformers"):
        check_sampling(engine, small_model())
    engine.close()


def test_a_sync_without_some_weights_is_refused_for_good(tmp_path: Path, model: Any) -> None:
    engine = start(tmp_path, model)
    some = [(name, tensor) for name, tensor in stored_form(model) if "layers.1.mlp.down" not in name]
    with pytest.raises(UserError, match=r"no new weights for model\.layers\.1\.mlp\.down_proj\.weight \(1 "):
        engine.sync(some)
    with pytest.raises(UserError, match="cannot be used any more: its last sync failed"):
        engine.generate([Request(PROMPTS[0], 1, 4)])
    engine.close()


def test_an_engine_that_does_not_start_is_one_line(tmp_path: Path, model: Any) -> None:
    saved(model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"torn")
    message = r"^engine=vllm: it failed to start: \w+: .*; its log: /.*/logs/vllm\.log; the same command"
    with pytest.raises(UserError, match=message):
        start(tmp_path, model)
    assert "Traceback" in (tmp_path / "logs" / "vllm.log").read_text()


def test_an_engine_that_is_stuck_is_one_line(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(tmp_path, model, step_seconds=1.0)
    go_on = threading.Event()
    monkeypatch.setattr(engine._engine, "step", lambda: go_on.wait(30) and [])
    message = r"^engine=vllm: it did not take a step of sampling within 1 s; its log: /.*vllm\.log; the same"
    with pytest.raises(UserError, match=message):
        engine.generate([Request(PROMPTS[0], 1, 4)])
    with pytest.raises(UserError, match="cannot be used any more: it did not take a step"):
        engine.generate([Request(PROMPTS[0], 1, 4)])
    go_on.set()
    engine.close()


def test_weights_that_are_not_finite_are_said(tmp_path: Path) -> None:
    model = small_model()
    engine = start(tmp_path, model)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    engine.sync(stored_form(model))
    with pytest.raises(UserError, match=r"engine=vllm: the model's logits are not finite"):
        engine.generate([Request(PROMPTS[0], 1, 4)])
    engine.close()


def test_the_log_is_in_the_run_s_folder_and_the_console_stays_clean(
    tmp_path: Path, model: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path, model).close()
    assert capfd.readouterr() == ("", "")
    assert "Initializing a V1 LLM engine" in (tmp_path / "logs" / "vllm.log").read_text()


def test_telemetry_is_off() -> None:
    assert (os.environ["VLLM_NO_USAGE_STATS"], os.environ["DO_NOT_TRACK"]) == ("1", "1")


# --- an engine in processes of its own


@pytest.fixture
def own_process(tmp_path: Path, model: Any) -> Any:
    engine = start(tmp_path, model, own_process=True)
    yield engine
    engine.close()


def test_a_process_of_its_own_samples_and_syncs(own_process: Any, model: Any) -> None:
    request = Request(LONG, 2, 20, temperature=0)
    assert sampled(own_process.generate([request])[0]) == sampled(hf(model).generate([request])[0])
    other = small_model(1)
    own_process.sync(stored_form(other))
    check_sampling(own_process, other)
    assert sampled(own_process.generate([request])[0]) == sampled(hf(other).generate([request])[0])


def test_a_killed_process_is_one_line(own_process: Any) -> None:
    for process in own_process._engine.engine_core.resources.engine_manager.processes:
        os.kill(process.pid, signal.SIGKILL)
    message = r"^engine=vllm: it did not ping because its process ended; its log: /.*/vllm\.log; the same"
    with pytest.raises(UserError, match=message):
        own_process.generate([Request(PROMPTS[0], 1, 400)])
