"""Reads the rows of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from restrl.compare.comparison import Side
from restrl.errors import UserError
from restrl.evaluate.outcomes import OUTCOMES, ProblemOutcome, read_outcomes

TRAINED = "trained"


def read_sides(arguments: Sequence[str]) -> tuple[list[Path], list[Side]]:
    """The folder and the side of each argument, RUN or RUN:ROW; names are as short as they can be.

    RUN is a run's folder (outputs/runs/...).  Without ROW it is the trained policy, or else the last row.
    Raises UserError.
    """
    chosen = [_parsed(argument) for argument in arguments]
    folders, rows = [folder for folder, _, _ in chosen], [row for _, row, _ in chosen]
    names = [folder.resolve().name for folder in folders]
    sides = []
    for name, row, (_, _, outcomes) in zip(names, rows, chosen, strict=True):
        parts = [name] if len(set(names)) > 1 else []
        if not parts or len(set(rows)) > 1:
            parts.append(row)
        sides.append(Side(" ".join(parts), outcomes))
    return folders, sides


def _parsed(argument: str) -> tuple[Path, str, dict[str, ProblemOutcome]]:
    path, row = Path(argument), ""
    if not path.exists() and ":" in argument:
        name, _, row = argument.rpartition(":")
        path = Path(name)
    file = path / OUTCOMES
    if not file.exists():
        why = (
            "no such folder" if not path.is_dir() else f"it has no {OUTCOMES}: it is not finished, or no run"
        )
        raise UserError(f"{path}: {why}; name the folder of a finished run, outputs/runs/STAGE/TIME")
    by_row: dict[str, dict[str, ProblemOutcome]] = {}
    for line in read_outcomes(file):
        by_row.setdefault(line.row, {})[line.task_id] = line
    if not by_row:
        raise UserError(f"{file}: it is empty")
    row = row or (TRAINED if TRAINED in by_row else list(by_row)[-1])
    if row not in by_row:
        raise UserError(f"{path}: it has no row {row!r}; its rows are {', '.join(by_row)}")
    return path, row, by_row[row]
