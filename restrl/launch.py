"""Runs a task on all ranks, which torchrun, srun or submitit has started, or which this module starts.

The task is a function ``(config, ranks, folder) -> result``, named by "module:function".  If no launcher has
given this process a rank and ``trainer.devices`` is above 1, this process becomes the first rank and starts
the others.  They are fresh interpreters that receive the composed configuration through a pipe and not from
Hydra, so they create no run folder.  Their output goes to ``rank1.log`` and so on in the run's folder.

All ranks end together.  Ctrl-C and SIGTERM reach every rank.  If another rank dies, the first rank ends the
rest and raises RankFailure.  If the first rank is killed, the kernel kills the others.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import restrl
from restrl.config import Config, TrainerConfig
from restrl.errors import UserError
from restrl.process import (
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    EXIT_USER_ERROR,
    die_with_parent,
    run_process,
)
from restrl.ranks import Ranks, connect, disconnect, ranks_of

Task = Callable[[Config, Ranks, Path], float | None]

TAIL = 12  # lines of a dead rank's log that are shown
POLL_SECONDS = 0.1
# Bad input and signals usually end all ranks, so the first rank gets this much time to end by itself.
TOGETHER = (EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED)
OWN_ERROR_SECONDS = 20.0
LEAVE_SECONDS = 5.0  # time for a rank to end by itself after a signal
STUCK_SECONDS = 30.0  # time for the first rank to notice that another one died
# Real-time, since submitit's SIGUSR2 means that SLURM will take the machine away, and others use SIGUSR1.
RANK_DIED = signal.SIGRTMIN + 5


class RankFailure(Exception):  # noqa: N818 (it is the failure that is reported)
    """Another rank died.  The text is the message to print; ``code``: the exit code of the run."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> tuple[type[RankFailure], tuple[str, int]]:
        return RankFailure, (str(self), self.code)  # it may end a run in another process


def on_all_ranks(task: str, config: Config, folder: Path) -> float | None:
    """The task's result on this rank.  ``folder``: the run's folder; that of the first rank is used by all.

    Raises UserError if ``trainer`` configures another number of ranks than were started, and RankFailure.
    """
    run, ranks = _named(task), ranks_of()
    configured = config.trainer.devices * config.trainer.num_nodes
    if configured == ranks.size == 1:
        return run(config, ranks, folder)
    if ranks.size > 1:
        if ranks.size != configured:
            raise UserError(
                f"trainer.devices={config.trainer.devices} x trainer.num_nodes={config.trainer.num_nodes} "
                f"are {configured} ranks, and {ranks.size} were started: make them agree"
            )
        return _connected(run, config, ranks, folder)
    if config.trainer.num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={config.trainer.num_nodes}: start a process for each device on every "
            "machine, by torchrun --nnodes or srun; without them all ranks are on one machine"
        )
    _check_device(config.trainer, ranks)
    with _started(task, config, folder) as ranks:
        return _connected(run, config, ranks, folder)


def _named(task: str) -> Task:
    module, _, function = task.partition(":")
    run: Task = getattr(importlib.import_module(module), function)
    return run


def _check_device(trainer: TrainerConfig, ranks: Ranks) -> str:
    """The type of this rank's device.  Raises UserError if the device is missing."""
    if trainer.accelerator == "cpu":
        return "cpu"
    from restrl.stages.session import device_of

    return device_of(trainer, ranks).type


