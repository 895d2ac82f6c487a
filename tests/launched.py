"""A run of two ranks that do what an environment variable says: ``python -m tests.launched FOLDER``."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from restrl.cli import guarded
from restrl.config import Config, TrainerConfig
from restrl.errors import UserError
from restrl.launch import on_all_ranks
from restrl.ranks import Ranks

REQUEUED = 77


class Kept:
    """Lives as long as its module, and says so if the interpreter is taken apart before the process ends."""

    def __del__(self, write: Any = os.write) -> None:
        write(2, b"taken apart\n")


kept: list[Kept] = []


def task(_config: Config, ranks: Ranks, folder: Path) -> float | None:
    (folder / f"pid{ranks.rank}").write_text(str(os.getpid()))
    what = os.environ["BEHAVIOUR"]
    print(f"rank {ranks.rank}: {what}", flush=True)
    if what == "work":
        kept.append(Kept())
        atexit.register((folder / f"left{ranks.rank}").touch)
        (folder / f"done{ranks.rank}").write_text(str(ranks.merge([i * i for i in ranks.share(range(5))])))
    elif what == "all are wrong" or (what == "one is wrong" and not ranks.first):
        raise UserError("bad input")
    elif what == "one crashes" and not ranks.first:
        raise ValueError("a bug")
    elif what == "the first crashes" and ranks.first:
        raise ValueError("a bug of the first")
    elif what == "one is killed" and not ranks.first:
        os.kill(os.getpid(), signal.SIGKILL)
    elif what in ("one is killed", "sleep"):
        time.sleep(100)
    ranks.wait()
    return None


def requeued(_number: int, _frame: Any) -> None:
    """As submitit's handler ends a job before SLURM takes the machine away."""
    sys.exit(REQUEUED)


def main() -> None:
    signal.signal(signal.SIGUSR2, requeued)
    config = Config(trainer=TrainerConfig(accelerator="cpu", devices=2))
    on_all_ranks("tests.launched:task", config, Path(sys.argv[1]))


if __name__ == "__main__":
    guarded(main)
