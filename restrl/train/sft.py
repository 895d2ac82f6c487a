"""Supervised fine-tuning on accepted completions, the training of the baseline ReST-EM (arXiv 2312.06585)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from restrl.config import SftConfig
from restrl.objective.packing import PackedBatch, Piece, TokenGroup, micro_batches
from restrl.objective.sft_loss import SftSums, sft_loss
from restrl.records import Group
from restrl.train.completions import Place, train_on
from restrl.train.completions_module import CompletionsModule
from restrl.train.loop import TrainResult


class SftModule(CompletionsModule):
    """A group is a problem's prompt and its accepted completions."""

    title = "sft"
    learning: SftConfig
    nothing = SftSums()

    def size(self, batch: Sequence[TokenGroup]) -> float:
        return float(sum(len(completion) for group in batch for completion in group.completions))

    def divide(self, batch: Sequence[TokenGroup]) -> list[list[Piece]]:
        return micro_batches(batch, self.learning.tokens_per_microbatch, self.ranks.size)

    def loss(self, packed: PackedBatch, size: float) -> tuple[Tensor, SftSums]:
        out = self.model(packed)
        return sft_loss(out.logprobs, out.entropy, tokens=size)


def train_sft(*, model: Any, accepted: Sequence[Group], sft: SftConfig, place: Place) -> TrainResult:
    """Trains ``model`` in place on the groups' completions; see ``train_on``."""
    groups = [TokenGroup(group.prompt_ids, tuple(c.ids for c in group.completions)) for group in accepted]
    return train_on(SftModule, model, groups, sft, place)
