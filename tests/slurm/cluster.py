"""A real SLURM of two virtual nodes on this machine, with files, ports and daemons of its own.

Needs Debian's packages slurm-wlm and munge, and root.  Each node claims all cores of the machine.  There is
no accounting, as on many small clusters: ``sacct`` does not work.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "sbatch", "munged")
START_SECONDS = 60.0
STOP_SECONDS = 5.0
REPAIR_SECONDS = 12.0  # until a node that failed comes back: longer than its old jobs take to end there
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
SlurmctldParameters=preempt_send_user_signal
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
MinJobAge=300
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs={cores} RealMemory={memory} Gres=gpu:2
PartitionName=debug Nodes=n[1-2] Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=high Nodes=n[1-2] MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""  # noqa: E501


def missing() -> str | None:
    """Why no cluster can be started here; None: it can."""
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    if lacking:
        return f"{', '.join(lacking)}: not installed (Debian's packages slurm-wlm and munge)"
    return None if os.geteuid() == 0 else "SLURM's daemons need root here"


@dataclass(frozen=True)
class Cluster:
    folder: Path
    failed: dict[str, float] = field(default_factory=dict)  # nodes that are down, and since when

    @property
    def environment(self) -> dict[str, str]:
        """For every command that uses the cluster."""
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command: str, check: bool = True, **options: object) -> str:
        """The output of one of SLURM's commands."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, **options
        )  # type: ignore[call-overload]
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return str(done.stdout)

    def jobs(self) -> dict[str, tuple[str, str]]:
        """id -> (state, name) of the jobs that have not ended."""
        lines = self.run("squeue", "-h", "-r", "-o", "%i|%T|%j").splitlines()
        return {job: (state, name) for job, state, name in (line.strip().split("|") for line in lines)}

    def release(self) -> None:
        """Starts jobs that were queued again, which SLURM holds for two minutes; brings nodes back."""
        for node in self.run("sinfo", "-h", "-N", "-p", "debug", "-t", "down,drain", "-o", "%N").split():
            since = self.failed.setdefault(node, time.monotonic())
            if time.monotonic() - since > REPAIR_SECONDS:
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
                del self.failed[node]
        for job, (state, _) in self.jobs().items():
            if state == "PENDING":
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)


def start(folder: Path) -> Cluster:
    """Raises RuntimeError if the nodes are not idle after START_SECONDS."""
    cluster = Cluster(folder)
    for name in ("state", "log", "munge"):
        (folder / name).mkdir(parents=True)
    _start_munge(folder / "munge")
    host = socket.gethostname().split(".")[0]
    cores, memory = os.cpu_count() or 1, 16000
    text = CONFIG.format(host=host, folder=folder, ports=_ports(), cores=cores, memory=memory)
    (folder / "slurm.conf").write_text(text)
    for number in (0, 1):
        (folder / f"gpu{number}").touch()  # any file stands for a GPU
    (folder / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={folder}/gpu[0-1]\n")
    cluster.run("slurmctld", "-c")
    for node in ("n1", "n2"):
        cluster.run("slurmd", "-N", node)
    deadline = time.monotonic() + START_SECONDS
    while cluster.run("sinfo", "-h", "-p", "debug", "-t", "idle", "-o", "%D", check=False).strip() != "2":
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"no idle nodes: {cluster.run('sinfo', '-R', check=False)}; see {folder / 'log'}"
            )
        time.sleep(0.2)
    return cluster


def stop(cluster: Cluster) -> None:
    """Ends the jobs and the daemons; a daemon that hangs on its way out is killed."""
    cluster.run("scancel", "-u", "root", check=False)
    files = (*cluster.folder.glob("slurmd.*.pid"), *cluster.folder.glob("slurmctld.pid"))
    daemons = [int(path.read_text()) for path in (*files, cluster.folder / "munge" / "pid") if path.exists()]
    for pid in daemons:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while any(Path(f"/proc/{pid}").exists() for pid in daemons) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in daemons:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _start_munge(folder: Path) -> None:
    """Its own daemon with its own key, so that the machine's is neither needed nor disturbed."""
    folder.chmod(0o755)
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o400)
    command = [
        "munged", "--force", f"--key-file={folder / 'key'}", f"--socket={folder / 'socket'}",
        f"--pid-file={folder / 'pid'}", f"--log-file={folder / 'log'}", f"--seed-file={folder / 'seed'}",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)


def _ports() -> list[int]:
    """Of the controller and, next to each other, of the nodes."""
    for first in range(17000 + os.getpid() % 1000, 30000, 7):
        try:
            for port in range(first, first + 3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return [first, first + 1, first + 2]
        except OSError:
            continue
    raise RuntimeError("no free ports")
