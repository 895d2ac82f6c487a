"""Train and held-out splits, and seeded choices of a limited number of problems.

The split "all" is every problem of a data set, for what only judges: no side has to be left for training.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal

from restrl.config import DatasetConfig
from restrl.data.ids import chosen
from restrl.errors import UserError
from restrl.records import Problem
from restrl.seeds import derive_seed

Split = Literal["train", "heldout", "all"]


def split_by_family(problems: list[Problem], config: DatasetConfig, split: Split) -> list[Problem]:
    """The seeded split of a data set without a published split.

    Families stay together; a problem without a family forms its own.  The held-out side has the first
    families of a seeded shuffle that together hold at least ``heldout_fraction`` of the problems.  Problems
    that ``config.ids`` does not name are on no side.  Raises UserError if a side would be empty.
    """
    problems = chosen(problems, config.ids)
    if split == "all" or not problems:
        return problems
    families = sorted({p.cluster for p in problems})
    Random(derive_seed(config.seed, "split")).shuffle(families)
    heldout_count = config.heldout_fraction * len(problems)
    heldout: set[str] = set()
    count = 0
    for family in families:
        if count >= heldout_count:
            break
        heldout.add(family)
        count += sum(p.cluster == family for p in problems)
    side = [p for p in problems if (p.cluster in heldout) == (split == "heldout")]
    if not side:
        raise UserError(
            f"{config.path or config.name}: {len(problems)} problems in {len(families)} families are too few "
            f"to split with dataset.heldout_fraction={config.heldout_fraction:g}: none left for {split}; "
            "add problems, change the fraction, name dataset.heldout_path, or judge all of them with "
            "decoder.split=all"
        )
    return side


def from_files(
    config: DatasetConfig, split: Split, read: Callable[[str, str], list[Problem]]
) -> list[Problem]:
    """The problems of ``config.path``, split by seed, or beside those of ``config.heldout_path``.

    ``read(path, key)``: the problems of a file, and the configuration key that names it.
    """
    assert config.path is not None
    if config.heldout_path is None:
        return split_by_family(read(config.path, "dataset.path"), config, split)
    train = read(config.path, "dataset.path") if split != "heldout" else []
    heldout = read(config.heldout_path, "dataset.heldout_path") if split != "train" else []
    return train + heldout


def limit(problems: list[Problem], count: int | None, seed: int, name: str) -> list[Problem]:
    """The first ``count`` problems of a seeded shuffle, in their original order; None: all problems.

    A smaller count chooses a subset of the problems of a larger count.
    """
    if count is None or count >= len(problems):
        return problems
    order = list(range(len(problems)))
    Random(derive_seed(seed, "limit", name)).shuffle(order)
    return [problems[i] for i in sorted(order[:count])]


def heldout_only(name: str, split: Split) -> None:
    """Raises UserError for the train split of a benchmark that has none."""
    if split == "train":
        raise UserError(
            f"dataset={name} is held out: it is a benchmark without a train split; "
            "train on another data set and decode with this one"
        )


def variant(config: DatasetConfig, known: tuple[str, ...]) -> str:
    """``config.variant``, by default the first of ``known``.  Raises UserError if it is not in ``known``."""
    chosen = known[0] if config.variant is None else config.variant
    if chosen not in known:
        raise UserError(
            f"dataset.variant: {chosen!r} is not one of {', '.join(known)} (dataset={config.name})"
        )
    return chosen
