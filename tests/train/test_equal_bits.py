"""Training on a CPU gives the same bits whenever it runs, with several threads too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from restrl.config import SamplingConfig
from restrl.engine.base import Capabilities
from restrl.records import Completion, Request
from restrl.train.loop import equal_bits
from tests.train.toy import run, spell, tiny_model

WIDE = {"hidden_size": 256, "intermediate_size": 64, "num_hidden_layers": 1}


class DiceEngine:
    """Completions of a token or two by dice: all of a prompt's begin behind the same token."""

    capabilities = Capabilities(shares_weights=True, syncs=True, token_ids=True, logprobs=True, seeds=True)

    def generate(self, requests: Sequence[Request], _progress: Any = None) -> list[tuple[Completion, ...]]:
        return [tuple(self._sample(request, i) for i in range(request.n)) for request in requests]

    def _sample(self, request: Request, index: int) -> Completion:
        generator = torch.Generator().manual_seed((request.seed + index) % 2**60)
        ids = torch.randint(2, 12, (1 + index % 2,), generator=generator).tolist()
        return Completion(tuple(ids), spell(ids), (-2.5,) * len(ids), "length")


@pytest.fixture
def two_threads() -> None:
    torch.set_num_threads(2)  # one_thread takes it back


def trained_bits(folder: Path) -> str:
    """Hash of a policy after steps in which 256 completions share a prompt's last token."""
    model, _ = run(
        folder, tiny_model(**WIDE), engine=DiceEngine(), max_steps=6, prompts_per_step=1,
        rollout=SamplingConfig(n=256, temperature=1.0, max_tokens=2), tokens_per_microbatch=4096, lr=1e-3,
    )  # fmt: skip
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()


@pytest.mark.usefixtures("two_threads")
def test_two_threads_train_the_same_policy_each_time(tmp_path):
    assert len({trained_bits(tmp_path / str(i)) for i in range(4)}) == 1


def test_the_setting_ends_with_the_training():
    before = torch.are_deterministic_algorithms_enabled()
    with equal_bits(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() == before
    with equal_bits(torch.device("cuda")):  # nothing is promised there
        assert torch.are_deterministic_algorithms_enabled() == before
