"""Artifacts: the results of steps, in folders that are named by everything that determines them.

An artifact is ``outputs/artifacts/<step>-<fingerprint>/`` with records as JSONL (or a model folder) and a
``manifest.json``.  The fingerprint covers the step, the configuration that it read, its inputs and its seed.
So a finished step is found again and never runs twice, as long as its files exist.  A process may die at any
moment: the manifest says "done" only after all other files are on the disk, a record is one line, and a torn
last line is dropped.

Assumes that the folder's file system supports ``flock`` and an atomic ``os.replace``, and that all ranks of a
run see it.  Every rank makes the same calls; the first rank locks, reads and writes, and sends the others
the results.  Nothing is deleted except the records of an artifact that has to be made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from restrl.config import deciding
from restrl.errors import UserError
from restrl.files import user_errors, write_json_atomic
from restrl.ranks import ALONE, Ranks
from restrl.record_files import RecordLog as RecordLog
from restrl.record_files import Records as Records
from restrl.records import Cost, from_json, to_json

R = TypeVar("R")

MANIFEST = "manifest.json"
RECORDS = "records.jsonl"
PARTS = "parts"  # folder for what separate processes made of an artifact; removed when it is done
WAIT_NOTICE_SECONDS = 3.0
_log = logging.getLogger(__name__)


def fingerprint(step: str, config: Mapping[str, Any], inputs: Mapping[str, str], seed: int = 0) -> str:
    """16 hex digits that depend on every value, but not on the order of keys.

    ``config``: plain data or configuration nodes; of a node only the deciding settings count.  ``inputs``:
    name -> fingerprint of each input.  Raises TypeError for a value or key that JSON does not represent
    uniquely.
    """
    content = {"step": step, "config": _plain(config), "inputs": dict(inputs), "seed": seed}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(deciding(value))
    if isinstance(value, Mapping):
        if bad := [key for key in value if not isinstance(key, str)]:  # json would make 1 and "1" the same
            raise TypeError(f"the key {bad[0]!r} of a fingerprinted configuration is not a string")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"a fingerprinted configuration cannot hold {type(value).__name__}: {value!r}")


@dataclass(frozen=True)
class Artifact:
    """The result of a finished step."""

    folder: Path
    fingerprint: str
    manifest: Mapping[str, Any]  # step, config, inputs, seed, versions, cost, summary, records, ...

    @property
    def summary(self) -> Mapping[str, Any]:
        return self.manifest["summary"]  # type: ignore[no-any-return]

    @property
    def cost(self) -> Cost:
        return from_json(Cost, self.manifest["cost"])

    def read(self, cls: type[R], name: str = RECORDS) -> Records[R]:
        """The records of one of its files, each parsed on access.

        Raises UserError if lines are missing, and on access to a broken line.
        """
        records = Records(self.folder / name, cls)
        expected = self.manifest["records"].get(name, len(records))
        if len(records) != expected:
            raise UserError(
                f"{self.folder / name}: {len(records)} records, and the manifest says {expected}; "
                f"remove {self.folder} to make it again"
            )
        return records


class Work:
    """An artifact that this run has locked: finished before (``done``), or to be made now.

    ``folder`` exists.  Files other than records are written with ``write_*_atomic`` or ``atomic_folder``.
    """

    def __init__(
        self, folder: Path, manifest: dict[str, Any], machine: Mapping[str, Any], ranks: Ranks
    ) -> None:
        self.folder = folder
        self._ranks = ranks
        self._machine = machine
        self.fingerprint: str = manifest["fingerprint"]
        self._manifest = manifest
        self._logs: dict[str, RecordLog[Any]] = {}

    @property
    def done(self) -> bool:
        return bool(self._manifest["status"] == "done")

    @property
    def artifact(self) -> Artifact:
        """The finished artifact; only if ``done``."""
        if not self.done:
            raise RuntimeError(f"{self.folder} is not finished")
        return Artifact(self.folder, self.fingerprint, self._manifest)

    def records(self, cls: type[R], name: str = RECORDS) -> RecordLog[R]:
        """The log ``name``, including the complete records of an interrupted run."""
        if name not in self._logs:
            self._logs[name] = RecordLog(self.folder / name, cls, self._ranks)
        return self._logs[name]

    def finish(
        self,
        cost: Cost | None = None,
        summary: Mapping[str, Any] | None = None,
        folders: Sequence[str] = (),
    ) -> Artifact:
        """Marks the artifact as done, so later runs find it instead of making it again.

        ``folders``: folders that later steps read, such as that of a model.  The manifest lists their files
        and the files of records, so that the loss of a file is noticed.
        """
        self._manifest = self._ranks.by_first(lambda: self._finished(cost, summary, folders))
        return self.artifact

    def _finished(
        self, cost: Cost | None, summary: Mapping[str, Any] | None, folders: Sequence[str]
    ) -> dict[str, Any]:
        """Writes and returns the manifest of the finished artifact."""
        files = [self.folder / name for name in self._logs]
        files += [path for name in folders for path in sorted((self.folder / name).rglob("*"))]
        manifest = self._manifest | {
            "cost": to_json(cost or Cost()),
            "summary": dict(summary or {}),
            "machine": dict(self._machine),
            "records": {name: len(log) for name, log in self._logs.items()},
            "files": {
                str(path.relative_to(self.folder)): path.stat().st_size for path in files if path.is_file()
            },
            "status": "done",
            "finished": _now(),
        }
        write_json_atomic(self.folder / MANIFEST, manifest)
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        return manifest


class Store:
    """The artifacts below ``root/artifacts`` (``root`` is the outputs folder)."""

    def __init__(
        self, root: Path | str, say: Callable[[str], None] = _log.warning, ranks: Ranks = ALONE
    ) -> None:
        self.ranks = ranks
        self.root = Path(root) / "artifacts"
        self._say = say
        self.machine: dict[str, Any] = {}  # facts about this machine, only for manifests

    @contextlib.contextmanager
    def open(
        self,
        step: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        seed: int = 0,
        *,
        shared: bool = False,
    ) -> Iterator[Work]:
        """The artifact of a step, locked while the block runs.

        Another process that opens the same artifact waits, and then finds it done (or, if this process dies,
        continues it).  ``shared``: without the lock, for a process that only adds files of its own; it must
        neither append records nor finish the artifact.  Raises UserError.
        """
        key = fingerprint(step, config, inputs, seed)
        folder = self.root / f"{step}-{key}"
        lock = FileLock(folder / ".lock")

        def running() -> dict[str, Any]:
            """The manifest of an artifact that is not there yet."""
            return {
                "step": step, "fingerprint": key, "config": _plain(config), "inputs": dict(inputs),
                "seed": seed, "versions": _versions(), "status": "running", "started": _now(),
            }  # fmt: skip

        def locked() -> dict[str, Any]:
            with user_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            self._acquire(lock, folder)
            manifest = _read_manifest(folder)
            if manifest is None:
                manifest = running()
                write_json_atomic(folder / MANIFEST, manifest)
            elif lost := _lost(folder, manifest):
                self._say(f"{step}: {folder} was done and has lost {lost}: it is made again")
                manifest = _reopened(folder, manifest)
            return manifest

        def unlocked() -> dict[str, Any]:
            with user_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            manifest = _read_manifest(folder)
            return running() if manifest is None or _lost(folder, manifest) else manifest

        try:
            yield Work(folder, self.ranks.by_first(unlocked if shared else locked), self.machine, self.ranks)
        finally:
            lock.release()

    def _acquire(self, lock: FileLock, folder: Path) -> None:
        with user_errors(folder):
            try:
                lock.acquire(timeout=WAIT_NOTICE_SECONDS)
            except Timeout:
                self._say(f"waiting: another process is making {folder}")
                started = time.monotonic()
                lock.acquire(poll_interval=0.2)
                self._say(f"waited {time.monotonic() - started + WAIT_NOTICE_SECONDS:.0f} s for {folder}")


def is_done(folder: Path) -> bool:
    """Whether the artifact is finished, for a process that has not locked it.  Raises UserError."""
    manifest = _read_manifest(folder)
    return manifest is not None and manifest["status"] == "done" and not _lost(folder, manifest)


def _lost(folder: Path, manifest: Mapping[str, Any]) -> str | None:
    """The first file of a finished artifact that is missing or has another size; None: all are intact."""
    for name, size in manifest.get("files", {}).items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return str(name)
    return None


def _reopened(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Removes the records of a finished artifact that has to be made again; returns its new manifest."""
    with user_errors(folder):
        for name in manifest["records"]:
            (folder / name).unlink(missing_ok=True)
    results = ("cost", "summary", "machine", "records", "files", "finished")
    kept = {key: value for key, value in manifest.items() if key not in results}
    kept |= {"status": "running", "versions": _versions(), "started": _now()}
    write_json_atomic(folder / MANIFEST, kept)
    return kept


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["status"] in ("running", "done"):
            return dict(manifest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise UserError(f"{path}: not a readable manifest; remove {folder} to make it again")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("restrl", "torch", "transformers"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
