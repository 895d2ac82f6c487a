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
ROWS, TOKENS = 48, 4
SPIN = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # they end with this process


def decode(policy: str, seconds: float) -> tuple[float, float]:
    """Steps a second of decoding in this process, alone and beside busy ones; torch must not be loaded."""
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

    def rate() -> float:
        steps, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            engine.generate([Request((3, 4, 5), ROWS, TOKENS, seed=steps)])
            steps += TOKENS
        return steps / passed

    engine.generate([Request((3, 4, 5), ROWS, TOKENS)])
    alone = rate()
    with busy(BUSY):
        return alone, rate()


def measured(policy: str, seconds: float) -> tuple[float, float]:
    """The same in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    if policy not in (DEFAULT, OURS):
        environment |= [policy.split("=")]
    command = [sys.executable, __file__, "--decode", policy, "--seconds", str(seconds)]
    printed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    print(f"  {policy}: {printed.strip()} steps/s alone and beside", flush=True)
    alone, beside = map(float, printed.split())
    return alone, beside


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """``count`` processes that want a core each."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
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
        print(*(f"{rate:.2f}" for rate in decode(options.decode, options.seconds)))
        return
    policies = [DEFAULT, *options.policies]
    rates = [
        {policy: measured(policy, options.seconds) for policy in policies} for _ in range(options.rounds)
    ]
    alone, beside = ({p: statistics.median(r[p][i] for r in rates) for p in policies} for i in (0, 1))
    good = True
    for policy in policies:
        idle, kept = alone[policy] / alone[DEFAULT], beside[policy] / (FAIR * alone[DEFAULT])
        print(f"{policy}: alone {alone[policy]:.1f} steps/s, {idle:.2f} of the default's; beside {BUSY} busy "
              f"processes {beside[policy]:.1f} steps/s, {kept:.2f} of the fair share")  # fmt: skip
        good &= policy == DEFAULT or (idle >= 1 - LOST and kept >= KEPT)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
