"""The table of system calls: their numbers, and what a program that makes one gets.

A call that the table does not list is allowed, up to ``HIGHEST``; a call with a higher number does not exist
for a program (ENOSYS): nobody has judged it.  A call of another architecture kills the process.  ``seccomp``
makes the filter from this table; ``linux`` makes calls by these numbers.
"""

from __future__ import annotations

import platform
from enum import Enum
from typing import NamedTuple

MACHINE = platform.machine()
KNOWN = MACHINE in ("x86_64", "aarch64")
HIGHEST = 470


class Policy(Enum):
    """What a program gets that makes the call."""

    ALLOW = "the call is made"
    DENY = "EPERM"
    DENY_IN_SHARED_PIDS = "EPERM where programs have no pid namespace, otherwise the call is made"
    IGNORE = "success, and nothing is done"
    ABSENT = "ENOSYS: the caller falls back to an older call"
    # these depend on an argument
    NO_NAMESPACES = "EPERM if the first argument asks for a new namespace"
    UNIX_SOCKETS_ONLY = "EPERM unless the first argument is AF_UNIX"
    OWN_LIMITS_ONLY = "EPERM unless the first argument is 0, the calling process"
    TIMES_ARE_KEPT = "success, and nothing is done; EPERM where a path gets the time of now"


class Call(NamedTuple):
    x86_64: int  # number there; -1: that machine has no such call
    aarch64: int
    policy: Policy


