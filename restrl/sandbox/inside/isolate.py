"""What a child gives up before it runs a line of the solution, prepared once in the server.

``Isolation.prepare`` finds out what this machine enforces; ``fork`` makes a child that is already inside its
namespaces; ``enter`` runs in the child and gives up the rest, or raises: a child that could not be confined
runs nothing.  Such a child is a program, or, where it may be (``cells``), forks programs that inherit all of
this: to be confined takes as long as to run a short program.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import random
import resource
import signal
import sysconfig
from dataclasses import dataclass, field
from typing import Any

from . import landlock, linux, seccomp
from .readable import PROC_FILES, answer_paths, readable_paths

PROTECTIONS = ("rlimits", "landlock", "seccomp", "pidns", "netns", "ipcns", "user")
CHANNEL_FD = 3
# tensorflow ends without the one, threadpoolctl reads the other
_OWN_FILES = ["/proc/self/cmdline", "/proc/self/maps"]
_OWN_LINK = "/proc/self/exe"  # tensorflow ends without that, too; no rule is needed to read a link
RENEWED = 128  # programs after which the rules are made anew: each child adds its own files to them


@dataclass
class Settings:
    """What the host tells the server.  Sizes in bytes, times in seconds."""

    folder: str  # the private folder of whatever program runs
    memory: int  # address space above the server's own
    processes: int
    file_size: int
    cpu_seconds: int
    uid: int | None  # to switch to where the server is root
    preload: list[str] = field(default_factory=list)
    disable: list[str] = field(default_factory=list)  # protections to leave out (benchmarks, tests)


@dataclass
class Isolation:
    settings: Settings
    active: list[str] = field(default_factory=list)  # what is enforced, of PROTECTIONS
    missing: dict[str, str] = field(default_factory=dict)  # what is not, and why
    namespaces: int = 0
    rules: int = -1  # descriptor
    null: int = -1  # descriptor of /dev/null
    filter: Any = None
    own_mounts: bool = False  # a view of the file system that nobody else has
    hidden: list[str] = field(default_factory=list)  # packages with answers, gone from every program's sight
    limits: list[tuple[int, int]] = field(default_factory=list)
    time_limit: tuple[int, int] = (resource.RLIMIT_CPU, resource.RLIM_INFINITY)
    keep_capabilities: int = 0
    switch_uid: bool = False
    cells: bool = False  # whether programs may share a confined process that forks them
    hooks: bool = True  # of the interpreter, in each fork
    forks: int = 0

    def prepare(self) -> None:
        """Finds out what works here.  Called once, in the server, before the first fork."""
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        self._prepare_namespaces()
        self._hide_answers()
        self._prepare_user()
        self._prepare_limits()
        self.hooks = linux.threads() > 1  # of a preloaded library: its locks must be made anew
        self._prepare_cells()
        self._try("landlock", self._prepare_landlock)
        self._try("seccomp", self._prepare_seccomp)
        self.null = os.open("/dev/null", os.O_RDWR)
        random.seed(0)  # without the hooks all programs begin with this state
        gc.collect()
        gc.freeze()  # what the server holds is never scanned, so its pages stay shared with the children

    def _try(self, name: str, step: Any) -> bool:
        if name in self.settings.disable:
            self.missing[name] = "switched off"
            return False
        try:
            step()
        except OSError as error:
            self.missing[name] = str(error)
            return False
        self.active.append(name)
        return True

    def _prepare_namespaces(self) -> None:
        """One dead network for all programs of this server; new process ids and IPC for each program."""
        if os.getuid() != 0 and "user" not in self.settings.disable:
            self._try("user", _own_users)
        self._try("netns", lambda: linux.call("unshare", linux.CLONE_NEWNET))
        for name, flag in (("pidns", linux.CLONE_NEWPID), ("ipcns", linux.CLONE_NEWIPC)):
            if self._try(name, lambda flag=flag: _probe_fork(flag)):
                self.namespaces |= flag

    def _hide_answers(self) -> None:
        """Mounts nothing over packages with answers, in a view of the file system of the server's own.

        Then their neighbours need no rule each.  Where that is not allowed, the rules leave them out.
        """
        if "mounts" in self.settings.disable:
            return
        try:
            linux.own_mounts()
            self.own_mounts = True
            for path in answer_paths():
                linux.hide(path)
                self.hidden.append(path)
        except OSError:
            return

    def _prepare_cells(self) -> None:
        """Programs may share a confined process if it ends them all, and needs no rule for each of them.

        The former takes a pid namespace, of which it is process 1: no signal from inside reaches it.  The
        latter takes a /proc with the same files for all: a program's own files are another's process's.
        """
        if "pidns" not in self.active or not self.own_mounts:
            return
        with contextlib.suppress(OSError):
            _mask_proc(self.settings.folder)
            self.cells = True

    def _prepare_user(self) -> None:
        uid = self.settings.uid
        if uid is None or "user" in self.active:
            return

        def probe() -> None:
            if in_child(self._become, uid) != 0:
                raise OSError(1, f"cannot become uid {uid}")

        self.switch_uid = self._try("user", probe)

        def read_library() -> None:
            self._become(uid)
            os.listdir(sysconfig.get_path("stdlib"))

        if self.switch_uid and in_child(read_library) != 0:
            # The interpreter lies in root's home: without this right the child could import nothing.
            # It reads past file modes only, and only where the Landlock rules let it read at all.
            self.keep_capabilities = 1 << linux.CAP_DAC_READ_SEARCH

    def _become(self, uid: int) -> None:
        if self.keep_capabilities:
            linux.prctl(linux.PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)

    def _prepare_limits(self) -> None:
        s = self.settings
        own = linux.address_space()
        processes = s.processes + 2 + (0 if self.switch_uid or "user" in self.active else _tasks_of_user())
        wanted = [
            (resource.RLIMIT_AS, own + s.memory),
            (resource.RLIMIT_NPROC, processes),
            (resource.RLIMIT_FSIZE, s.file_size),
            (resource.RLIMIT_NOFILE, 256),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_STACK, 64 << 20),
            (resource.RLIMIT_MSGQUEUE, 0),
            (resource.RLIMIT_MEMLOCK, 64 << 10),
        ]
        self.limits = [_within_hard(which, value) for which, value in wanted]
        # soft = hard: process 1 of a namespace ignores SIGXCPU
        self.time_limit = _within_hard(resource.RLIMIT_CPU, s.cpu_seconds)
        self.active.append("rlimits")

    def _prepare_landlock(self) -> None:
        readable, listable = readable_paths(self.hidden)
        devices = ["/dev/null"]
        self.rules = landlock.ruleset(
            readable,
            listable,
            [self.settings.folder],
            devices,
        )

    def _prepare_seccomp(self) -> None:
        self.filter = seccomp.build(shared_pids="pidns" not in self.active)
        if self.filter is None:
            raise OSError(38, f"no table of system calls for {linux.MACHINE}")

        def probe() -> None:
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            seccomp.load(self.filter)

        if in_child(probe) != 0:
            raise OSError(38, "the kernel refused the filter")

    def fork(self) -> int:
        """As os.fork: the child is inside its namespaces.  Raises OSError."""
        self.forks += 1
        if self.rules >= 0 and self.forks % RENEWED == 0:
            os.close(self.rules)
            self._prepare_landlock()
        return linux.fork_into(self.namespaces, self.hooks)

    def limit_time(self) -> None:
        """In a program's process: it may use this many seconds of a processor, and is killed then."""
        which, value = self.time_limit
        resource.setrlimit(which, (value, value))

    def enter(self, channel: int) -> None:
        """In the child: confines the calling process, for good.  ``channel`` becomes descriptor 3.

        All but its processor time (``limit_time``): that of a process that forks programs is not theirs.
        """
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        os.chdir(self.settings.folder)
        for which, value in self.limits:
            resource.setrlimit(which, (value, value))
        if self.switch_uid:
            self._become(self.settings.uid or 65534)
        if os.getuid() != 0 or self.switch_uid or "user" in self.active:
            linux.drop_capabilities(self.keep_capabilities)
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)  # changing the user cleared it
        if self.rules >= 0:
            for path in _OWN_FILES:
                landlock.allow(self.rules, path, landlock.READ_FILE)
            landlock.restrict(self.rules)
        self._arrange_descriptors(channel)
        if self.filter is not None:
            seccomp.load(self.filter)

    def _arrange_descriptors(self, channel: int) -> None:
        """0, 1, 2: /dev/null; 3: the channel; nothing else."""
        for fd in (0, 1, 2):
            os.dup2(self.null, fd)
        if channel != CHANNEL_FD:
            os.dup2(channel, CHANNEL_FD, inheritable=False)
        linux.close_from(CHANNEL_FD + 1)


