"""Several data sets: mixtures, which are one set of problems, and the parts of a set of held-out problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from restrl.config import DatasetConfig
from restrl.data import apps, bigcodebench, ds1000
from restrl.data.source import file_in
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
    Each part is split by seed, so every part is on both sides.  Problems that ``config.ids`` names are split
    together, since a part may have too few of them.
    """
    need = folder_of("dataset=paper_mix", PARTS, "dataset.path")
    parts: dict[str, list[Problem]] = {}
    for name, read in PARTS.items():
        parts[name] = read(None if config.path is None else file_in(config.path, name, need))
    if config.ids is not None:
        return split_by_family([problem for part in parts.values() for problem in part], config, split)
    result: list[Problem] = []
    for name, problems in parts.items():
        result += split_by_family(problems, dataclasses.replace(config, name=name), split)
    return result


def datasets_of(config: DatasetConfig) -> dict[str, DatasetConfig]:
    """The data sets that a run judges, by name: the configured one, or its parts.

    If ``config.path`` is set, it is a folder with a file for each part that has no path of its own.
    """
    if not config.parts:
        return {config.name: config}
    if config.ids is not None:
        part = next(iter(config.parts))
        raise UserError(
            f"dataset.ids: dataset={config.name} has several data sets; name the ids of one, such as "
            f"dataset.parts.{part}.ids=..."
        )
    need = folder_of(f"dataset={config.name}", config.parts, "dataset.path")
    return {
        name: part
        if config.path is None or part.path is not None
        else dataclasses.replace(part, path=file_in(config.path, name, need))
        for name, part in config.parts.items()
    }


def folder_of(what: str, names: Iterable[str], key: str) -> str:
    """What an error says that ``what`` needs: a folder with a file for each of ``names``."""
    return f"{what} needs a folder with the files {', '.join(names)} as {key}"
