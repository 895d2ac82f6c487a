"""Atomic writes, and errors that name the file that could not be written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from restrl.errors import UserError


@contextlib.contextmanager
def user_errors(path: Path) -> Iterator[None]:
    """Turns an OSError while writing ``path`` (full disk, no permission) into a UserError that names it."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise UserError(
            f"cannot write {path}: {why}; make room there or set paths.outputs to another folder"
        ) from error


def check_room(path: Path, needed: float, what: str, key: str) -> None:
    """Raises UserError if ``needed`` bytes are not free on the disk of ``path``, which may not exist yet.

    ``what`` needs the room; ``key``: the configuration key of its place.
    """
    place = next((folder for folder in (path, *path.absolute().parents) if folder.exists()), Path("/"))
    with user_errors(path):
        free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"{what} needs {needed / 1e9:.3g} GB in {path}, and {free / 1e9:.3g} GB are free there; "
            f"make room or set {key} to another folder"
        )


def write_text_atomic(path: Path, text: str) -> None:
    """Writes ``text``; at any moment ``path`` holds either its old content or all of ``text``.

    Raises UserError.
    """
    write_lines_atomic(path, [text])


def write_lines_atomic(path: Path, lines: Iterable[str]) -> None:
    """As ``write_text_atomic``, for lines that end with newlines, without holding all of them in memory."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with user_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "w", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def write_json_atomic(path: Path, data: Any) -> None:
    """Writes ``data`` as indented JSON, as ``write_text_atomic`` does.  Raises UserError."""
    write_text_atomic(path, json.dumps(data, indent=2) + "\n")


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes ``path`` when the block ends without an error.

    For models: ``path`` exists only when it is complete.  An older ``path`` is replaced.  Raises UserError.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with user_errors(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            if path.exists():
                shutil.rmtree(path)
            os.replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