class Entry:
    """A child's word to the server on whether it was confined, in a page that no program ever sees.

    Not a message to the tests: a program could send that too, and so choose not to be judged.
    """

    def __init__(self) -> None:
        self.page = mmap.mmap(-1, mmap.PAGESIZE)  # shared with the child

    def confined(self) -> None:
        """In the child, before the program is read: from here on everything is the program's doing."""
        self.page[0] = 1
        self.page.close()

    def failed(self, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:200]
        self.page[1 : 1 + len(text)] = text

    def problem(self) -> str:
        """In the server, when the child is dead: "", or why no program was run."""
        confined, text = self.page[0], self.page[1:].rstrip(b"\0").decode("utf-8", "replace")
        return "" if confined else text or "a child ended before it was confined"


def in_child(step: Any, *arguments: Any, namespaces: int = 0) -> int:
    """Runs ``step(*arguments)`` in a forked child; 0 if it raised nothing.  Raises OSError of the fork."""
    pid = linux.fork_into(namespaces)
    if pid == 0:
        try:
            step(*arguments)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def _own_users() -> None:
    """A user namespace in which this user is itself: one that is nobody there could make no file."""
    uid, gid = os.getuid(), os.getgid()
    linux.call("unshare", linux.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _mask_proc(staging: str) -> None:
    """Leaves of /proc, in the caller's own view of the file system, what programs may read.

    Their own files are copies: those of the caller, of whom they are copies too.  Raises OSError.
    """
    linux.mount("none", staging, "tmpfs", 0, "size=8m,mode=755")
    try:
        own = os.path.join(staging, "self")
        os.mkdir(own)
        os.chmod(own, 0o755)  # whatever the umask
        os.symlink(os.readlink(_OWN_LINK), os.path.join(own, os.path.basename(_OWN_LINK)))
        for path in [*_OWN_FILES, *PROC_FILES]:
            place = os.path.join(staging, os.path.relpath(path, "/proc"))
            with open(place, "wb") as copy:
                if path in _OWN_FILES:
                    with open(path, "rb") as original:
                        copy.write(original.read())
            os.chmod(place, 0o444)
            if path in PROC_FILES and os.path.exists(path):
                linux.mount(path, place, None, linux.MS_BIND)
        linux.mount(staging, "/proc", None, linux.MS_BIND | linux.MS_REC)
    finally:
        linux.call("umount2", os.fsencode(staging), linux.MNT_DETACH)


def _probe_fork(flag: int) -> None:
    in_child(gc.isenabled, namespaces=flag)


def _within_hard(which: int, value: int) -> tuple[int, int]:
    """A limit, as far as this process may set it."""
    hard = resource.getrlimit(which)[1]
    return which, value if hard == resource.RLIM_INFINITY else min(value, hard)


def _tasks_of_user() -> int:
    """Threads that count against this user's RLIMIT_NPROC already."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == os.getuid():
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count
