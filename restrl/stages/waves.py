"""The waves of a search on the disk, beside the artifact that the search makes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from restrl.artifacts import RecordLog
from restrl.search.calls import Wave

WAVES = "waves.jsonl"


class WaveLog:
    """The journal of the searches in ``folder``: a wave is a line, a torn last one is dropped.

    It is no part of the artifact: once that is done, what the waves led to stands in the trees.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / WAVES
        self._log: RecordLog[Wave] | None = None

    def read(self) -> Iterator[Wave]:
        """One by one, for all together may be large."""
        self._log = RecordLog(self._path, Wave)
        yield from self._log.read()

    def append(self, records: Sequence[Wave]) -> None:
        if self._log is None:
            raise RuntimeError("the waves before have to be read first")
        self._log.append(records)

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
