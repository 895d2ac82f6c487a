"""Block lists: task ids that training leaves out, one per line, each below a comment with the reason.

``python -m restrl.data check`` writes a list to ``default_path``, which training reads without further
settings; ``dataset.block_list`` names another list, or ``none``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from restrl.config import DatasetConfig
from restrl.errors import UserError
from restrl.records import Problem

OFF = "none"  # value of dataset.block_list


def default_path(config: DatasetConfig, outputs: str) -> Path | None:
    """The path of the list that the check of this data set writes; None if ``config.path`` cannot be read.

    For files of the user the path depends on their content, so the list of an older content is not applied.
    """
    name = config.name if config.variant is None else f"{config.name}.{config.variant}"
    if config.path is not None:
        path = Path(config.path)
        digest = hashlib.sha256()
        try:
            for file in sorted(path.glob("*.jsonl*")) if path.is_dir() else [path]:
                digest.update(file.read_bytes())
        except OSError:
            return None
        name += f".{digest.hexdigest()[:8]}"
    return Path(outputs) / "checks" / f"{name}.blocked.txt"


def read_blocked(path: Path) -> dict[str, str]:
    """Task id -> reason ("" if none is given).  Raises UserError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(
            f"{path}: cannot be read ({reason}); dataset.block_list names a list of task ids"
        ) from None
    blocked: dict[str, str] = {}
    comment = ""
    for line in filter(None, map(str.strip, lines)):
        if not line.startswith("#"):
            blocked[line] = comment
        comment = line[1:].strip() if line.startswith("#") else ""
    return blocked


def blocked_text(title: str, blocked: Mapping[str, str]) -> str:
    """The content of a block list; ``title`` is one line."""
    return "".join([f"# {title}\n", *(f"# {reason}\n{task_id}\n" for task_id, reason in blocked.items())])


def without_blocked(problems: list[Problem], blocked: Collection[str], where: str) -> list[Problem]:
    """The problems that are not blocked.  Raises UserError, naming the list ``where``, if none is left."""
    kept = [problem for problem in problems if problem.task_id not in blocked]
    if not kept:
        raise UserError(f"{where}: blocks all {len(problems)} problems; dataset.block_list must leave some")
    return kept
