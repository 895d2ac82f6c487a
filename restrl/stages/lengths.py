"""Problems that a run leaves out: prompts that do not fit into the model's context, tests that cannot judge.

All of them are found before anything is sampled, and said on the console.

A prompt is too long if it leaves no room for a single new token.  A prompt that leaves room, but for fewer
tokens than ``dataset.max_tokens``, is sampled: its answers end where the context ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from restrl.config import DatasetConfig
from restrl.data.splits import Split
from restrl.errors import UserError
from restrl.prompts import Prompter
from restrl.records import Problem

NAMED = 3  # number of problems that a message names


def fitting(
    problems: Sequence[Problem],
    prompter: Prompter,
    positions: int | None,
    dataset: DatasetConfig,
    split: Split,
    say: Callable[[str], object],
) -> tuple[list[Problem], tuple[str, ...]]:
    """The problems whose prompts leave room in a context of ``positions`` tokens, and the others' task ids.

    ``say`` receives messages about prompts that are left out and about prompts with little room.  Raises
    UserError (with file and problem) if a prompt is too long and ``dataset.too_long`` is error, or if no
    prompt fits.
    """
    if positions is None:
        return list(problems), ()
    room = {problem.task_id: positions - len(prompter.encode(problem)[0]) for problem in problems}
    too_long = [task_id for task_id, tokens in room.items() if tokens < 1]
    where = _where(dataset, split)
    if too_long and (dataset.too_long == "error" or len(too_long) == len(problems)):
        task_id = too_long[0]
        more = f" (and {len(too_long) - 1} more of {len(problems)})" if len(too_long) > 1 else ""
        raise UserError(
            f"{where}: task_id {task_id!r}: a prompt of {positions - room[task_id]} tokens leaves no room "
            f"for an answer in the model's {positions}{more}; shorten it, take a model of longer context, "
            "or set dataset.too_long=drop"
        )
    if too_long:
        say(
            f"{where}: {len(too_long)} of {len(problems)} {split} problems are left out: their prompts "
            f"leave no room for an answer in the model's {positions} tokens: {_names(too_long)}"
        )
    short = [tokens for tokens in room.values() if 1 <= tokens < dataset.max_tokens]
    if short:
        say(
            f"{where}: {len(short)} of {len(problems)} {split} prompts leave less room than "
            f"dataset.max_tokens={dataset.max_tokens} in the model's {positions} tokens, the longest one "
            f"{min(short)}: their answers end there"
        )
    return [problem for problem in problems if room[problem.task_id] >= 1], tuple(too_long)


def unjudged_lines(dataset: DatasetConfig, unjudged: Mapping[str, str]) -> list[str]:
    """What the console says of the problems that no test can judge (task id -> reason)."""
    if not unjudged:
        return []
    where = dataset.path or f"dataset={dataset.name}"
    named = [f"  {task_id}: {reason}" for task_id, reason in list(unjudged.items())[:NAMED]]
    more = [f"  and {len(unjudged) - NAMED} more"] if len(unjudged) > NAMED else []
    return [f"{where}: {len(unjudged)} problems cannot be judged and are left out:", *named, *more]


def _where(dataset: DatasetConfig, split: Split) -> str:
    """The file of the split's problems, or the name of the data set."""
    heldout = dataset.heldout_path if split == "heldout" else None
    return heldout or dataset.path or f"dataset={dataset.name}"


def _names(task_ids: Sequence[str]) -> str:
    more = f" and {len(task_ids) - NAMED} more" if len(task_ids) > NAMED else ""
    return ", ".join(task_ids[:NAMED]) + more
