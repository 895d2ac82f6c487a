"""Whether a run fits into memory: the estimate of ``peaks.py`` against what the device has.

``verdict`` is what ``trainer.estimate=true`` prints.  ``check_memory`` refuses a run at its start, and only
one that is out of reach: the estimate is good to 15 % (``tests/model/test_peaks.py``), and a run whose
micro-batches are never full needs less.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch

from restrl.config import Config, PathsConfig
from restrl.errors import UserError
from restrl.model.geometry import Geometry, geometry
from restrl.model.peaks import GIB, OF_THE_POLICY, Peak, peaks

MARGIN = 0.85  # of the estimate: a run that needs less than this is not refused
CHANGES: tuple[tuple[str, Any], ...] = (  # changes that save memory, the least harmful first
    ("model.lora.r", 16),
    ("trainer.strategy", "fsdp2"),
    ("grpo.objective.kl", 0.0),
    ("grpo.iterations", 1),  # a second one trains adapters on merged weights, which are float32
    ("engine.kv_gb", 1.0),
    ("model.checkpointing", True),
    ("grpo.tokens_per_microbatch", 512),
    ("dpo.tokens_per_microbatch", 512),
    ("sft.tokens_per_microbatch", 512),
    ("vm.tokens_per_microbatch", 512),
    ("model.dtype", "bfloat16"),
    ("trainer.precision", "bf16-true"),
    ("trainer.strategy", "deepspeed_zero3_offload"),
)
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


Estimate = Callable[[Config, Geometry, Iterable[str], torch.device], list[Peak]]  # ``peaks``, or one like it


@dataclass(frozen=True)
class Room:
    """What there is for a rank, in bytes."""

    where: str  # of the device, in words
    device: float
    host: float  # the machine's memory beside a GPU; infinite where that GPU is not here

    def used(self, found: Sequence[Peak]) -> float:
        """The largest need by its room: above 1 the run does not fit."""
        return max(max(p.total / self.device, sum(p.host.values()) / self.host) for p in found)


@dataclass(frozen=True)
class Verdict:
    """The peaks of a run, and whether the largest fits."""

    sizes: Geometry
    peaks: Sequence[Peak]
    room: Room
    problem: str | None  # what does not fit and what would, in one line; None: the run fits


def check_memory(config: Config, paths: PathsConfig, trains: Iterable[str], device: torch.device) -> None:
    """Raises UserError for a run that cannot fit; the message lists the memory needs and possible changes."""
    found = verdict(config, paths, trains, device)
    if found is not None and found.problem is not None and MARGIN * found.room.used(found.peaks) > 1:
        raise UserError(f"{found.problem} (trainer.memory_gb overrules the machine's own number)")


def verdict(
    config: Config,
    paths: PathsConfig,
    trains: Iterable[str],
    device: torch.device,
    *,
    free: bool = False,
    estimate: Estimate = peaks,
) -> Verdict | None:
    """None: the model's sizes are unknown.  ``free``: a GPU has only what no process uses now."""
    sizes = geometry(config.model, paths)
    if sizes is None:
        return None
    room, trains = _room(config, device, free), tuple(trains)
    found = estimate(config, sizes, trains, device)
    if room.used(found) <= 1:
        return Verdict(sizes, found, room, None)
    peak = max(found, key=lambda peak: peak.total)
    ways = _ways(config, trains, room, lambda changed: estimate(changed, sizes, trains, device))
    smaller = f"a model of about {count(int(sizes.parameters / room.used(found)))} weights"
    problem = (
        f"model={config.model.name} with its {count(sizes.parameters)} weights does not fit: "
        f"{_need(peak, room)}; what would fit: {' or '.join(ways) or smaller}"
    )
    return Verdict(sizes, found, room, problem)


