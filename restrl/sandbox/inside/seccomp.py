"""A filter on system calls (seccomp BPF), built once in the server and loaded in each child."""

from __future__ import annotations

import ctypes
import errno
import struct

from . import linux

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# offsets in struct seccomp_data; the arguments' low words, little endian
_NR, _ARCH, _ARG0, _ARG1, _ARG2 = 0, 4, 16, 24, 32

DENIED = [
    "accept",
    "accept4",
    "acct",
    "add_key",
    "bind",
    "bpf",
    "capset",
    "chown",
    "chroot",
    "clock_adjtime",
    "clock_settime",
    "connect",
    "delete_module",
    "fanotify_init",
    "fchown",
    "fchownat",
    "finit_module",
    "fremovexattr",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "fsetxattr",
    "init_module",
    "inotify_init",
    "inotify_init1",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "ioprio_set",
    "sched_setaffinity",
    "sched_setattr",
    "sched_setparam",
    "sched_setscheduler",
    "setpriority",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lchown",
    "listen",
    "lremovexattr",
    "lsetxattr",
    "memfd_secret",
    "migrate_pages",
    "mknod",
    "mknodat",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "mq_open",
    "msgget",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "pidfd_send_signal",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "reboot",
    "removexattr",
    "request_key",
    "seccomp",
    "semget",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "setxattr",
    "shmget",
    "socket",
    "swapoff",
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
]
# Landlock does not cover these.  They answer success and do nothing, so that shutil.copy works.
IGNORED = ["chmod", "fchmod", "fchmodat", "fchmodat2", "futimesat", "utime", "utimes"]
# Without a pid namespace these let a process leave its group or signal others.
DENIED_IN_SHARED_PIDS = ["kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "setpgid", "setsid"]
_NAMESPACES = (
    linux.CLONE_NEWNS | linux.CLONE_NEWCGROUP | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNET
)  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _step(code: int, yes: int, no: int, k: int) -> bytes:
    return struct.pack("=HBBI", code, yes, no, k)


def _refuse(error: int) -> bytes:
    return _step(_RETURN, 0, 0, _ERRNO | error)


_ALLOWED = _step(_RETURN, 0, 0, _ALLOW)


def build(shared_pids: bool) -> _Program | None:
    """The filter; None on a machine whose call numbers are not known.

    ``shared_pids``: the child has no pid namespace of its own.
    """
    arch = _AUDIT_ARCH.get(linux.MACHINE)
    if arch is None:
        return None
    code = steps(shared_pids, arch)
    return _Program(len(code), b"".join(code))


def steps(shared_pids: bool, arch: int) -> list[bytes]:
    """The filter's instructions."""
    # unknown newer calls, and x86's x32 calls, do not exist here
    cases = {0: [_ALLOWED], linux.HIGHEST: [_refuse(errno.ENOSYS)]}
    for at, case in _calls(shared_pids).items():
        cases.setdefault(at + 1, [_ALLOWED])
        cases[at] = case
    return [
        _step(_LOAD, 0, 0, _ARCH), _step(_EQUAL, 1, 0, arch), _step(_RETURN, 0, 0, _KILL),
        _step(_LOAD, 0, 0, _NR), *_search(_merged(sorted(cases.items()))),
    ]  # fmt: skip


def _calls(shared_pids: bool) -> dict[int, list[bytes]]:
    """By number, what decides on each call that is not simply allowed.  Ends in a return on every path."""
    denied = DENIED + (DENIED_IN_SHARED_PIDS if shared_pids else [])
    named = {name: [_refuse(errno.EPERM)] for name in denied} | {name: [_refuse(0)] for name in IGNORED}
    named["utimensat"] = _FILE_TIMES
    named["clone3"] = [_refuse(errno.ENOSYS)]  # its flags are behind a pointer: glibc falls back to clone
    named["clone"] = _on_first(_step(_BITS, 0, 1, _NAMESPACES))
    named["socketpair"] = _on_first(_step(_EQUAL, 1, 0, 1))  # AF_UNIX only
    named["prlimit64"] = _on_first(_step(_EQUAL, 1, 0, 0))  # one's own only
    numbered = {linux.number(name): case for name, case in named.items()}
    return {at: case for at, case in numbered.items() if at is not None}


# Ignored as well, but not where a path gets the time of now: that is how Path.touch makes a file, and it goes
# on to open it if this fails.  Pointers are compared with NULL by their low words.
_FILE_TIMES = [
    _step(_LOAD, 0, 0, _ARG2), _step(_EQUAL, 0, 3, 0),  # times
    _step(_LOAD, 0, 0, _ARG1), _step(_EQUAL, 1, 0, 0),  # path
    _refuse(errno.EPERM), _refuse(0),
]  # fmt: skip


def _on_first(check: bytes) -> list[bytes]:
    """Refuses a call whose first argument leads ``check`` to the next step, allows it if that is left out."""
    return [_step(_LOAD, 0, 0, _ARG0), check, _refuse(errno.EPERM), _ALLOWED]


def _merged(cases: list[tuple[int, list[bytes]]]) -> list[tuple[int, list[bytes]]]:
    return [case for i, case in enumerate(cases) if i == 0 or case[1] != cases[i - 1][1]]


def _search(cases: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """A binary search for the last case that begins at or below the number loaded.

    The kernel follows every number through the filter when a child loads it, so a path must be short.
    """
    if len(cases) == 1:
        return cases[0][1]
    middle = len(cases) // 2
    below, above = _search(cases[:middle]), _search(cases[middle:])
    return [_step(_AT_LEAST, len(below), 0, cases[middle][0]), *below, *above]


def load(program: _Program) -> None:
    """Puts the calling thread under the filter, for good.  Needs no_new_privs."""
    linux.call("seccomp", 1, 0, ctypes.byref(program))
