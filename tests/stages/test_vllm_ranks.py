"""The main job with the real vLLM and a policy that two ranks divide: what one process trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("vllm", reason="vLLM is not installed (make vllm)")

from restrl.train.metrics_file import read_metrics
from tests.engine.vllm_models import saved, small_model
from tests.stages.conftest import Workplace, make_workplace

pytestmark = pytest.mark.timeout(900)  # a busy machine is no failure
SETTINGS = ("engine.kv_gb=0.25", "grpo.iterations=1", "grpo.lr=1e-3", "trainer.accelerator=cpu")


def trained(folder: Path, *overrides: str) -> Workplace:
    """A run of the main job; the model of random weights is one for all runs."""
    model = folder.parent / "model"
    if not model.exists():
        saved(small_model(initializer_range=0.02), model)
    folder.mkdir()
    workplace = make_workplace(folder)
    run = workplace.train(f"model.path={model}", *SETTINGS, *overrides)
    assert (run.code, run.err) == (0, "")
    return workplace


def policy_of(workplace: Workplace) -> Path:
    (path,) = workplace.outputs.glob("artifacts/grpo-*/policy")
    return path


def greedy(workplace: Workplace, engine: str) -> list[str]:
    """The trained policy's greedy answers."""
    run = workplace.decode(
        f"model.path={policy_of(workplace)}", f"engine={engine}", "decoder=greedy", "decoder.k=[1]",
        "dataset.max_tokens=12",
    )  # fmt: skip
    assert (run.code, run.err) == (0, "")
    return [answer["text"] for answer in workplace.lines("answers.jsonl")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return trained(tmp_path_factory.mktemp("ranks") / "alone", "engine=vllm")


@pytest.mark.parametrize("strategy", ["fsdp2", "deepspeed_zero3"])
def test_a_divided_policy_is_trained_on_the_engine_s_samples(alone: Workplace, strategy: str) -> None:
    divided = (f"trainer={strategy}", "trainer.devices=2")
    workplace = trained(alone.folder.parent / strategy, "engine=vllm", *divided)
    (step,) = (workplace.outputs / "artifacts").glob("grpo-*")
    # a sync that was left out or went wrong would show from the second step on
    rows = [row for row in read_metrics(step) if "logprob_mismatch" in row]
    assert len(rows) >= 2
    assert max(row["logprob_mismatch_max"] for row in rows) < 1e-3
    assert json.loads((step / "manifest.json").read_text())["summary"]["engine_gap"]["max"] < 1e-3
    weights, expected = (load_file(policy_of(w) / "model.safetensors") for w in (workplace, alone))
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-5)
    assert greedy(workplace, "vllm") == greedy(workplace, "hf")
