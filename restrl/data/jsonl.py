"""The user's own problems: a file with a JSON object per line (see ``schema``)."""

from __future__ import annotations

from restrl.config import DatasetConfig
from restrl.data.lines import read_lines
from restrl.data.schema import problem_from_line
from restrl.data.splits import Split, split_by_family
from restrl.errors import UserError
from restrl.records import Problem


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """The problems of ``config.path``; held-out ones from ``config.heldout_path`` or by a seeded split."""
    if config.path is None:
        raise UserError("dataset.path: missing; dataset=jsonl needs dataset.path=FILE, a file of problems")
    if config.heldout_path is None:
        return split_by_family(read_problems(config.path), config, split)
    train = read_problems(config.path)
    heldout = read_problems(config.heldout_path, "dataset.heldout_path")
    shared = {p.task_id for p in train} & {p.task_id for p in heldout}
    if shared:
        raise UserError(
            f"{config.heldout_path}: task_id: {min(shared)!r} is also in {config.path}; "
            "a problem is either for training or held out"
        )
    return {"train": train, "heldout": heldout, "all": train + heldout}[split]


def read_problems(path: str, key: str = "dataset.path") -> list[Problem]:
    """Every problem of a file, in its order.  Raises UserError that names file, line and field."""
    problems: list[Problem] = []
    lines: dict[str, str] = {}
    for where, data in read_lines(path, key):
        problem = problem_from_line(data, where, "jsonl")
        if problem.task_id in lines:
            raise UserError(
                f"{where}: task_id: {problem.task_id!r} is already in line {lines[problem.task_id]}"
            )
        lines[problem.task_id] = where.rsplit(":", 1)[1]
        problems.append(problem)
    if not problems:
        raise UserError(f"{path}: no problems; a line is an object with task_id, prompt and tests")
    return problems
