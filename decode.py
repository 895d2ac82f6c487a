"""Answers problems and judges the answers: ``python decode.py decoder=sample dataset=humaneval``."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from restrl.cli import guarded, job, register_schema
from restrl.config_check import check

register_schema()


@hydra.main(version_base="1.3", config_path="conf", config_name="decode")
@job
def main(composed: DictConfig) -> float | None:
    config = check(composed)
    from restrl.stages import run_decode  # torch loads only for a configuration that is right

    return run_decode(config)


if __name__ == "__main__":
    guarded(main)
