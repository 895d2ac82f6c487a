"""What ``train.py`` and ``decode.py`` share: the schema for Hydra, exit codes, one-line errors."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from restrl.config import Config, explain
from restrl.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say


def register_schema() -> None:
    """Makes ``schema`` known to Hydra: the first entry of each defaults list, the types of what follows."""
    ConfigStore.instance().store(name="schema", node=Config)


def job(run: Callable[[DictConfig], float | None]) -> Callable[[DictConfig], float | None]:
    """What ``hydra.main`` wraps: bad input ends a single run at once, and in a multirun only its own job."""

    @functools.wraps(run)
    def wrapped(composed: DictConfig) -> float | None:
        try:
            return run(composed)
        except UserError as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            _end(error)

    return wrapped


def guarded(main: Callable[[], Any]) -> None:
    """Runs a ``hydra.main`` function and exits: 0 done, 2 bad input (one line), 130 interrupted."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting with 1
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        main()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        _end(error)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where this one stopped", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def _end(error: BaseException) -> NoReturn:
    print(f"error: {_line(error)}", file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)


def _line(error: BaseException) -> str:
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, wanted = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={wanted}: no such choice; {group} may be {', '.join(sorted(error.options))}"
    return " ".join(explain(error).split())
