"""Rows of published data sets, with errors that name file, line and field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restrl.data.lines import parsed, read_lines
from restrl.data.recognise import recognised
from restrl.errors import UserError


def unjudged(reason: str) -> dict[str, Any]:
    """The tests of a row that cannot be judged: its problem is left out and counted, with the reason."""
    return {"kind": "unjudged", "reason": reason}


@dataclass(frozen=True)
class Row:
    """One record of a data set and its source."""

    data: Mapping[str, Any]
    where: str  # file:line
    dataset: str
    number: int = 0  # 1, 2, ... in the order of the file or of the hub's split
    side: str = ""  # the hub's split; "" = a local file

    def get(self, name: str) -> Any:
        """The field's value.  Raises UserError if it is missing."""
        if name not in self.data:
            raise UserError(
                f"{self.where}: {name}: missing; this is not the schema of {self.dataset} "
                f"(the line has {', '.join(map(str, self.data))}){recognised(self.data, self.dataset)}"
            )
        return self.data[name]

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str):
            raise UserError(f"{self.where}: {name}: must be a string, not {type(value).__name__}")
        return value

    def optional_text(self, name: str) -> str:
        """The string of a field that may be missing or null: then it is empty."""
        return "" if self.data.get(name) is None else self.text(name)

    def within(self, name: str) -> Row:
        """The object in a field, as a row of its own."""
        value = self.get(name)
        if not isinstance(value, Mapping):
            raise UserError(f"{self.where}: {name}: must be an object, not {type(value).__name__}")
        return Row(value, f"{self.where}: {name}", self.dataset, self.number)

    def texts(self, name: str) -> list[str]:
        value = self.get(name)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise UserError(f"{self.where}: {name}: must be a list of strings")
        return value

    def integer(self, name: str) -> int:
        value = self.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UserError(f"{self.where}: {name}: must be an integer, not {type(value).__name__}")
        return value

    def parsed(self, name: str) -> Any:
        """The value of a field that holds JSON in a string; an empty string gives None."""
        text = self.text(name)
        if not text.strip():
            return None
        try:
            return parsed(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{self.where}: {name}: not JSON in a string: {error.msg}") from None
        except RecursionError:
            raise UserError(f"{self.where}: {name}: not JSON in a string: nested too deeply") from None


def rows_of(path: str | Path, dataset: str, key: str = "dataset.path") -> Iterator[Row]:
    """The rows of a local file: JSON lines, a JSON list, or Parquet.

    Raises UserError for a line that is not an object.  ``key``: the configuration key that names the file.
    """
    lines = _parquet(path, key) if str(path).endswith(".parquet") else read_lines(path, key)
    for number, (where, data) in enumerate(lines, start=1):
        if not isinstance(data, Mapping):
            raise UserError(f"{where}: must be a JSON object in the schema of {dataset}")
        yield Row(data, where, dataset, number)


def _parquet(path: str | Path, key: str) -> Iterator[tuple[str, Any]]:
    from datasets import Dataset  # type: ignore[import-untyped]  # takes seconds to import

    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; {key} must name a file")
    try:
        rows = Dataset.from_parquet(str(path))
    except Exception as error:  # pyarrow and datasets raise dozens of types
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise UserError(f"{path}: not a Parquet file that can be read ({reason})") from error
    for number, row in enumerate(rows, start=1):
        yield f"{path}:{number}", row
