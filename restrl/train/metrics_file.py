"""``metrics.jsonl``: a line of metrics per step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from restrl.files import user_errors, write_text_atomic
from restrl.ranks import Ranks

NAME = "metrics.jsonl"


def append_metrics(folder: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Adds the line of ``step`` (1, 2, ...).  Raises UserError if it cannot be written."""
    path = folder / NAME
    with user_errors(path), path.open("a") as file:
        file.write(json.dumps({"step": step, **metrics}) + "\n")


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The complete lines, in order; a last line that a kill cut short is dropped."""
    path = folder / NAME
    rows: list[dict[str, float]] = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def all_metrics(folder: Path, ranks: Ranks) -> list[dict[str, float]]:
    """``read_metrics`` of the first rank, which writes the file, on every rank."""
    return ranks.agree(read_metrics(folder) if ranks.first else [])


def keep_until(folder: Path, step: int) -> None:
    """Drops the lines after ``step``, because these steps will run again."""
    rows = [row for row in read_metrics(folder) if row["step"] <= step]
    write_text_atomic(folder / NAME, "".join(json.dumps(row) + "\n" for row in rows))
