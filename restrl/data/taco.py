"""TACO (arXiv 2312.14852, Apache-2.0): contest problems in the schema of APPS, with more tests."""

from __future__ import annotations

from restrl.config import DatasetConfig
from restrl.data.apps import inputs_and_outputs, posed
from restrl.data.fields import Row
from restrl.data.source import Source, published
from restrl.data.splits import Split
from restrl.records import Problem

REPO, REVISION = "BAAI/TACO", "d593ed0a2becbbc952230bb89be09189bf1056dc"
SOURCES: dict[Split, Source] = {
    "train": Source("taco", REPO, REVISION, "train", file="ALL/train-*.parquet"),
    "heldout": Source("taco", REPO, REVISION, "test", file="ALL/test-00000-of-00001.parquet"),
}


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """25443 training and 1000 held-out problems from the hub, or those of ``config.path``.

    A problem has no id of its own: it is ``taco/train/N`` or ``taco/test/N`` for row N = 0, 1, ... of the
    hub's split, and ``taco/N`` for that of a file, the number that TACO's own samples have.
    """
    return published(config, split, SOURCES, _problem)


def _problem(row: Row) -> Problem:
    side = f"{row.side}/" if row.side else ""
    return posed(row, f"taco/{side}{row.number - 1}", inputs_and_outputs(row))
