"""Removes what hostile programs leave in a folder: any depth, any name, folders without rights.

A program can nest folders deeper than ``shutil.rmtree`` can recurse and than a path can be long.  So each
folder is moved to the top before it is emptied.
"""

from __future__ import annotations

import os
import time

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def empty(folder: str) -> None:
    """Removes all that is in the folder.  Nothing else may write there.  Raises OSError."""
    names = os.listdir(folder)
    if not names:
        return
    top = os.open(folder, _FOLDER)
    try:
        mark, moved = os.urandom(8).hex(), 0
        while names:
            name = names.pop()
            if _unlinked(name, top):
                continue
            inner = os.open(name, _FOLDER, dir_fd=top)
            try:
                for entry in os.listdir(inner):
                    if not _unlinked(entry, inner):
                        names.append(f"{mark}.{moved}")
                        moved += 1
                        os.rename(entry, names[-1], src_dir_fd=inner, dst_dir_fd=top)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def remove(folder: str) -> None:
    """Removes the folder with all that is in it.  A process that was just killed may still write there."""
    for pause in (0.0, 0.01, 0.1, 0.5):
        time.sleep(pause)
        try:
            empty(folder)
            os.rmdir(folder)
        except OSError:
            if os.path.lexists(folder):
                continue
        return


def _unlinked(name: str, within: int) -> bool:
    """Removes a file or link; False for a folder, which can be opened and moved from then on."""
    try:
        os.unlink(name, dir_fd=within)
        return True
    except IsADirectoryError:
        os.chmod(name, 0o700, dir_fd=within)
        return False
