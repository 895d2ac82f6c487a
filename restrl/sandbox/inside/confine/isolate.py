"""What a child gives up before it runs a line of a program, prepared once in the server.

A child that could not be confined runs nothing: ``enter`` raises.  What it gives up, it gives up for good,
and so do its descendants.

``Isolation.prepare`` finds out what this machine enforces; ``fork`` makes a child that is already inside its
namespaces; ``enter`` runs in the child and gives up the rest.  Such a child is a program, or, where the
machine allows it (``cells``), a cell, which forks programs that inherit its confinement: to confine a process
takes as long as to run a short program.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import resource
import signal
import sysconfig
from dataclasses import dataclass, field
from typing import Any

from . import landlock, linux, namespaces, seccomp
from .linux import in_child
from .namespaces import OWN_FILES
from .readable import answer_paths, readable_paths
from .settings import CHANNEL_FD, Settings
from .syscalls import MACHINE

STACK = 64 << 20  # bytes, of the main thread
RENEWED = 128  # forks after which the Landlock rules are made anew: each child adds its own files to them


@dataclass
class Isolation:
    settings: Settings
    active: list[str] = field(default_factory=list)  # what is enforced, of PROTECTIONS
    missing: dict[str, str] = field(default_factory=dict)  # what is not, and why
    namespaces: int = 0  # CLONE_NEW* flags of each fork
    rules: int = -1  # descriptor of the Landlock rules
    null: int = -1  # descriptor of /dev/null
    filter: Any = None  # of system calls
    own_mounts: bool = False  # whether the server has a view of the file system that nobody else has
    hidden: list[str] = field(default_factory=list)  # packages with answers, gone from every program's sight
    limits: list[tuple[int, tuple[int, int]]] = field(default_factory=list)  # (RLIMIT_*, (soft, hard))
    time_limit: tuple[int, int] = (resource.RLIMIT_CPU, resource.RLIM_INFINITY)
    keep_capabilities: int = 0  # bit set
    switch_uid: bool = False
    cells: bool = False  # whether programs may share a confined process that forks them
    hooks: bool = True  # whether each fork runs the interpreter's hooks
    forks: int = 0

    def prepare(self) -> None:
        """Finds out what works here.  Called once, in the server, before the first fork."""
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        self._prepare_namespaces()
        self._hide_answers()
        self._prepare_user()
        self._prepare_limits()
        # a preloaded library may have started threads: only the hooks make the locks anew that they hold
        self.hooks = linux.threads() > 1
        self._prepare_cells()
        self._try("landlock", self._prepare_landlock)
        self._try("seccomp", self._prepare_seccomp)
        self.null = os.open("/dev/null", os.O_RDWR)
        random.seed(0)  # without the hooks all programs begin with this state
        gc.collect()
        gc.freeze()  # the collector never visits what the server holds, so children share its pages

    def _try(self, name: str, step: Any) -> bool:
        """Runs ``step`` and notes whether the protection ``name`` is active, or why it is not."""
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
        """One network without interfaces for all programs; new process ids and IPC for each fork."""
        if os.getuid() != 0 and "user" not in self.settings.disable:
            self._try("user", namespaces.own_users)
        self._try("netns", lambda: linux.call("unshare", linux.CLONE_NEWNET))
        for name, flag in (("pidns", linux.CLONE_NEWPID), ("ipcns", linux.CLONE_NEWIPC)):
            if self._try(name, lambda flag=flag: in_child(gc.isenabled, namespaces=flag)):
                self.namespaces |= flag

    def _hide_answers(self) -> None:
        """Mounts nothing over packages with answers, in a view of the file system of the server's own.

        Their neighbours then need no Landlock rule each.  Where mounting is not allowed, the rules leave the
        packages out.
        """
        if "mounts" in self.settings.disable:
            return
        try:
            namespaces.own_mounts()
            self.own_mounts = True
            for path in answer_paths():
                namespaces.hide(path)
                self.hidden.append(path)
        except OSError:
            return

    def _prepare_cells(self) -> None:
        """Programs may share a confined process if it ends them all, and needs no rule for each of them.

        To end them all, it must be process 1 of a pid namespace: no signal from inside reaches it.  To need
        no rule for each, it must have a /proc with the same files for all: elsewhere a program's own files
        are those of a new process.
        """
        if "pidns" not in self.active or not self.own_mounts:
            return
        with contextlib.suppress(OSError):
            namespaces.mask_proc(self.settings.folder, self.settings.file_size)
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
        limits = [
            (resource.RLIMIT_AS, own + s.memory),
            (resource.RLIMIT_NPROC, processes),
            (resource.RLIMIT_FSIZE, s.file_size),
            (resource.RLIMIT_NOFILE, 256),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
            (resource.RLIMIT_MEMLOCK, 64 << 10),
        ]
        self.limits = [(which, (value, value)) for which, value in (_within_hard(*pair) for pair in limits)]
        # programs that recurse raise it, as they may elsewhere: the stack counts as address space
        stack, hard = (
            _within_hard(resource.RLIMIT_STACK, STACK)[1],
            resource.getrlimit(resource.RLIMIT_STACK)[1],
        )
        self.limits.append((resource.RLIMIT_STACK, (stack, hard)))
        # enter sets soft = hard: process 1 of a namespace ignores SIGXCPU, only the hard limit kills it
        self.time_limit = _within_hard(resource.RLIMIT_CPU, s.cpu_seconds)
        self.active.append("rlimits")

    def _prepare_landlock(self) -> None:
        readable, listable = readable_paths(self.hidden)
        devices = ["/dev/null", *(namespaces.STREAMS if self.cells else [])]
        self.rules = landlock.ruleset(readable, listable, writable=[self.settings.folder], devices=devices)

    def _prepare_seccomp(self) -> None:
        self.filter = seccomp.build(shared_pids="pidns" not in self.active)
        if self.filter is None:
            raise OSError(38, f"no table of system calls for {MACHINE}")

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

        Not limited here is the processor time (``limit_time``): a cell uses time for all of its programs.
        Raises OSError or another error of a step that failed: then no program may run.
        """
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        os.chdir(self.settings.folder)
        for which, soft_and_hard in self.limits:
            resource.setrlimit(which, soft_and_hard)
        if self.switch_uid:
            self._become(self.settings.uid or 65534)
        if os.getuid() != 0 or self.switch_uid or "user" in self.active:
            linux.drop_capabilities(self.keep_capabilities)
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)  # changing the user cleared it
        if self.rules >= 0:
            for path in OWN_FILES:
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
