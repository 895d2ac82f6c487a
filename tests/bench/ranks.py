"""Scaling of a GRPO step from one rank to two, with one thread each, on SmolLM2-135M.

    python tests/bench/ranks.py [--prompts 24] [--steps 1]

The step is that of ``grpo_step.py`` with more prompts, 8 completions each of at most 64 tokens.  The best
of the steps counts.  Needs two idle cores: the ranks wait for each other, and a busy core slows both.  The
smaller the step, the less a second rank gains: sampling a token reads all weights, however few rows a rank
has, and the gradients that the ranks exchange do not shrink.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from restrl.ranks import connect, disconnect, ranks_of

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests.*

from tests.bench import grpo_step
from tests.train.processes import run_ranks

AIM = 1.7
PROGRAM = (
    "import sys; from tests.bench.ranks import one_rank; one_rank(*map(int, sys.argv[1:3]), sys.argv[3])"
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--steps", type=int, default=1)
    args = parser.parse_args()
    rates = []
    for size in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "rows.json"
            run_ranks(PROGRAM, size, str(args.prompts), str(args.steps), str(out), seconds=3600)
            rows = json.loads(out.read_text())
        best = max(rows, key=lambda row: row["tokens_per_second"])
        rates.append(best["tokens_per_second"])
        print(f"{size} ranks: {best['seconds']:.1f} s, {best['tokens_per_second']:.1f} tokens/s")
    ratio = rates[1] / rates[0]
    print(
        f"two ranks: {ratio:.2f} times the tokens/s; aim: at least {AIM}: "
        f"{'reached' if ratio >= AIM else 'MISSED'}; load of the machine {os.getloadavg()[0]:.1f}"
    )


def one_rank(prompts: int, steps: int, out: str) -> None:
    """Runs the steps as the rank that the environment names; the first rank writes the metrics."""
    grpo_step.PROMPTS = prompts
    ranks = ranks_of()
    connect(ranks)
    rows = grpo_step.our_metrics(steps, ranks)
    if ranks.first:
        Path(out).write_text(json.dumps(list(rows)))
    disconnect(ranks)


if __name__ == "__main__":
    main()
