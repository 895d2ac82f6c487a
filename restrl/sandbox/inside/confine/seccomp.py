"""A filter on system calls (seccomp BPF): made from the table once in the server, loaded in each child.

The filter binds the process that loads it and all its descendants, for good.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from . import linux
from .syscalls import CALLS, HIGHEST, MACHINE, Policy, number

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# offsets in struct seccomp_data (kernel ABI); the arguments' low words, little endian
_NR, _ARCH, _ARG0, _ARG1, _ARG2 = 0, 4, 16, 24, 32
_NAMESPACES = (
    linux.CLONE_NEWNS | linux.CLONE_NEWCGROUP | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNET
)  # fmt: skip
AF_UNIX = 1


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _step(code: int, yes: int, no: int, k: int) -> bytes:
    return struct.pack("=HBBI", code, yes, no, k)


def _refuse(error: int) -> bytes:
    return _step(_RETURN, 0, 0, _ERRNO | error)


_ALLOWED = _step(_RETURN, 0, 0, _ALLOW)


def _on_first(check: bytes) -> list[bytes]:
    """Loads the first argument: if ``check`` continues with the next step, EPERM; if it skips it, allowed."""
    return [_step(_LOAD, 0, 0, _ARG0), check, _refuse(errno.EPERM), _ALLOWED]


# What decides on a call, by policy.  Each list ends in a return on every path.
_STEPS = {
    Policy.ALLOW: [_ALLOWED],
    Policy.DENY: [_refuse(errno.EPERM)],
    Policy.IGNORE: [_refuse(0)],
    Policy.ABSENT: [_refuse(errno.ENOSYS)],
    Policy.NO_NAMESPACES: _on_first(_step(_BITS, 0, 1, _NAMESPACES)),
    Policy.UNIX_SOCKETS_ONLY: _on_first(_step(_EQUAL, 1, 0, AF_UNIX)),
    Policy.OWN_LIMITS_ONLY: _on_first(_step(_EQUAL, 1, 0, 0)),
    # Path.touch first gives the path the time of now; only if that fails does it open, and so make, the file.
    # Pointers are compared with NULL by their low words.
    Policy.TIMES_ARE_KEPT: [
        _step(_LOAD, 0, 0, _ARG2), _step(_EQUAL, 0, 3, 0),  # times
        _step(_LOAD, 0, 0, _ARG1), _step(_EQUAL, 1, 0, 0),  # path
        _refuse(errno.EPERM), _refuse(0),
    ],
}  # fmt: skip


def build(shared_pids: bool) -> _Program | None:
    """The filter; None on a machine whose call numbers are not known.

    ``shared_pids``: the child has no pid namespace of its own.
    """
    arch = _AUDIT_ARCH.get(MACHINE)
    if arch is None:
        return None
    code = steps(shared_pids, arch)
    return _Program(len(code), b"".join(code))


def steps(shared_pids: bool, arch: int) -> list[bytes]:
    """The filter's instructions."""
    # numbers from HIGHEST on, and x86's x32 calls, do not exist for a program
    cases = {0: [_ALLOWED], HIGHEST: [_refuse(errno.ENOSYS)]}
    for at, case in _calls(shared_pids).items():
        cases.setdefault(at + 1, [_ALLOWED])
        cases[at] = case
    return [
        _step(_LOAD, 0, 0, _ARCH), _step(_EQUAL, 1, 0, arch), _step(_RETURN, 0, 0, _KILL),
        _step(_LOAD, 0, 0, _NR), *_search(_merged(sorted(cases.items()))),
    ]  # fmt: skip


def _calls(shared_pids: bool) -> dict[int, list[bytes]]:
    """By number, the steps for each call that is not simply allowed."""
    in_shared_pids = Policy.DENY if shared_pids else Policy.ALLOW
    decided: dict[int, list[bytes]] = {}
    for name, call in CALLS.items():
        policy = in_shared_pids if call.policy is Policy.DENY_IN_SHARED_PIDS else call.policy
        at = number(name)
        if at is not None and policy is not Policy.ALLOW:
            decided[at] = _STEPS[policy]
    return decided


def _merged(cases: list[tuple[int, list[bytes]]]) -> list[tuple[int, list[bytes]]]:
    """Without the cases that decide as the one before them does."""
    return [case for i, case in enumerate(cases) if i == 0 or case[1] != cases[i - 1][1]]


def _search(cases: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """A binary search for the last case that begins at or below the number loaded.

    The kernel follows every number through the filter when a child loads it, so each path must be short.
    """
    if len(cases) == 1:
        return cases[0][1]
    middle = len(cases) // 2
    below, above = _search(cases[:middle]), _search(cases[middle:])
    return [_step(_AT_LEAST, len(below), 0, cases[middle][0]), *below, *above]


def load(program: _Program) -> None:
    """Puts the calling thread under the filter, for good.  Needs no_new_privs."""
    linux.call("seccomp", 1, 0, ctypes.byref(program))
