"""Mixtures of data sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from restrl.config import DatasetConfig
from restrl.data import apps, bigcodebench, ds1000
from restrl.data.splits import Split, split_by_family
from restrl.errors import UserError
from restrl.records import Problem

PARTS: Mapping[str, Callable[[str | None], list[Problem]]] = {
    "bigcodebench": bigcodebench.read,
    "ds1000": ds1000.read,
    "apps": apps.read,
}


def load_paper_mix(config: DatasetConfig, split: Split) -> list[Problem]:
    """The paper's training data: BigCodeBench, DS-1000 and the train split of APPS.

    ``config.path`` is a folder with bigcodebench, ds1000 and apps as .jsonl or .jsonl.gz; None = the hub.
    Each part is split by seed, so every part is on both sides.
    """
    result: list[Problem] = []
    for name, read in PARTS.items():
        path = None if config.path is None else str(_file(Path(config.path), name))
        part = dataclasses.replace(config, name=name, path=path, heldout_path=None, variant=None)
        result += split_by_family(read(path), part, split)
    return result


def _file(folder: Path, name: str) -> Path:
    for ending in (".jsonl", ".jsonl.gz"):
        if (folder / f"{name}{ending}").is_file():
            return folder / f"{name}{ending}"
    raise UserError(
        f"{folder}: no {name}.jsonl or {name}.jsonl.gz; dataset=paper_mix needs a folder with the files "
        f"{', '.join(PARTS)} as dataset.path"
    )