CALLS = {
    # made by the sandbox itself, and harmless for programs
    "close_range": Call(436, 436, Policy.ALLOW),
    "landlock_add_rule": Call(445, 445, Policy.ALLOW),
    "landlock_create_ruleset": Call(444, 444, Policy.ALLOW),
    "landlock_restrict_self": Call(446, 446, Policy.ALLOW),
    # processes and threads; a namespace would give a program rights over what is in it
    "clone": Call(56, 220, Policy.NO_NAMESPACES),
    "clone3": Call(435, 435, Policy.ABSENT),
    "unshare": Call(272, 97, Policy.DENY),
    "setns": Call(308, 268, Policy.DENY),
    "kcmp": Call(312, 272, Policy.DENY),
    # signals and process groups: a program could leave its group or signal processes outside
    "kill": Call(62, 129, Policy.DENY_IN_SHARED_PIDS),
    "tkill": Call(200, 130, Policy.DENY_IN_SHARED_PIDS),
    "rt_sigqueueinfo": Call(129, 138, Policy.DENY_IN_SHARED_PIDS),
    "rt_tgsigqueueinfo": Call(297, 240, Policy.DENY_IN_SHARED_PIDS),
    "setpgid": Call(109, 154, Policy.DENY_IN_SHARED_PIDS),
    "setsid": Call(112, 157, Policy.DENY_IN_SHARED_PIDS),
    "pidfd_send_signal": Call(424, 424, Policy.DENY),
    # limits and priority: a program must not take processor time from others
    "prlimit64": Call(302, 261, Policy.OWN_LIMITS_ONLY),
    "ioprio_set": Call(251, 30, Policy.DENY),
    "sched_setaffinity": Call(203, 122, Policy.DENY),
    "sched_setattr": Call(314, 274, Policy.DENY),
    "sched_setparam": Call(142, 118, Policy.DENY),
    "sched_setscheduler": Call(144, 119, Policy.DENY),
    "setpriority": Call(141, 140, Policy.DENY),
    # sockets: a pair is all that threads and subprocesses need
    "socketpair": Call(53, 199, Policy.UNIX_SOCKETS_ONLY),
    "socket": Call(41, 198, Policy.DENY),
    "accept": Call(43, 202, Policy.DENY),
    "accept4": Call(288, 242, Policy.DENY),
    "bind": Call(49, 200, Policy.DENY),
    "connect": Call(42, 203, Policy.DENY),
    "listen": Call(50, 201, Policy.DENY),
    # memory of other processes
    "ptrace": Call(101, 117, Policy.DENY),
    "process_vm_readv": Call(310, 270, Policy.DENY),
    "process_vm_writev": Call(311, 271, Policy.DENY),
    "process_madvise": Call(440, 440, Policy.DENY),
    "migrate_pages": Call(256, 238, Policy.DENY),
    "move_pages": Call(279, 239, Policy.DENY),
    "pidfd_getfd": Call(438, 438, Policy.DENY),
    "perf_event_open": Call(298, 241, Policy.DENY),
    "userfaultfd": Call(323, 282, Policy.DENY),
    "memfd_secret": Call(447, 447, Policy.DENY),
    # modes and times of files, which Landlock does not cover: success is answered so that shutil.copy works
    "chmod": Call(90, -1, Policy.IGNORE),
    "fchmod": Call(91, 52, Policy.IGNORE),
    "fchmodat": Call(268, 53, Policy.IGNORE),
    "fchmodat2": Call(452, 452, Policy.IGNORE),
    "futimesat": Call(261, -1, Policy.IGNORE),
    "utime": Call(132, -1, Policy.IGNORE),
    "utimes": Call(235, -1, Policy.IGNORE),
    "utimensat": Call(280, 88, Policy.TIMES_ARE_KEPT),
    # owners and attributes of files, which Landlock does not cover
    "chown": Call(92, -1, Policy.DENY),
    "fchown": Call(93, 55, Policy.DENY),
    "fchownat": Call(260, 54, Policy.DENY),
    "lchown": Call(94, -1, Policy.DENY),
    "setxattr": Call(188, 5, Policy.DENY),
    "lsetxattr": Call(189, 6, Policy.DENY),
    "fsetxattr": Call(190, 7, Policy.DENY),
    "removexattr": Call(197, 14, Policy.DENY),
    "lremovexattr": Call(198, 15, Policy.DENY),
    "fremovexattr": Call(199, 16, Policy.DENY),
    # files by other ways than a path that Landlock checks; watches on them
    "open_by_handle_at": Call(304, 265, Policy.DENY),
    "name_to_handle_at": Call(303, 264, Policy.DENY),
    "mknod": Call(133, -1, Policy.DENY),
    "mknodat": Call(259, 33, Policy.DENY),
    "fanotify_init": Call(300, 262, Policy.DENY),
    "inotify_init": Call(253, -1, Policy.DENY),
    "inotify_init1": Call(294, 26, Policy.DENY),
    "io_uring_enter": Call(426, 426, Policy.DENY),
    "io_uring_register": Call(427, 427, Policy.DENY),
    "io_uring_setup": Call(425, 425, Policy.DENY),
    # mounts
    "mount": Call(165, 40, Policy.DENY),
    "umount2": Call(166, 39, Policy.DENY),
    "mount_setattr": Call(442, 442, Policy.DENY),
    "move_mount": Call(429, 429, Policy.DENY),
    "open_tree": Call(428, 428, Policy.DENY),
    "fsconfig": Call(431, 431, Policy.DENY),
    "fsmount": Call(432, 432, Policy.DENY),
    "fsopen": Call(430, 430, Policy.DENY),
    "fspick": Call(433, 433, Policy.DENY),
    "pivot_root": Call(155, 41, Policy.DENY),
    "chroot": Call(161, 51, Policy.DENY),
    "quotactl": Call(179, 60, Policy.DENY),
    "swapon": Call(167, 224, Policy.DENY),
    "swapoff": Call(168, 225, Policy.DENY),
    # IPC by name and keys of the kernel
    "mq_open": Call(240, 180, Policy.DENY),
    "msgget": Call(68, 186, Policy.DENY),
    "semget": Call(64, 190, Policy.DENY),
    "shmget": Call(29, 194, Policy.DENY),
    "add_key": Call(248, 217, Policy.DENY),
    "keyctl": Call(250, 219, Policy.DENY),
    "request_key": Call(249, 218, Policy.DENY),
    # the machine
    "acct": Call(163, 89, Policy.DENY),
    "bpf": Call(321, 280, Policy.DENY),
    "capset": Call(126, 91, Policy.DENY),
    "clock_adjtime": Call(305, 266, Policy.DENY),
    "clock_settime": Call(227, 112, Policy.DENY),
    "settimeofday": Call(164, 170, Policy.DENY),
    "delete_module": Call(176, 106, Policy.DENY),
    "finit_module": Call(313, 273, Policy.DENY),
    "init_module": Call(175, 105, Policy.DENY),
    "ioperm": Call(173, -1, Policy.DENY),
    "iopl": Call(172, -1, Policy.DENY),
    "kexec_file_load": Call(320, 294, Policy.DENY),
    "kexec_load": Call(246, 104, Policy.DENY),
    "reboot": Call(169, 142, Policy.DENY),
    "seccomp": Call(317, 277, Policy.DENY),
    "setdomainname": Call(171, 162, Policy.DENY),
    "sethostname": Call(170, 161, Policy.DENY),
    "syslog": Call(103, 116, Policy.DENY),
    "vhangup": Call(153, 58, Policy.DENY),
}


def number(name: str) -> int | None:
    """The system call's number here; None where the machine has none or is unknown."""
    if not KNOWN:
        return None
    call = CALLS[name]
    at = call.x86_64 if MACHINE == "x86_64" else call.aarch64
    return None if at < 0 else at


def names(*policies: Policy) -> list[str]:
    """The calls that have one of these policies."""
    return [name for name, call in CALLS.items() if call.policy in policies]
