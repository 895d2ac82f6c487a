"""Seeds derived from names: every use of randomness has its own generator, so call order does not matter."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) that depends on each part and on their order.

    The parts name the use, as in ``derive_seed(run_seed, "sample", iteration, task_id)``; each name has its
    own stream of random numbers.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
