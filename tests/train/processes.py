"""Real processes as ranks, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def start_ranks(program: str, size: int, *arguments: str) -> list[subprocess.Popen[str]]:
    """``python -c program arguments`` as ``size`` ranks of one machine, with a thread each."""
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    shared |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    # as real ranks end, see run_process
    program = f"from restrl.process import run_process\nrun_process(lambda: exec({program!r}, globals()))"
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        for rank in range(size)
    ]


def run_ranks(
    program: str, size: int, *arguments: str, codes: Sequence[int] | None = None, seconds: float = 300
) -> list[str]:
    """What each rank printed; ``codes``: the exit codes that are expected, None: all 0."""
    processes = start_ranks(program, size, *arguments)
    try:
        outputs = [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == list(codes or [0] * size), "\n".join(outputs)
    return outputs
