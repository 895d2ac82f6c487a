"""``trainer.estimate=true``: the memory that a command needs on each device, before anything is loaded."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from restrl.config import Config, ModelConfig
from restrl.errors import UserError
from restrl.model.decode_peaks import decode_peaks
from restrl.model.geometry import Geometry, geometry
from restrl.model.memory import Estimate, count, gib, verdict
from restrl.model.peaks import CONTENTS, GIB, Peak, peaks
from restrl.ranks import ranks_of
from restrl.scoring.registry import scorer_path
from restrl.stages.answering import JUDGED_ONLY
from restrl.stages.evaluation import configured_method
from restrl.stages.run import trained_steps
from restrl.stages.settings import SCORED


def estimate(config: Config, *, decodes: bool = False) -> None:
    """Prints a table.  Raises UserError if the run does not fit, or if a model's sizes are not known.

    ``decodes``: the command is ``decode.py``.
    """
    if not ranks_of().first:
        return
    device = _device(config)
    if decodes or config.stage.name == "evaluate":
        trains: Sequence[str] = []
        peaks_of: Estimate = functools.partial(decode_peaks, scorer=_scorer(config))
    else:
        trains, peaks_of = trained_steps(config), peaks
    found = verdict(config, config.paths, trains, device, free=True, estimate=peaks_of)
    if found is None:
        raise UserError(
            f"model={config.model.name}: its configuration was not found, so its sizes are unknown; set "
            "model.path to a folder with its config.json"
        )
    ranks = config.trainer.devices * config.trainer.num_nodes
    one, more = ("GPU", "GPUs") if device.type == "cuda" else ("process", "processes")
    print(
        f"model={config.model.name}: {count(found.sizes.parameters)} weights; "
        f"trainer.strategy={config.trainer.strategy}, GiB on each of {ranks} {more if ranks > 1 else one}:"
    )
    print("\n".join(table(found.peaks)))
    for peak in found.peaks:
        if peak.host:
            parts = ", ".join(f"{name} {gib(size)}" for name, size in peak.host.items())
            whole = gib(sum(peak.host.values()))
            print(f"{peak.what}, in the machine's memory for each GPU: {whole} GiB ({parts})")
    if found.problem is not None:
        raise UserError(found.problem)
    largest = max(found.peaks, key=lambda peak: peak.total)
    print(
        f"it fits: {largest.what} needs most, {gib(largest.total)} GiB, and {found.room.where} "
        f"{gib(found.room.device)} GiB"
    )


def _scorer(config: Config) -> Geometry | None:
    """The sizes of the scorer's model; None: the decoder uses none.  Raises UserError if they are unknown."""
    scorer = configured_method(config).scorer
    if config.decoder.name not in SCORED or scorer.name in JUDGED_ONLY:
        return None
    model = ModelConfig(path=scorer_path(scorer), trust_remote_code=scorer.trust_remote_code)
    sizes = geometry(model, config.paths)
    if sizes is None:
        raise UserError(
            f"scorer.path={scorer.path}: its configuration was not found, so its sizes are unknown; name a "
            "folder with its config.json"
        )
    return sizes


def _device(config: Config) -> torch.device:
    """The type of device that the command would use; trainer.memory_gb stands for a GPU that is not here."""
    wanted, present = config.trainer.accelerator, torch.cuda.is_available()
    if wanted == "gpu" and not present and config.trainer.memory_gb is None:
        raise UserError(
            "trainer.accelerator=gpu: no GPU is visible here; say how much memory one has, in GiB: "
            "trainer.memory_gb=80"
        )
    return torch.device("cuda" if wanted == "gpu" or (wanted == "auto" and present) else "cpu")


def table(peaks: Sequence[Peak]) -> list[str]:
    """Markdown: a row per content, a column per phase of the run, GiB."""
    rows = [name for name in CONTENTS if any(peak.parts.get(name) for peak in peaks)]
    cells = [["GiB", *(peak.what for peak in peaks)]]
    cells += [[name, *(_cell(peak.parts.get(name, 0.0)) for peak in peaks)] for name in rows]
    cells.append(["total", *(_cell(peak.total) for peak in peaks)])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in cells
    ]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return [lines[0], rule, *lines[1:]]


def _cell(size: float) -> str:
    return f"{size / GIB:.2f}" if size else ""
