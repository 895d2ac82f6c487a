"""The data sets by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from restrl.config import DatasetConfig
from restrl.data import apps, bigcodebench, ds1000, humaneval, jsonl, mbpp, mixtures, starter
from restrl.data.blocked import OFF, read_blocked, without_blocked
from restrl.data.schema import check_problem, check_unique
from restrl.data.splits import Split, limit
from restrl.errors import UserError
from restrl.records import Problem

Loader = Callable[[DatasetConfig, Split], list[Problem]]

LOADERS: Mapping[str, Loader] = {
    "starter": starter.load,
    "humaneval": humaneval.load,
    "humaneval_plus": humaneval.load_plus,
    "mbpp": mbpp.load,
    "mbpp_sanitized": mbpp.load_sanitized,
    "mbpp_plus": mbpp.load_plus,
    "apps": apps.load,
    "bigcodebench": bigcodebench.load,
    "ds1000": ds1000.load,
    "paper_mix": mixtures.load_paper_mix,
    "jsonl": jsonl.load,
}


def load_problems(config: DatasetConfig, split: Split) -> list[Problem]:
    """The problems of ``config.name``, with ``train_limit`` or ``heldout_limit`` applied.

    A limit takes the first problems of a seeded shuffle and keeps the data set's order.  Raises UserError
    for an unknown data set, a broken file, or a split that the data set does not have.
    """
    if config.name not in LOADERS:
        raise UserError(f"dataset.name: {config.name!r} is not one of {', '.join(LOADERS)}")
    problems = LOADERS[config.name](config, split)
    if not problems:
        raise UserError(f"{config.path or f'dataset={config.name}'}: no problems for {split} in it")
    check_unique(problems, f"dataset={config.name}")
    for problem in problems:
        check_problem(problem, f"dataset={config.name}: {problem.task_id}")
    if split == "train" and config.block_list not in (None, OFF):
        problems = without_blocked(problems, read_blocked(Path(config.block_list)), config.block_list)
    count = config.train_limit if split == "train" else config.heldout_limit
    return limit(problems, count, config.seed, split)
