"""System calls that Python's standard library does not wrap, by ctypes, and their numbers."""

from __future__ import annotations

import ctypes
import os
import platform
import resource

MACHINE = platform.machine()
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(MACHINE)

# name: (x86_64, aarch64); -1: the machine has no such call.
_NUMBERS = {
    "accept": (43, 202), "accept4": (288, 242), "acct": (163, 89), "add_key": (248, 217),
    "bind": (49, 200), "bpf": (321, 280), "capset": (126, 91), "chmod": (90, -1), "chown": (92, -1),
    "chroot": (161, 51), "clock_adjtime": (305, 266), "clock_settime": (227, 112), "clone": (56, 220),
    "clone3": (435, 435), "close_range": (436, 436), "connect": (42, 203), "delete_module": (176, 106),
    "fanotify_init": (300, 262), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "fchown": (93, 55), "fchownat": (260, 54), "finit_module": (313, 273), "fremovexattr": (199, 16),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fsopen": (430, 430), "fspick": (433, 433),
    "fsetxattr": (190, 7), "futimesat": (261, -1), "init_module": (175, 105), "inotify_init": (253, -1),
    "inotify_init1": (294, 26), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425), "ioperm": (173, -1), "iopl": (172, -1), "kcmp": (312, 272),
    "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219), "kill": (62, 129),
    "landlock_add_rule": (445, 445), "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446), "lchown": (94, -1), "listen": (50, 201),
    "lremovexattr": (198, 15), "lsetxattr": (189, 6), "memfd_secret": (447, 447),
    "migrate_pages": (256, 238), "mknod": (133, -1),
    "mknodat": (259, 33), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "move_pages": (279, 239), "mq_open": (240, 180), "msgget": (68, 186), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "open_tree": (428, 428), "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41), "prlimit64": (302, 261), "process_madvise": (440, 440),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117),
    "quotactl": (179, 60), "reboot": (169, 142), "removexattr": (197, 14), "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "ioprio_set": (251, 30), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "setpriority": (141, 140),
    "seccomp": (317, 277), "semget": (64, 190), "setdomainname": (171, 162), "sethostname": (170, 161),
    "setns": (308, 268), "setpgid": (109, 154), "setsid": (112, 157), "settimeofday": (164, 170),
    "setxattr": (188, 5), "shmget": (29, 194), "socket": (41, 198), "socketpair": (53, 199),
    "swapoff": (168, 225), "swapon": (167, 224), "syslog": (103, 116),
    "tkill": (200, 130), "umount2": (166, 39), "unshare": (272, 97), "userfaultfd": (323, 282),
    "utime": (132, -1), "utimensat": (280, 88), "utimes": (235, -1), "vhangup": (153, 58),
}  # fmt: skip
HIGHEST = 470  # calls newer than this table are refused: nobody has judged them

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_BIND, MS_REC, MS_SLAVE = 1, 0x1000, 0x4000, 0x80000
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 8, 38, 36
CAP_DAC_READ_SEARCH = 2

_libc = ctypes.CDLL(None, use_errno=True)
_held = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter lock, as fork needs it


def number(name: str) -> int | None:
    """The system call's number here; None where the machine has none or is unknown."""
    if _COLUMN is None:
        return None
    value = _NUMBERS[name][_COLUMN]
    return None if value < 0 else value


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


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2).  Raises OSError."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    call("mount", *texts[:3], flags, texts[3])


def own_mounts() -> None:
    """A view of the file system of this process's own: what it mounts is there for nobody else.

    Raises OSError.
    """
    call("unshare", CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_SLAVE)


def hide(path: str) -> None:
    """Puts nothing in the place of a file or folder, for this mount namespace.  Raises OSError."""
    if os.path.isdir(path):
        mount("none", path, "tmpfs", MS_RDONLY, "size=4k,mode=555")
    else:
        mount("/dev/null", path, None, MS_BIND)


def fork_into(namespaces: int, hooks: bool = True) -> int:
    """As os.fork, with the child in new namespaces (CLONE_NEW* flags).  Raises OSError.

    The caller has a single thread.  glibc's own fork would also set the child's thread id in the thread
    descriptor, which raise() and abort() read: the kernel stores it there, where that field is found.

    Without ``hooks`` the child starts as an exact copy: no lock is made anew, ``random`` is not seeded anew.
    Sound where no thread has ever held a lock that is now nobody's; a quarter of what a child costs.
    """
    if _COLUMN is None or (hooks and not namespaces):
        if namespaces:
            raise OSError(38, "clone")
        return os.fork()
    if not hooks:
        return _clone(ctypes.c_long(namespaces | _CLONE_FLAGS))
    _held.PyOS_BeforeFork()
    try:
        pid = _clone(ctypes.c_long(namespaces | _CLONE_FLAGS))
    except OSError:
        _held.PyOS_AfterFork_Parent()
        raise
    (_held.PyOS_AfterFork_Parent if pid else _held.PyOS_AfterFork_Child)()
    return pid


def plain_fork() -> int:
    """``fork_into(0, hooks=False)``.  It touches little: what a process touches, it copies after a fork."""
    return os.fork() if _COLUMN is None else _clone(_PLAIN_FLAGS)


def _clone(flags: ctypes.c_long) -> int:
    pid: int = _clone_call(_CLONE, flags, *_CLONE_TAIL)
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"clone: {os.strerror(error)}")
    return pid


def threads() -> int:
    """Threads of this process, those of C libraries included."""
    return len(os.listdir("/proc/self/task"))


def _tid_address() -> int:
    """Where glibc keeps this thread's id (0: not found; then nothing is stored)."""
    if MACHINE != "x86_64" or platform.libc_ver()[0] != "glibc":
        return 0
    _libc.pthread_self.restype = ctypes.c_ulong
    address = int(_libc.pthread_self()) + 720  # offset of `tid` in struct pthread since glibc 2.4
    return address if ctypes.c_int.from_address(address).value == os.getpid() else 0


_TID_ADDRESS = _tid_address()
_CLONE_FLAGS = 17 | (0x01000000 if _TID_ADDRESS else 0)  # SIGCHLD, CLONE_CHILD_SETTID
_PLAIN_FLAGS, _zero, _tid = ctypes.c_long(_CLONE_FLAGS), ctypes.c_long(0), ctypes.c_long(_TID_ADDRESS)
_CLONE = ctypes.c_long(number("clone") or 0)
# after the flags: stack, parent_tid; on x86_64 child_tid, tls; on aarch64 tls, child_tid
_CLONE_TAIL = (_zero, _zero, _tid, _zero) if _COLUMN == 0 else (_zero, _zero, _zero, _tid)
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
