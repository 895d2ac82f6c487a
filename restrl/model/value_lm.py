"""The module of value models for training and scoring: packed trees in, head outputs for their states out.

As with ``PolicyLM``, a strategy wraps it as one module.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from restrl.model.value import decoder_and_score
from restrl.objective.tree_attention import tree_hidden, tree_mode
from restrl.objective.tree_packing import TokenTree, TreeBatch, pack_trees, tree_batches
from restrl.objective.value_loss import head_values


class ValueLM(nn.Module):
    """Wraps ``model``, a sequence classifier of transformers with one or two labels (``model/value.py``)."""

    def __init__(self, model: Any) -> None:
        """Raises UserError if the head is not that of a value model."""
        super().__init__()
        self.model = model
        decoder_and_score(model)

    @property
    def decoder(self) -> Any:
        return decoder_and_score(self.model)[0]

    @property
    def head(self) -> nn.Linear:
        return decoder_and_score(self.model)[1]

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, batch: TreeBatch) -> Tensor:
        """[S, 1 or 2] outputs of the head for the batch's states, in the precision of the head.

        ``head_values`` converts them to values; the loss takes the outputs themselves.  ``batch`` is on the
        model's device.  The decoder may compute in bfloat16, but the head is float32, because bfloat16 values
        near 1 are 0.004 apart.
        """
        hidden, head = self.hidden(batch), self.head
        with torch.autocast(hidden.device.type, enabled=False):
            outputs: Tensor = head(hidden.to(head.weight.dtype))
        return outputs

    def hidden(self, batch: TreeBatch) -> Tensor:
        """[S, H] the decoder's last hidden states at the last tokens of the states."""
        return tree_hidden(self.decoder, batch.ids, batch.positions, batch.layout)[batch.ends]

    def packing(self) -> contextlib.AbstractContextManager[None]:
        """A context for forward and backward; gradient checkpointing needs it to run layers again."""
        return tree_mode(self.decoder)


@torch.no_grad()
def predict_values(model: ValueLM, trees: Sequence[TokenTree], budget: int) -> list[list[float]]:
    """For each tree the values of its states (``head_values``), in batches of at most ``budget`` tokens.

    The model keeps its mode (training or evaluation) and its device.
    """
    values: list[list[float]] = [[math.nan] * len(tree.states) for tree in trees]
    for pieces in tree_batches(trees, budget):
        batch = pack_trees(trees, pieces).to(model.device)
        predicted = iter(head_values(model(batch)).tolist())
        for piece in pieces:
            for state in piece.states:
                values[piece.tree][state] = next(predicted)
    return values
