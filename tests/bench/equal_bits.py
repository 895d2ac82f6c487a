"""What equal bits cost: a training step's gradients with and without deterministic algorithms, on a CPU.

    python tests/bench/equal_bits.py [--layers 4] [--rounds 8]

Three groups of 8 completions through a random model of SmolLM2-135M's shapes, with a thread per core.  The
two ways alternate; medians are compared, and how many different gradients each way gave is counted.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import contextlib
import hashlib
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import TokenGroup, micro_batches, pack
from restrl.train.loop import equal_bits

GROUPS, COMPLETIONS, PROMPT = 3, 8, 80
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=4, help="SmolLM2 has 30")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=options.layers,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
    ))  # fmt: skip
    draw = torch.Generator().manual_seed(1)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(49152, (count,), generator=draw).tolist())

    groups = [
        TokenGroup(tokens(PROMPT), tuple(tokens(20 + 2 * i) for i in range(COMPLETIONS)))
        for _ in range(GROUPS)
    ]
    (pieces,) = micro_batches(groups, 4096)
    packed = pack(groups, pieces)

    def step() -> str:
        model.zero_grad()
        with PolicyLM(model).packing():
            out = PolicyLM(model)(packed)
            (out.logprobs * torch.linspace(-1, 1, len(out.logprobs))).sum().backward()
        gradients = [p.grad.numpy().tobytes() for p in model.parameters() if p.grad is not None]
        return hashlib.sha256(b"".join(gradients)).hexdigest()

    step()
    ways = {"as it comes": contextlib.nullcontext, "equal bits": lambda: equal_bits(CPU)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, set[str]] = {name: set() for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            with way():
                found[name].add(step())
            seconds[name].append(time.perf_counter() - start)
    plain, equal = (statistics.median(some) for some in seconds.values())
    for name in ways:
        print(
            f"{name}: {statistics.median(seconds[name]):.2f} s a step, {len(found[name])} gradients "
            f"in {options.rounds} steps of {torch.get_num_threads()} threads"
        )
    print(f"equal bits take {equal / plain:.2f} times as long")
    raise SystemExit(0 if len(found["equal bits"]) == 1 else 1)


if __name__ == "__main__":
    main()
