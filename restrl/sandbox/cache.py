"""Verdicts that were given before, in a file that several processes share.

The key is a digest of the program, its tests and everything else that decides the verdict (see ``jobs.py``).
So a re-run, a resumed run and the jobs of a sweep judge each program once.  The cache does not keep
``harness_error``, which says nothing about the program, and ``timeout``, which a busy machine can cause: a
wrong one would stay.  If a program's verdict is a matter of chance, its first verdict is kept.

The file is an SQLite database with a rollback journal, which, unlike a write-ahead log, also works between
machines that share a folder, if file locks work there.  A killed process leaves whole transactions.  If the
cache fails while it is in use, it is not used from then on, with a warning, and every program is judged.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from restrl.errors import UserError
from restrl.files import user_errors
from restrl.records import Verdict, from_json, to_json

FILE = "verdicts.sqlite"
KEEP = 2_000_000  # verdicts, of about 200 bytes; the oldest go first
BATCH = 256  # verdicts written at a time, digests looked up at a time
WAIT_SECONDS = 30.0  # for another process that writes
NOT_KEPT = ("harness_error", "timeout")
_log = logging.getLogger(__name__)


class VerdictCache:
    """Digest -> verdict.  One thread at a time."""

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        """Raises UserError if ``folder`` cannot be written or its file is not one of ours."""
        self.path = folder / FILE
        self._new: list[tuple[bytes, str]] = []
        with user_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            self._file = sqlite3.connect(
                self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.execute("CREATE TABLE IF NOT EXISTS verdicts (digest BLOB PRIMARY KEY, verdict TEXT)")
            first, last = self._file.execute("SELECT min(rowid), max(rowid) FROM verdicts").fetchone()
            if last is not None and last - first >= keep:
                self._file.execute("DELETE FROM verdicts WHERE rowid <= ?", (last - keep * 3 // 4,))
        except sqlite3.Error as error:
            raise UserError(f"{self.path}: {error}; remove it or set sandbox.cache=null") from error
        self._usable = True

    def find(self, digests: Sequence[bytes]) -> dict[bytes, Verdict]:
        """The verdicts that are known, of those asked for."""
        known: dict[bytes, Verdict] = {}
        for start in range(0, len(digests) if self._usable else 0, BATCH):
            batch = digests[start : start + BATCH]
            marks = ",".join("?" * len(batch))
            query = f"SELECT digest, verdict FROM verdicts WHERE digest IN ({marks})"
            try:
                rows = self._file.execute(query, batch).fetchall()
                known |= {digest: from_json(Verdict, json.loads(text)) for digest, text in rows}
            except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
                self._give_up(error)
                break
        return known

    def add(self, digest: bytes, verdict: Verdict) -> None:
        """Keeps a verdict, unless it is one of NOT_KEPT.  Written by the next ``flush`` or when many wait."""
        if verdict.status not in NOT_KEPT:
            self._new.append((digest, json.dumps(to_json(verdict), separators=(",", ":"))))
            if len(self._new) >= BATCH:
                self.flush()

    def flush(self) -> None:
        """Writes what was added.  Of two processes that judged the same program the first one's stays."""
        new, self._new = self._new, []
        if not new or not self._usable:
            return
        try:
            with self._file:  # commits, or takes back what an interruption left half done
                self._file.execute("BEGIN IMMEDIATE")
                self._file.executemany("INSERT OR IGNORE INTO verdicts VALUES (?, ?)", new)
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        _log.warning("%s: %s; from now on every program is judged", self.path, error)
        self._usable = False

    def close(self) -> None:
        self.flush()
        self._file.close()
