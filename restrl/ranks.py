"""The processes of a run (ranks): the identity of this process, division of work, and agreement.

Every rank runs the same code in the same order.  Work is a list of items: each rank takes its ``share``, and
``merge`` collects the results in the order of the items, on every rank.  The first rank alone writes files
and prints (``by_first``), and the others receive the result.  Decisions that change which of these calls come
next (is there something to train, was the gradient finite, is the time over) must use only merged or agreed
values: if ranks decided differently, some would wait for ever.

A single process is the case of one rank, which communicates nothing.  torch is imported on first use.
"""

from __future__ import annotations

import datetime
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from restrl.errors import UserError

T = TypeVar("T")

# Timeout of collective calls.  It is long because a rank may have to wait for the longest task of another
# rank, such as a search or loading a model from a slow disk.  It does not delay the detection of a dead rank:
# its connections close, which the others notice at once.
TIMEOUT = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """``rank`` of ``size`` processes, the ``local``-th on its machine, all counted from 0."""

    rank: int = 0
    size: int = 1
    local: int = 0
    group: Any = field(default=None, compare=False)  # torch's process group; None: the run's

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This rank's items, at indices rank, rank + size, ...; lengths of shares differ by at most one."""
        return list(items[self.rank :: self.size])

    def rounds(self, items: Sequence[T]) -> Iterator[tuple[T, bool]]:
        """This rank's share in equally many rounds on every rank, for work with collective calls.

        Yields (item, whether it counts).  If the items do not divide evenly, a rank without an item in the
        last round receives the last item with False: it computes the item to take part in the collective
        calls, but must not count the result.
        """
        for start in range(0, len(items), self.size):
            index = start + self.rank
            yield items[min(index, len(items) - 1)], index < len(items)

    def merge(self, results: Sequence[T]) -> list[T]:
        """The results of all ranks, on every rank, in the order of the items that ``share`` divided.

        ``results``: one for each item of this rank's share.  They are pickled for the transfer.
        """
        if self.size == 1:
            return list(results)
        parts = self.gather(list(results))
        lengths = [len(part) for part in parts]
        if lengths != sorted(lengths, reverse=True) or lengths[0] - lengths[-1] > 1:
            raise ValueError(f"ranks have {lengths} results: these are not the shares of one list")
        return [parts[i % self.size][i // self.size] for i in range(sum(lengths))]

    def gather(self, value: T) -> list[T]:
        """Each rank's value, in the order of the ranks, on every rank."""
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self.group)
        return values

    def agree(self, value: T) -> T:
        """The first rank's value, on every rank; the values of other ranks are ignored."""
        if self.size == 1:
            return value
        from torch import distributed

        box = [value if self.first else None]
        distributed.broadcast_object_list(box, group=self.group, group_src=0)
        return box[0]  # type: ignore[return-value]

    def by_first(self, do: Callable[[], T]) -> T:
        """Calls ``do`` on the first rank only; returns its result, or raises its UserError, on every rank."""
        if self.size == 1:
            return do()
        result: T | UserError | None = None
        if self.first:
            try:
                result = do()
            except UserError as error:
                error.of_all_ranks = True
                result = error
        result = self.agree(result)
        if isinstance(result, UserError):
            raise result
        return result  # type: ignore[return-value]

    def total(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sums over all ranks, added in the order of the ranks.  All ranks pass the same keys."""
        parts = self.gather(dict(values))
        return {key: sum(part[key] for part in parts) for key in values}

    def wait(self) -> None:
        """A barrier: returns when every rank has called it."""
        self.gather(None)

    def team(self, size: int) -> Ranks:
        """This rank among the ``size`` consecutive ranks of its team, which divide a task of their own.

        Every rank calls it.  A team communicates apart from the run's other calls, so a thread may do so
        beside them.  Raises ValueError if the ranks cannot be divided into teams of that size.
        """
        if self.size % size:
            raise ValueError(f"{self.size} ranks cannot be divided into teams of {size}")
        if size == 1:
            return Ranks(local=self.local)
        from torch import distributed

        groups = [
            distributed.new_group(range(first, first + size), timeout=TIMEOUT, backend="gloo")
            for first in range(0, self.size, size)
        ]
        return Ranks(self.rank % size, size, self.local, groups[self.rank // size])


ALONE = Ranks()


def ranks_of(environment: Mapping[str, str] = os.environ) -> Ranks:
    """The rank of this process from the variables of torchrun or our launcher, or of srun or submitit."""
    if "RANK" in environment and "WORLD_SIZE" in environment:
        local = environment.get("LOCAL_RANK", environment["RANK"])
        return Ranks(int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(local))
    # the task count of the srun step: SLURM_NTASKS is also set in a batch script, which is one process
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        rank, size = int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"])
        return Ranks(rank, size, int(environment.get("SLURM_LOCALID", 0)))
    return ALONE


def connect(ranks: Ranks, *, gpu: bool = False) -> None:
    """Joins the process group at MASTER_ADDR and MASTER_PORT, or as srun's variables say.

    With one rank it does nothing.  Objects and CPU tensors use gloo; with ``gpu``, GPU tensors use NCCL.
    """
    if ranks.size == 1:
        return
    from torch import distributed

    if not distributed.is_initialized():
        # srun's variables in torchrun's names, which DeepSpeed reads
        own = {"RANK": str(ranks.rank), "WORLD_SIZE": str(ranks.size), "LOCAL_RANK": str(ranks.local)}
        for name, value in (own | meeting_point(os.environ)).items():
            os.environ.setdefault(name, value)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if gpu else "gloo",
            rank=ranks.rank,
            world_size=ranks.size,
            timeout=TIMEOUT,
        )


def meeting_point(environment: Mapping[str, str]) -> dict[str, str]:
    """The rendezvous of ranks started by srun: the first machine of the step, a port derived from the job."""
    if "SLURM_STEP_NODELIST" not in environment:
        return {}
    # node[07-09,12],other3 -> node07
    first = re.sub(r"\[(\w+).*", r"\1", environment["SLURM_STEP_NODELIST"].split(",")[0])
    # a number of the step's own, since several steps of a job may run on the machine
    number = int(environment["SLURM_JOB_ID"]) + 997 * int(environment.get("SLURM_STEP_ID", 0))
    return {"MASTER_ADDR": address_of(first), "MASTER_PORT": str(15000 + number % 10000)}


def address_of(node: str) -> str:
    """The node's name, or the address that SLURM knows where the name means nothing to the network."""
    try:
        socket.getaddrinfo(node, None)
        return node
    except OSError:
        command = ("scontrol", "show", "node", "--oneliner", node)
    try:
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return node
    found = re.search(r"NodeAddr=(\S+)", text)
    return found[1] if found else node


def disconnect(ranks: Ranks) -> None:
    """Leaves the process group after all ranks have called this: leaving early breaks the other ranks."""
    if ranks.size == 1:
        return
    from torch import distributed

    if distributed.is_initialized():
        ranks.wait()
        distributed.destroy_process_group()
