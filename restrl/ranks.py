"""The processes of a run (ranks): who this one is, how they divide work, and how they agree.

Every rank runs the same code in the same order.  Work is a list of items: each rank takes its ``share``,
and ``merge`` puts the results together, in the order of the items, on every rank.  What only one may do
(write files, print) the first rank does (``by_first``), and the others learn what came of it.  Decisions that
change which of these calls come next (is there something to train, was the gradient finite, is the time over)
are made from merged or agreed values alone: a rank that decides differently would leave the others waiting.

One process is the case of one rank, in which nothing is sent.  torch is imported on first use.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from restrl.errors import UserError

T = TypeVar("T")

# A rank may wait as long as another one's longest piece of work takes: a search, a model on a slow disk.  A
# rank that dies closes its connections, which the others notice at once.
PATIENCE = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """``rank`` of ``size`` processes, the ``local``-th on its machine, all counted from 0."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This rank's items: rank, rank + size, ...; the shares' lengths differ by at most one."""
        return list(items[self.rank :: self.size])

    def rounds(self, items: Sequence[T]) -> Iterator[tuple[T, bool]]:
        """This rank's share, as many rounds on every rank: for work in which the ranks wait for each other.

        Where the items do not come out even, a rank without one in the last round gets the last item again,
        with False: it computes it to keep in step with the others, and it must not count.
        """
        for start in range(0, len(items), self.size):
            index = start + self.rank
            yield items[min(index, len(items) - 1)], index < len(items)

    def merge(self, results: Sequence[T]) -> list[T]:
        """The results of all ranks, on every rank, in the order of the items that ``share`` divided.

        ``results``: one for each item of this rank's share.  They are pickled on the way.
        """
        if self.size == 1:
            return list(results)
        parts = self.gather(list(results))
        lengths = [len(part) for part in parts]
        if lengths != sorted(lengths, reverse=True) or lengths[0] - lengths[-1] > 1:
            raise ValueError(f"ranks have {lengths} results: not those of one divided list")
        return [parts[i % self.size][i // self.size] for i in range(sum(lengths))]

    def gather(self, value: T) -> list[T]:
        """Each rank's value, in the order of the ranks, on every rank."""
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def agree(self, value: T) -> T:
        """The first rank's value, on every rank; the others may pass anything."""
        if self.size == 1:
            return value
        from torch import distributed

        box = [value if self.first else None]
        distributed.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]

    def by_first(self, do: Callable[[], T]) -> T:
        """What ``do`` returns on the first rank, which alone calls it; its UserError is raised on all."""
        if self.size == 1:
            return do()
        result: T | UserError | None = None
        if self.first:
            try:
                result = do()
            except UserError as error:
                result = error
        result = self.agree(result)
        if isinstance(result, UserError):
            raise result
        return result  # type: ignore[return-value]

    def total(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sums over all ranks, which pass the same keys; added in the order of the ranks."""
        parts = self.gather(dict(values))
        return {key: sum(part[key] for part in parts) for key in values}

    def wait(self) -> None:
        """Returns when every rank is here."""
        self.gather(None)


ALONE = Ranks()


def ranks_of(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Who this process is: as torchrun and our own launcher say it, or srun and submitit, or alone."""
    if "RANK" in environment and "WORLD_SIZE" in environment:
        local = environment.get("LOCAL_RANK", environment["RANK"])
        return Ranks(int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(local))
    # srun's own count of tasks: SLURM_NTASKS stands in a batch script too, which is one process
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        rank, size = int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"])
        return Ranks(rank, size, int(environment.get("SLURM_LOCALID", 0)))
    return ALONE


def connect(ranks: Ranks, *, gpu: bool = False) -> None:
    """Joins the process group; MASTER_ADDR and MASTER_PORT say where, or srun.  One rank: nothing happens.

    Objects and tensors on the CPU go by gloo; with ``gpu``, those on GPUs by NCCL.
    """
    if ranks.size == 1:
        return
    from torch import distributed

    if not distributed.is_initialized():
        for name, value in meeting_point(os.environ).items():
            os.environ.setdefault(name, value)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if gpu else "gloo",
            rank=ranks.rank,
            world_size=ranks.size,
            timeout=PATIENCE,
        )


def meeting_point(environment: Mapping[str, str]) -> dict[str, str]:
    """Where ranks that srun started meet: on the step's first machine, at a port that its job decides."""
    if "SLURM_STEP_NODELIST" not in environment:
        return {}
    # node[07-09,12],other3 -> node07
    first = re.sub(r"\[(\w+).*", r"\1", environment["SLURM_STEP_NODELIST"].split(",")[0])
    return {"MASTER_ADDR": first, "MASTER_PORT": str(15000 + int(environment["SLURM_JOB_ID"]) % 10000)}


def disconnect(ranks: Ranks) -> None:
    """Leaves the process group when every rank has come here: one that leaves early breaks the others."""
    if ranks.size == 1:
        return
    from torch import distributed

    if distributed.is_initialized():
        ranks.wait()
        distributed.destroy_process_group()
