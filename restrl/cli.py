"""Shared by ``train.py`` and ``decode.py``: the schema for Hydra, exit codes, one-line errors."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from restrl.config import Config
from restrl.config_check import explain
from restrl.errors import UserError
from restrl.launch import RankFailure
from restrl.process import EXIT_INTERRUPTED, EXIT_USER_ERROR, run_process
from restrl.ranks import ranks_of

NAME_BYTES = 200  # of a folder's name that lists overrides
# Time for the first rank to report the error, and for torchrun to end this one.  On a busy machine ranks
# reach the same error at different times, and torch takes seconds to unload.
OTHERS_SECONDS = 10.0


FAILURE = "failure.txt"  # in a run's folder: why it ended without a result
# choices that an optional package adds: the end of the line that says they are missing
EXTRAS = {"hydra/sweeper=optuna": "; the extra adds it: pip install 'restrl[optuna]'"}
# not found by import: another package named `sweeps` may be installed
RUN_BOOKS = Path(__file__).parents[1] / "sweeps"


def register_schema() -> None:
    """Registers with Hydra what is not in conf/: ``schema`` and the options of the group ``sweep``.

    ``schema`` is the first entry of each defaults list and types the others.  The options of ``sweep`` are
    the run-books, sweeps/NAME.yaml.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for path in sorted(RUN_BOOKS.glob("*.yaml")):
        store.store(group="sweep", name=path.stem, node=OmegaConf.load(path), package="_global_")


def start_time() -> str:
    """The time for the names of run folders, in their order: no two processes have the same.

    Runs that a script or a cluster starts together often begin in the same second.
    """
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}-{os.getpid()}"


def short(name: str) -> str:
    """A part of a folder's name, cut where file systems would refuse it (255 bytes)."""
    return name if len(name.encode()) <= NAME_BYTES else name.encode()[:NAME_BYTES].decode(errors="ignore")


# for conf/; at import, since the processes of a launcher know only the functions of this module
OmegaConf.register_new_resolver("start_time", start_time, use_cache=True, replace=True)
OmegaConf.register_new_resolver("short", short, replace=True)


@dataclass
class _Process:
    """The state of this process, for ``guarded``."""

    entered: bool = False  # whether our code has begun; errors before that come from Hydra
    failed: int = 0  # number of jobs of a multirun that ended because of bad input


_process: _Process | None = None  # None in a process that a launcher started


def job(run: Callable[[DictConfig], float | None]) -> Callable[[DictConfig], float | None]:
    """Wraps a function for ``hydra.main``.  Bad input ends a single run, but only one job of a multirun."""

    @functools.wraps(run)
    def wrapped(composed: DictConfig) -> float | None:
        return _run_job(run, composed)  # a function at module level, so that launchers can pickle it

    return wrapped


def _run_job(run: Callable[[DictConfig], float | None], composed: DictConfig) -> float | None:
    if _process is not None:
        _process.entered = True
    hydra = HydraConfig.get()
    failure = Path(hydra.runtime.output_dir) / FAILURE
    failure.unlink(missing_ok=True)
    try:
        return run(composed)
    except (Exception, KeyboardInterrupt) as error:
        with contextlib.suppress(OSError):  # the error itself is what counts
            failure.write_text(_reason(error) + "\n", encoding="utf-8")
        if not isinstance(error, UserError):
            raise
        if hydra.mode != RunMode.MULTIRUN:
            _end(error)
        if _process is None:
            raise  # the launcher passes it on to the waiting process
        _process.failed += 1
        _say(f"job {hydra.job.num} ({', '.join(hydra.overrides.task)}): {one_line(error)}")
        return None


def guarded(main: Callable[[], Any]) -> NoReturn:
    """Runs a ``hydra.main`` function and ends the process: 0 done, 2 bad input (one line), 130 interrupted.

    Exit code 1: a defect, or another rank died; a line says which.
    """
    run_process(lambda: _guarded(main))


def _guarded(main: Callable[[], Any]) -> int:
    global _process
    process = _process = _Process()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting with 1
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        with _own_folders():
            main()
    except RankFailure as failure:
        _say(str(failure))
        return failure.code
    except (UserError, HydraException, OmegaConfBaseException) as error:
        _end(error)
    except OSError as error:
        if process.entered:
            raise
        _end(
            UserError(f"cannot write {error.filename}: {error.strerror}; set paths.outputs to another folder")
        )
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where this one stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_USER_ERROR if process.failed else 0


@contextlib.contextmanager
def _own_folders() -> Iterator[None]:
    """Gives all ranks but the first, when torchrun or srun started them, temporary folders for Hydra."""
    if ranks_of().first:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        places = (f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=.")
        sys.argv += [*places, "hydra.output_subdir=null"]
        yield


def _end(error: BaseException) -> NoReturn:
    if (rank := ranks_of().rank) > 0:
        time.sleep(OTHERS_SECONDS)
        if not (isinstance(error, UserError) and error.of_all_ranks):
            _say(f"rank {rank}: {one_line(error)}")
    else:
        _say(one_line(error))
    sys.exit(error.exit_code if isinstance(error, UserError) else EXIT_USER_ERROR)


def _say(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)


def _reason(error: BaseException) -> str:
    if isinstance(error, UserError):
        return one_line(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def one_line(error: BaseException) -> str:
    """The message for an error of the user's input, also one that Hydra found."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        options = f"{group}={choice}: no such choice; {group} may be {', '.join(sorted(error.options))}"
        return options + EXTRAS.get(f"{group}={choice}", "")
    return " ".join(explain(error).split())
