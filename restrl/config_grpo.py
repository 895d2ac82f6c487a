"""The typed schema of sampling and of the grpo group; ``restrl/config.py`` has the others."""

from __future__ import annotations

from dataclasses import dataclass, field

from restrl.config_fields import limits as _limits


@dataclass
class SamplingConfig:
    n: int = _limits(5, ge=1)
    temperature: float = _limits(0.7, ge=0)
    top_p: float = _limits(1.0, gt=0, le=1)
    max_tokens: int = _limits(1024, ge=1)


@dataclass
class ObjectiveConfig:
    advantage: str = _limits("group_std", choices=("group_std", "group_mean", "leave_one_out"))
    advantage_delta: float = _limits(1e-4, gt=0)  # added to the std, which has ddof 1
    ratio: str = _limits("token", choices=("token", "sequence"))
    surrogate: str = _limits("ppo", choices=("ppo", "cispo"))
    clip_low: float = _limits(0.2, ge=0, le=1)
    clip_high: float = _limits(0.2, ge=0)
    aggregate: str = _limits("sequence", choices=("sequence", "token", "constant"))
    kl: float = _limits(0.0, ge=0)  # beta of the k3 penalty against the frozen reference; 0 = no reference
    kl_on_ties: bool = False  # groups without variance get the KL penalty alone
    tis_cap: float | None = _limits(None, gt=0)  # truncated importance sampling; null = off


@dataclass
class ShapingConfig:
    symbol_reward: float = _limits(1e-3, ge=0)
    trailing_penalty: float = _limits(1e-6, ge=0)  # per character after the stop string
    # a group is trained only if its reward std is above this; null: the bonus alone may train a group
    variance_floor: float | None = _limits(0.0, ge=0)
    overlong_max: int | None = _limits(None, ge=1)  # DAPO L_max, tokens; null = off
    overlong_cache: float = _limits(0.2, ge=0, le=1)  # DAPO C / L_max


@dataclass
class GrpoConfig:
    name: str = _limits("rest", decides=False)
    iterations: int = _limits(2, ge=0, decides=False)  # T
    # 1. sample
    sample: SamplingConfig = field(default_factory=SamplingConfig, metadata={"step": "sample"})
    # 2. filter and 3. assemble
    sigma0: float = _limits(0.05, ge=0, le=0.5, step="assemble")
    partial_states: bool = _limits(True, step="assemble")
    r0: float = _limits(0.9, ge=0, le=1, step="assemble")
    alpha: float = _limits(0.95, gt=0, le=1, step="assemble")
    ratio: float = _limits(0.5, ge=0, le=1, step="assemble")
    replacement: bool = _limits(False, step="assemble")
    complete_solution: bool = _limits(False, step="assemble")
    blank_actions: bool = _limits(False, step="assemble")  # blank lines count as separate actions
    # 4. GRPO
    # n = G
    rollout: SamplingConfig = field(default_factory=lambda: SamplingConfig(n=8), metadata={"step": "grpo"})
    # a rollout ends early at a stop string or the end-of-sequence token (stop), or only at the latter (eos)
    rollout_until: str = _limits("stop", choices=("stop", "eos"), step="grpo")
    prompts_per_step: int = _limits(8, ge=1, step="grpo")
    epochs: int = _limits(1, ge=1, step="grpo")
    max_steps: int | None = _limits(None, ge=1, step="grpo")  # null: given by epochs
    updates_per_step: int = _limits(1, ge=1, step="grpo")  # passes over a step's batch (mu)
    overlap: bool = _limits(False, step="grpo")  # samples a step while the one before it is trained
    # how many times groups without variance are replaced; 0 = off
    dynamic_sampling: int = _limits(0, ge=0, step="grpo")
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig, metadata={"step": "grpo"})
    shaping: ShapingConfig = field(default_factory=ShapingConfig, metadata={"step": "grpo"})
    lr: float = _limits(1e-7, gt=0, step="grpo")
    lr_schedule: str = _limits("constant", choices=("constant", "linear"), step="grpo")
    weight_decay: float = _limits(0.0, ge=0, step="grpo")
    warmup_steps: int = _limits(0, ge=0, step="grpo")
    clip_norm: float | None = _limits(1.0, gt=0, step="grpo")
    tokens_per_microbatch: int = _limits(4096, ge=1, decides=False)
    logit_chunk: int = _limits(256, ge=1, decides=False)  # positions whose logits are in memory together
    checkpoint_every: int = _limits(10, ge=1, decides=False)  # steps
