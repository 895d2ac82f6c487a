"""All families of starter problems."""

from __future__ import annotations

from typing import Literal

from restrl.config import DatasetConfig
from restrl.data.starter import basics, dicts, lists, numbers, sequences, strings
from restrl.data.starter.family import Family, make_problems
from restrl.records import Problem

PER_FAMILY = 6  # problems
FAMILIES: tuple[Family, ...] = (
    basics.FAMILIES
    + strings.FAMILIES
    + lists.FAMILIES
    + sequences.FAMILIES
    + numbers.FAMILIES
    + dicts.FAMILIES
)


def load(config: DatasetConfig, split: Literal["train", "heldout"]) -> list[Problem]:
    """All problems of the split, family by family; ``config.seed`` seeds the generator."""
    chosen = [family for family in FAMILIES if family.heldout == (split == "heldout")]
    return [problem for family in chosen for problem in make_problems(family, PER_FAMILY, config.seed)]
