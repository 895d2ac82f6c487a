"""Process reward models of third parties: they give a probability at each step's separator.

A step is a line of the program, and the probabilities of all steps are aggregated.  There are two kinds: a
causal model that predicts + or - after the separator (Math-Shepherd, arXiv 2312.08935), and a model with two
outputs per token (Qwen2.5-Math-PRM, arXiv 2501.07301).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from restrl.config import ScorerConfig
from restrl.errors import UserError
from restrl.prompts import encode_marked, encode_texts, mark_tokens
from restrl.records import Problem, State
from restrl.scoring.base import Kind
from restrl.scoring.text import AGGREGATES, chat, fit_middle, padded_batches, steps

QWEN_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."  # of its model card


@dataclass(frozen=True)
class StepReader:
    """The inputs and outputs of one kind of model."""

    text: Callable[[str, Sequence[str]], str]  # question, steps with their separators -> the model's input
    good: Callable[[Tensor, Tensor], Tensor]  # ids, mask [B, T] -> [B, T] probability of a good step
    special: bool  # whether the tokenizer adds its own special tokens


class StepRewardModel:
    """The aggregate (``last``, ``min``, ``mean``, ``product``) of a program's steps, in [0, 1].

    None for a program without a step.
    """

    kind: Kind = "state"

    def __init__(
        self,
        reader: StepReader,
        model: Any,
        tokenizer: Any,
        problems: Mapping[str, Problem],
        config: ScorerConfig,
    ) -> None:
        self.reader, self.model, self.tokenizer = reader, model, tokenizer
        self.problems, self.config = problems, config
        self.separator = separator_id(tokenizer, config)
        self.aggregate = AGGREGATES[config.aggregate]

    @torch.no_grad()
    def score(self, states: Sequence[State]) -> list[float | None]:
        """See ``restrl.scoring.base.Scorer``."""
        encoded = [self._encode(state) for state in states]
        rows = [ids for ids, _ in encoded]
        scores: list[float | None] = [None] * len(rows)
        for chosen, ids, mask in padded_batches(
            rows, self.config.tokens_per_batch, self.tokenizer.pad_token_id or 0, self.model.device
        ):
            good = self.reader.good(ids, mask)
            for place, index in enumerate(chosen):
                ends = [k for k, is_end in enumerate(encoded[index][1]) if is_end]
                if ends:
                    scores[index] = self.aggregate(good[place][ends].tolist())
        return scores

    def _encode(self, state: State) -> tuple[list[int], list[bool]]:
        """The ids of the model's input, and which of them end a step.

        A separator inside the question or the program is text and ends no step.
        """
        texts, separator = (
            (self.problems[state.task_id].prompt, *steps(state.text)),
            str(self.config.separator),
        )
        clear = not any((separator.strip() or separator) in text for text in texts)
        ids = encode_texts(self.tokenizer, self._text(separator), texts, special=self.reader.special)
        ends = [token == self.separator for token in ids]
        if not clear or sum(ends) != len(texts) - 1:
            ids, ends = self._encode_in_parts(texts, separator)
        return fit_middle(ids, self.config.max_tokens), fit_middle(ends, self.config.max_tokens)

    def _encode_in_parts(self, texts: Sequence[str], separator: str) -> tuple[list[int], list[bool]]:
        """As ``_encode``, with each part between two separators encoded by itself."""
        marked, marks = mark_tokens(self.tokenizer, texts, [separator])
        end = next(mark for mark in map(chr, range(0x100000, 0x10FFFD)) if mark not in "".join(marked))
        ids: list[int] = []
        ends: list[bool] = []
        for k, part in enumerate(self._text(end)(*marked).split(end)):
            if k:
                ids.append(self.separator)
                ends.append(True)
            ids += encode_marked(self.tokenizer, part, marks, special=self.reader.special and k == 0)
            ends += [False] * (len(ids) - len(ends))
        return ids, ends

    def _text(self, separator: str) -> Callable[..., str]:
        def text(question: str, *lines: str) -> str:
            return self.reader.text(question, [line + separator for line in lines])

        return text


def separator_id(tokenizer: Any, config: ScorerConfig) -> int:
    """The token that ends a step.  Raises UserError if the separator is missing or not a single token."""

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    before = encode("x")  # some tokenizers encode the beginning of a text differently
    ids = encode("x" + (config.separator or ""))
    if len(ids) != len(before) + 1:
        raise UserError(
            f"scorer.separator={config.separator}: must be one token of the model, and it is "
            f"{len(ids) - len(before)}"
        )
    return ids[-1]


def math_shepherd(
    model: Any, tokenizer: Any, problems: Mapping[str, Problem], config: ScorerConfig
) -> StepRewardModel:
    """``model``: a causal LM; a step's probability is that of "+" against "-" after its separator."""
    plus, minus = (tokenizer(sign, add_special_tokens=False)["input_ids"][-1] for sign in "+-")
    signs = torch.tensor([plus, minus], device=model.device)

    def text(question: str, lines: Sequence[str]) -> str:
        return "\n".join([question, *lines])

    def good(ids: Tensor, mask: Tensor) -> Tensor:
        hidden = model.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        two: Tensor = hidden @ model.get_output_embeddings().weight[signs].T  # only the two logits
        return two.float().softmax(-1)[..., 0]

    return StepRewardModel(StepReader(text, good, special=True), model, tokenizer, problems, config)


def qwen_math_prm(
    model: Any, tokenizer: Any, problems: Mapping[str, Problem], config: ScorerConfig
) -> StepRewardModel:
    """``model`` gives two logits per token; a step's probability is the second's softmax at its separator."""

    def text(question: str, lines: Sequence[str]) -> str:
        return chat(tokenizer, question, "".join(lines), system=QWEN_SYSTEM)

    def good(ids: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=ids, attention_mask=mask)[0]
        return logits.float().softmax(-1)[..., 1]

    return StepRewardModel(StepReader(text, good, special=False), model, tokenizer, problems, config)
