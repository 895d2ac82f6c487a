"""DPO on pairs of completions (arXiv 2305.18290), the training of the baseline ReST-DPO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from restrl.config import DpoConfig
from restrl.objective.dpo_loss import DpoSums, dpo_loss
from restrl.objective.packing import PackedBatch, Piece, TokenGroup, batches, packed_tokens
from restrl.records import Pair
from restrl.train.completions import Place, train_on
from restrl.train.completions_module import CompletionsModule
from restrl.train.loop import TrainResult
from restrl.train.reference import Reference


class DpoModule(CompletionsModule):
    """A group is a pair: its prompt, the chosen and the rejected completion, which stay together."""

    title = "dpo"
    learning: DpoConfig
    nothing = DpoSums()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.reference = Reference(self.model, self.weights)

    def size(self, batch: Sequence[TokenGroup]) -> float:
        return float(len(batch))

    def divide(self, batch: Sequence[TokenGroup]) -> list[list[Piece]]:
        sizes = [packed_tokens(group, (0, 1)) for group in batch]
        divided = batches(sizes, self.learning.tokens_per_microbatch, self.ranks.size)
        return [[Piece(i, (0, 1)) for i in indices] for indices in divided]

    def loss(self, packed: PackedBatch, size: float) -> tuple[Tensor, DpoSums]:
        reference = self.reference.logprobs(self.model, packed)
        logprobs = self.model(packed).logprobs
        return dpo_loss(logprobs, reference, packed.sequence, beta=self.learning.beta, pairs=size)


def train_dpo(*, model: Any, pairs: Sequence[Pair], dpo: DpoConfig, place: Place) -> TrainResult:
    """Trains ``model`` in place to prefer the chosen completions; see ``train_on``.

    The reference is the model as it is now, or without its adapters.
    """
    groups = [TokenGroup(pair.prompt_ids, (pair.chosen.ids, pair.rejected.ids)) for pair in pairs]
    return train_on(DpoModule, model, groups, dpo, place)
