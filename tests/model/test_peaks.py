"""The estimate of memory against the highest memory of real steps, each in a process of its own.

What is measured is what the step holds.  By itself glibc keeps holes between blocks in its heap, and a
process may then take half as much again; ``MALLOC_MMAP_THRESHOLD_`` gives each block pages of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(256 * 1024)}


def check(*arguments: str) -> None:
    """``python -m tests.model.peak`` with ``--rank`` and ``--checkpointing`` measures more of them."""
    out = subprocess.run(
        [sys.executable, "-m", "tests.model.peak", *arguments],
        cwd=ROOT, env=os.environ | ENVIRONMENT, check=True, text=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    found = json.loads(out.splitlines()[-1])
    assert found["estimate"] == pytest.approx(found["measured"], rel=0.15), found


@pytest.mark.parametrize("shape", ["60M", "135M"])
@pytest.mark.parametrize("what", ["grpo", "fit"])
def test_the_estimate_is_what_a_step_takes(what: str, shape: str) -> None:
    check(what, shape)


@pytest.mark.parametrize("strategy", ["fsdp2", "deepspeed_zero2", "deepspeed_zero3"])
@pytest.mark.parametrize("what", ["grpo", "fit"])
def test_the_estimate_is_what_a_rank_of_two_takes(what: str, strategy: str) -> None:
    check(what, "60M", "--strategy", strategy)
