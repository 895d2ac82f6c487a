"""Trains a policy: ``python train.py stage=rest_grpo model=qwen25_coder``; ``--help`` lists the groups."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from restrl.cli import guarded, job, register_schema
from restrl.config_check import check

register_schema()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@job
def main(composed: DictConfig) -> float | None:
    config = check(composed)
    from restrl.stages import run_stage  # torch loads only for a configuration that is right

    return run_stage(config)


if __name__ == "__main__":
    guarded(main)
