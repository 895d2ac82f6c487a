"""The typed schema of the groups dpo and sft: training on completions that were sampled before."""

from __future__ import annotations

from dataclasses import dataclass

from restrl.config_fields import limits as _limits


@dataclass
class LearningConfig:
    """What both groups have in common."""

    name: str = _limits("default", decides=False)
    prompts_per_step: int = _limits(8, ge=1, step="train")  # problems per optimizer step
    epochs: int = _limits(1, ge=1, step="train")
    max_steps: int | None = _limits(None, ge=1, step="train")  # null: given by epochs
    lr: float = _limits(1e-7, gt=0, step="train")
    lr_schedule: str = _limits("constant", choices=("constant", "linear"), step="train")
    weight_decay: float = _limits(0.0, ge=0, step="train")
    warmup_steps: int = _limits(0, ge=0, step="train")
    clip_norm: float | None = _limits(1.0, gt=0, step="train")
    tokens_per_microbatch: int = _limits(4096, ge=1, decides=False)
    logit_chunk: int = _limits(256, ge=1, decides=False)  # positions whose logits are in memory together
    checkpoint_every: int = _limits(10, ge=1, decides=False)  # steps


@dataclass
class DpoConfig(LearningConfig):
    margin: float = _limits(0.0, ge=0, lt=1, step="pairs")  # reward of the best less that of the worst
    beta: float = _limits(0.1, gt=0, step="train")


@dataclass
class SftConfig(LearningConfig):
    reward: float = _limits(1.0, ge=0, le=1, step="accepted")  # least reward of an accepted completion
    per_problem: int | None = _limits(None, ge=1, step="accepted")  # accepted completions at most; null: all
