"""The memory of this rank around the first sampling of a training, as a line in the log.

Strategies that divide the weights gather them for an engine that samples from the module, so this is where
such a run needs most, or runs out.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

GIB = 2**30
_log = logging.getLogger(__name__)


def used_memory(device: torch.device) -> float:
    """GiB of tensors on a GPU, or of this process's resident memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / GIB
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / GIB


class Ledger:
    """Takes readings with ``note``, and logs them with ``say``."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._readings: list[str] = []

    def note(self, when: str) -> None:
        self._readings.append(f"{used_memory(self._device):.2f} GiB {when}")

    def say(self, title: str) -> None:
        _log.info("%s: memory of the first rank: %s", title, ", ".join(self._readings))
