"""Weights in buckets: an engine loads many small tensors at a time, and never a second full copy."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from restrl.engine.base import Weights

BUCKET_BYTES = 256 * 2**20


def buckets(weights: Weights, size: int = BUCKET_BYTES) -> Iterator[list[tuple[str, Tensor]]]:
    """The weights in lists of about ``size`` bytes; of tensors that share memory only the first one."""
    bucket: list[tuple[str, Tensor]] = []
    held = 0
    for name, tensor in weights:
        if any(tensor.data_ptr() == other.data_ptr() for _, other in bucket):
            continue  # an output layer that is tied to the embedding, which the engine ties itself
        bucket.append((name, tensor))
        held += tensor.numel() * tensor.element_size()
        if held >= size:
            yield bucket
            bucket, held = [], 0
    if bucket:
        yield bucket