def _connected(run: Task, config: Config, ranks: Ranks, folder: Path) -> float | None:
    import torch

    kind, threads = _check_device(config.trainer, ranks), torch.get_num_threads()
    if kind == "cuda":
        torch.cuda.set_device(ranks.local)
    else:  # the ranks of a machine share its cores
        torch.set_num_threads(max(1, threads // config.trainer.devices))
    connect(ranks, gpu=kind == "cuda")
    try:
        result = run(config, ranks, Path(ranks.agree(str(folder))))
        disconnect(ranks)
        return result
    finally:
        torch.set_num_threads(threads)


# --- the first rank


class _Others:
    """The ranks that the first rank started."""

    def __init__(self, task: str, config: Config, folder: Path, size: int) -> None:
        self.logs = {rank: folder / f"rank{rank}.log" for rank in range(1, size)}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.failed: tuple[int, int] | None = None  # the first rank that died, and its exit code
        self.leaving = threading.Event()  # once it is set, ranks may end
        self._job = pickle.dumps((task, config, str(folder)))
        self._ready, self._ready_end = os.pipe()

    def start(self, environment: dict[str, str]) -> None:
        """Starts the ranks, and waits until each has loaded its modules.  Raises RankFailure."""
        paths = [str(Path(restrl.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        for rank, log in self.logs.items():
            identity = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            with open(log, "wb") as out, contextlib.ExitStack() as after:
                # SLURM sends submitit's SIGUSR2 to all processes of a job: only the first rank acts on it
                blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
                after.callback(signal.pthread_sigmask, signal.SIG_SETMASK, blocked)
                process = subprocess.Popen(
                    [sys.executable, "-m", "restrl.launch", str(self._ready_end), str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **environment, **identity},
                    pass_fds=[self._ready_end],
                    start_new_session=True,  # the terminal's Ctrl-C must not reach it: we pass it on
                )
            self.processes[rank] = process
            assert process.stdin is not None
            # a broken pipe means that the rank died, which the loop below detects
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(self._job)
        os.close(self._ready_end)
        waiting = len(self.processes)
        while waiting:
            self.check()
            if self.failed is not None:
                raise self.failure()
            if select.select([self._ready], [], [], POLL_SECONDS)[0]:
                waiting -= len(os.read(self._ready, waiting))

    def check(self) -> None:
        """Notes a rank that died; of several, preferably one that did not die because it lost another."""
        dead = [(rank, p.returncode) for rank, p in self.processes.items() if p.poll() not in (None, 0)]
        if self.failed is None and dead:
            self.failed = min(dead, key=lambda item: (item[1] > 0, item[1] != EXIT_USER_ERROR))

    def failure(self) -> RankFailure:
        """The error that describes the rank that died."""
        assert self.failed is not None
        rank, code = self.failed
        log = self.logs[rank]
        lines = log.read_text(errors="replace").splitlines()[-TAIL:] if log.exists() else []
        if code == EXIT_USER_ERROR and lines and lines[-1].startswith("error: "):
            return RankFailure(f"rank {rank}: {lines[-1].removeprefix('error: ')}", EXIT_USER_ERROR)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        tail = "".join(f"\n  {line}" for line in lines)
        return RankFailure(f"rank {rank} {how}; {log} ends with:{tail or ' nothing'}", 1)

    def watch(self) -> None:
        """Ends the run when a rank dies; runs in a separate thread."""
        while self.failed is None:
            if self.leaving.wait(POLL_SECONDS):
                return
            self.check()
        if self.failed[1] in TOGETHER and self.leaving.wait(OWN_ERROR_SECONDS):
            return
        self.signal(signal.SIGKILL)  # so that the collective call in which this rank may wait fails
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, RANK_DIED)
        if not self.leaving.wait(STUCK_SECONDS):
            print(f"error: {self.failure()}", file=sys.stderr, flush=True)
            os._exit(self.failure().code)

    def signal(self, number: int) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def leave(self, *, quietly: bool) -> None:
        """Returns when all ranks have ended.  ``quietly``: they are done and end by themselves."""
        self.leaving.set()
        if not quietly:
            self.signal(signal.SIGINT)
        deadline = time.monotonic() + (STUCK_SECONDS if quietly else LEAVE_SECONDS)
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        self.signal(signal.SIGKILL)
        for process in self.processes.values():
            process.wait()
        os.close(self._ready)


@contextlib.contextmanager
def _started(task: str, config: Config, folder: Path) -> Iterator[Ranks]:
    """Starts the other ranks; yields this process as the first of ``trainer.devices`` ranks."""
    size = config.trainer.devices
    environment = {
        "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()),
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in environment}
    others = _Others(task, config, folder, size)
    with _signals(others):
        try:
            others.start(environment)
            threading.Thread(target=others.watch, daemon=True).start()
            os.environ.update(environment)
            yield ranks_of()
        except BaseException as error:
            others.leaving.set()
            failure = _cause(error, others)
            _abort()
            others.leave(quietly=False)
            if failure is not None:
                raise failure from error
            raise
        else:
            others.leave(quietly=True)
            others.check()
            if others.failed is not None:
                raise others.failure()
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _cause(error: BaseException, others: _Others) -> RankFailure | None:
    """The failure of another rank, if it caused ``error`` (for example by a broken connection)."""
    if isinstance(error, (UserError, KeyboardInterrupt, SystemExit)):
        return None
    deadline = time.monotonic() + 20 * POLL_SECONDS
    while others.failed is None and time.monotonic() < deadline:
        others.check()
        time.sleep(POLL_SECONDS / 10)
    return None if others.failed is None else others.failure()


def _abort() -> None:
    """Closes this rank's connections, so that no rank waits for it."""
    from torch import distributed

    if distributed.is_initialized():
        with contextlib.suppress(RuntimeError):
            distributed.destroy_process_group()


@contextlib.contextmanager
def _signals(others: _Others) -> Iterator[None]:
    """Passes Ctrl-C and SIGTERM on to the other ranks; this rank ends as a single process would."""
    if threading.current_thread() is not threading.main_thread():
        raise UserError("trainer.devices above 1 needs the main thread: use another hydra/launcher")

    def interrupted(number: int, frame: FrameType | None) -> None:
        others.leaving.set()
        others.signal(signal.SIGINT)
        signal.default_int_handler(number, frame)

    def terminated(_number: int, _frame: FrameType | None) -> None:
        others.leaving.set()
        others.signal(signal.SIGTERM)
        if signal.getsignal(signal.SIGTERM) is terminated:  # a training has its own handler
            others.leave(quietly=False)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)

    def rank_died(_number: int, _frame: FrameType | None) -> None:
        if not others.leaving.is_set():
            raise others.failure()

    handlers: dict[int, Any] = {signal.SIGINT: interrupted, RANK_DIED: rank_died}
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        handlers[signal.SIGTERM] = terminated
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started by nohup or in a shell's background
        del handlers[signal.SIGINT]
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- the other ranks


def main(arguments: list[str]) -> int:
    """Runs a rank that the first rank started.

    ``arguments``: the descriptor to which it writes a byte when it is ready, and the first rank's process id.
    """
    ready, parent = map(int, arguments)
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        task, config, folder = pickle.load(sys.stdin.buffer)
        run = _named(task)
        os.write(ready, b".")
        os.close(ready)
        _connected(run, config, ranks_of(), Path(folder))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    run_process(lambda: main(sys.argv[1:]))
