"""Peak memory and time of chunked log-probabilities against the full [T, V] tensor.

    python tests/bench/logprobs.py [--positions 2048] [--vocabulary 49152] [--hidden 576] [--chunk 256]

Each side runs in a process of its own; its peak is the high-water mark of resident memory above what the
inputs and their gradients take.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import multiprocessing
import resource
import time
from typing import Any

import torch

from restrl.objective.logprobs import chunked_logprobs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--positions", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--chunk", type=int, default=256)
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    results = {}
    for side in ("full", "chunked"):
        queue: Any = context.Queue()
        process = context.Process(target=measure, args=(side, vars(args), queue))
        process.start()
        results[side] = queue.get()
        process.join()
    tensor = args.positions * args.vocabulary * 4 / 2**20
    for side, (peak, seconds) in results.items():
        print(
            f"{side:8} peak {peak:7.0f} MiB above inputs and gradients, {seconds:.2f} s forward and backward"
        )
    (full, full_seconds), (chunked, chunked_seconds) = results["full"], results["chunked"]
    print(f"one [T, V] float tensor is {tensor:.0f} MiB")
    print(f"peak memory: chunked / one tensor = {chunked / tensor:.2f} (aim: at most 0.33)")
    print(f"peak memory: chunked / full = {chunked / full:.2f}; time: {chunked_seconds / full_seconds:.2f}")


def measure(side: str, sizes: dict[str, int], queue: Any) -> None:
    """Puts (peak MiB, seconds) of one forward and backward."""
    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(sizes["positions"], sizes["hidden"], generator=generator, requires_grad=True)
    weight = (
        torch.randn(sizes["vocabulary"], sizes["hidden"], generator=generator).mul_(0.02).requires_grad_()
    )
    targets = torch.randint(0, sizes["vocabulary"], (sizes["positions"],), generator=generator)
    run("chunked", hidden[:8], weight, targets[:8], 4)  # libraries, threads and the gradient's memory
    hidden.grad = torch.zeros_like(hidden)
    weight.grad = None  # its memory is in the high-water mark by now
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    run(side, hidden, weight, targets, sizes["chunk"])
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    queue.put(((after - before) / 2**10, seconds))


def run(side: str, hidden: Any, weight: Any, targets: Any, chunk: int) -> None:
    if side == "chunked":
        logprobs = chunked_logprobs(hidden, weight, targets, chunk=chunk).logprobs
    else:
        logprobs = (hidden @ weight.T).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    logprobs.mean().backward()


if __name__ == "__main__":
    main()
