"""Files of records, one line of JSON per record.  Reading holds only one record in memory at a time."""

from __future__ import annotations

import contextlib
import json
import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar, overload

from restrl.errors import UserError
from restrl.files import user_errors
from restrl.ranks import ALONE, Ranks
from restrl.records import from_json, to_json

R = TypeVar("R")


class Records(Sequence[R]):
    """The records of a file, each parsed on access.

    The sequence holds only the offsets of the lines, so the file may be larger than the memory.  Raises
    UserError if the file cannot be read, and on access to a line that is not a valid record.
    """

    def __init__(self, path: Path, cls: type[R], ends: Sequence[int] | None = None) -> None:
        """``ends``: 0, then the offset of each line's end; None: the file is scanned for them."""
        self.path = path
        self._cls = cls
        self._ends = array("q", _line_ends(path) if ends is None else ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> list[R]: ...

    def __getitem__(self, index: int | slice) -> R | list[R]:
        chosen = range(len(self))[index]
        with _opened(self.path) as file:
            if isinstance(chosen, range):
                return [self._record(file, number) for number in chosen]
            return self._record(file, chosen)

    def __iter__(self) -> Iterator[R]:
        with _opened(self.path) as file:
            for number in range(len(self)):
                yield self._record(file, number)

    def _record(self, file: BinaryIO, number: int) -> R:
        file.seek(self._ends[number])
        line = file.read(self._ends[number + 1] - self._ends[number])
        try:
            return _parsed(line, self._cls)
        except ValueError as error:
            raise _broken(self.path, number, self._cls, error) from error


class RecordLog(Generic[R]):
    """An append-only file of records that survives a kill at any moment.

    Opening drops a torn or invalid last line.  When ``append`` returns, its records are on the disk.  Raises
    UserError for a broken line elsewhere, and if the file cannot be written.

    With ``ranks`` all ranks share one log: every rank makes the same calls, the first one writes, and all
    ranks know the contents.
    """

    def __init__(self, path: Path, cls: type[R], ranks: Ranks = ALONE) -> None:
        self.path = path
        self._cls = cls
        self._ranks = ranks
        self._ends = ranks.by_first(self._open)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def read(self) -> Records[R]:
        """All records that the log holds now."""
        self._ranks.wait()
        return Records(self.path, self._cls, self._ends)

    def append(self, records: Sequence[R]) -> None:
        """Writes the records; after a kill, only the first ones of them may be in the file."""
        self._ends += self._ranks.by_first(lambda: self._write(records))

    def truncate(self, n: int) -> None:
        """Keeps the first ``n`` records, for example to drop a chunk that was written in part."""
        del self._ends[n + 1 :]
        self._ranks.by_first(lambda: self._cut(self._ends[-1]))

    def _open(self) -> list[int]:
        with user_errors(self.path):
            self.path.touch()
        ends = _whole_ends(self.path, self._cls)
        self._cut(ends[-1])
        return ends

    def _write(self, records: Sequence[R]) -> list[int]:
        """Appends the records; returns the offset of the end of each new line."""
        lines = [json.dumps(to_json(record), separators=(",", ":")).encode() + b"\n" for record in records]
        try:
            with user_errors(self.path), open(self.path, "ab") as file:
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(UserError):
                self._cut(self._ends[-1])  # drop what was written in part
            raise
        return list(accumulate(map(len, lines), initial=self._ends[-1]))[1:]

    def _cut(self, end: int) -> None:
        with user_errors(self.path):
            os.truncate(self.path, end)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; remove its folder to make it again"
        ) from error
    with file:
        yield file


def _line_ends(path: Path) -> Iterator[int]:
    """0, then the offset of each line's end; text after the last newline is a line too."""
    end = 0
    yield end
    with _opened(path) as file:
        for line in file:
            end += len(line)
            yield end


def _whole_ends(path: Path, cls: type[R]) -> list[int]:
    """As ``_line_ends``, but without a last line that is not a complete record."""
    ends = [0]
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        for number, line in enumerate(file):
            try:
                _parsed(line, cls)
            except ValueError as error:
                if ends[-1] + len(line) == size:
                    break
                raise _broken(path, number, cls, error) from error
            ends.append(ends[-1] + len(line))
    return ends


def _parsed(line: bytes, cls: type[R]) -> R:
    """Raises ValueError if the line is not a complete record."""
    if not line.endswith(b"\n"):
        raise ValueError("the line is cut off")
    try:
        return from_json(cls, json.loads(line))
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(str(error)) from error


def _broken(path: Path, number: int, cls: type[R], error: ValueError) -> UserError:
    """``number`` counts from 0."""
    return UserError(
        f"{path}:{number + 1}: not a whole {cls.__name__} ({error}); remove {path.parent} to redo it"
    )
