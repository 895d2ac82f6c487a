"""Rows of published data sets, with errors that name file, line and field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restrl.data.lines import parsed, read_lines
from restrl.errors import UserError


@dataclass(frozen=True)
class Row:
    """One record of a data set and its source."""

    data: Mapping[str, Any]
    where: str  # file:line
    dataset: str

    def get(self, name: str) -> Any:
        """The field's value.  Raises UserError if it is missing."""
        if name not in self.data:
            raise UserError(
                f"{self.where}: {name}: missing; this is not the schema of {self.dataset} "
                f"(the line has {', '.join(map(str, self.data))})"
            )
        return self.data[name]

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str):
            raise UserError(f"{self.where}: {name}: must be a string, not {type(value).__name__}")
        return value

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


def rows_of(path: str | Path, dataset: str) -> Iterator[Row]:
    """The rows of a local file of JSON lines.  Raises UserError for a line that is not an object."""
    for where, data in read_lines(path):
        if not isinstance(data, Mapping):
            raise UserError(f"{where}: must be a JSON object in the schema of {dataset}")
        yield Row(data, where, dataset)
