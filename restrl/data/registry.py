"""The data sets by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from restrl.config import DatasetConfig
from restrl.data import (
    apps,
    bigcodebench,
    code_contests,
    ds1000,
    humaneval,
    humaneval_x,
    jsonl,
    kodcode,
    leetcode,
    livecodebench,
    mbpp,
    mixtures,
    rest_rl,
    starter,
    taco,
)
from restrl.data.blocked import OFF, read_blocked, without_blocked
from restrl.data.ids import chosen, whole_ids
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
    "leetcode": leetcode.load,
    "livecodebench": livecodebench.load,
    "kodcode": kodcode.load,
    "taco": taco.load,
    "code_contests": code_contests.load,
    "humaneval_x": humaneval_x.load,
    "rest_rl": rest_rl.load,
    "paper_mix": mixtures.load_paper_mix,
    "paper": mixtures.load_paper_mix,  # the held-out problems are its parts
    "jsonl": jsonl.load,
}


@dataclass(frozen=True)
class Loaded:
    """The problems of a split, and those of it that no test can judge."""

    problems: list[Problem]
    unjudged: dict[str, str]  # task id -> reason, one line
    others: tuple[str, ...]  # ids of all problems that were read and are not among ``problems``


def load_problems(config: DatasetConfig, split: Split) -> list[Problem]:
    """The problems of ``load_split``."""
    return load_split(config, split).problems


def load_split(config: DatasetConfig, split: Split) -> Loaded:
    """The problems of ``config.name``, with ``ids`` and ``train_limit`` or ``heldout_limit`` applied.

    A limit takes the first problems of a seeded shuffle and keeps the data set's order; the split "all" has
    the limit of the held-out problems.  Raises UserError for an unknown data set or id, a broken file, or a
    split that the data set does not have.
    """
    if config.parts and split == "heldout":
        return _load_parts(config)
    problems, known = _read(config, split)
    where = config.path or f"dataset={config.name}"
    check_unique(problems, f"dataset={config.name}")
    faults = {problem.task_id: fault for problem in problems if (fault := _fault(problem))}
    judged = [problem for problem in problems if problem.task_id not in faults]
    if not judged:
        task_id, reason = next(iter(faults.items()))
        raise UserError(f"{where}: none of {len(faults)} problems can be judged; {task_id}: {reason}")
    if split == "train" and config.block_list not in (None, OFF):
        judged = without_blocked(judged, read_blocked(Path(config.block_list)), config.block_list)
    count = config.train_limit if split == "train" else config.heldout_limit
    kept = limit(judged, count, config.seed, split)
    kept_ids = {problem.task_id for problem in kept}
    return Loaded(kept, faults, tuple(task_id for task_id in known if task_id not in kept_ids))


def _read(config: DatasetConfig, split: Split) -> tuple[list[Problem], list[str]]:
    """The problems of the split that ``config.ids`` names, and the ids of all problems that were read."""
    if config.parts and config.name not in LOADERS:
        raise UserError(
            f"dataset={config.name} has no problems for training, only held-out ones; here name one of its "
            f"data sets, or dataset=paper, which trains on others: dataset={', '.join(config.parts)}"
        )
    if config.name not in LOADERS:
        raise UserError(f"dataset.name: {config.name!r} is not one of {', '.join(LOADERS)}")
    load, where = LOADERS[config.name], config.path or f"dataset={config.name}"
    if config.ids is None:
        if not (problems := load(config, split)):
            raise UserError(f"{where}: no problems for {split} in it")
        return problems, [problem.task_id for problem in problems]
    every = dataclasses.replace(config, ids=None)
    everything = load(every, "all") + (load(every, "train") if split == "train" else [])
    known = [problem.task_id for problem in everything]
    config = dataclasses.replace(config, ids=whole_ids(config.ids, known, config.name))
    if not (problems := chosen(load(config, split), config.ids)):
        raise UserError(f"{where}: no problem for {split} in it that dataset.ids names")
    return problems, known


def _load_parts(config: DatasetConfig) -> Loaded:
    """The held-out problems of all parts as one set, each id preceded by its part's name.

    Each part has its own limit.  Parts may pose the same problem with other tests (HumanEval and HumanEval+).
    These are one family: an interval resamples them together.
    """
    group_of = {part: group[0] for group in config.average for part in group}
    problems: list[Problem] = []
    unjudged: dict[str, str] = {}
    others: list[str] = []
    for name, part in mixtures.datasets_of(config).items():
        loaded = load_split(part, "heldout")
        for problem in loaded.problems:
            number = problem.task_id.rsplit("/", 1)[-1]
            family = problem.family or f"{group_of.get(name, name)}/{number}"
            task_id = f"{name}/{problem.task_id}"
            problems.append(dataclasses.replace(problem, task_id=task_id, dataset=name, family=family))
        unjudged |= {f"{name}/{task_id}": reason for task_id, reason in loaded.unjudged.items()}
        others += [f"{name}/{task_id}" for task_id in loaded.others]
    return Loaded(problems, unjudged, tuple(others))


def _fault(problem: Problem) -> str:
    """Why the problem cannot be judged; "" if it can."""
    if problem.tests.get("kind") == "unjudged":  # see fields.unjudged
        return str(problem.tests["reason"])
    try:
        check_problem(problem, problem.task_id)
    except UserError as error:
        return str(error).removeprefix(f"{problem.task_id}: ")
    return ""
