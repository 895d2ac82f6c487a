"""``python -m restrl.data check dataset=D``: judges each problem's reference and an empty body.

Takes the overrides of ``train.py``, lists the broken problems and writes the block list that
``dataset.block_list`` names in training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from restrl.cli import EXIT_USER_ERROR, register_schema
from restrl.config import Config
from restrl.config_check import check, explain
from restrl.errors import UserError

CONF = Path(__file__).resolve().parents[2] / "conf"
USAGE = "usage: python -m restrl.data check dataset=D [dataset.path=FILE ...]"


def compose(overrides: list[str]) -> Config:
    """The configuration of ``train.py`` with these overrides.  Raises UserError."""
    register_schema()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return check(hydra.compose("train", overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(" ".join(explain(error).split())) from error


def main(arguments: list[str]) -> int:
    if arguments[:1] != ["check"]:
        print(USAGE, file=sys.stderr)
        return EXIT_USER_ERROR
    try:
        config = compose(arguments[1:])
        from restrl.stages.check import run_check  # loads what only a right configuration needs

        checked, path = run_check(config)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USER_ERROR
    for broken in checked.broken:
        print(f"{broken.task_id}: {broken.reason}")
    good = checked.problems - len(checked.broken)
    print(f"{good} of {checked.problems} problems are sound ({checked.references} have a reference)")
    print(f"block list: {path}  (train with dataset.block_list={path})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
