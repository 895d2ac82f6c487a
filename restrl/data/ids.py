"""Task ids as people and other tools write them, and the choice of problems by ``dataset.ids``.

Tools write the ids of one benchmark in several ways: ``Mbpp/2`` (EvalPlus), ``2`` or the integer 2 for what
is ``mbpp_plus/2`` here.  An id stands for the problem with exactly this id.  If there is none, it stands for
the only problem whose id has the same last part, and whose other parts begin with its other parts, in order
and in any case of letters: ``Mbpp/2`` is no problem of HumanEval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from restrl.errors import UserError
from restrl.records import Problem


class TaskIds:
    """The ids of some problems."""

    def __init__(self, known: Iterable[str]) -> None:
        self.known = dict.fromkeys(known)  # a set that keeps the order
        self._by_last: dict[str, list[str]] = defaultdict(list)
        for task_id in self.known:
            self._by_last[task_id.rsplit("/", 1)[-1]].append(task_id)

    def find(self, asked: str | int, where: str) -> str | None:
        """The id of the problem that ``asked`` stands for; None if there is none.

        Raises UserError, which begins with ``where``, if it may stand for several problems.
        """
        if asked in self.known:
            return str(asked)
        *before, last = str(asked).split("/")
        found = [task_id for task_id in self._by_last.get(last, ()) if _begins(before, task_id)]
        if len(found) > 1:
            raise UserError(
                f"{where}: {asked!r} may be {found[0]!r} or {found[1]!r}; write the whole id of the problem"
            )
        return found[0] if found else None


def _begins(parts: list[str], task_id: str) -> bool:
    """Whether parts of ``task_id`` before its last one begin with ``parts``, in order."""
    rest = iter(task_id.casefold().split("/")[:-1])
    return all(any(known.startswith(part.casefold()) for known in rest) for part in parts)


def read_ids(ids: Any) -> list[str | int]:
    """The task ids of ``dataset.ids``: those of a file, one a line (# begins a comment), or of a list."""
    if isinstance(ids, str):
        try:
            lines = Path(ids).expanduser().read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UserError(
                f"dataset.ids: cannot read {ids} ({reason}); it names a file with a task id per line, "
                f"or is a list such as 'dataset.ids=[{ids}]'"
            ) from None
        ids = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not isinstance(ids, list) or not all(type(task_id) in (str, int) for task_id in ids):
        raise UserError("dataset.ids: must be a file with a task id per line, or a list of task ids")
    if not ids:
        raise UserError("dataset.ids: no task id in it; null = all problems")
    return ids


def whole_ids(ids: Any, known: Iterable[str], dataset: str) -> list[str]:
    """The ids of the problems that ``dataset.ids`` names.  Raises UserError for one that is unknown."""
    task_ids = TaskIds(known)
    whole = []
    for asked in read_ids(ids):
        found = task_ids.find(asked, "dataset.ids")
        if found is None:
            example = next(iter(task_ids.known), "none")
            raise UserError(
                f"dataset.ids: {asked!r} is none of the {len(task_ids.known)} problems of dataset={dataset} "
                f"(e.g. {example!r})"
            )
        whole.append(found)
    return whole


def chosen(problems: list[Problem], ids: Collection[str] | None) -> list[Problem]:
    """The problems with these ids, in their order; None: all."""
    wanted = None if ids is None else set(ids)
    return [problem for problem in problems if wanted is None or problem.task_id in wanted]
