"""``python -m restrl.data check dataset=D``: judges each problem's reference and an empty body.

The same as ``python train.py stage=check``, without a run folder.  Takes the overrides of ``train.py``, lists
the broken problems and writes the block list, which training with the same ``dataset`` and ``paths`` reads.
Verdicts are cached (``sandbox.cache``), so an interrupted check continues where it stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from restrl.cli import register_schema
from restrl.config import Config
from restrl.config_check import check, explain
from restrl.errors import UserError
from restrl.launch import EXIT_INTERRUPTED, EXIT_USER_ERROR

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
        from restrl.stages.check import check_dataset  # slow imports, only after the configuration is checked
        from restrl.stages.session import new_session

        check_dataset(new_session(config))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where this one stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
