"""What only a GPU shows: ``bash tests/gpu/run.sh``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from restrl.config import EngineConfig, TrainerConfig
from restrl.engine.hf import HfEngine
from restrl.model.policy_lm import PolicyLM
from restrl.model.tiny import tiny_model, tiny_tokenizer
from restrl.objective import tree_attention
from restrl.objective.packing import Piece, TokenGroup, pack
from restrl.records import Request
from tests.train import test_fit

pytestmark = pytest.mark.gpu
GROUP = TokenGroup(tuple(range(5, 205)), tuple(tuple(range(i, i + 40)) for i in range(3, 43)))


def logprobs_and_gradients(model: torch.nn.Module) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    batch = pack([GROUP], [Piece(0, tuple(range(40)))])
    out = PolicyLM(model)(batch.to(next(model.parameters()).device)).logprobs
    out.sum().backward()
    return out.detach().cpu(), [p.grad.cpu() for p in model.parameters() if p.grad is not None]


def test_flex_attention_and_branches_give_the_numbers_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=384, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    expected, gradients = logprobs_and_gradients(model)
    model.cuda()
    for branches in (0, 10**6):  # always FlexAttention, never
        monkeypatch.setattr(tree_attention, "FLEX_BRANCHES", branches)
        found, their = logprobs_and_gradients(model)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
        for gradient, wanted in zip(their, gradients, strict=True):
            assert (gradient - wanted).norm() <= 1e-2 * wanted.norm() + 1e-4


def test_greedy_samples_are_those_of_a_cpu() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    requests = [Request(tuple(range(5, 30)), 1, 20, temperature=0), Request((7, 8, 9), 1, 20, temperature=0)]
    on_cpu = [c[0].ids for c in HfEngine(model, tokenizer, EngineConfig()).generate(requests)]
    on_gpu = [c[0].ids for c in HfEngine(model.cuda(), tokenizer, EngineConfig()).generate(requests)]
    assert on_gpu == on_cpu


def test_a_value_model_is_fitted(tmp_path: Path) -> None:
    trainer = TrainerConfig(accelerator="gpu")
    _, result = test_fit.run(tmp_path, test_fit.value_model().cuda(), trainer=trainer, epochs=12)
    assert result.metrics[-1]["mse"] < result.metrics[0]["mse"]