def _need(peak: Peak, room: Room) -> str:
    if peak.total <= room.device:
        host = sum(peak.host.values())
        return (
            f"{peak.what} needs {gib(host)} GiB of the machine's memory for each GPU: it has {gib(room.host)}"
        )
    parts = ", ".join(f"{name} {gib(size)}" for name, size in peak.parts.items() if size > peak.total / 50)
    return f"{peak.what} needs {gib(peak.total)} GiB ({parts}), and {room.where} {gib(room.device)} GiB"


def _room(config: Config, device: torch.device, free: bool) -> Room:
    here = device.type == "cuda" and config.trainer.memory_gb is None
    return Room(*memory(config, device, free=free), machine_memory(config) if here else math.inf)


def memory(config: Config, device: torch.device, *, free: bool = False) -> tuple[str, float]:
    """Whose memory is available, in words, and its bytes: the GPU's, or this process's part of the machine's.

    ``free``: the part of the GPU's that no process uses now.
    """
    if config.trainer.memory_gb is not None:
        return "trainer.memory_gb says", config.trainer.memory_gb * GIB
    if device.type == "cuda" and free:
        return "the GPU has free", float(torch.cuda.mem_get_info(device)[0])
    if device.type == "cuda":
        return "the GPU has", float(torch.cuda.get_device_properties(device).total_memory)
    processes = config.trainer.devices
    where = "this machine has" if processes == 1 else f"each of this machine's {processes} processes has"
    return where, machine_memory(config)


def machine_memory(config: Config) -> float:
    """The bytes of this machine, or container, for each of its ``trainer.devices`` processes."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUP_LIMITS:
        if Path(path).exists() and (text := Path(path).read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits) / config.trainer.devices


def gib(size: float) -> str:
    """Without the unit."""
    return f"{size / GIB:.1f}" if size >= GIB else f"{size / GIB:.2g}"


def count(weights: int) -> str:
    return f"{weights / 1e9:.3g} billion" if weights >= 1e8 else f"{weights / 1e6:.3g} million"


def _ways(
    config: Config, trains: Iterable[str], room: Room, estimate: Callable[[Config], list[Peak]]
) -> list[str]:
    """Changes of the configuration that each make the run fit, or else one combination that does."""

    def used(changed: Config) -> float:
        return room.used(estimate(changed))

    changes = [(key, value) for key, value in CHANGES if _saves(config, key, value, trains)]
    fits = [_said(key, value) for key, value in changes if used(_changed(config, key, value)) <= 1]
    together: list[str] = []
    for key, value in changes if not fits else []:
        changed = _changed(config, key, value)
        if used(changed) < used(config):
            config = changed
            together.append(_said(key, value))
            if used(config) <= 1:
                return [" ".join(together)]
    return fits[:3]


def _said(key: str, value: Any) -> str:
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"


def _saves(config: Config, key: str, value: Any, trains: Iterable[str]) -> bool:
    """Whether the change has an effect, on a step that the run includes."""
    before: Any = reduce(getattr, key.split("."), config)
    if key in ("model.lora.r", "model.checkpointing", "trainer.precision"):
        return bool(trains) and before != value and not (key == "model.lora.r" and before is not None)
    if key == "trainer.strategy":
        shares = config.trainer.devices * config.trainer.num_nodes > 1 or "offload" in value
        return bool(trains) and before in ("auto", "ddp") and shares
    if key == "grpo.iterations":
        return any(kind in trains for kind in OF_THE_POLICY) and before > value
    if key.startswith(("grpo.", "dpo.", "sft.", "vm.")):
        group = key.partition(".")[0]
        return ("fit" if group == "vm" else group) in trains and before > value
    return bool(before > value) if key == "engine.kv_gb" else bool(before != value)


def _changed(node: Any, key: str, value: Any) -> Any:
    """A copy of ``node`` with the dotted ``key`` set to ``value``."""
    name, _, rest = key.partition(".")
    return dataclasses.replace(node, **{name: _changed(getattr(node, name), rest, value) if rest else value})
