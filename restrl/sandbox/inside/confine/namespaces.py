"""Namespaces: users and views of the file system that belong to one server and its programs alone."""

from __future__ import annotations

import contextlib
import os

from . import linux
from .readable import PROC_FILES

MS_RDONLY, MS_BIND, MS_REC, MS_SLAVE = 1, 0x1000, 0x4000, 0x80000
MNT_DETACH = 2
# Tensorflow ends without the command line, threadpoolctl reads the maps.
OWN_FILES = ["/proc/self/cmdline", "/proc/self/maps"]
# Standard input and output of a program, where its /proc is of our making: /dev/stdin and /dev/fd lead there.
STREAMS = ["/proc/self/fd/0", "/proc/self/fd/1"]
_OWN_LINK = "/proc/self/exe"  # tensorflow ends without this, too; Landlock needs no rule to read a link


def own_users() -> None:
    """Enters a new user namespace, in which this user keeps its number: as nobody it could make no file.

    Raises OSError.
    """
    uid, gid = os.getuid(), os.getgid()
    linux.call("unshare", linux.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2).  Raises OSError."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    linux.call("mount", *texts[:3], flags, texts[3])


def own_mounts() -> None:
    """Gives this process a view of the file system of its own: others do not see what it mounts.

    Raises OSError.
    """
    linux.call("unshare", linux.CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_SLAVE)


def hide(path: str) -> None:
    """Mounts an empty folder over a folder, or /dev/null over a file, in this view.  Raises OSError."""
    if os.path.isdir(path):
        mount("none", path, "tmpfs", MS_RDONLY, "size=4k,mode=555")
    else:
        mount("/dev/null", path, None, MS_BIND)


def mask_proc(staging: str, streams: int) -> None:
    """Replaces /proc, in the caller's own view of the file system, by the few files that programs may read.

    A program's /proc/self holds copies of the caller's files: a program is a forked copy of the caller.
    ``staging``: an empty folder for the time being.  ``streams``: bytes that each of STREAMS may hold.
    Raises OSError.
    """
    mount("none", staging, "tmpfs", 0, f"size={(8 << 20) + 2 * streams},mode=755")
    try:
        own = os.path.join(staging, "self")
        for folder in (own, os.path.join(own, "fd")):
            os.mkdir(folder)
            os.chmod(folder, 0o755)  # whatever the umask
        os.symlink(os.readlink(_OWN_LINK), os.path.join(own, os.path.basename(_OWN_LINK)))
        os.symlink("/dev/null", os.path.join(own, "fd", "2"))
        for path in STREAMS:
            place = os.path.join(staging, os.path.relpath(path, "/proc"))
            with open(place, "wb"):
                os.chmod(place, 0o666)
        for path in [*OWN_FILES, *PROC_FILES]:
            place = os.path.join(staging, os.path.relpath(path, "/proc"))
            with open(place, "wb") as copy:
                if path in OWN_FILES:
                    with open(path, "rb") as original:
                        copy.write(original.read())
            os.chmod(place, 0o444)
            if path in PROC_FILES and os.path.exists(path):
                mount(path, place, None, MS_BIND)
        mount(staging, "/proc", None, MS_BIND | MS_REC)
    finally:
        linux.call("umount2", os.fsencode(staging), MNT_DETACH)


def clear_streams() -> None:
    """Empties STREAMS: a later program must not find what an earlier one has left there.  Raises OSError.

    An empty file is truncated too: it may hold blocks behind its end.
    """
    for path in STREAMS:
        os.truncate(path, 0)
