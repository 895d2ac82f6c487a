"""What the host tells the fork server, and the names of the protections.  Imports nothing of this package."""

from __future__ import annotations

from dataclasses import dataclass, field

PROTECTIONS = ("rlimits", "landlock", "seccomp", "pidns", "netns", "ipcns", "user")
CHANNEL_FD = 3  # descriptor of a confined process's one connection, to the tests' process


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
