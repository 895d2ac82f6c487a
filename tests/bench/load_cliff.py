"""What an engine's decoding step keeps beside other work, and what OpenMP's wait policy costs without any.

    python tests/bench/load_cliff.py [--rounds 3] [--seconds 3] [--policies GOMP_SPINCOUNT=1000 ...]

A 60-layer toy decodes 48 rows in a process of its own, with as many threads as there are cores: under
OpenMP's defaults, and as ``import restrl`` sets it (or under each of ``--policies``).  Beside three busy
processes its fair share of C cores is C / (C + 3) of what it does alone.  The processes alternate; medians
over the rounds are compared.  Exits with 1 where less than 0.7 of the fair share is kept, or more than 5 % is
lost to the policy on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", ".."))

CORES = len(os.sched_getaffinity(0))
BUSY = 3  # processes beside the engine
FAIR = CORES / (CORES + BUSY)
KEPT, LOST = 0.7, 0.05  # at least, of the fair share; at most, of the speed alone
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
DEFAULT, OURS = "default", "restrl"
ROWS, TOKENS = 48, 8


def decode(policy: str, seconds: float) -> float:
    """Steps a second of ``seconds`` of decoding, in this process, before which torch was not loaded."""
    if policy == OURS:
        import restrl  # noqa: F401
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from restrl.config import EngineConfig
    from restrl.engine.hf import HfEngine
    from restrl.model.tiny import tiny_tokenizer
    from restrl.records import Request

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=384, hidden_size=256, intermediate_size=768, num_hidden_layers=60, num_attention_heads=8
    )
    engine = HfEngine(LlamaForCausalLM(config), tiny_tokenizer(), EngineConfig(batch_size=ROWS))
    request = Request(tuple(range(3, 35)), ROWS, TOKENS)
    engine.generate([request])
    steps, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        engine.generate([request])
        steps += TOKENS
    return steps / passed


def measured(policy: str, seconds: float) -> float:
    """The same in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    if policy not in (DEFAULT, OURS):
        name, _, value = policy.partition("=")
        environment[name] = value
    command = [sys.executable, __file__, "--decode", policy, "--seconds", str(seconds)]
    return float(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """``count`` processes that want a core each."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--policies", nargs="+", default=[OURS], help=f"VARIABLE=VALUE, or {OURS}")
    parser.add_argument("--decode", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.decode is not None:
        print(decode(options.decode, options.seconds))
        return
    policies = [DEFAULT, *options.policies]
    rates: dict[tuple[str, int], list[float]] = {(p, n): [] for p in policies for n in (0, BUSY)}
    for _ in range(options.rounds):
        for count in (0, BUSY):
            with busy(count):
                for policy in policies:
                    rates[policy, count].append(measured(policy, options.seconds))
    alone = {policy: statistics.median(rates[policy, 0]) for policy in policies}
    beside = {policy: statistics.median(rates[policy, BUSY]) for policy in policies}
    good = True
    for policy in policies:
        idle, kept = alone[policy] / alone[DEFAULT], beside[policy] / (FAIR * alone[DEFAULT])
        print(f"{policy}: alone {alone[policy]:.1f} steps/s, {idle:.2f} of the default's; beside {BUSY} busy "
              f"processes {beside[policy]:.1f} steps/s, {kept:.2f} of the fair share")  # fmt: skip
        good &= policy == DEFAULT or (idle >= 1 - LOST and kept >= KEPT)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
