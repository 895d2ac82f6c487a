"""All families of starter problems."""

from __future__ import annotations

from collections.abc import Mapping

from restrl.config import DatasetConfig
from restrl.data.splits import Split
from restrl.data.starter import (
    basics,
    dicts,
    integers,
    lists,
    measures,
    numbers,
    sequences,
    strings,
    tables,
    texts,
)
from restrl.data.starter.family import Family, make_problems
from restrl.records import Problem

PER_FAMILY: Mapping[Split, int] = {"train": 6, "heldout": 3}  # problems
FAMILIES: tuple[Family, ...] = (
    basics.FAMILIES
    + strings.FAMILIES
    + lists.FAMILIES
    + sequences.FAMILIES
    + numbers.FAMILIES
    + dicts.FAMILIES
    + measures.FAMILIES
    + integers.FAMILIES
    + texts.FAMILIES
    + tables.FAMILIES
)


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """All problems of the split, family by family; ``config.seed`` seeds the generator."""
    if split == "all":
        return load(config, "train") + load(config, "heldout")
    chosen = [family for family in FAMILIES if family.heldout == (split == "heldout")]
    return [problem for family in chosen for problem in make_problems(family, PER_FAMILY[split], config.seed)]
