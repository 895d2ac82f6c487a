"""Outcome reward models of third parties: a number for a chat, as Skywork-Reward (arXiv 2410.18451)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from restrl.config import ScorerConfig
from restrl.errors import UserError
from restrl.prompts import encode_texts
from restrl.records import Problem, State
from restrl.scoring.base import Kind
from restrl.scoring.text import chat, fit_middle, padded_batches


class ChatRewardModel:
    """The output of an ``AutoModelForSequenceClassification`` with one label for [question, program].

    The output is unbounded; ``squash`` takes its sigmoid, which keeps the order.
    """

    kind: Kind = "outcome"

    def __init__(
        self, model: Any, tokenizer: Any, problems: Mapping[str, Problem], config: ScorerConfig
    ) -> None:
        """Raises UserError for a model with several labels or a tokenizer without a template."""
        if model.config.num_labels != 1:
            raise UserError(f"scorer={config.name}: the model has {model.config.num_labels} labels, not 1")
        chat(tokenizer, "", "")
        self.model, self.tokenizer = model, tokenizer
        self.problems, self.config = problems, config

    @torch.no_grad()
    def score(self, states: Sequence[State]) -> list[float | None]:
        """See ``restrl.scoring.base.Scorer``."""
        rows = [self._encode(state) for state in states]
        scores: list[float | None] = [None] * len(rows)
        padding: int | None = self.model.config.pad_token_id
        # without a padding token, transformers reads the output at the last position: one row per batch
        budget = 1 if padding is None else self.config.tokens_per_batch
        for chosen, ids, mask in padded_batches(rows, budget, padding or 0, self.model.device):
            logits = self.model(input_ids=ids, attention_mask=mask).logits[:, 0].float()
            numbers = logits.sigmoid() if self.config.squash else logits
            for index, number in zip(chosen, numbers.tolist(), strict=True):
                scores[index] = number
        return scores

    def _encode(self, state: State) -> list[int]:
        def text(question: str, program: str) -> str:
            return chat(self.tokenizer, question, f"```python\n{program.rstrip()}\n```")

        texts = self.problems[state.task_id].prompt, state.text
        ids = encode_texts(self.tokenizer, text, texts, special=False)
        return fit_middle(ids, self.config.max_tokens)
