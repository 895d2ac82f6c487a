"""System calls that Python's standard library does not wrap, by ctypes; and how a process is forked."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from typing import Any

from .syscalls import KNOWN, MACHINE, number

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 8, 38, 36
CAP_DAC_READ_SEARCH = 2

_libc = ctypes.CDLL(None, use_errno=True)
_held = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter lock, as fork needs it


def call(name: str, *arguments: object) -> int:
    """A raw system call.  Raises OSError; ENOSYS on an unknown machine."""
    at = number(name)
    if at is None:
        raise OSError(38, f"no system call {name} on {MACHINE}")
    wide = [a if not isinstance(a, int) else ctypes.c_long(a) for a in arguments]
    result: int = _libc.syscall(ctypes.c_long(at), *wide)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument.  Raises OSError."""
    zero = ctypes.c_ulong(0)
    if _libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")


def fork_into(namespaces: int, hooks: bool = True) -> int:
    """As os.fork, with the child in new namespaces (CLONE_NEW* flags).  Raises OSError.

    The caller has a single thread.  Without ``hooks`` the child starts as an exact copy: no lock is made
    anew, ``random`` is not seeded anew.  That is sound where no other thread has ever run that could have
    held a lock, and saves a quarter of what a child costs.
    """
    if not KNOWN or (hooks and not namespaces):
        if namespaces:
            raise OSError(38, "clone")
        return os.fork()
    if not hooks:
        return _clone(ctypes.c_long(namespaces | _FORK_FLAGS))
    _held.PyOS_BeforeFork()
    try:
        pid = _clone(ctypes.c_long(namespaces | _FORK_FLAGS))
    except OSError:
        _held.PyOS_AfterFork_Parent()
        raise
    (_held.PyOS_AfterFork_Parent if pid else _held.PyOS_AfterFork_Child)()
    return pid


def plain_fork() -> int:
    """``fork_into(0, hooks=False)``.  It writes to few pages: after a fork, a write copies the page."""
    return _clone(_PLAIN_FLAGS) if KNOWN else os.fork()


def _clone(flags: ctypes.c_long) -> int:
    pid: int = _clone_call(_CLONE, flags, *_CLONE_TAIL)
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"clone: {os.strerror(error)}")
    return pid


def in_child(step: Any, *arguments: Any, namespaces: int = 0) -> int:
    """Runs ``step(*arguments)`` in a forked child; 0 if it raised nothing.  Raises OSError of the fork."""
    pid = fork_into(namespaces)
    if pid == 0:
        try:
            step(*arguments)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def threads() -> int:
    """Threads of this process, those of C libraries included."""
    return len(os.listdir("/proc/self/task"))


_TID_OFFSET = 720  # bytes from pthread_self() to `tid` in struct pthread: glibc 2.4 and later on x86_64


def _tid_address() -> int:
    """Where glibc keeps this thread's id, for the kernel to store the child's id there; 0: not known.

    raise() and abort() read the id from there.  glibc's own fork stores it, but cannot make namespaces, and
    no public function tells the address.  So the offset is fixed, and used only on x86_64 with glibc and
    where that memory holds this process's id.  With 0 nothing is stored: a child that calls abort() then ends
    by another signal.
    """
    if MACHINE != "x86_64" or platform.libc_ver()[0] != "glibc":
        return 0
    _libc.pthread_self.restype = ctypes.c_ulong
    address = int(_libc.pthread_self()) + _TID_OFFSET
    return address if ctypes.c_int.from_address(address).value == os.getpid() else 0


_TID_ADDRESS = _tid_address()
_FORK_FLAGS = 17 | (0x01000000 if _TID_ADDRESS else 0)  # SIGCHLD, CLONE_CHILD_SETTID
_PLAIN_FLAGS, _zero, _tid = ctypes.c_long(_FORK_FLAGS), ctypes.c_long(0), ctypes.c_long(_TID_ADDRESS)
_CLONE = ctypes.c_long(number("clone") or 0)
# after the flags: stack, parent_tid; on x86_64 child_tid, tls; on aarch64 tls, child_tid
_CLONE_TAIL = (_zero, _zero, _tid, _zero) if MACHINE == "x86_64" else (_zero, _zero, _zero, _tid)
_clone_call = _held.syscall
_capability_header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, the calling thread
_capabilities = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves


def drop_capabilities(keep: int = 0) -> None:
    """Leaves the process only the capabilities in the bit set ``keep``."""
    _capabilities[0] = _capabilities[1] = keep
    call("capset", _capability_header, _capabilities)


def address_space() -> int:
    """Bytes of address space that this process has mapped: what RLIMIT_AS limits."""
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(statm, 100).split()[0]) * resource.getpagesize()
    finally:
        os.close(statm)


def close_from(first: int) -> None:
    """Closes every descriptor from ``first`` on."""
    try:
        call("close_range", first, 0x7FFFFFFF, 0)
    except OSError:
        os.closerange(first, 4096)
