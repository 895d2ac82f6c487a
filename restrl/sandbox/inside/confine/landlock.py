"""File system and TCP rules for a process and its descendants (Landlock, Linux 5.13; no root needed)."""

from __future__ import annotations

import ctypes
import os

from . import linux

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TRUNCATE = 1 << 14
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15  # the last: ioctl on devices
_SPECIAL = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11  # make character devices, sockets, fifos, block devices

READ = _READ_FILE | _READ_DIR | _EXECUTE
LIST = _READ_DIR
READ_FILE = _READ_FILE
USE = _READ_FILE | _WRITE_FILE | _TRUNCATE  # a device such as /dev/null


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def abi() -> int:
    """The kernel's Landlock version; 0: none."""
    try:
        return linux.call("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def ruleset(readable: list[str], listable: list[str], writable: list[str], devices: list[str]) -> int:
    """A descriptor of rules that allow only these paths, and no TCP.  Raises OSError without Landlock.

    ``readable`` trees may be read and executed, ``listable`` ones listed, ``writable`` ones used freely (no
    devices or sockets made), ``devices`` read and written.  Paths that do not exist are left out.
    """
    version = abi()
    everything = _ALL_BY_ABI.get(version, _ALL_BY_ABI[5])
    # struct landlock_ruleset_attr: handled_access_fs, handled_access_net (4+), scoped (6+: sockets, signals)
    fields = [everything] + [3] * (version >= 4) + [3] * (version >= 6)
    attributes = (ctypes.c_uint64 * len(fields))(*fields)
    descriptor = linux.call("landlock_create_ruleset", attributes, 8 * len(fields), 0)
    for paths, rights in (
        (readable, READ),
        (listable, LIST),
        (writable, everything & ~_SPECIAL),
        (devices, USE),
    ):
        for path in paths:
            allow(descriptor, path, rights & everything)
    return descriptor


def allow(descriptor: int, path: str, rights: int) -> None:
    """Adds a rule for ``path``; none if it does not exist."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        linux.call("landlock_add_rule", descriptor, 1, ctypes.byref(_Rule(rights, fd)), 0)
    finally:
        os.close(fd)


def restrict(descriptor: int) -> None:
    """Puts the calling process under the rules, for good.  Needs no_new_privs."""
    linux.call("landlock_restrict_self", descriptor, 0)
