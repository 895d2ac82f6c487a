"""Seeds derived from names, so that every draw has its own generator and no order of calls matters."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) that depends on each part and on their order.

    ``derive_seed(run_seed, "sample", iteration, task_id)`` names a draw; no two names share a stream.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
