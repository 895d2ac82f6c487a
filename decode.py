"""Answers problems and judges the answers: ``python decode.py decoder=sample dataset=humaneval``."""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from restrl.cli import guarded, job, register_schema
from restrl.config_check import check
from restrl.launch import on_all_ranks

register_schema()


@hydra.main(version_base="1.3", config_path="conf", config_name="decode")
@job
def main(composed: DictConfig) -> float | None:
    runtime = HydraConfig.get().runtime
    config = check(composed, Path(runtime.cwd))
    if config.trainer.estimate:
        from restrl.stages.estimate import estimate  # torch loads late

        estimate(config, decodes=True)
        return None
    return on_all_ranks("restrl.stages.run:run_decode", config, Path(runtime.output_dir))


if __name__ == "__main__":
    guarded(main)
