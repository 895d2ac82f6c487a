"""What equal bits cost on a CPU: forward and backward of packed completions, with and without.

    python tests/bench/deterministic.py [--rounds 5]

A random model of the default model's width with 4 of its layers reads 1,200 packed tokens; 8 completions are
predicted from each prompt's last token, as in a GRPO step.  The runs alternate in one process with two
threads, and the medians count; also shown is in how many runs a gradient differed from the first run's.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaModel

from restrl.train.loop import deterministic

TOKENS, PREDICTORS, WIDTH = 1200, 2400, 576


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = LlamaModel(
        LlamaConfig(
            vocab_size=49152, hidden_size=WIDTH, intermediate_size=1536, num_hidden_layers=4,
            num_attention_heads=9, num_key_value_heads=3,
        )
    )  # fmt: skip
    ids = torch.randint(49152, (1, TOKENS))
    predictors = torch.randint(TOKENS // 8, (PREDICTORS,)) * 8
    upstream = torch.randn(PREDICTORS, WIDTH)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    different = {False: 0, True: 0}
    first: dict[bool, list[torch.Tensor]] = {}
    for _ in range(rounds + 1):
        for on in seconds:
            model.zero_grad()
            with deterministic(on):
                started = time.perf_counter()
                model(input_ids=ids).last_hidden_state[0][predictors].backward(upstream)
                seconds[on].append(time.perf_counter() - started)
            grads = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
            same = all(map(torch.equal, grads, first.setdefault(on, grads)))
            different[on] += not same
    free, equal = (statistics.median(seconds[on][1:]) for on in (False, True))
    print(f"without {free:.3f} s, {different[False]} of {rounds} runs differ from the first")
    print(f"deterministic {equal:.3f} s, {different[True]} of {rounds} runs differ from the first")
    print(f"cost: {equal / free:.3f} times the time")


if __name__ == "__main__":
    main()
