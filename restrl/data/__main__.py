"""Commands about a data set, which take the overrides of ``train.py``.

``python -m restrl.data check dataset=D`` judges each problem's reference and an empty body: the same as
``python train.py stage=check``, without a run folder.  It lists the broken problems and writes the block
list, which training with the same ``dataset`` and ``paths`` reads.  Verdicts are cached (``sandbox.cache``),
so an interrupted check continues where it stopped.

``python -m restrl.data show dataset=D 3`` prints the first 3 problems as the model sees them, with their
tests and the verdict of the reference.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from restrl.cli import register_schema
from restrl.config import Config
from restrl.config_check import check, explain
from restrl.errors import UserError
from restrl.process import EXIT_INTERRUPTED, EXIT_USER_ERROR, exit_code

CONF = Path(__file__).resolve().parents[2] / "conf"
USAGE = (
    "usage: python -m restrl.data check dataset=D [dataset.path=FILE ...], or show dataset=D [...] [COUNT]"
)
SHOWN = 3  # problems


def compose(overrides: list[str]) -> Config:
    """The configuration of ``train.py`` with these overrides.  Raises UserError."""
    register_schema()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return check(hydra.compose("train", overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(" ".join(explain(error).split())) from error


def check_command(arguments: list[str]) -> None:
    config = compose(arguments)
    from restrl.stages.check import check_dataset  # slow imports, only after the configuration is checked
    from restrl.stages.session import new_session

    check_dataset(new_session(config))


def show_command(arguments: list[str]) -> None:
    counts = [int(argument) for argument in arguments if argument.isdecimal()]
    config = compose([argument for argument in arguments if not argument.isdecimal()])
    from restrl.stages.session import new_session
    from restrl.stages.show import show_problems

    show_problems(new_session(config), counts[0] if counts else SHOWN)


COMMANDS: Mapping[str, Callable[[list[str]], None]] = {"check": check_command, "show": show_command}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(USAGE, file=sys.stderr)
        return EXIT_USER_ERROR
    try:
        return exit_code(lambda: COMMANDS[arguments[0]](arguments[1:]))
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where this one stopped", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
