"""What programs leave on a machine, counted from outside the sandbox and over the whole machine.

Only what belongs to programs of the given sandbox is counted, so other work on the machine does not matter.
Processes are found by three marks: below the workers, in a worker's network namespace, of a program's user.
"""

import ctypes
import os

from restrl.sandbox.worker import BOOT

SHARED_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
SLOTS = 40  # users that a sandbox gives its workers in turn, where it runs as root


def left_behind(sandbox):
    """Processes, files, and System V IPC objects of programs that should be gone: three lists."""
    users = users_of(sandbox)
    return {"processes": processes(sandbox, users), "files": files(sandbox, users), "ipc": ipc(users)}


def users_of(sandbox):
    """Users that only programs of this sandbox run as; none where it runs as an ordinary user."""
    uids = [worker.settings.uid for worker in sandbox.workers if worker.settings.uid is not None]
    return {first + slot for first in (uid - uid % SLOTS for uid in uids) for slot in range(SLOTS)}


def processes(sandbox, users):
    servers = [worker.server.pid for worker in sandbox.workers]
    testers = [worker.tester.pid for worker in sandbox.workers]
    networks = {link(f"/proc/{pid}/ns/net") for pid in servers} - {link("/proc/self/ns/net")}
    found = set(descendants([*servers, *testers]))
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        ours = link(f"/proc/{pid}/ns/net") in networks or owner(f"/proc/{pid}") in users
        if ours and not is_server(
            stat_of(pid)[1]
        ):  # of another sandbox, which still runs; below ours are all
            found.add(pid)
    return sorted(found - set(servers) - set(testers) - cells(sandbox))


def cells(sandbox):
    """The confined process of each worker that forks its programs, where the machine allows such."""
    found = set()
    for worker in sandbox.workers:
        if sandbox.inherited:
            server = worker.server.pid
            children = {pid for pid in descendants([server]) if stat_of(pid)[1] == server}
            assert len(children) <= 1, "a server has one at a time"
            found |= children
    return found


def is_server(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            return line.read().split(b"\0")[4:6] == [BOOT.encode(), b"server"]
    except OSError:
        return False


def zombies():
    """Children of this process that ended and were not waited for."""
    pids = map(int, filter(str.isdigit, os.listdir("/proc")))
    return [pid for pid in pids if stat_of(pid) == ("Z", os.getpid())]


def descendants(roots):
    """Ids of all processes below those of ``roots``."""
    parents = {pid: stat_of(pid)[1] for pid in map(int, filter(str.isdigit, os.listdir("/proc")))}
    found, new = set(), set(roots)
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return found


def stat_of(pid):
    """State letter and parent of a process; Nones for one that is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            state, parent = stat.read().rsplit(")", 1)[1].split()[:2]
    except (OSError, ProcessLookupError):
        return None, None
    return state, int(parent)


def files(sandbox, users):
    """What programs left in their folders and where everybody may write, and folders without a worker."""
    folders = {worker.settings.folder for worker in sandbox.workers}
    found = [e.path for e in os.scandir(sandbox.folder) if e.path not in folders]
    found += [entry.path for folder in folders for entry in os.scandir(folder)]
    shared = [
        entry.path for folder in SHARED_FOLDERS if os.path.isdir(folder) for entry in os.scandir(folder)
    ]
    return sorted(found + [path for path in shared if owner(path) in users])


def ipc(users):
    """System V objects that a program's user made: kind and number."""
    found = []
    for kind in ("shm", "sem", "msg"):
        with open(f"/proc/sysvipc/{kind}") as table:
            names, *rows = [line.split() for line in table]
        found += [(kind, int(row[1])) for row in rows if int(row[names.index("cuid")]) in users]
    return found


def remove(left):
    """Removes files and shared memory segments that ``left_behind`` found."""
    for path in left["files"]:
        os.remove(path)
    for kind, number in left["ipc"]:
        if kind == "shm":
            ctypes.CDLL(None).shmctl(number, 0, None)  # IPC_RMID


def descriptors(sandbox):
    """Open descriptors of this process, and of each server and tests' process."""
    pids = [pid for worker in sandbox.workers for pid in (worker.server.pid, worker.tester.pid)]
    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in [os.getpid(), *pids]]


def resident_mb(sandbox):
    """Memory of each server and each tests' process in MiB: two lists."""
    servers = [worker.server.pid for worker in sandbox.workers]
    testers = [worker.tester.pid for worker in sandbox.workers]
    return [[resident_pages(pid) * os.sysconf("SC_PAGE_SIZE") / (1 << 20) for pid in pids]
            for pids in (servers, testers)]  # fmt: skip


def resident_pages(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1])


def owner(path):
    try:
        return os.lstat(path).st_uid
    except OSError:
        return None


def link(path):
    try:
        return os.readlink(path)
    except OSError:
        return None
