"""Shared by scorers of third parties: programs as text for another tokenizer, in padded batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from restrl.config import ModelConfig
from restrl.errors import UserError
from restrl.prompts import clock_at

T = TypeVar("T")


def chat(tokenizer: Any, question: str, answer: str, system: str | None = None) -> str:
    """The conversation in the tokenizer's chat template.  Raises UserError if it has none."""
    if not getattr(tokenizer, "chat_template", None):
        raise UserError("scorer: the reward model's tokenizer has no chat template, and it rates chats")
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    text: str = tokenizer.apply_chat_template(
        messages, tokenize=False, strftime_now=clock_at(ModelConfig().date)
    )
    return text


def steps(program: str) -> list[str]:
    """The lines of a program that are not blank, which are the steps for a process reward model."""
    return [line for line in program.splitlines() if line.strip()]


def fit_middle(ids: Sequence[T], max_tokens: int) -> list[T]:
    """At most ``max_tokens`` of the tokens, or of values for them.

    Keeps the beginning of the question and the end of the answer.
    """
    if len(ids) <= max_tokens:
        return list(ids)
    head = max_tokens // 4
    return [*ids[:head], *ids[len(ids) - (max_tokens - head) :]]


def padded_batches(
    rows: Sequence[Sequence[int]], tokens_per_batch: int, padding: int, device: torch.device
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Batches of rows of similar length: their indices, ids [B, T] padded on the right, mask [B, T]."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    start = 0
    while start < len(order):
        width = max(len(rows[order[start]]), 1)
        chosen = order[start : start + max(tokens_per_batch // width, 1)]
        ids = torch.full((len(chosen), width), padding)
        mask = torch.zeros_like(ids)
        for place, index in enumerate(chosen):
            ids[place, : len(rows[index])] = torch.tensor(rows[index])
            mask[place, : len(rows[index])] = 1
        yield chosen, ids.to(device), mask.to(device)
        start += len(chosen)


AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "mean": lambda scores: sum(scores) / len(scores),
    "product": math.prod,
}
