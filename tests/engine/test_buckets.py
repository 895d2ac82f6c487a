from __future__ import annotations

import torch

from restrl.engine.buckets import buckets


def test_weights_come_in_buckets_and_shared_ones_once() -> None:
    shared = torch.zeros(4)
    named = [
        ("a", torch.zeros(5)), ("b", torch.zeros(6)), ("c", shared), ("d", shared), ("e", torch.zeros(1)),
    ]  # fmt: skip
    assert [[name for name, _ in bucket] for bucket in buckets(named, 40)] == [["a", "b"], ["c", "e"]]
